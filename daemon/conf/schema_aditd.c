/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of aditd. A rule ([ingress NAME]) has its own few and takes those of [origin-defaults]
 * and, behind "access-", of [access].
 */
#include "daemon/conf/schema_priv.h"

/* clang-format off */
static const struct schema_word protocols[] = {
	W("auto", CONF_PROTOCOL_AUTO), W("quic", CONF_PROTOCOL_QUIC), W("http2", CONF_PROTOCOL_HTTP2),
	ALIAS("h2mux", CONF_PROTOCOL_HTTP2), {},
};
static const struct schema_word congestions[] = {
	W("cubic", CONF_CONGESTION_CUBIC), W("bbr", CONF_CONGESTION_BBR), {},
};
static const struct schema_word post_quantums[] = {
	W("prefer", CONF_POST_QUANTUM_PREFER), W("require", CONF_POST_QUANTUM_REQUIRE),
	W("off", CONF_POST_QUANTUM_OFF),
	/* TUNNEL_POST_QUANTUM is a boolean for the reference; its "true" allows nothing else. */
	ALIAS("true", CONF_POST_QUANTUM_REQUIRE), ALIAS("1", CONF_POST_QUANTUM_REQUIRE),
	ALIAS("false", CONF_POST_QUANTUM_PREFER), ALIAS("0", CONF_POST_QUANTUM_PREFER), {},
};
static const struct schema_word datagrams[] = {
	W("auto", CONF_DATAGRAM_AUTO), W("v3", CONF_DATAGRAM_V3), W("v2", CONF_DATAGRAM_V2), {},
};
static const struct schema_word edge_kinds[] = {
	W("auto", CONF_EDGE_KIND_AUTO), W("adit", CONF_EDGE_KIND_ADIT), W("vendor", CONF_EDGE_KIND_VENDOR), {},
};
static const struct schema_word ip_versions[] = { W("auto", 0), W("4", 4), W("6", 6), {} };
static const struct schema_word proxy_protocols[] = {
	W("off", CONF_PROXY_PROTOCOL_OFF), W("v1", CONF_PROXY_PROTOCOL_V1), W("v2", CONF_PROXY_PROTOCOL_V2), {},
};
static const struct schema_word datapath_modes[] = { W("auto", CONF_DATAPATH_AUTO), W("sockets", CONF_DATAPATH_SOCKETS), {} };
static const struct schema_word tun_sources[] = { W("keep", CONF_TUN_SOURCE_KEEP), W("prefix", CONF_TUN_SOURCE_PREFIX), {} };
static const struct schema_word gateway_modes[] = { W("off", 0), W("on", 1), W("standalone", 2), {} };

const struct schema_option schema_tunnel[] = {
	{ .key = "credentials-file", PATH(struct conf_tunnel, credentials_file), .def = "", .env = "TUNNEL_CRED_FILE",
	  .flags = SCHEMA_SECRET_FILE | SCHEMA_RELOAD, .help = "JSON file with account, tunnel id and secret. Only its owner may read it." },
	{ .key = "token-file", PATH(struct conf_tunnel, token_file), .def = "", .env = "TUNNEL_TOKEN_FILE",
	  .flags = SCHEMA_SECRET_FILE | SCHEMA_RELOAD, .help = "File with a join token, instead of `credentials-file`. Only its owner may read it." },
	{ .key = "protocol", WORD(protocols, struct conf_tunnel, protocol), .def = "auto", .env = "TUNNEL_TRANSPORT_PROTOCOL",
	  .help = "Transport to the edge." },
	{ .key = "congestion", WORD(congestions, struct conf_tunnel, congestion), .def = "cubic",
	  .help = "Congestion control of QUIC." },
	{ .key = "connections", UINT(struct conf_tunnel, connections, 1, 64), .words = schema_auto, .def = "auto",
	  .help = "Connections held to the edge: `auto` is 4, and at least one for each worker to an adit edge." },
	{ .key = "post-quantum", WORD(post_quantums, struct conf_tunnel, post_quantum), .def = "prefer", .env = "TUNNEL_POST_QUANTUM",
	  .help = "Hybrid key exchange X25519MLKEM768." },
	{ .key = "datagram", WORD(datagrams, struct conf_tunnel, datagram), .def = "auto",
	  .help = "Version of datagram sessions: `auto` is v3 to an adit edge, what DNS says to the vendor's." },
	{ .key = "ecn", BOOL(struct conf_tunnel, ecn), .def = "yes",
	  .help = "Explicit congestion notification on QUIC, if the path proves to carry it." },
	{ .key = "grace-period", DURATION(struct conf_tunnel, grace_period, 0, 180 * SEC), .def = "30s", .env = "TUNNEL_GRACE_PERIOD",
	  .flags = SCHEMA_RELOAD, .help = "How long running requests may go on when the daemon stops." },
	{ .key = "url", STRING(struct conf_tunnel, url), .def = "", .env = "TUNNEL_URL", .flags = SCHEMA_RELOAD | SCHEMA_SECRET,
	  .accepts = "a service, as in [ingress NAME] service",
	  .help = "The whole ingress as one service for every hostname, instead of `[ingress …]` sections." },
	{},
};

