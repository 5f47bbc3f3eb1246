/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `adit status`: the answer of Status() as a head and tables. The daemon's and the edge's differ
 * only in what the tables below say.
 */
#include <stdio.h>
#include <systemd/sd-json.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/client.h"
#include "daemon/cli/print.h"
#include "util/cleanup.h"
#include "util/macro.h"
#include "util/time.h"

enum { TABLES_MAX = 2 };

/* clang-format off */
static const struct print_column daemon_head[] = {
	{ "version",        "version",      PRINT_AS_TEXT },
	{ "instance",       "instance",     PRINT_AS_TEXT },
	{ "tunnel",         "tunnel",       PRINT_AS_TEXT },
	{ "state",          "state",        PRINT_AS_TEXT },
	{ "since_usec",     "uptime",       PRINT_AS_AGE },
	{ "pid",            "pid",          PRINT_AS_COUNT },
	{ "config",         "config",       PRINT_AS_TEXT },
	{ "config_version", "config version", PRINT_AS_COUNT },
	{ "need_restart",   "after a restart", PRINT_AS_TEXT },
	{ "routed",         "routed by",    PRINT_AS_TEXT },
	{ "routed_lacks",   "routing lacks", PRINT_AS_TEXT },
	{ "metrics",        "metrics",      PRINT_AS_TEXT },
	{ "memory",         "buffers",      PRINT_AS_BYTES },
	{ "memory_limit",   "buffer limit", PRINT_AS_BYTES },
};
static const struct print_column daemon_connections[] = {
	{ "index",      "INDEX",      PRINT_AS_COUNT },
	{ "state",      "STATE",      PRINT_AS_TEXT },
	{ "protocol",   "PROTOCOL",   PRINT_AS_TEXT },
	{ "edge",       "EDGE",       PRINT_AS_TEXT },
	{ "location",   "LOCATION",   PRINT_AS_TEXT },
	{ "since_usec", "SINCE",      PRINT_AS_AGE },
	{ "rtt_usec",   "RTT",        PRINT_AS_DELAY },
	{ "loss_ppm",   "LOSS",       PRINT_AS_PER_MIL },
	{ "streams",    "STREAMS",    PRINT_AS_COUNT },
	{ "flows",      "FLOWS",      PRINT_AS_COUNT },
	{ "rx_bytes",   "RX",         PRINT_AS_BYTES },
	{ "tx_bytes",   "TX",         PRINT_AS_BYTES },
	{ "mtu",        "MTU",        PRINT_AS_COUNT },
	{ "ecn",        "ECN",        PRINT_AS_TEXT },
	{ "group",      "GROUP",      PRINT_AS_TEXT },
	{ "last_error", "LAST ERROR", PRINT_AS_TEXT },
};
static const struct print_column edge_head[] = {
	{ "version",        "version",      PRINT_AS_TEXT },
	{ "state",          "state",        PRINT_AS_TEXT },
	{ "since_usec",     "uptime",       PRINT_AS_AGE },
	{ "pid",            "pid",          PRINT_AS_COUNT },
	{ "config",         "config",       PRINT_AS_TEXT },
	{ "config_version", "config version", PRINT_AS_COUNT },
	{ "need_restart",   "after a restart", PRINT_AS_TEXT },
	{ "metrics",        "metrics",      PRINT_AS_TEXT },
	{ "steering",       "steering",     PRINT_AS_TEXT },
	{ "memory",         "buffers",      PRINT_AS_BYTES },
	{ "memory_limit",   "buffer limit", PRINT_AS_BYTES },
	{ "refusing",       "refusing",     PRINT_AS_TEXT },
};
static const struct print_column edge_tunnels[] = {
	{ "name",        "TUNNEL",      PRINT_AS_TEXT },
	{ "id",          "ID",          PRINT_AS_TEXT },
	{ "connections", "CONNECTIONS", PRINT_AS_COUNT },
	{ "hostnames",   "HOSTNAMES",   PRINT_AS_TEXT },
};
static const struct print_column edge_connections[] = {
	{ "tunnel",     "TUNNEL",   PRINT_AS_TEXT },
	{ "index",      "INDEX",    PRINT_AS_COUNT },
	{ "protocol",   "PROTOCOL", PRINT_AS_TEXT },
	{ "peer",       "PEER",     PRINT_AS_TEXT },
	{ "since_usec", "SINCE",    PRINT_AS_AGE },
	{ "rtt_usec",   "RTT",      PRINT_AS_DELAY },
	{ "loss_ppm",   "LOSS",     PRINT_AS_PER_MIL },
	{ "streams",    "STREAMS",  PRINT_AS_COUNT },
	{ "rx_bytes",   "RX",       PRINT_AS_BYTES },
	{ "tx_bytes",   "TX",       PRINT_AS_BYTES },
	{ "worker",     "WORKER",   PRINT_AS_COUNT },
	{ "mtu",        "MTU",      PRINT_AS_COUNT },
	{ "ecn",        "ECN",      PRINT_AS_TEXT },
	{ "group",      "GROUP",    PRINT_AS_TEXT },
};
static const struct print_column daemon_flows[] = {
	{ "id",          "FLOW",        PRINT_AS_TEXT },
	{ "index",       "INDEX",       PRINT_AS_COUNT },
	{ "source",      "SOURCE",      PRINT_AS_TEXT },
	{ "destination", "DESTINATION", PRINT_AS_TEXT },
	{ "path",        "PATH",        PRINT_AS_TEXT },
	{ "since_usec",  "SINCE",       PRINT_AS_AGE },
	{ "why",         "BECAUSE",     PRINT_AS_TEXT },
	{ "version",     "VERSION",     PRINT_AS_COUNT },
	{ "tx",          "TX",          PRINT_AS_COUNT },
	{ "rx",          "RX",          PRINT_AS_COUNT },
	{ "idle_sec",    "IDLE",        PRINT_AS_COUNT },
};
static const struct print_column daemon_drops[] = {
	{ "where",  "DROPPED", PRINT_AS_TEXT },
	{ "reason", "REASON",  PRINT_AS_TEXT },
	{ "count",  "COUNT",   PRINT_AS_COUNT },
};
/* clang-format on */

