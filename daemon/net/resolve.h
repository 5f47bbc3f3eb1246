/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Names to addresses with c-ares on a worker's loop: /etc/hosts first, a bounded cache by TTL,
 * answers always from the loop. Single records of all types that discovery needs, without a cache.
 * DNS over TLS is net/dot.
 */
#ifndef DAEMON_NET_RESOLVE_H
#define DAEMON_NET_RESOLVE_H

#include "daemon/base/loop.h"
#include "daemon/net/dns_answer.h"

struct resolver;
struct resolve_query;
struct resolve_record;

enum {
	RESOLVE_MAX_ADDRS = 16,   /* of one answer; the rest is left out */
	RESOLVE_CACHE_MAX = 1024, /* names, those being looked up included */
	RESOLVE_TTL_MAX = 3600,   /* seconds */
	RESOLVE_RECORDS_MAX = 64, /* questions of resolve_record() at once */
};

/* Zero or NULL: what the system is configured for. */
struct resolver_params {
	const char *servers;     /* host[:port], separated by commas */
	const char *hosts_file;  /* instead of /etc/hosts */
	const char *resolv_conf; /* instead of /etc/resolv.conf */
	unsigned int timeout_ms; /* of the first try of a server */
	unsigned int tries;      /* of each server */
	unsigned int cache_ms;   /* an answer is kept at most so long; 0: RESOLVE_TTL_MAX */
};

[[nodiscard]] int resolver_new(struct loop *loop, struct resolver **ret);
/*
 * params may be NULL. Without servers its strings outlive the resolver, and a resolv.conf that has
 * changed counts from the next lookup on that finds no other on its way: at boot it is often
 * written late. Returns 0, -ENOMEM, -EINVAL for servers, -EAGAIN when the library fails.
 */
[[nodiscard]] int resolver_new_with(struct loop *loop, const struct resolver_params *params,
				    struct resolver **ret);
/* No callback comes after it, and queries of it must not be used. Accepts NULL. */
void resolver_free(struct resolver *r);

/*
 * Looks name (or an IP literal) up. on_done comes once from the loop with 0 and addrs (ports set to
 * port, both families in the order of the answer), or -ENOENT (no such name, or no address of the
 * family), -ETIMEDOUT, -EAGAIN (resolver failure), -ENOMEM. family NONE: both. Lookups of one name
 * at the same time are one query on the wire. The query ends with the callback.
 * Returns 0, -EINVAL for what can't be a name, -E2BIG when RESOLVE_CACHE_MAX names are being looked
 * up, -ENOMEM.
 */
[[nodiscard]] int resolve_addr(struct resolver *r, const char *name, uint16_t port,
			       enum ip_family family,
			       void (*on_done)(int error, const struct ip_port *addrs,
					       unsigned int count, void *user),
			       void *user, struct resolve_query **ret);
/* No callback comes after it. Accepts NULL; not to be used once on_done has been called. */
void resolve_cancel(struct resolve_query *q);

/*
 * Asks for the records of one type (addresses: the hosts file first), past the cache. on_done comes
 * once from the loop with the answer, or with an error as above or of dns_answer_read(). The
 * question ends with the callback. Returns 0, -EINVAL for what can't be a name, -E2BIG, -ENOMEM.
 */
[[nodiscard]] int resolve_record(struct resolver *r, const struct dns_question *question,
				 struct resolve_record **ret);
/* No callback comes after it. Accepts NULL; not to be used once on_done has been called. */
void resolve_record_cancel(struct resolve_record *q);

/* For metrics. */
struct resolver_stats {
	uint64_t queries; /* questions that went through */
	uint64_t lookups; /* that were not in the cache */
	uint64_t failures;
	uint64_t refused; /* -E2BIG */
};
void resolver_get_stats(const struct resolver *r, struct resolver_stats *ret);

#endif
