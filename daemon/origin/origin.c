/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How to reach a service: the table of kinds and what all calls have in common.
 */
#include "daemon/origin/origin.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/origin/origin_priv.h"
#include "util/macro.h"

/* By enum service_kind; what is missing isn't spoken to in HTTP (or not in this version). */
static int (*const kinds[])(struct origin_worker *ow, const struct origin_call_params *params,
			    struct origin_call **ret) = {
	[SERVICE_KIND_HTTP] = origin_http_start,
	[SERVICE_KIND_UNIX] = origin_http_start,
	[SERVICE_KIND_STATUS] = origin_fixed_start,
	[SERVICE_KIND_HELLO] = origin_fixed_start,
};

/* ---- the worker ---- */

int origin_worker_new(const struct origin_worker_params *params, struct origin_worker **ret)
{
	struct origin_worker *ow = calloc(1, sizeof(*ow));
	if (!ow)
		return -ENOMEM;
	ow->params = *params;
	if (!ow->params.limits)
		ow->params.limits = &http_limits_default;
	ow->started_at = nsec_clock(CLOCK_MONOTONIC);
	ow->started_clock = nsec_clock(CLOCK_REALTIME);
	origin_pool_init(&ow->pool, params->loop, &ow->stats);
	ow->pool.metrics = params->metrics;
	*ret = ow;
	return 0;
}

void origin_worker_free(struct origin_worker *ow)
{
	if (!ow)
		return;
	assert(ow->stats.active == 0);
	origin_pool_done(&ow->pool);
	free(ow);
}

void origin_worker_drain(struct origin_worker *ow)
{
	ow->generation++;
	origin_pool_drain(&ow->pool);
}

const struct origin_stats *origin_worker_stats(const struct origin_worker *ow)
{
	return &ow->stats;
}

/* ---- what the kinds use ---- */

static void run_fail(struct loop_task *task)
{
	struct origin_call *call = CONTAINER_OF(task, struct origin_call, fail);
	origin_call_tell_failure(call, call->failure, call->error, call->detail);
}

static void release(struct loop_garbage *garbage)
{
	struct origin_call *call = CONTAINER_OF(garbage, struct origin_call, garbage);
	call->ops->release(call);
}

void origin_call_init(struct origin_call *call, const struct origin_call_ops *ops,
		      struct origin_worker *ow, const struct origin_call_params *params)
{
	*call = (struct origin_call){
		.ops = ops,
		.ow = ow,
		.rule = params->rule,
		.request = *params->request,
		.events = params->events,
		.user = params->user,
		.series = params->series,
		.fail = { .run = run_fail },
		.garbage = { .release = release },
	};
	ow->stats.active++;
}

void origin_call_tell_response(struct origin_call *call, const struct http_head *head)
{
	if (call->is_told || call->is_ended)
		return;
	call->is_told = true;
	call->events->on_response(call, head, call->user);
}

void origin_call_tell_failure(struct origin_call *call, enum origin_failure failure, int error,
			      const char *detail)
{
	if (call->is_told || call->is_ended)
		return;
	call->is_told = true;
	call->ow->stats.failed[failure]++;
	call->events->on_failure(call, failure, error, detail, call->user);
}

void origin_call_fail_later(struct origin_call *call, enum origin_failure failure, int error,
			    const char *detail)
{
	call->failure = failure;
	call->error = error;
	call->detail = detail;
	loop_task_post(call->ow->params.loop, &call->fail, LOOP_PHASE_WORK);
}

/* ---- calls ---- */

enum origin_failure origin_failure_of_connect(int error)
{
	switch (error) {
	case -ECONNREFUSED:
	case -ECONNRESET:
	case -EAGAIN: /* a unix listener whose queue is full */
		return ORIGIN_FAILURE_REFUSED;
	case -ETIMEDOUT:
		return ORIGIN_FAILURE_TIMEOUT;
	case -ENOMEM:
	case -ENOBUFS:
	case -EMFILE:
	case -ENFILE:
	case -EADDRNOTAVAIL: /* no local port left */
		return ORIGIN_FAILURE_OVERLOADED;
	default:
		return ORIGIN_FAILURE_UNREACHABLE;
	}
}

int origin_call_start(struct origin_worker *ow, const struct origin_call_params *params,
		      struct origin_call **ret)
{
	enum service_kind kind = params->rule->service.kind;
	if (kind >= ARRAY_SIZE(kinds) || !kinds[kind])
		return -EOPNOTSUPP;
	return kinds[kind](ow, params, ret);
}

struct stream *origin_call_body(struct origin_call *call)
{
	return call->body;
}

struct stream *origin_call_upgrade(struct origin_call *call, struct bufq *received)
{
	struct stream *s = call->ops->upgrade ? call->ops->upgrade(call, received) : NULL;
	if (s)
		origin_call_end(call);
	return s;
}

const struct http_trailers *origin_call_trailers(struct origin_call *call)
{
	return call->ops->trailers ? call->ops->trailers(call) : NULL;
}

void origin_call_set_trailers(struct origin_call *call, const struct http_trailers *trailers)
{
	if (call->ops->set_trailers)
		call->ops->set_trailers(call, trailers);
}

void origin_call_end(struct origin_call *call)
{
	if (!call)
		return;
	assert(!call->is_ended);
	call->is_ended = true;
	call->ow->stats.active--;
	loop_task_cancel(&call->fail);
	stream_forget_user(call->body);
	call->ops->end(call);
	loop_defer_free(call->ow->params.loop, &call->garbage);
}
