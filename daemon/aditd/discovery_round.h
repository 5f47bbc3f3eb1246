/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One search for the edge by DNS: the vendor's service records and the addresses of their targets,
 * or the names of a configuration; or the vendor's TXT records. By the system's resolver or over
 * TLS, all of it the same way. Lives on a worker's loop.
 */
#ifndef DAEMON_ADITD_DISCOVERY_ROUND_H
#define DAEMON_ADITD_DISCOVERY_ROUND_H

#include "daemon/aditd/discovery_record.h"
#include "daemon/aditd/discovery_set.h"
#include "daemon/net/dot.h"
#include "daemon/net/resolve.h"

struct conf_addr;
struct discovery_round;

enum {
	ROUND_NAMES_MAX = 16,   /* of a configuration that are looked up */
	ROUND_TARGETS_MAX = 2,  /* of a service that are used: one for each region */
	ROUND_EARLY_MSEC = 250, /* what is there isn't held back longer for what isn't */
	ROUND_LIMIT_SEC = 10,
	ROUND_TEXT_MAX = 160,
};

enum round_kind : uint8_t {
	ROUND_KIND_ADDRESSES,
	ROUND_KIND_RECORDS,
	ROUND_KIND_MAX_,
};

/* What to look for; of the start's configuration, so it lives. */
struct round_names {
	const char *service;               /* SRV; NULL: the addresses below */
	const char *protocols, *features;  /* TXT */
	const struct conf_addr *addresses; /* those at odd positions are the second region */
	size_t address_count;
	uint8_t ip_version; /* 0: both, 4, 6 */
};

struct round_result {
	int error;     /* of the first question that failed, when nothing was found */
	bool is_early; /* a part; the whole follows */
	unsigned int ttl_sec;
	uint8_t unsure; /* edge_set_bit(): no answer, so what is known of these stays true */
	struct edge_set set;
	struct discovery_records records;
	char text[ROUND_TEXT_MAX]; /* the cause, for people; empty when all went well */
};

struct round_params {
	struct loop *loop;
	struct slab *slab;
	enum round_kind kind;
	bool wants_early;
	const struct round_names *names;        /* borrowed */
	const struct resolver_params *resolver; /* NULL: what the system is configured for */
	SSL_CTX *tls;                           /* NULL: not over TLS */
	const struct dot_server *server;        /* with tls; borrowed */
	uint64_t seed;                          /* of the order of services */
	/* From the loop; perhaps early ones, then the last. result is valid during the call, in
	 * which the round may be freed. */
	void (*on_result)(const struct round_result *result, void *user);
	void *user;
};

/* Returns 0 or why it can't begin: -ENOMEM, or -EAGAIN when the library fails. */
[[nodiscard]] int discovery_round_new(const struct round_params *params,
				      struct discovery_round **ret);
/* No callback comes after it. Accepts NULL. */
void discovery_round_free(struct discovery_round *r);

#endif
