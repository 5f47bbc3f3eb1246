/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the kinds of origins share: the worker's state and the part of a call that every kind has.
 */
#ifndef DAEMON_ORIGIN_ORIGIN_PRIV_H
#define DAEMON_ORIGIN_ORIGIN_PRIV_H

#include "daemon/base/loop.h"
#include "daemon/origin/origin.h"
#include "daemon/origin/origin_pool.h"

struct origin_worker {
	struct origin_worker_params params;
	struct origin_stats stats;
	struct origin_pool pool;
	nsec_t started_at;    /* loop time */
	nsec_t started_clock; /* CLOCK_REALTIME */
	uint64_t generation;  /* counts drains: connections of an older one aren't kept */
};

struct origin_call_ops {
	/* Gives the connection away after 101; NULL: there is never one. */
	struct stream *(*upgrade)(struct origin_call *call, struct bufq *received);
	/* Lets go of what the kind holds. The memory is released by origin_call_free(). */
	void (*end)(struct origin_call *call);
	void (*release)(struct origin_call *call);
	/* NULL: none in either direction */
	const struct http_trailers *(*trailers)(struct origin_call *call);
	void (*set_trailers)(struct origin_call *call, const struct http_trailers *trailers);
};

/* The first part of every kind's call. */
struct origin_call {
	const struct origin_call_ops *ops;
	struct origin_worker *ow;
	const struct conf_rule *rule; /* borrowed: the caller's snapshot outlives the call */
	struct http_head request;     /* what it points to is the caller's */
	const struct origin_call_events *events;
	void *user;
	struct origin_series series;
	struct stream *body; /* the kind's */
	bool is_told;
	bool is_ended;

	/* a failure that waits to be told */
	struct loop_task fail;
	enum origin_failure failure;
	int error;
	const char *detail;
	struct loop_garbage garbage;
};

/* Fills the common part. */
void origin_call_init(struct origin_call *call, const struct origin_call_ops *ops,
		      struct origin_worker *ow, const struct origin_call_params *params);
/* Calls on_response or on_failure; only from the loop, at most once. */
void origin_call_tell_response(struct origin_call *call, const struct http_head *head);
void origin_call_tell_failure(struct origin_call *call, enum origin_failure failure, int error,
			      const char *detail);
/* The same from inside a call of ours: told in this turn's work phase. */
void origin_call_fail_later(struct origin_call *call, enum origin_failure failure, int error,
			    const char *detail);

/* The kinds: 0, -ENOMEM, -ENOBUFS, -EBADMSG, -EOPNOTSUPP. */
[[nodiscard]] int origin_http_start(struct origin_worker *ow,
				    const struct origin_call_params *params,
				    struct origin_call **ret);
[[nodiscard]] int origin_fixed_start(struct origin_worker *ow,
				     const struct origin_call_params *params,
				     struct origin_call **ret);

#endif
