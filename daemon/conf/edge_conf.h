/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of adit-edge: one immutable, refcounted snapshot (style C2).
 */
#ifndef DAEMON_CONF_EDGE_CONF_H
#define DAEMON_CONF_EDGE_CONF_H

#include "daemon/conf/conf_common.h"
#include "daemon/conf/rule.h"
#include "daemon/wire/uuid.h"

struct conf_edge_listener {
	const char *domain;              /* NULL: none */
	const struct conf_addr *listens; /* ip is always set */
	size_t listen_count;
	const struct conf_addr *advertise; /* host:port for join tokens, NULL: none */
	const char *location;              /* reported as locationName */
	const char *server_name;           /* one more SAN of the tunnel certificate, or NULL */
	nsec_t keep_alive;
	bool retry_always; /* every Initial is answered by Retry */
	bool ecn;
};

/* [http] and [https]. */
struct conf_front_listener {
	const struct conf_addr *listens; /* none: this front is off */
	size_t listen_count;
};

struct conf_front {
	struct conf_front_listener http;
	struct conf_front_listener https;
	const char *certificates; /* directory; NULL: STATE/certs */
	bool redirect_http;
	const struct conf_prefix *trusted_proxies;
	size_t trusted_proxy_count;
	uint64_t max_body; /* 0: no limit */
	nsec_t header_timeout;
	nsec_t idle_timeout;
	nsec_t body_timeout; /* without progress */
	unsigned int client_concurrency;
};

struct conf_edge_host {
	const char *text; /* as written */
	struct host_pattern host;
};

/* A declared tunnel, [tunnel NAME]. */
struct conf_edge_tunnel {
	const char *name;
	unsigned int line;
	struct uuid id;
	const char *account;
	bool has_secret_sha256;
	uint8_t secret_sha256[32]; /* of the decoded secret */
	const char *secret_file;   /* instead of it: credential_read_secret() reads it */
	const struct conf_edge_host *hosts;
	size_t host_count;
	unsigned int max_connections;
};

/* A public port that leads to a destination behind a tunnel, [tcp NAME] and [udp NAME]. */
struct conf_edge_port {
	const char *name;
	const struct conf_addr *listens;
	size_t listen_count;
	const char *tunnel;
	const struct conf_addr *dest; /* ip is set, the port not 0 */
	nsec_t idle;                  /* [udp]: silence after which a client is forgotten */
};

/* A private network behind a tunnel, [network NAME]. */
struct conf_edge_network {
	const char *name;
	const struct conf_prefix *prefixes;
	size_t prefix_count;
	const char *tunnel;
};

struct edge_conf {
	struct conf_common common; /* first member */
	struct conf_edge_listener edge;
	struct conf_front front;
	const struct conf_edge_tunnel *tunnels;
	size_t tunnel_count;
	const struct conf_edge_port *tcp_ports;
	size_t tcp_port_count;
	const struct conf_edge_port *udp_ports;
	size_t udp_port_count;
	const struct conf_edge_network *networks;
	size_t network_count;
};

/* Another reference; any thread. Returns c. */
struct edge_conf *edge_conf_ref(struct edge_conf *c);
/* Gives a reference back; the last one frees. NULL is harmless. */
void edge_conf_unref(struct edge_conf *c);
DEFINE_CLEANUP(struct edge_conf *, edge_conf_unref)

/* At most so many addresses in all [tcp NAME]. */
constexpr size_t EDGE_CONF_TCP_LISTENERS_MAX = 1024;
/* … in all [udp NAME]. */
constexpr size_t EDGE_CONF_UDP_LISTENERS_MAX = 256;
/* At most so many prefixes in all [network NAME]. */
constexpr size_t EDGE_CONF_PREFIXES_MAX = 256;
/* How many there are. */
size_t edge_conf_tcp_listeners(const struct edge_conf *c);
size_t edge_conf_udp_listeners(const struct edge_conf *c);
size_t edge_conf_prefixes(const struct edge_conf *c);

/* The index of the tunnel of this name, or their count. */
size_t edge_conf_find_tunnel(const struct edge_conf *c, const char *name);
/* The index of the private network that an address is in, by its longest prefix, or their count. */
size_t edge_conf_find_network(const struct edge_conf *c, const struct ip_addr *addr);

#endif