const struct schema_option schema_edge[] = {
	{ .key = "kind", WORD(edge_kinds, struct conf_edge, kind), .def = "auto",
	  .help = "Whose edge it is: `auto` is the vendor's only when neither `address`, `ca-file`, `pin` nor the token name another." },
	{ .key = "address", PARSED(parse_addr_list, struct conf_edge, addresses), .def = "", .env = "TUNNEL_EDGE",
	  .flags = SCHEMA_LIST | SCHEMA_COMMAS, .accepts = "HOST:PORT, ADDRESS:PORT or [IPV6]:PORT",
	  .help = "Edges to connect to, instead of those in the token." },
	{ .key = "ca-file", PATH(struct conf_edge, ca_file), .def = "", .env = "TUNNEL_CACERT", .flags = SCHEMA_FILE,
	  .help = "PEM file with the authorities that may sign for the edge, instead of the system's trust store." },
	{ .key = "pin", PARSED(parse_pin, struct conf_edge, kind), .def = "",
	  .accepts = "sha256/BASE64 of 32 bytes", .help = "SHA-256 of the public key of the edge's authority, instead of the token's." },
	{ .key = "server-name", PARSED(parse_host_name, struct conf_edge, server_name), .def = "", .accepts = "a host name",
	  .help = "Name to ask for and to verify, instead of the protocol's own." },
	{ .key = "region", PARSED(parse_region, struct conf_edge, region), .def = "", .accepts = "us or fed",
	  .help = "Region for discovery of the vendor's edge." },
	{ .key = "ip-version", WORD(ip_versions, struct conf_edge, ip_version), .def = "auto", .env = "TUNNEL_EDGE_IP_VERSION",
	  .help = "Addresses of the edge to use." },
	{ .key = "proxy", PARSED(parse_proxy_url, struct conf_edge, proxy), .def = "", .flags = SCHEMA_SECRET,
	  .accepts = "http://HOST:PORT or socks5://HOST:PORT", .help = "Proxy on the way out, with USER:PASSWORD@ before HOST if it wants them; the transport is HTTP/2 then." },
	{ .key = "bind-interface", PARSED(parse_interface, struct conf_edge, bind_interface), .def = "",
	  .accepts = "the name of a network interface", .help = "Interface for connections to the edge." },
	{ .key = "fwmark", UINT(struct conf_edge, fwmark, 0, UINT32_MAX), .def = "0",
	  .help = "Mark of packets to the edge; needs CAP_NET_ADMIN." },
	{ .key = "dns-over-tls", PARSED(parse_dot_server, struct conf_edge, dns_over_tls), .def = "",
	  .accepts = "NAME@ADDRESS:PORT",
	  .help = "Server to ask for the edge's names by DNS over TLS, instead of the system's resolver. Without it the vendor's names are "
		  "asked for at `" CONF_DNS_OVER_TLS "` when the system's resolver fails." },
	{},
};

const struct schema_option schema_ingress[] = {
	{ .key = "hostname", PARSED(parse_rule_host, struct conf_rule, name), .def = "", .flags = SCHEMA_RELOAD,
	  .accepts = "a host name, *.DOMAIN, or * for any", .help = "Host of the requests that the rule takes; none or `*`: any." },
	{ .key = "path", PARSED(parse_rule_path, struct conf_rule, name), .def = "", .flags = SCHEMA_RELOAD,
	  .accepts = "a regular expression (RE2)", .help = "Expression that must be found in the decoded path; none: any path." },
	{ .key = "service", .type = SCHEMA_TYPE_STRING, .offset = FIELD_OF(struct conf_rule, service.text, char *),
	  .def = "", .flags = SCHEMA_RELOAD | SCHEMA_SECRET,
	  .accepts = "http(s)://HOST:PORT, unix:PATH, unix+tls:PATH, http_status:NUMBER or hello_world", .help = "Who answers." },
	{},
};

