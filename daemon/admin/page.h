/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local page of a running program: /metrics, /ready, /healthcheck on an address of its own
 * (orchestration-and-management §7, spec §1). Served by one worker.
 */
#ifndef DAEMON_ADMIN_PAGE_H
#define DAEMON_ADMIN_PAGE_H

#include "daemon/base/worker.h"
#include "util/addr.h"

struct page;

struct page_params {
	struct worker_set *workers; /* the first one serves */
	struct metric_registry *metrics;
	const struct ip_port
		*candidates; /* tried in order; then, if any_port, a port that the kernel picks */
	unsigned int candidate_count;
	bool any_port;
	const char *connector_id;               /* for /ready; NULL: no such page */
	unsigned int (*ready_count)(void *arg); /* any thread */
	/* Runs on every worker before metrics are shown: sets what is only known there. */
	void (*refresh)(struct worker *worker, void *arg);
	void *arg;
};

/* Binds and begins to serve, before the workers' threads start. 0 or a negative errno of the last
 * candidate. */
[[nodiscard]] int page_new(const struct page_params *params, struct page **ret);
const struct ip_port *page_address(const struct page *page);
/*
 * Writes the address into a file, one line, which is removed when the page stops. 0 or a negative
 * errno.
 */
[[nodiscard]] int page_publish(struct page *page, const char *file);
/* On the first worker's thread, when it stops. */
void page_stop(struct page *page);
/*
 * After the threads have ended, or when they were never started: then it stops as well. Accepts
 * NULL.
 */
void page_free(struct page *page);

#endif
