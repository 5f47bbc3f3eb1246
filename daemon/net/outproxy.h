/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections through somebody else's proxy: HTTP CONNECT (RFC 9110 §9.3.6) and SOCKS5 (RFC 1928,
 * RFC 1929). What comes out is a connected descriptor from which nothing but the proxy's answer has
 * been read.
 */
#ifndef DAEMON_NET_OUTPROXY_H
#define DAEMON_NET_OUTPROXY_H

#include "daemon/net/tcp.h"
#include "util/span.h"

enum {
	OUTPROXY_NAME_MAX = 255,     /* bytes of a user, a password, a target's name */
	OUTPROXY_ANSWER_MAX = 16384, /* bytes of an HTTP answer's head */
};

enum outproxy_kind : uint8_t {
	OUTPROXY_KIND_HTTP = 1,
	OUTPROXY_KIND_SOCKS5,
};

struct resolver;

/* A proxy. */
struct outproxy_params {
	enum outproxy_kind kind;
	const char *host; /* a name, or an address without brackets */
	uint16_t port;
	/* ptr NULL: none. At most OUTPROXY_NAME_MAX bytes each. */
	struct span user, password;
	struct resolver *resolver; /* for host */
};

/* What is wanted of it. */
struct outproxy_dial {
	const struct outproxy_params *proxy; /* it and what it points to: borrowed until the end */
	struct ip_port target;
	const char *target_name; /* NULL; else the proxy looks it up instead of using target.ip */
	nsec_t timeout;          /* for everything, from now */
	struct tcp_options tcp;  /* interface: borrowed until the end */
};

struct outproxy;
/*
 * Looks the proxy up, connects, asks. on_done comes once from the loop: with the descriptor, which
 * is then the callee's, and NULL; or with an error and its reason in words for a log, valid during
 * the call, without credentials: -EPERM         the proxy wants other credentials, or its rules
 * forbid the target -ECONNREFUSED, -ENETUNREACH, -EHOSTUNREACH   it (or we) can't reach the target
 * (or the proxy) -EPROTO        what answers is no such proxy, or can't do this -EMSGSIZE      its
 * answer is over OUTPROXY_ANSWER_MAX -ECONNRESET    it closed the connection -ENOENT        nobody
 * knows its name -ETIMEDOUT and what tcp_connect_with() returns. The object ends with the callback.
 *
 * Returns 0, -EINVAL for names that are too long or can't stand in a request, -ENOMEM.
 */
[[nodiscard]] int outproxy_connect(struct loop *loop, const struct outproxy_dial *dial,
				   void (*on_done)(int fd_or_error, const char *reason, void *user),
				   void *user, struct outproxy **ret);
/* No callback comes after it. Accepts NULL; not to be used once on_done has been called. */
void outproxy_cancel(struct outproxy *p);

#endif