/* How the status of one kind of daemon is asked for and shown. */
struct view {
	const char *method;
	const struct print_column *head;
	size_t head_count;
	struct print_table tables[TABLES_MAX];
	size_t table_count;
};

static const struct view views[] = {
	{ "io.adit.Daemon.Status",
	  daemon_head,
	  ARRAY_SIZE(daemon_head),
	  { { "connections", daemon_connections, ARRAY_SIZE(daemon_connections) } },
	  1 },
	{ "io.adit.Edge.Status",
	  edge_head,
	  ARRAY_SIZE(edge_head),
	  { { "tunnels", edge_tunnels, ARRAY_SIZE(edge_tunnels) },
	    { "connections", edge_connections, ARRAY_SIZE(edge_connections) } },
	  2 },
};

static void print_text(const struct print *p, sd_json_variant *document, const struct view *v)
{
	print_head(p, document, v->head, v->head_count);
	for (size_t i = 0; i < v->table_count; i++) {
		(void)fputc('\n', p->out);
		print_rows(p, document, &v->tables[i]);
	}
}

static const struct print_table flow_tables[] = {
	{ "flows", daemon_flows, ARRAY_SIZE(daemon_flows) },
	{ "drops", daemon_drops, ARRAY_SIZE(daemon_drops) },
};

static int show_flows(const struct cli *c)
{
	static const struct client_request ask_flows = { "io.adit.Daemon.Flows", NULL,
							 CLIENT_WAIT_SEC };
	static const struct client_request ask_drops = { "io.adit.Daemon.Drops", NULL,
							 CLIENT_WAIT_SEC };
	static const struct client_list list = { "flow", "flows", "io.adit.Daemon.NoFlows" };
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *document = NULL;
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *drops = NULL;
	int code = client_collect(c, &ask_flows, &list, &document);
	if (code == CLI_EXIT_DONE)
		code = client_call(c, &ask_drops, &drops);
	if (code != CLI_EXIT_DONE)
		return code;
	if (sd_json_variant_merge_object(&document, drops) < 0)
		return CLI_EXIT_FAILED;
	struct print p = { .out = stdout, .now_usec = nsec_clock(CLOCK_REALTIME) / NSEC_PER_USEC };
	if (c->is_json)
		return print_json(&p, document, flow_tables, ARRAY_SIZE(flow_tables)) < 0
			       ? CLI_EXIT_FAILED
			       : CLI_EXIT_DONE;
	print_rows(&p, document, &flow_tables[0]);
	(void)fputc('\n', p.out);
	print_rows(&p, document, &flow_tables[1]);
	return CLI_EXIT_DONE;
}

int verb_status(struct cli *c, const struct opt_args *args)
{
	const struct view *v = &views[c->is_edge ? 1 : 0];
	if (args->count > 0 || (c->wants_flows && c->is_edge)) {
		(void)fprintf(stderr, "adit: status takes no argument, and an edge's no --flows\n");
		return CLI_EXIT_USAGE;
	}
	if (c->wants_flows)
		return show_flows(c);
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *document = NULL;
	const struct client_request request = { v->method, NULL, CLIENT_WAIT_SEC };
	int code = client_call(c, &request, &document);
	if (code != CLI_EXIT_DONE)
		return code;
	struct print p = { .out = stdout, .now_usec = nsec_clock(CLOCK_REALTIME) / NSEC_PER_USEC };
	if (!c->is_json) {
		print_text(&p, document, v);
		return CLI_EXIT_DONE;
	}
	return print_json(&p, document, v->tables, v->table_count) < 0 ? CLI_EXIT_FAILED
								       : CLI_EXIT_DONE;
}
