/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration of aditd: one immutable, refcounted snapshot (style C2). Made by conf_load(),
 * shared by all threads, freed with its last reference. What both programs have is in
 * conf_common.h.
 */
#ifndef DAEMON_CONF_CONF_H
#define DAEMON_CONF_CONF_H

#include "daemon/conf/conf_common.h"
#include "daemon/conf/rule.h"

struct secret;
struct tunnel_credential;

enum conf_protocol : uint8_t {
	CONF_PROTOCOL_AUTO,
	CONF_PROTOCOL_QUIC,
	CONF_PROTOCOL_HTTP2,
};

enum conf_congestion : uint8_t {
	CONF_CONGESTION_CUBIC,
	CONF_CONGESTION_BBR,
};

enum conf_post_quantum : uint8_t {
	CONF_POST_QUANTUM_PREFER,
	CONF_POST_QUANTUM_REQUIRE,
	CONF_POST_QUANTUM_OFF,
};

enum conf_datagram : uint8_t {
	CONF_DATAGRAM_AUTO,
	CONF_DATAGRAM_V3,
	CONF_DATAGRAM_V2,
};

enum conf_edge_kind : uint8_t {
	CONF_EDGE_KIND_AUTO, /* never after conf_load() */
	CONF_EDGE_KIND_ADIT,
	CONF_EDGE_KIND_VENDOR,
};

struct conf_tunnel {
	const char *credentials_file; /* as configured; NULL: none */
	const char *token_file;
	enum conf_protocol protocol;
	enum conf_congestion congestion;
	enum conf_post_quantum post_quantum;
	enum conf_datagram datagram;
	bool ecn;
	unsigned int connections; /* 1–64; 0: auto (4, or max(4, workers) to an adit edge) */
	nsec_t grace_period;
	const char *url; /* the whole ingress, or NULL; rules[0] is made of it */
};

/* Who is asked for the vendor's names when the system's resolver fails (dns-over-tls). */
#define CONF_DNS_OVER_TLS "cloudflare-dns.com@1.1.1.1:853"

/* A proxy on the way to the edge. */
struct conf_proxy {
	bool is_socks5; /* else HTTP CONNECT */
	const char *host;
	uint16_t port;
	const struct secret *user; /* NULL: none; each at most CONF_PROXY_NAME_MAX bytes */
	const struct secret *password;
};
constexpr size_t CONF_PROXY_NAME_MAX = 255;

/* Where the tunnel goes: from the file, else from the token. */
struct conf_edge {
	enum conf_edge_kind kind;          /* ADIT or VENDOR, auto is resolved */
	const struct conf_addr *addresses; /* none: discovery by DNS */
	size_t address_count;
	const char *ca_file; /* NULL: the system's trust store */
	bool has_pin;
	uint8_t pin[32];                /* SHA-256 of the CA's SubjectPublicKeyInfo */
	const char *server_name;        /* NULL: the protocol's own names */
	const char *region;             /* NULL: global */
	uint8_t ip_version;             /* 0 auto, 4, 6 */
	const struct conf_proxy *proxy; /* NULL: none */
	const char *bind_interface;
	uint32_t fwmark;          /* 0: none */
	const char *dns_over_tls; /* NAME@ADDRESS:PORT or NULL */
};

enum conf_datapath_mode : uint8_t { CONF_DATAPATH_AUTO, CONF_DATAPATH_SOCKETS };
/* Source of routed packets: the user's own where it is in the prefix, or always one of ours. */
enum conf_tun_source : uint8_t { CONF_TUN_SOURCE_KEEP, CONF_TUN_SOURCE_PREFIX };

/* What the edge may reach through this daemon besides the rules. */
struct conf_network {
	const struct conf_prefix *allow; /* none: nothing for an adit edge, else what is harmless */
	size_t allow_count;
	const struct conf_prefix *deny; /* wins over allow */
	size_t deny_count;
};

/* How datagrams reach their origin. */
struct conf_datapath {
	enum conf_datapath_mode mode;
	const char *const
		*interfaces; /* whose XDP hook may be taken; "auto" among them; none: sockets */
	size_t interface_count;
	unsigned int promote; /* datagrams a second */
	unsigned int max_flows;
	const char *tun;                        /* device of the routed mode; NULL: not routed */
	const struct conf_prefix *tun_prefixes; /* with it: one, or one of each family */
	size_t tun_prefix_count;
	enum conf_tun_source tun_source;
	bool masquerade;
};

struct conf {
	struct conf_common common; /* first member */
	struct conf_tunnel tunnel;
	struct conf_edge edge;
	struct conf_origin origin_defaults;
	struct conf_network network;
	struct conf_datapath datapath;

	/* In the order of the file; the last one is a catch-all (implied if need be). None at all:
	 * no rule was configured, every request gets 503 until the edge pushes some. */
	const struct conf_rule *rules;
	size_t rule_count;

	/* NULL without one (only where none is needed, and under check). Wiped on free. */
	const struct tunnel_credential *credential;
};

/* Another reference; any thread. Returns c. */
struct conf *conf_ref(struct conf *c);
/* Gives a reference back; the last one wipes and frees. NULL is harmless. */
void conf_unref(struct conf *c);
DEFINE_CLEANUP(struct conf *, conf_unref)

/* Index of the rule with this section name, or -ESTALE. */
[[nodiscard]] int conf_find_rule(const struct conf *c, struct span name, size_t *ret_index);

#endif