#define INHERIT (SCHEMA_INHERIT | SCHEMA_RELOAD)
const struct schema_option schema_origin_defaults[] = {
	{ .key = "connect-timeout", DURATION(struct conf_origin, connect_timeout, 0, 3600 * SEC), .def = "30s", .flags = INHERIT,
	  .help = "Limit for connecting to the origin, name resolution included; 0: none." },
	{ .key = "tls-timeout", DURATION(struct conf_origin, tls_timeout, 0, 3600 * SEC), .def = "10s", .flags = INHERIT,
	  .help = "Limit for the TLS handshake with the origin; 0: none." },
	{ .key = "tcp-keep-alive", DURATION(struct conf_origin, tcp_keep_alive, 0, 86400 * SEC), .def = "30s", .flags = INHERIT,
	  .help = "Idle time and interval of TCP keep-alive; 0: off." },
	{ .key = "no-happy-eyeballs", BOOL(struct conf_origin, no_happy_eyeballs), .def = "no", .flags = INHERIT,
	  .help = "Try the addresses of an origin one after the other only." },
	{ .key = "keep-alive-connections", UINT(struct conf_origin, keep_alive_connections, 0, 1000000), .def = "100", .flags = INHERIT,
	  .help = "Idle connections kept to an origin, in total, divided among workers, at least one each." },
	{ .key = "keep-alive-timeout", DURATION(struct conf_origin, keep_alive_timeout, 0, 86400 * SEC), .def = "90s", .flags = INHERIT,
	  .help = "How long an idle connection is kept; 0: for ever." },
	{ .key = "http-host-header", STRING(struct conf_origin, http_host_header), .def = "", .flags = INHERIT,
	  .help = "Host header for the origin; the visitor's goes into X-Forwarded-Host." },
	{ .key = "origin-server-name", PARSED(parse_host_name, struct conf_origin, origin_server_name), .def = "",
	  .flags = INHERIT, .accepts = "a host name", .help = "Name to ask a TLS origin for and to verify." },
	{ .key = "match-sni-to-host", BOOL(struct conf_origin, match_sni_to_host), .def = "no", .flags = INHERIT,
	  .help = "Ask a TLS origin for the Host of the request." },
	{ .key = "ca-pool", PATH(struct conf_origin, ca_pool), .def = "", .flags = INHERIT,
	  .help = "PEM file with authorities for TLS origins, besides the system's." },
	{ .key = "no-tls-verify", BOOL(struct conf_origin, no_tls_verify), .def = "no", .flags = INHERIT,
	  .help = "Take any certificate from a TLS origin." },
	{ .key = "disable-chunked-encoding", BOOL(struct conf_origin, disable_chunked_encoding), .def = "no",
	  .flags = INHERIT | SCHEMA_LATER, .help = "Collect a request body of unknown length and send it with Content-Length." },
	{ .key = "bastion-mode", BOOL(struct conf_origin, bastion_mode), .def = "no", .flags = INHERIT | SCHEMA_LATER,
	  .help = "The visitor names the destination." },
	{ .key = "proxy-address", STRING(struct conf_origin, proxy_address), .def = "127.0.0.1", .flags = INHERIT,
	  .help = "No effect; kept because the reference has it." },
	{ .key = "proxy-port", U16(struct conf_origin, proxy_port, 0, 65535), .def = "0", .flags = INHERIT,
	  .help = "No effect; kept because the reference has it." },
	{ .key = "proxy-type", PARSED(parse_proxy_type, struct conf_origin, proxy_type), .def = "", .flags = INHERIT | SCHEMA_LATER,
	  .accepts = "socks, or nothing", .help = "`socks`: a stream service takes SOCKS5 from the client." },
	{ .key = "http2-origin", BOOL(struct conf_origin, http2_origin), .def = "no", .flags = INHERIT | SCHEMA_LATER,
	  .help = "Offer HTTP/2 to a TLS origin." },
	{ .key = "h2c", BOOL(struct conf_origin, h2c), .def = "no", .flags = INHERIT | SCHEMA_LATER,
	  .help = "Speak HTTP/2 in clear text to the origin." },
	{ .key = "response-header-timeout", DURATION(struct conf_origin, response_header_timeout, 0, 86400 * SEC), .def = "0",
	  .flags = INHERIT, .help = "Limit for the head of the answer after the request was sent; 0: none." },
	{ .key = "max-concurrent", UINT(struct conf_origin, max_concurrent, 0, 1000000), .def = "0", .flags = INHERIT | SCHEMA_LATER,
	  .help = "Requests of a rule at once; 0: no limit." },
	{ .key = "queue", UINT(struct conf_origin, queue, 0, 1000000), .def = "0", .flags = INHERIT | SCHEMA_LATER,
	  .help = "Requests that may wait beyond `max-concurrent`." },
	{ .key = "queue-timeout", DURATION(struct conf_origin, queue_timeout, 0, 3600 * SEC), .def = "5s", .flags = INHERIT | SCHEMA_LATER,
	  .help = "How long they may wait." },
	{ .key = "proxy-protocol", WORD(proxy_protocols, struct conf_origin, proxy_protocol), .def = "off",
	  .flags = INHERIT | SCHEMA_LATER, .help = "PROXY protocol header for the origin." },
	{ .key = "set-header", PARSED(parse_header_list, struct conf_origin, set_headers), .def = "", .flags = INHERIT | SCHEMA_LIST | SCHEMA_LATER,
	  .accepts = "NAME: VALUE", .help = "Header that replaces those of this name; one a line." },
	{ .key = "add-header", PARSED(parse_header_list, struct conf_origin, add_headers), .def = "", .flags = INHERIT | SCHEMA_LIST | SCHEMA_LATER,
	  .accepts = "NAME: VALUE", .help = "Header that is added; one a line." },
	{ .key = "remove-header", PARSED(parse_header_name_list, struct conf_origin, remove_headers), .def = "",
	  .flags = INHERIT | SCHEMA_LIST | SCHEMA_LATER, .accepts = "NAME", .help = "Header that is removed; one a line." },
	{ .key = "strip-prefix", PARSED(parse_prefix_path, struct conf_origin, strip_prefix), .def = "", .flags = INHERIT | SCHEMA_LATER,
	  .accepts = "a path that begins with /", .help = "Taken off the front of the path." },
	{ .key = "ip-rule", PARSED(parse_ip_rule_list, struct conf_origin, ip_rules), .def = "", .flags = INHERIT | SCHEMA_LIST | SCHEMA_LATER,
	  .accepts = "allow or deny, PREFIX, and ports divided by commas if not all",
	  .help = "What socks-proxy may reach; the first that fits decides, else it is refused." },
	{},
};

