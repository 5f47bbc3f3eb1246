/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a stream that all implementations share: telling its user. Events are remembered
 * until there is a user and told from a task, so a callback never runs inside a call of the
 * interface.
 */
#include "daemon/flow/stream.h"

#include "util/macro.h"

/* The user may close the stream or hand it on in either callback. */
static void run_events(struct loop_task *task)
{
	struct stream *s = CONTAINER_OF(task, struct stream, events);
	if (s->is_readable && s->user_ops) {
		s->is_readable = false;
		s->user_ops->on_readable(s, s->user);
	}
	if (s->is_writable && s->user_ops) {
		s->is_writable = false;
		s->user_ops->on_writable(s, s->user);
	}
}

void stream_tell(struct stream *s, bool readable, bool writable)
{
	s->is_readable = s->is_readable || readable;
	s->is_writable = s->is_writable || writable;
	if (!s->user_ops || (!s->is_readable && !s->is_writable))
		return;
	s->events.run = run_events;
	loop_task_post(s->loop, &s->events, LOOP_PHASE_WORK);
}

void stream_set_user(struct stream *s, const struct stream_user *ops, void *user)
{
	s->user_ops = ops;
	s->user = user;
	stream_tell(s, true, true);
}

void stream_forget_user(struct stream *s)
{
	s->user_ops = NULL;
	loop_task_cancel(&s->events);
}
