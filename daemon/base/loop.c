/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of one worker. It asks epoll for up to 64 events at a time, and waits with
 * epoll_pwait2(), whose nanosecond timeout makes a timerfd superfluous: re-arming one would cost a
 * system call in every turn whose first timer has changed.
 */
#include "daemon/base/loop.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "util/cleanup.h"
#include "util/macro.h"

enum {
	EVENT_BATCH = 64,
	/* A chain of stages is a few tasks deep; what is longer starves the descriptors. */
	TASK_ROUNDS = 16,
};

struct loop {
	int epoll_fd;
	nsec_t now;

	struct epoll_event events[EVENT_BATCH];
	unsigned int event_count; /* 0 outside of dispatch_events() */
	unsigned int event_next;
	struct loop_io *first; /* served before the others, may be NULL */

	struct heap timers;
	struct list tasks[LOOP_PHASE_MAX_];
	struct loop_garbage *garbage;
	struct loop_garbage **garbage_tail;
	struct list leftovers;

	int quit_fd;
	struct loop_io quit_io;
	_Atomic bool quit;
	_Atomic nsec_t busy; /* written by the loop's thread only */
};

static bool is_before(const struct heap_node *a, const struct heap_node *b)
{
	return HEAP_ENTRY_CONST(a, struct timer, node)->at <
	       HEAP_ENTRY_CONST(b, struct timer, node)->at;
}

/* The flag is what counts; the descriptor only wakes the thread. */
static void on_quit(struct loop_io *io, uint32_t revents UNUSED)
{
	eventfd_t count;
	(void)eventfd_read(io->fd, &count);
}

DEFINE_CLEANUP(struct loop *, loop_free)

int loop_new(struct loop **ret)
{
	_cleanup_(loop_freep) struct loop *l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	l->epoll_fd = l->quit_fd = -EBADF;
	l->garbage_tail = &l->garbage;
	list_init(&l->leftovers);
	l->now = nsec_clock(CLOCK_MONOTONIC);
	heap_init(&l->timers, is_before);
	for (unsigned int i = 0; i < LOOP_PHASE_MAX_; i++)
		list_init(&l->tasks[i]);

	l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll_fd < 0)
		return -errno;
	l->quit_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->quit_fd < 0)
		return -errno;
	l->quit_io.on_ready = on_quit;
	int r = loop_io_start(l, &l->quit_io, l->quit_fd, EPOLLIN);
	if (r < 0)
		return r;

	*ret = TAKE_PTR(l);
	return 0;
}

/* Releasing may defer more (a parent its children): goes on until nothing is left. */
static void release_garbage(struct loop *l)
{
	while (l->garbage) {
		struct loop_garbage *g = l->garbage;
		l->garbage = g->next;
		if (!l->garbage)
			l->garbage_tail = &l->garbage;
		g->release(g);
	}
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	release_garbage(l);
	for (struct list *node = list_pop(&l->leftovers); node; node = list_pop(&l->leftovers)) {
		struct loop_leftover *leftover = LIST_ENTRY(node, struct loop_leftover, node);
		leftover->end(leftover);
		release_garbage(l);
	}
	loop_io_stop(&l->quit_io);
	(void)fd_close(l->quit_fd);
	(void)fd_close(l->epoll_fd);
	free(l);
}

nsec_t loop_now(const struct loop *l)
{
	return l->now;
}

nsec_t loop_busy(const struct loop *l)
{
	return atomic_load_explicit(&l->busy, memory_order_relaxed);
}

void loop_quit(struct loop *l)
{
	atomic_store_explicit(&l->quit, true, memory_order_release);
	(void)eventfd_write(l->quit_fd, 1);
}

/* ---- descriptors --------------------------------------------------------------------------- */

int loop_io_start(struct loop *l, struct loop_io *io, int fd, uint32_t events)
{
	struct epoll_event ev = { .events = events, .data.ptr = io };
	if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	io->loop = l;
	io->fd = fd;
	io->events = events;
	return 0;
}

int loop_io_update(struct loop_io *io, uint32_t events)
{
	/* Edge-triggered: setting the same events again asks for a fresh look, so it isn't skipped.
	 */
	if (events == io->events && !(events & EPOLLET))
		return 0;
	struct epoll_event ev = { .events = events, .data.ptr = io };
	if (epoll_ctl(io->loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev) < 0)
		return -errno;
	io->events = events;
	return 0;
}

void loop_io_set_first(struct loop_io *io)
{
	io->loop->first = io;
}

