/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options that both programs have: log, metrics, process, limits, debug.
 */
#include "daemon/conf/schema_priv.h"

/* clang-format off */
static const struct schema_word log_formats[] = {
	W("auto", LOG_FORMAT_AUTO), W("journal", LOG_FORMAT_JOURNAL), W("text", LOG_FORMAT_TEXT),
	W("json", LOG_FORMAT_JSON), {},
};
static const struct schema_word access_logs[] = {
	W("off", CONF_ACCESS_LOG_OFF), W("on", CONF_ACCESS_LOG_ON), W("errors", CONF_ACCESS_LOG_ERRORS), {},
};
static const struct schema_word colors[] = {
	W("auto", CONF_SWITCH_AUTO), W("yes", CONF_SWITCH_ON), W("no", CONF_SWITCH_OFF), {},
};

const struct schema_option schema_log[] = {
	{ .key = "level", .type = SCHEMA_TYPE_PARSED, .parse = parse_log_level, .def = "info", .env = "TUNNEL_LOGLEVEL",
	  .flags = SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_RELOAD | SCHEMA_WHOLE,
	  .accepts = "error, warning, notice, info or debug, then AREA:LEVEL for single areas",
	  .help = "How much is logged, in general and for single areas (`info, link:debug`)." },
	{ .key = "format", WORD(log_formats, struct conf_log, format), .def = "auto",
	  .help = "Form of the log: `auto` is the journal under systemd, text elsewhere." },
	{ .key = "access", WORD(access_logs, struct conf_log, access), .def = "off", .flags = SCHEMA_RELOAD,
	  .help = "One line for each finished request, or only for failed ones." },
	{ .key = "color", WORD(colors, struct conf_log, color), .def = "auto", .env = "NO_COLOR",
	  .help = "Colours in a text log on a terminal; a non-empty environment variable `NO_COLOR` means `no`." },
	{},
};

const struct schema_option schema_metrics[] = {
	{ .key = "listen", .type = SCHEMA_TYPE_PARSED, .parse = parse_metrics_listen, .def = "auto", .env = "TUNNEL_METRICS",
	  .accepts = "auto, off, or ADDRESS:PORT",
	  .help = "Where metrics and readiness are served: `auto` is the first free port of 127.0.0.1:20241–20245, then any." },
	{},
};

const struct schema_option schema_process[] = {
	{ .key = "workers", UINT(struct conf_process, workers, 1, 256), .words = schema_auto, .def = "auto",
	  .help = "Worker threads: `auto` is the CPUs of the affinity mask, at most the cgroup's CPU quota rounded up." },
	{ .key = "watch-config", BOOL(struct conf_process, watch_config), .def = "no", .flags = SCHEMA_RELOAD,
	  .help = "Reload when the file changes, as if told to." },
	{ .key = "memory", SIZE(struct conf_process, memory, 8 * MIB, 1024 * GIB), .words = schema_auto, .def = "auto",
	  .help = "Budget of all buffers: `auto` is 64M for each worker." },
	{},
};

const struct schema_option schema_debug[] = {
	{ .key = "qlog", PATH(struct conf_debug, qlog), .def = "", .flags = SCHEMA_FOLDER,
	  .help = "Existing directory that gets one qlog file for each QUIC connection." },
	{ .key = "tls-key-log", PATH(struct conf_debug, tls_key_log), .def = "",
	  .help = "File that gets the TLS secrets of every connection, for a packet analyser. Whoever reads it reads the traffic." },
	{},
};