const struct schema_option schema_origins[] = {
	{ .key = "member", CHECKED(SCHEMA_TYPE_PARSED) | SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_REQUIRED, .parse = parse_member, .def = "",
	  .accepts = "SERVICE, then weight=NUMBER if not 1", .help = "Origins of the group." },
	{ .key = "policy", CHECKED(SCHEMA_TYPE_PARSED), .parse = parse_policy, .def = "round-robin",
	  .accepts = "round-robin, least-connections, random, hash-client, or hash-cookie NAME", .help = "Which member gets a request." },
	{ .key = "check", CHECKED(SCHEMA_TYPE_PARSED) | SCHEMA_LIST, .parse = parse_check, .def = "",
	  .accepts = "http METHOD PATH or tcp, then expect=N-N every=TIME timeout=TIME rise=N fall=N", .help = "Health check of every member; one a line." },
	{},
};

/* Rules take these as access-required and so on. */
const struct schema_option schema_access[] = {
	{ .key = "required", CHECKED(SCHEMA_TYPE_BOOL) | SCHEMA_INHERIT, .def = "no", .help = "Requests need a valid Access token." },
	{ .key = "issuer", CHECKED(SCHEMA_TYPE_PARSED) | SCHEMA_INHERIT, .parse = parse_https_url, .def = "",
	  .accepts = "https://HOST", .help = "Who issues tokens." },
	{ .key = "audience", CHECKED(SCHEMA_TYPE_PARSED) | SCHEMA_INHERIT | SCHEMA_LIST, .parse = parse_string_list, .def = "",
	  .accepts = "an audience tag", .help = "For whom a token must be issued; one a line." },
	{ .key = "keys-url", CHECKED(SCHEMA_TYPE_PARSED) | SCHEMA_INHERIT, .parse = parse_https_url, .def = "",
	  .accepts = "https://HOST/PATH", .help = "Where the issuer's keys are; none: issuer + /cdn-cgi/access/certs." },
	{},
};

