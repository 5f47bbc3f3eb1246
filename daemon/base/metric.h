/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters, gauges and histograms: each worker writes its own shard without atomics' cost (relaxed
 * load and store), the reader sums (style C4). Families are defined at start; series (label values)
 * may be added at any time by any thread and are bounded per family (the rest goes under "other").
 */
#ifndef DAEMON_BASE_METRIC_H
#define DAEMON_BASE_METRIC_H

#include <stddef.h>
#include <stdint.h>

struct metric_registry;
struct metric_shard; /* one thread's values */

enum { METRIC_FAMILY_SERIES = 1000 }; /* at most; the rest is "other" */

typedef uint32_t metric_id; /* a series; 0 is a sink that is never shown */

enum metric_type : uint8_t {
	METRIC_TYPE_COUNTER,
	METRIC_TYPE_GAUGE,
	METRIC_TYPE_HISTOGRAM,
};

struct metric_family {
	const char *name; /* Prometheus name, e.g. adit_dials_total */
	const char *help;
	enum metric_type type;
	const char *labels[3];     /* label names, NULL-terminated when fewer */
	const double *buckets;     /* histogram: upper bounds in the shown unit, ascending */
	unsigned int bucket_count; /* at most 16 */
	double scale; /* shown value = stored integer * scale; 0 means 1 (histograms store
			 nanoseconds: 1e-9) */
};

/* max_series: over all families; the room for each labelled family's "other" is kept back. */
[[nodiscard]] int metric_registry_new(unsigned int max_series, struct metric_registry **ret);
void metric_registry_free(struct metric_registry *reg);

/* Defines a family (borrowed: static tables) and returns its number. Before any series; main
 * thread. */
[[nodiscard]] int metric_define(struct metric_registry *reg, const struct metric_family *def);
/*
 * The series of a family with these label values (NULL for an unlabelled family), made if new.
 * Any thread; takes a lock: not on a request path. Over
 * METRIC_FAMILY_SERIES a family: the series "other".
 */
metric_id metric_series(struct metric_registry *reg, int family, const char *const *values);

/* A shard for one writing thread; lives as long as the registry. NULL when out of memory. */
struct metric_shard *metric_shard_new(struct metric_registry *reg);

/* Owner thread only; a NULL shard (unit tests) and the sink take everything. Gauges are sums over
 * shards, so use add with negative values or set. */
void metric_add(struct metric_shard *shard, metric_id id, int64_t n);
void metric_set(struct metric_shard *shard, metric_id id, int64_t value);
void metric_observe(struct metric_shard *shard, metric_id id, uint64_t value);

/* Sum over all shards of a counter or gauge. Any thread. */
int64_t metric_value(const struct metric_registry *reg, metric_id id);

/*
 * Walks everything for the text format: emit is called once per sample line's parts. Any thread.
 * Sampled gauges (computed at scrape time) are set by callbacks registered here.
 */
struct metric_sample {
	const struct metric_family *family;
	const char *const *values; /* label values */
	int64_t value;             /* counter, gauge; histogram: sum */
	const uint64_t *counts;    /* histogram: per bucket (not cumulative), then +Inf */
};
void metric_walk(const struct metric_registry *reg,
		 void (*emit)(const struct metric_sample *sample, void *arg), void *arg);
[[nodiscard]] int metric_on_scrape(struct metric_registry *reg, void (*update)(void *arg),
				   void *arg);
/* Runs the scrape callbacks; call before metric_walk(). */
void metric_scrape(struct metric_registry *reg);

#endif
