/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to addresses with c-ares on a worker's loop: /etc/hosts first, a bounded cache by TTL,
 * answers always from the loop. SRV, TXT and DNS-over-TLS belong to edge discovery and come with
 * it.
 */
#ifndef DAEMON_NET_RESOLVE_H
#define DAEMON_NET_RESOLVE_H

#include "daemon/base/loop.h"
#include "util/addr.h"

struct resolver;
struct resolve_query;

enum { RESOLVE_MAX_ADDRS = 16 };

[[nodiscard]] int resolver_new(struct loop *loop, struct resolver **ret);
void resolver_free(struct resolver *r);

/*
 * Looks name (or an IP literal) up. on_done gets 0 and addrs (ports set to port), or -ENOENT (no
 * such name or no address), -ETIMEDOUT, -EAGAIN (resolver failure). family NONE: both.
 */
[[nodiscard]] int resolve_addr(struct resolver *r, const char *name, uint16_t port,
			       enum ip_family family,
			       void (*on_done)(int error, const struct ip_port *addrs,
					       unsigned int count, void *user),
			       void *user, struct resolve_query **ret);
/* No callback comes after it. */
void resolve_cancel(struct resolve_query *q);

#endif
