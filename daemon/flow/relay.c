/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Joins two streams. Each direction is a pump; an abnormal end is passed on in the only form that
 * the other side understands: a reset to the reader, a stop to the writer.
 */
#include "daemon/flow/relay.h"

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
	stream_close(TAKE_PTR(r->a));
	stream_close(TAKE_PTR(r->b));
	loop_defer_free(loop, &r->garbage);
}

/* Runs one direction and passes its end on. True while it is running. */
static bool run(struct relay *r, struct pump *p)
{
	if (p->state != PUMP_STATE_RUNNING)
		return false;
	if (pump_run(p))
		loop_task_post(r->a->loop, &r->again, LOOP_PHASE_WORK);
	if (p->state == PUMP_STATE_SOURCE_FAILED)
		stream_reset(p->to, p->from->error_code);
	else if (p->state == PUMP_STATE_SINK_FAILED)
		stream_stop(p->from, p->to->error_code);
	return p->state == PUMP_STATE_RUNNING;
}

static void relay_run(struct relay *r)
{
	bool forth = run(r, &r->a_to_b);
	bool back = run(r, &r->b_to_a);
	if (forth || back)
		return;
	void (*on_end)(struct relay *, void *) = r->on_end;
	void *user = r->user;
	relay_close(r);
	if (on_end)
		on_end(r, user);
}

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

int relay_new(struct stream *a, struct stream *b, void (*on_end)(struct relay *relay, void *user),
	      void *user, struct relay **ret)
{
	struct relay *r = calloc(1, sizeof(*r));
	if (!r) {
		stream_close(a);
		stream_close(b);
		return -ENOMEM;
	}
	r->a = a;
	r->b = b;
	r->on_end = on_end;
	r->user = user;
	r->again.run = on_again;
	r->garbage.release = relay_release;
	pump_init(&r->a_to_b, a, b);
	pump_init(&r->b_to_a, b, a);
	r->a_to_b.finish_sink = r->b_to_a.finish_sink = true;
	stream_set_user(a, &stream_ops, r);
	stream_set_user(b, &stream_ops, r);
	*ret = r;
	return 0;
}

void relay_cut(struct relay *r)
{
	stream_reset(r->a, STREAM_CODE_NONE);
	stream_reset(r->b, STREAM_CODE_NONE);
	relay_close(r);
}