#define LIMIT(name, low, high)      UINT(struct conf_limits, name, low, high), .flags = SCHEMA_RELOAD
#define LIMIT_SIZE(name, low, high) SIZE(struct conf_limits, name, low, high), .flags = SCHEMA_RELOAD
/* What has a constant or nothing behind it so far: docs/limits.md. */
#define LATER(name, low, high)      UINT(struct conf_limits, name, low, high), .flags = SCHEMA_RELOAD | SCHEMA_LATER
#define LATER_SIZE(name, low, high) SIZE(struct conf_limits, name, low, high), .flags = SCHEMA_RELOAD | SCHEMA_LATER
const struct schema_option schema_limits[] = {
	{ .key = "streams-per-link", LIMIT(streams_per_link, 1, 1000000), .def = "16384",
	  .help = "Request streams of one link; beyond it no stream credit is given." },
	{ .key = "streams", LIMIT(streams, 1, 10000000), .def = "65536",
	  .help = "Request streams of the process; beyond it 503." },
	{ .key = "send-queue", LIMIT_SIZE(send_queue, 4 * KIB, 64 * MIB), .def = "1M",
	  .help = "Most that waits to be sent on one stream." },
	{ .key = "stream-window", LIMIT_SIZE(stream_window, 16 * KIB, 64 * MIB), .def = "64K",
	  .help = "Receive window with which a stream starts." },
	{ .key = "stream-window-max", LIMIT_SIZE(stream_window_max, 16 * KIB, 1024 * MIB), .def = "6M",
	  .help = "Receive window to which a stream may grow." },
	{ .key = "link-window", LATER_SIZE(link_window, 128 * KIB, 1024 * MIB), .def = "768K",
	  .help = "Receive window with which a link starts." },
	{ .key = "link-window-max", LIMIT_SIZE(link_window_max, 128 * KIB, 1024 * MIB), .def = "30M",
	  .help = "Receive window to which a link may grow." },
	{ .key = "head-size", LIMIT_SIZE(head_size, 4 * KIB, 1 * MIB), .def = "64K",
	  .help = "Head of a request or answer; beyond it 431 or 502." },
	{ .key = "head-fields", LIMIT(head_fields, 16, 10000), .def = "200", .help = "Fields of a head." },
	{ .key = "head-line", LIMIT_SIZE(head_line, 1 * KIB, 1 * MIB), .def = "16K", .help = "One line of a head." },
	{ .key = "trailers-size", LIMIT_SIZE(trailers_size, 1 * KIB, 256 * KIB), .def = "16K",
	  .help = "Trailers of a message, chunk extensions included." },
	{ .key = "trailers-fields", LIMIT(trailers_fields, 1, 1000), .def = "100", .help = "Fields of trailers." },
	{ .key = "rpc-message", LATER_SIZE(rpc_message, 4 * KIB, 1 * MIB), .def = "64K", .help = "One RPC message." },
	{ .key = "configuration", LATER_SIZE(configuration, 64 * KIB, 64 * MIB), .def = "4M",
	  .help = "A configuration sent to or by an edge; a larger local one isn't uploaded." },
	{ .key = "connect-message", LATER_SIZE(connect_message, 16 * KIB, 4 * MIB), .def = "256K",
	  .help = "A ConnectRequest or ConnectResponse." },
	{ .key = "flows", LIMIT(flows, 1, 10000000), .def = "65536", .help = "UDP flows of the process, and as many TCP flows to private networks." },
	{ .key = "flow-registrations", LIMIT(flow_registrations, 1, 10000000), .def = "20000", .help = "New flows a second." },
	{ .key = "flow-queue", LIMIT_SIZE(flow_queue, 4 * KIB, 16 * MIB), .def = "64K", .help = "Bytes of one flow that wait at the edge until the daemon has taken it." },
	{ .key = "icmp-answers", LIMIT(icmp_answers, 0, 1000000), .def = "1000", .help = "ICMP errors of our own a second." },
	{ .key = "metric-series", LATER(metric_series, 1, 1000000), .def = "1000",
	  .help = "Series of one family of metrics; the rest is counted under `other`." },
	{},
};

const struct schema_option schema_edge_limits[] = {
	{ .key = "unregistered", UINT(struct conf_limits, unregistered, 1, 1000000), .def = "1024",
	  .help = "Tunnel connections that have not registered yet." },
	{ .key = "unregistered-per-address", UINT(struct conf_limits, unregistered_per_address, 1, 1000000), .def = "16",
	  .help = "The same from one address." },
	{ .key = "register-timeout", DURATION(struct conf_limits, register_timeout, 1 * SEC, 60 * SEC), .def = "5s",
	  .help = "Time a tunnel connection has to register." },
	{ .key = "retry-unregistered", UINT(struct conf_limits, retry_unregistered, 0, 1000000), .flags = SCHEMA_LATER, .def = "256",
	  .help = "Unregistered connections from which on Retry is sent." },
	{ .key = "retry-initials", UINT(struct conf_limits, retry_initials, 0, 1000000), .flags = SCHEMA_LATER, .def = "200",
	  .help = "Unvalidated Initials a second from which on Retry is sent." },
	{ .key = "visitors", LIMIT(visitors, 1, 10000000), .def = "16384", .help = "Connections of visitors; then accepting waits." },
	{ .key = "handshakes", LIMIT(handshakes, 1, 1000000), .def = "256",
	  .help = "TLS handshakes of visitors at once; then accepting waits." },
	{},
};
/* clang-format on */

const struct schema_word schema_auto[] = { W("auto", 0), {} };
