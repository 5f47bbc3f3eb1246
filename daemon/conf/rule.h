/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ingress rules: hostname pattern, path expression, service and settings, parsed and ready to match
 * (adit.md §2.2; the reference's grammar of hostnames and services).
 */
#ifndef DAEMON_CONF_RULE_H
#define DAEMON_CONF_RULE_H

#include "daemon/conf/value.h"
#include "util/time.h"

struct conf_arena;
struct pattern;

enum host_kind : uint8_t {
	HOST_KIND_ANY = 1, /* no hostname, or "*" */
	HOST_KIND_EXACT,
	HOST_KIND_SUFFIX, /* "*.example.com" */
};

/* Lower case, without its last dot. */
struct host_pattern {
	enum host_kind kind;
	struct span text;  /* EXACT: the name; SUFFIX: from the dot on (".example.com") */
	struct span ascii; /* EXACT with other than ASCII letters: its IDNA form, matched as well */
};

enum service_kind : uint8_t {
	SERVICE_KIND_HTTP = 1, /* http, https, ws, wss */
	SERVICE_KIND_UNIX,     /* unix:PATH, unix+tls:PATH */
	SERVICE_KIND_STATUS,   /* http_status:N */
	SERVICE_KIND_HELLO,    /* hello_world */
	SERVICE_KIND_SOCKS,    /* socks-proxy */
	SERVICE_KIND_BASTION,
	SERVICE_KIND_STREAM,  /* any other scheme: ssh, rdp, smb, tcp, … */
	SERVICE_KIND_ORIGINS, /* origins:GROUP */
};

struct conf_service {
	enum service_kind kind;
	bool tls;           /* https, wss, unix+tls */
	uint16_t status;    /* STATUS: 100–999 */
	uint16_t port;      /* HTTP, STREAM: the given or the scheme's own; 0: none */
	const char *scheme; /* HTTP, STREAM: lower case */
	const char *host;   /* HTTP, STREAM: without brackets, case kept */
	struct ip_addr ip;  /* of host; NONE when it is a name */
	const char *path;   /* UNIX: socket; ORIGINS: name of the group */
	const char *text;   /* printed form, for logs, status and upload */
};

enum conf_proxy_protocol : uint8_t {
	CONF_PROXY_PROTOCOL_OFF,
	CONF_PROXY_PROTOCOL_V1,
	CONF_PROXY_PROTOCOL_V2,
};

struct conf_header {
	const char *name;
	const char *value; /* NULL in remove-header */
};

struct conf_ip_rule {
	struct conf_prefix prefix;
	const uint16_t *ports; /* sorted; none: every port */
	size_t port_count;
	bool allow;
};

/* Settings of one rule: its own, else [origin-defaults], else built in (ingress-and-origins §5). */
struct conf_origin {
	nsec_t connect_timeout;         /* 0: none */
	nsec_t tls_timeout;             /* 0: none */
	nsec_t tcp_keep_alive;          /* 0: off */
	nsec_t keep_alive_timeout;      /* of an idle connection; 0: none */
	nsec_t response_header_timeout; /* 0: none */
	nsec_t queue_timeout;
	unsigned int keep_alive_connections; /* idle, in total over all workers */
	unsigned int max_concurrent;         /* 0: no limit */
	unsigned int queue;                  /* waiting beyond max_concurrent */
	uint16_t proxy_port;                 /* no effect, kept for the upload */
	enum conf_proxy_protocol proxy_protocol;
	bool no_happy_eyeballs;
	bool match_sni_to_host;
	bool no_tls_verify;
	bool disable_chunked_encoding;
	bool bastion_mode;
	bool http2_origin;
	bool h2c;
	const char *http_host_header;   /* NULL: the visitor's */
	const char *origin_server_name; /* NULL: the service's host */
	const char *ca_pool;            /* PEM file or NULL */
	const char *proxy_address;      /* no effect, kept for the upload */
	const char *proxy_type;         /* "" or "socks" */
	const char *strip_prefix;       /* or NULL */
	const struct conf_header *set_headers;
	size_t set_header_count;
	const struct conf_header *add_headers;
	size_t add_header_count;
	const char *const *remove_headers;
	size_t remove_header_count;
	const struct conf_ip_rule *ip_rules;
	size_t ip_rule_count;
};

struct conf_rule {
	const char *name; /* of the section; "catch-all" for the implied last rule, "url" */
	unsigned int line;
	bool is_implied;      /* added because the file has no catch-all: http_status:404 */
	const char *hostname; /* as written; "" for none */
	struct host_pattern host;
	const char *path;        /* as written; "" for none */
	struct pattern *pattern; /* NULL: any path; owned by the conf */
	struct conf_service service;
	struct conf_origin origin;
};

/*
 * Reads the hostname of a rule (ingress-and-origins §2.1). Texts are copied into the arena.
 *
 * Returns 0; -EINVAL with *ret_reason (static text): port in it, star in the middle, too long;
 * -ENOMEM.
 */
[[nodiscard]] int host_pattern_parse(struct conf_arena *a, struct span text,
				     struct host_pattern *ret, const char **ret_reason);

/* True without hostname filter; such a rule without a path is a catch-all. */
static inline bool host_pattern_is_any(const struct host_pattern *h)
{
	return h->kind == HOST_KIND_ANY;
}

/*
 * Reads a service (ingress-and-origins §4), every kind that exists.
 *
 * bastion: bastion-mode holds for the rule, so any text that isn't one of the fixed forms is
 * bastion.
 *
 * Returns 0, -EINVAL with *ret_reason (static text), -ENOMEM.
 */
[[nodiscard]] int service_parse(struct conf_arena *a, struct span text, bool bastion,
				struct conf_service *ret, const char **ret_reason);

/* The word for messages if this kind isn't in this version, NULL if it is built. */
const char *service_missing_kind(const struct conf_service *s);

#endif