const struct schema_option schema_network[] = {
	{ .key = "allow", PARSED(parse_prefix_list, struct conf_network, allow), .def = "", .flags = SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_RELOAD,
	  .accepts = "PREFIX/BITS", .help = "Networks that the edge may reach through this daemon." },
	{ .key = "deny", PARSED(parse_prefix_list, struct conf_network, deny), .def = "", .flags = SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_RELOAD,
	  .accepts = "PREFIX/BITS", .help = "Exceptions from what is allowed." },
	{},
};

const struct schema_option schema_datapath[] = {
	{ .key = "mode", WORD(datapath_modes, struct conf_datapath, mode), .def = "auto",
	  .help = "Whether busy UDP flows may go around the kernel by AF_XDP, once it is proved that nothing there changes or refuses them: `sockets` for hosts whose policy has to see every packet." },
	{ .key = "interface", PARSED(parse_interface_list, struct conf_datapath, interfaces), .flags = SCHEMA_LIST | SCHEMA_COMMAS, .def = "",
	  .accepts = "names of network interfaces, or auto", .help = "Interfaces whose XDP hook may be taken for that; `auto`: every Ethernet without a default route; none: sockets only. Needs CAP_BPF, CAP_NET_ADMIN and CAP_NET_RAW at the start, which are given up then." },
	{ .key = "promote", UINT(struct conf_datapath, promote, 0, 10000000), .def = "500",
	  .help = "Datagrams a second from which a flow is worth it; 0: every flow." },
	{ .key = "tun", PARSED(parse_interface, struct conf_datapath, tun), .def = "", .accepts = "the name of a network interface",
	  .help = "Routed mode: a TUN device of this name is made, by which this host routes UDP and ICMP of the edge's users like another network's; none: sockets. Needs CAP_NET_ADMIN at the start, which is given up then." },
	{ .key = "tun-prefix", PARSED(parse_tun_prefix_list, struct conf_datapath, tun_prefixes), .flags = SCHEMA_LIST | SCHEMA_COMMAS, .def = "",
	  .accepts = "PREFIX/BITS, of each family one, IPv4 of 8 to 29 bits, IPv6 of 16 to 120", .help = "Addresses of the routed mode, which nobody else has: the device's is the second; UDP flows, and users whose address isn't kept, have those behind it as their source. A family without a prefix goes by sockets." },
	{ .key = "tun-source", WORD(tun_sources, struct conf_datapath, tun_source), .def = "keep",
	  .help = "Source of routed ICMP packets: `keep` leaves users the address that they have at the edge if it lies in `tun-prefix`; `prefix` gives all of them one of the daemon's." },
	{ .key = "masquerade", BOOL(struct conf_datapath, masquerade), .def = "no",
	  .help = "Routed packets leave with this host's address, by an nft table that ends with the daemon; else the private network needs a route back to `tun-prefix`." },
	{ .key = "max-flows", UINT(struct conf_datapath, max_flows, 64, 10000000), .def = "65536", .help = "Flows that may go around the kernel at once, divided among workers." },
	{},
};

const struct schema_option schema_gateway[] = {
	{ .key = "mode", CHECKED(SCHEMA_TYPE_WORD), .words = gateway_modes, .def = "off",
	  .help = "`on` replaces `[ingress …]` by pushed routes; `standalone` listens itself and needs no tunnel." },
	{ .key = "listen", CHECKED(SCHEMA_TYPE_PARSED) | SCHEMA_LIST | SCHEMA_COMMAS, .parse = parse_listen_list, .def = "127.0.0.1:20250",
	  .accepts = "ADDRESS:PORT", .help = "Where routes are pushed to." },
	{ .key = "token-file", CHECKED(SCHEMA_TYPE_PATH) | SCHEMA_SECRET_FILE, .def = "",
	  .help = "File with the token that a pusher must show. Only its owner may read it." },
	{},
};

const struct schema_option schema_forward[] = {
	{ .key = "listen", CHECKED(SCHEMA_TYPE_PARSED) | SCHEMA_LIST | SCHEMA_COMMAS | SCHEMA_REQUIRED, .parse = parse_listen_list, .def = "",
	  .accepts = "ADDRESS:PORT", .help = "Local listener." },
	{ .key = "hostname", CHECKED(SCHEMA_TYPE_PARSED) | SCHEMA_REQUIRED, .parse = parse_host_name, .def = "", .accepts = "a host name",
	  .help = "Hostname behind some edge that is reached through it." },
	{},
};
/* clang-format on */