void loop_io_stop(struct loop_io *io)
{
	struct loop *l = io->loop;
	if (!l)
		return;
	(void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	for (unsigned int i = l->event_next; i < l->event_count; i++)
		if (l->events[i].data.ptr == io)
			l->events[i].data.ptr = NULL;
	if (l->first == io)
		l->first = NULL;
	io->loop = NULL;
}

static void dispatch_events(struct loop *l, unsigned int count)
{
	l->event_count = count;
	l->event_next = 0;
	for (unsigned int i = 1; l->first && i < count; i++) {
		if (l->events[i].data.ptr == l->first) {
			struct epoll_event ev = l->events[0];
			l->events[0] = l->events[i];
			l->events[i] = ev;
			break;
		}
	}
	while (l->event_next < l->event_count) {
		struct epoll_event ev = l->events[l->event_next++];
		struct loop_io *io = ev.data.ptr;
		if (io)
			io->on_ready(io, ev.events);
	}
	l->event_count = l->event_next = 0;
}

/* ---- timers -------------------------------------------------------------------------------- */

void timer_start(struct loop *l, struct timer *t, nsec_t at)
{
	timer_stop(t);
	t->loop = l;
	/* Later than now: a callback that re-arms itself doesn't keep this turn from ending. */
	t->at = MAX(at, nsec_add(l->now, 1));
	heap_insert(&l->timers, &t->node);
}

void timer_stop(struct timer *t)
{
	if (!t->loop)
		return;
	heap_remove(&t->loop->timers, &t->node);
	t->loop = NULL;
}

static struct timer *first_timer(const struct loop *l)
{
	struct heap_node *node = heap_first(&l->timers);
	return node ? HEAP_ENTRY(node, struct timer, node) : NULL;
}

static void expire_timers(struct loop *l)
{
	for (struct timer *t = first_timer(l); t && t->at <= l->now; t = first_timer(l)) {
		timer_stop(t);
		t->on_expire(t);
	}
}

/* ---- tasks and garbage --------------------------------------------------------------------- */

void loop_task_post(struct loop *l, struct loop_task *task, enum loop_phase phase)
{
	if (!list_is_linked(&task->node))
		list_append(&l->tasks[phase], &task->node);
}

void loop_task_cancel(struct loop_task *task)
{
	list_remove(&task->node);
}

/* One round: what was there when it began. Tasks of the round may still be cancelled. */
static void run_round(struct list *tasks)
{
	if (list_is_empty(tasks))
		return;
	struct list round;
	list_insert_after(tasks, &round);
	list_remove(tasks);
	list_init(tasks);

	for (struct list *node = list_pop(&round); node; node = list_pop(&round)) {
		struct loop_task *task = LIST_ENTRY(node, struct loop_task, node);
		task->run(task);
	}
}

/* Work until there is none, then the flush: as much as possible leaves in one system call. */
static void run_tasks(struct loop *l)
{
	struct list *work = &l->tasks[LOOP_PHASE_WORK];
	struct list *flush = &l->tasks[LOOP_PHASE_FLUSH];

	for (unsigned int i = 0; i < TASK_ROUNDS; i++) {
		struct list *next = list_is_empty(work) ? flush : work;
		if (list_is_empty(next))
			return;
		run_round(next);
	}
	run_round(flush); /* what endless work has produced so far leaves, too */
}

static bool has_tasks(const struct loop *l)
{
	return !list_is_empty(&l->tasks[LOOP_PHASE_WORK]) ||
	       !list_is_empty(&l->tasks[LOOP_PHASE_FLUSH]);
}

void loop_defer_free(struct loop *l, struct loop_garbage *g)
{
	g->next = NULL;
	*l->garbage_tail = g;
	l->garbage_tail = &g->next;
}

void loop_leave(struct loop *l, struct loop_leftover *leftover)
{
	list_append(&l->leftovers, &leftover->node);
}

void loop_leave_cancel(struct loop_leftover *leftover)
{
	list_remove(&leftover->node);
}

/* ---- the turn ------------------------------------------------------------------------------ */

static nsec_t wait_time(const struct loop *l, nsec_t now, nsec_t max_wait)
{
	if (has_tasks(l) || l->garbage || atomic_load_explicit(&l->quit, memory_order_relaxed))
		return 0;
	const struct timer *t = first_timer(l);
	return t ? MIN(max_wait, nsec_sub(t->at, now)) : max_wait;
}

int loop_turn(struct loop *l, nsec_t max_wait)
{
	nsec_t before = nsec_clock(CLOCK_MONOTONIC);
	nsec_t busy = nsec_sub(before, l->now);
	nsec_t wait = wait_time(l, before, max_wait);
	struct timespec ts = nsec_to_timespec(wait);

	atomic_store_explicit(&l->busy, loop_busy(l) + busy, memory_order_relaxed);
	int n = epoll_pwait2(l->epoll_fd, l->events, EVENT_BATCH, wait == NSEC_NEVER ? NULL : &ts,
			     NULL);
	if (n < 0 && errno != EINTR)
		return -errno;
	l->now = nsec_clock(CLOCK_MONOTONIC);

	dispatch_events(l, n < 0 ? 0 : (unsigned int)n);
	expire_timers(l);
	run_tasks(l);
	release_garbage(l);
	return 0;
}

int loop_run(struct loop *l)
{
	/* Time between loop_new() and here isn't the thread's work. */
	l->now = nsec_clock(CLOCK_MONOTONIC);
	while (!atomic_exchange_explicit(&l->quit, false, memory_order_acquire)) {
		int r = loop_turn(l, NSEC_NEVER);
		if (r < 0)
			return r;
	}
	return 0;
}
