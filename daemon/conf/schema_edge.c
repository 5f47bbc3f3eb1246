/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of adit-edge.
 */
#include "daemon/conf/schema_priv.h"

/* clang-format off */
static const struct schema_word retries[] = { W("auto", false), W("always", true), {} };

const struct schema_option schema_edge_edge[] = {
	{ .key = "domain", PARSED(parse_host_name, struct conf_edge_listener, domain), .def = "", .accepts = "a domain name",
	  .help = "Domain under which quick tunnels and hostnames without a dot live." },
	{ .key = "listen", PARSED(parse_listen_list, struct conf_edge_listener, listens), .def = "0.0.0.0:7844, [::]:7844",
	  .flags = SCHEMA_LIST | SCHEMA_COMMAS, .accepts = "ADDRESS:PORT or [IPV6]:PORT", .help = "Where tunnels connect, UDP and TCP." },
	{ .key = "advertise", PARSED(parse_addr, struct conf_edge_listener, advertise), .def = "", .accepts = "HOST:PORT",
	  .help = "Address that is written into join tokens." },
	{ .key = "location", STRING(struct conf_edge_listener, location), .def = "adit", .flags = SCHEMA_RELOAD,
	  .help = "Name of the place, as reported to daemons." },
	{ .key = "server-name", PARSED(parse_host_name, struct conf_edge_listener, server_name), .def = "", .accepts = "a host name",
	  .help = "One more name in the certificate of the tunnel listener." },
	{ .key = "keep-alive", DURATION(struct conf_edge_listener, keep_alive, 1 * SEC, 60 * SEC), .def = "15s",
	  .help = "Longest silence on a link before the edge sends a PING." },
	{ .key = "retry", WORD(retries, struct conf_edge_listener, retry_always), .def = "auto",
	  .help = "Address validation by Retry: `auto` is under load only." },
	{ .key = "ecn", BOOL(struct conf_edge_listener, ecn), .def = "yes",
	  .help = "Explicit congestion notification on QUIC, if the path proves to carry it." },
	{},
};

const struct schema_option schema_edge_http[] = {
	{ .key = "listen", PARSED(parse_listen_list, struct conf_front, http.listens), .def = "0.0.0.0:80, [::]:80",
	  .flags = SCHEMA_LIST | SCHEMA_COMMAS, .accepts = "ADDRESS:PORT or [IPV6]:PORT", .help = "Public HTTP in clear. Without this section it is off." },
	{},
};

const struct schema_option schema_edge_https[] = {
	{ .key = "listen", PARSED(parse_listen_list, struct conf_front, https.listens), .def = "0.0.0.0:443, [::]:443",
	  .flags = SCHEMA_LIST | SCHEMA_COMMAS, .accepts = "ADDRESS:PORT or [IPV6]:PORT", .help = "Public HTTP with TLS. Without this section it is off." },
	{ .key = "certificates", PATH(struct conf_front, certificates), .def = "",
	  .help = "Directory with NAME.pem (chain and key) or NAME/fullchain.pem and NAME/privkey.pem; none: `certs` in the state directory." },
	{ .key = "redirect-http", BOOL(struct conf_front, redirect_http), .def = "yes", .flags = SCHEMA_RELOAD,
	  .help = "Answer requests in clear by a redirection." },
	{},
};

const struct schema_option schema_edge_front[] = {
	{ .key = "trusted-proxies", PARSED(parse_prefix_list, struct conf_front, trusted_proxies), .def = "",
	  .flags = SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_RELOAD, .accepts = "PREFIX/BITS or ADDRESS",
	  .help = "Proxies whose X-Forwarded-* and Forwarded fields are passed on." },
	{ .key = "max-body", SIZE(struct conf_front, max_body, 0, 1024 * GIB), .def = "0", .flags = SCHEMA_RELOAD,
	  .help = "Largest body of a request; 0: no limit." },
	{ .key = "header-timeout", DURATION(struct conf_front, header_timeout, 1 * SEC, 600 * SEC), .def = "10s", .flags = SCHEMA_RELOAD,
	  .help = "Limit for the head of a request." },
	{ .key = "idle-timeout", DURATION(struct conf_front, idle_timeout, 1 * SEC, 3600 * SEC), .def = "75s", .flags = SCHEMA_RELOAD,
	  .help = "How long an idle connection of a visitor is kept." },
	{ .key = "body-timeout", DURATION(struct conf_front, body_timeout, 1 * SEC, 3600 * SEC), .def = "60s", .flags = SCHEMA_RELOAD,
	  .help = "Limit for a body that makes no progress." },
	{ .key = "client-concurrency", UINT(struct conf_front, client_concurrency, 1, 1000000), .def = "256", .flags = SCHEMA_RELOAD,
	  .help = "Connections at once from one client address (/64 for IPv6), on each worker." },
	{},
};

