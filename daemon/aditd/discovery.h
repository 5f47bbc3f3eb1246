/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds the edge and goes on looking: addresses of the configuration, the vendor's service records,
 * by the system's resolver or by DNS over TLS, with the last good answer kept on disk. Control
 * thread; DNS itself runs on a worker.
 */
#ifndef DAEMON_ADITD_DISCOVERY_H
#define DAEMON_ADITD_DISCOVERY_H

#include "daemon/aditd/discovery_record.h"
#include "daemon/aditd/edge_addrs.h"

struct conf;
struct discovery;
struct log;
struct mainloop;
struct resolver_params;
struct worker;

/* In the state directory. */
#define DISCOVERY_CACHE_FILE "edge-addresses"

enum discovery_source : uint8_t {
	DISCOVERY_SOURCE_CONFIG, /* addresses that need no DNS */
	DISCOVERY_SOURCE_CACHE,  /* of an earlier run, while DNS has no answer */
	DISCOVERY_SOURCE_DNS,
	DISCOVERY_SOURCE_MAX_,
};

/* None of them from inside discovery_new() or discovery_free(). */
struct discovery_events {
	/* The whole set from now on: at first, and when it has become another one. Never empty. */
	void (*on_set)(const struct edge_addr *addrs, unsigned int count,
		       enum discovery_source source, void *user);
	/* What the vendor's TXT records say now; what isn't known has no flag. May be NULL. */
	void (*on_records)(const struct discovery_records *records, void *user);
	/* Nothing can be found now, and why; with "" it has been found again. */
	void (*on_error)(const char *text, void *user);
};

struct discovery_params {
	struct mainloop *loop;
	struct worker *worker;   /* where DNS runs */
	const struct conf *conf; /* of the start; outlives the worker */
	const char *state_dir;   /* borrowed; NULL: nothing is kept */
	const struct log *log;
	const struct resolver_params *resolver; /* NULL: the system's; outlives the worker */
	const char *over_tls; /* NAME@ADDRESS:PORT for the vendor's names; NULL: the usual one */
	nsec_t refresh_min;   /* the shortest time to live; 0: 30 s */
	const struct discovery_events *events;
	void *user;
};

/* Begins at once. Returns 0, -ENOMEM, -EINVAL for a dns-over-tls that can't be read. */
[[nodiscard]] int discovery_new(const struct discovery_params *params, struct discovery **ret);
/* Ends all that runs, at once; no callback comes after it. Accepts NULL. */
void discovery_free(struct discovery *d);

/*
 * Dials have failed again and again: perhaps there are other addresses by now. Asked for as often
 * as one likes, it happens at most every 10 s.
 */
void discovery_refresh(struct discovery *d);

#endif
