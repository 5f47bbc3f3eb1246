/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins two streams. Each direction is a pump; an abnormal end is passed on in the only form that
 * the other side understands: a reset to the reader, a stop to the writer.
 */
#include "daemon/flow/relay.h"

#include <errno.h>
#include <stdlib.h>

#include "util/cleanup.h"

static void relay_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct relay, garbage));
}

static void relay_close(struct relay *r)
{
	struct loop *loop = r->a->loop;
	pump_done(&r->a_to_b);
	pump_done(&r->b_to_a);
	loop_task_cancel(&r->again);
	timer_stop(&r->timer);
	stream_close(TAKE_PTR(r->a));
	stream_close(TAKE_PTR(r->b));
	loop_defer_free(loop, &r->garbage);
}

/* ---- the end of one direction --------------------------------------------------------------- */

static void release_end(struct relay *r)
{
	if (!r->is_held)
		return;
	r->is_held = false;
	timer_stop(&r->timer);
	stream_finish(r->b);
}

static void watch_silence(struct relay *r)
{
	if (!r->half_silence || timer_is_armed(&r->timer))
		return;
	r->moved = r->a_to_b.moved + r->b_to_a.moved;
	timer_start(r->a->loop, &r->timer, nsec_add(loop_now(r->a->loop), r->half_silence));
}

/* Passes on how a direction has ended. */
static void pass_end(struct relay *r, struct pump *p)
{
	switch (p->state) {
	case PUMP_STATE_RUNNING:
		return;
	case PUMP_STATE_SOURCE_FAILED:
		stream_reset(p->to, p->from->error_code);
		return;
	case PUMP_STATE_SINK_FAILED:
		stream_stop(p->from, p->to->error_code);
		return;
	case PUMP_STATE_DONE:
		if (p == &r->a_to_b && r->hold_end && r->b_to_a.state == PUMP_STATE_RUNNING) {
			r->is_held = true;
			timer_start(r->a->loop, &r->timer,
				    nsec_add(loop_now(r->a->loop), r->hold_end));
			return;
		}
		stream_finish(p->to);
		return;
	}
}

/* Runs one direction. True while it is running. */
static bool run(struct relay *r, struct pump *p)
{
	if (p->state != PUMP_STATE_RUNNING)
		return false;
	if (pump_run(p))
		loop_task_post(r->a->loop, &r->again, LOOP_PHASE_WORK);
	pass_end(r, p);
	return p->state == PUMP_STATE_RUNNING;
}

static void relay_run(struct relay *r)
{
	bool forth = run(r, &r->a_to_b);
	bool back = run(r, &r->b_to_a);
	if (!back)
		release_end(r);
	if (forth != back)
		watch_silence(r);
	if (forth || back)
		return;
	relay_close(r);
	if (r->on_end)
		r->on_end(r, r->user);
}

/* The half that still runs has had its time: the other end may be gone without a word. */
static void break_half(struct relay *r)
{
	struct pump *p = r->a_to_b.state == PUMP_STATE_RUNNING ? &r->a_to_b : &r->b_to_a;
	p->state = PUMP_STATE_SOURCE_FAILED;
	p->error = -ETIMEDOUT;
	stream_reset(p->to, STREAM_CODE_NONE);
	stream_stop(p->from, STREAM_CODE_NONE);
	relay_run(r);
}

static void on_expire(struct timer *timer)
{
	struct relay *r = CONTAINER_OF(timer, struct relay, timer);
	if (r->is_held) {
		release_end(r);
		watch_silence(r);
	} else if (r->a_to_b.moved + r->b_to_a.moved == r->moved) {
		break_half(r);
	} else {
		watch_silence(r);
	}
}

/* ---- events --------------------------------------------------------------------------------- */

static void on_again(struct loop_task *task)
{
	relay_run(CONTAINER_OF(task, struct relay, again));
}

static void on_event(struct stream *s, void *user)
{
	(void)s;
	relay_run(user);
}

static const struct stream_user stream_ops = {
	.on_readable = on_event,
	.on_writable = on_event,
};

/* ---- life ----------------------------------------------------------------------------------- */

int relay_new(const struct relay_params *params, struct relay **ret)
{
	struct relay *r = calloc(1, sizeof(*r));
	if (!r) {
		stream_close(params->a);
		stream_close(params->b);
		return -ENOMEM;
	}
	r->a = params->a;
	r->b = params->b;
	r->hold_end = params->hold_end;
	r->half_silence = params->half_silence;
	r->on_end = params->on_end;
	r->user = params->user;
	r->again.run = on_again;
	r->timer.on_expire = on_expire;
	r->garbage.release = relay_release;
	pump_init(&r->a_to_b, r->a, r->b);
	pump_init(&r->b_to_a, r->b, r->a);
	if (params->from_a)
		(void)bufq_move(&r->a_to_b.pending, params->from_a, params->from_a->len);
	if (params->from_b)
		(void)bufq_move(&r->b_to_a.pending, params->from_b, params->from_b->len);
	stream_set_user(r->a, &stream_ops, r);
	stream_set_user(r->b, &stream_ops, r);
	*ret = r;
	return 0;
}

void relay_cut(struct relay *r)
{
	stream_reset(r->a, STREAM_CODE_NONE);
	stream_reset(r->b, STREAM_CODE_NONE);
	relay_close(r);
}
