/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connecting to a host that has several addresses. Attempts that hang are left running while the
 * next begins; the first that is through closes the others. In sequence there is only one at a
 * time, so each gets its share of the time that is left.
 */
#include "daemon/net/happy.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "util/cleanup.h"
#include "util/macro.h"

static constexpr nsec_t attempt_delay = 250 * NSEC_PER_MSEC; /* RFC 8305 §5 */

struct attempt {
	struct loop_io io;
	struct happy *happy;
	struct ip_port peer;
	int fd; /* owned; -EBADF when it isn't running */
};

struct happy {
	struct loop *loop;
	struct attempt attempts[HAPPY_MAX_ADDRS]; /* in the order in which they begin */
	unsigned int count;
	unsigned int next;
	unsigned int running;
	struct tcp_options tcp;
	bool sequential;
	struct loop_task start;
	struct timer
		next_timer; /* the next attempt begins; in sequence the running one has failed */
	struct timer deadline;
	int error; /* of the first attempt that failed */
	void (*on_done)(int fd_or_error, const struct ip_port *peer, void *user);
	void *user;
	struct loop_garbage garbage;
};

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct happy, garbage));
}

static void attempt_close(struct attempt *a)
{
	loop_io_stop(&a->io);
	a->fd = fd_close(a->fd);
}

void happy_cancel(struct happy *h)
{
	if (!h)
		return;
	for (unsigned int i = 0; i < h->count; i++)
		attempt_close(&h->attempts[i]);
	loop_task_cancel(&h->start);
	timer_stop(&h->next_timer);
	timer_stop(&h->deadline);
	h->garbage.release = release;
	loop_defer_free(h->loop, &h->garbage);
}

/* The memory stays until the end of the turn, for the callback and for the caller. */
static void finish(struct happy *h, int fd_or_error, const struct ip_port *peer)
{
	happy_cancel(h);
	h->on_done(fd_or_error, peer, h->user);
}

static void remember(struct happy *h, int error)
{
	if (!h->error)
		h->error = error;
}

static void on_ready(struct loop_io *io, uint32_t revents);

/* Returns 0 when the attempt is on its way. */
static int attempt_begin(struct attempt *a)
{
	a->fd = tcp_connect_with(&a->peer, &a->happy->tcp);
	if (a->fd < 0)
		return TAKE_FD(a->fd);
	a->io.on_ready = on_ready;
	int r = loop_io_start(a->happy->loop, &a->io, a->fd, EPOLLOUT);
	if (r < 0)
		a->fd = fd_close(a->fd);
	return r;
}

/* When the next attempt begins although none has failed. */
static void arm_next(struct happy *h)
{
	nsec_t now = loop_now(h->loop);
	if (!h->sequential)
		timer_start(h->loop, &h->next_timer, now + attempt_delay);
	else if (timer_is_armed(&h->deadline))
		timer_start(h->loop, &h->next_timer,
			    now + nsec_sub(h->deadline.at, now) / (h->count - h->next + 1));
}

static void begin_next(struct happy *h)
{
	timer_stop(&h->next_timer);
	while (h->next < h->count) {
		int r = attempt_begin(&h->attempts[h->next++]);
		if (r == 0) {
			h->running++;
			if (h->next < h->count)
				arm_next(h);
			return;
		}
		remember(h, r);
	}
	if (!h->running)
		finish(h, h->error, NULL);
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	struct attempt *a = CONTAINER_OF(io, struct attempt, io);
	struct happy *h = a->happy;
	int error = socket_error(a->fd);
	if (error == 0) {
		loop_io_stop(&a->io);
		finish(h, TAKE_FD(a->fd), &a->peer);
		return;
	}
	attempt_close(a);
	remember(h, error);
	h->running--;
	begin_next(h);
}

static void on_next(struct timer *timer)
{
	struct happy *h = CONTAINER_OF(timer, struct happy, next_timer);
	if (h->sequential) {
		attempt_close(&h->attempts[h->next - 1]);
		h->running--;
		remember(h, -ETIMEDOUT);
	}
	begin_next(h);
}

static void on_deadline(struct timer *timer)
{
	finish(CONTAINER_OF(timer, struct happy, deadline), -ETIMEDOUT, NULL);
}

static void on_start(struct loop_task *task)
{
	begin_next(CONTAINER_OF(task, struct happy, start));
}

/* The next address of this family from *from on, or NULL. */
static const struct ip_port *next_of(const struct happy_params *p, enum ip_family family,
				     unsigned int *from)
{
	while (*from < p->count) {
		const struct ip_port *a = &p->addrs[(*from)++];
		if (a->ip.family == family)
			return a;
	}
	return NULL;
}

/* Families take turns, IPv6 first; within one the resolver's order stays (RFC 8305 §4). */
static void interleave(struct happy *h, const struct happy_params *p)
{
	unsigned int from_v6 = 0, from_v4 = 0;
	bool wants_v6 = true;
	unsigned int misses = 0;
	while (h->count < HAPPY_MAX_ADDRS && misses < 2) {
		const struct ip_port *a = wants_v6 ? next_of(p, IP_FAMILY_V6, &from_v6)
						   : next_of(p, IP_FAMILY_V4, &from_v4);
		misses = a ? 0 : misses + 1;
		if (a)
			h->attempts[h->count++].peer = *a;
		wants_v6 = !wants_v6;
	}
}

int happy_connect(struct loop *loop, const struct happy_params *params,
		  void (*on_done)(int fd_or_error, const struct ip_port *peer, void *user),
		  void *user, struct happy **ret)
{
	if (params->count == 0)
		return -EINVAL;
	struct happy *h = calloc(1, sizeof(*h));
	if (!h)
		return -ENOMEM;
	h->loop = loop;
	h->tcp = params->tcp;
	h->sequential = params->sequential;
	h->on_done = on_done;
	h->user = user;
	h->start.run = on_start;
	h->next_timer.on_expire = on_next;
	h->deadline.on_expire = on_deadline;

	if (h->sequential)
		for (unsigned int i = 0; i < MIN(params->count, (unsigned int)HAPPY_MAX_ADDRS); i++)
			h->attempts[h->count++].peer = params->addrs[i];
	else
		interleave(h, params);
	if (h->count == 0) { /* only addresses without a family */
		free(h);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < h->count; i++) {
		h->attempts[i].happy = h;
		h->attempts[i].fd = -EBADF;
	}
	if (params->timeout)
		timer_start(loop, &h->deadline, nsec_add(loop_now(loop), params->timeout));
	loop_task_post(loop, &h->start, LOOP_PHASE_WORK);
	*ret = h;
	return 0;
}