const struct schema_option schema_edge_tunnel[] = {
	{ .key = "id", PARSED(parse_tunnel_id, struct conf_edge_tunnel, name), .def = "", .flags = SCHEMA_REQUIRED | SCHEMA_RELOAD,
	  .accepts = "a UUID", .help = "The tunnel." },
	{ .key = "account", PARSED(parse_account, struct conf_edge_tunnel, account), .def = "", .flags = SCHEMA_REQUIRED | SCHEMA_RELOAD,
	  .accepts = "1 to 64 printable characters without blanks", .help = "Account that the daemon must name." },
	{ .key = "secret-sha256", PARSED(parse_secret_hash, struct conf_edge_tunnel, name), .def = "", .flags = SCHEMA_RELOAD,
	  .accepts = "64 hexadecimal digits", .help = "SHA-256 of the tunnel's decoded secret." },
	{ .key = "secret-file", PATH(struct conf_edge_tunnel, secret_file), .def = "", .flags = SCHEMA_SECRET_FILE | SCHEMA_RELOAD,
	  .help = "File with the secret in base64, instead of `secret-sha256`. Only its owner may read it." },
	{ .key = "hostname", PARSED(parse_tunnel_host, struct conf_edge_tunnel, name), .def = "", .flags = SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_RELOAD | SCHEMA_WHOLE,
	  .accepts = "a host name or *.DOMAIN", .help = "Public hostnames of the tunnel." },
	{ .key = "max-connections", UINT(struct conf_edge_tunnel, max_connections, 1, 100000), .def = "64", .flags = SCHEMA_RELOAD,
	  .help = "Connections that the tunnel may hold." },
	{},
};

const struct schema_option schema_edge_tcp[] = {
	{ .key = "listen", PARSED(parse_listen_list, struct conf_edge_port, listens), .def = "", .flags = SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_REQUIRED,
	  .accepts = "ADDRESS:PORT or [IPV6]:PORT", .help = "Public port." },
	{ .key = "tunnel", STRING(struct conf_edge_port, tunnel), .def = "", .flags = SCHEMA_REQUIRED, .accepts = "the name of a tunnel",
	  .help = "Tunnel that it leads to." },
	{ .key = "dest", PARSED(parse_addr, struct conf_edge_port, dest), .def = "", .flags = SCHEMA_REQUIRED, .accepts = "ADDRESS:PORT or [IPV6]:PORT",
	  .help = "Destination behind the tunnel, as the daemon sees it." },
	{},
};

const struct schema_option schema_edge_udp[] = {
	{ .key = "listen", PARSED(parse_listen_list, struct conf_edge_port, listens), .def = "", .flags = SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_REQUIRED,
	  .accepts = "ADDRESS:PORT or [IPV6]:PORT", .help = "Public port." },
	{ .key = "tunnel", STRING(struct conf_edge_port, tunnel), .def = "", .flags = SCHEMA_REQUIRED, .accepts = "the name of a tunnel",
	  .help = "Tunnel that it leads to." },
	{ .key = "dest", PARSED(parse_addr, struct conf_edge_port, dest), .def = "", .flags = SCHEMA_REQUIRED, .accepts = "ADDRESS:PORT or [IPV6]:PORT",
	  .help = "Destination behind the tunnel, as the daemon sees it." },
	{ .key = "idle", DURATION(struct conf_edge_port, idle, 1 * SEC, 3600 * SEC), .def = "60s",
	  .help = "Silence after which a client is forgotten: its next datagram comes to the destination from another port. The daemon keeps the flow for 5s more." },
	{},
};

const struct schema_option schema_edge_network[] = {
	{ .key = "prefix", PARSED(parse_prefix_list, struct conf_edge_network, prefixes), .def = "", .flags = SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_REQUIRED,
	  .accepts = "PREFIX/BITS", .help = "Network behind the tunnel. Of nested ones the longest counts." },
	{ .key = "tunnel", STRING(struct conf_edge_network, tunnel), .def = "", .flags = SCHEMA_REQUIRED, .accepts = "the name of a tunnel",
	  .help = "Tunnel that it leads to." },
	{},
};
/* clang-format on */
