/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: descriptors, timers, tasks, garbage, quit, and all of them stopping one another. */
#include "daemon/base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct pair {
	struct loop_io io;
	int peer;
	unsigned int calls;
	uint32_t revents;
	struct pair *victim; /* stopped from the callback */
};

static unsigned int sequence;

static void on_pair(struct loop_io *io, uint32_t revents)
{
	struct pair *p = CONTAINER_OF(io, struct pair, io);
	p->calls++;
	p->revents = revents;
	sequence = sequence * 10 + (unsigned int)p->peer % 10;
	if (p->victim)
		loop_io_stop(&p->victim->io);
}

static void pair_start(struct loop *l, struct pair *p, uint32_t events)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	p->io.on_ready = on_pair;
	p->peer = fds[1];
	assert_int_equal(loop_io_start(l, &p->io, fds[0], events), 0);
}

static void pair_stop(struct pair *p)
{
	loop_io_stop(&p->io);
	close(p->io.fd);
	close(p->peer);
}

static struct loop *new_loop(void)
{
	struct loop *l = NULL;
	assert_int_equal(loop_new(&l), 0);
	return l;
}

static void test_io(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct pair p = {};
	pair_start(l, &p, EPOLLIN);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(p.calls, 0);
	assert_int_equal(write(p.peer, "x", 1), 1);
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
	assert_int_equal(p.calls, 1);
	assert_int_equal(p.revents, EPOLLIN);
	assert_int_equal(loop_io_update(&p.io, EPOLLOUT), 0);
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
	assert_int_equal(p.revents, EPOLLOUT);
	loop_io_stop(&p.io);
	loop_io_stop(&p.io);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(p.calls, 2);
	assert_int_equal(loop_io_start(l, &p.io, -1, EPOLLIN), -EBADF);
	pair_stop(&p);
	loop_free(l);
}

/* Two are ready in one batch and each stops the other: exactly one is called. */
static void test_stopped_events_are_dropped(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct pair a = {};
	struct pair b = { .victim = &a };
	a.victim = &b;
	pair_start(l, &a, EPOLLOUT);
	pair_start(l, &b, EPOLLOUT);
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
	assert_int_equal(a.calls + b.calls, 1);
	pair_stop(&a);
	pair_stop(&b);
	loop_free(l);
}

static void test_first_descriptor(void **state UNUSED)
{
	enum { COUNT = 8 };
	struct loop *l = new_loop();
	struct pair pairs[COUNT] = {};
	for (unsigned int i = 0; i < COUNT; i++)
		pair_start(l, &pairs[i], EPOLLOUT);
	for (unsigned int i = 0; i < COUNT; i++) {
		loop_io_set_first(&pairs[i].io);
		for (unsigned int k = 0; k < COUNT; k++)
			pairs[k].victim = k == i ? NULL : &pairs[i];
		/* Were it not the first, another would have stopped it. */
		unsigned int before = pairs[i].calls;
		assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
		assert_int_equal(pairs[i].calls, before + 1);
		assert_int_equal(loop_io_start(l, &pairs[i].io, pairs[i].io.fd, EPOLLOUT), 0);
	}
	for (unsigned int i = 0; i < COUNT; i++)
		pair_stop(&pairs[i]);
	loop_free(l);
}

/* More ready descriptors than a batch: none starves. */
static void test_many(void **state UNUSED)
{
	enum { COUNT = 200 };
	struct loop *l = new_loop();
	struct pair *pairs = calloc(COUNT, sizeof(*pairs));
	assert_non_null(pairs);
	for (unsigned int i = 0; i < COUNT; i++)
		pair_start(l, &pairs[i], EPOLLOUT);
	for (unsigned int turn = 0; turn < 4; turn++)
		assert_int_equal(loop_turn(l, 0), 0);
	for (unsigned int i = 0; i < COUNT; i++) {
		assert_true(pairs[i].calls >= 1);
		pair_stop(&pairs[i]);
	}
	free(pairs);
	loop_free(l);
}

struct ticker {
	struct timer timer;
	struct loop *loop;
	unsigned int calls;
	unsigned int order;
	struct ticker *victim;
	bool again; /* re-arms itself in the past */
};

static unsigned int ticks;

static void on_tick(struct timer *timer)
{
	struct ticker *t = CONTAINER_OF(timer, struct ticker, timer);
	assert_false(timer_is_armed(timer));
	t->calls++;
	t->order = ++ticks;
	if (t->victim)
		timer_stop(&t->victim->timer);
	if (t->again)
		timer_start(t->loop, timer, 0);
}

static void test_timers(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct ticker t[3] = {};
	for (unsigned int i = 0; i < 3; i++) {
		t[i].timer.on_expire = on_tick;
		timer_start(l, &t[i].timer, loop_now(l) + (3 - i) * NSEC_PER_MSEC);
	}
	ticks = 0;
	nsec_t at = t[0].timer.at;
	while (ticks < 3) {
		assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
	}
	assert_true(loop_now(l) >= at);
	assert_int_equal(t[2].order, 1);
	assert_int_equal(t[1].order, 2);
	assert_int_equal(t[0].order, 3);

	/* Re-arming moves, stopping twice is harmless. */
	timer_start(l, &t[0].timer, NSEC_NEVER);
	timer_start(l, &t[0].timer, loop_now(l));
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
	assert_int_equal(t[0].calls, 2);
	timer_stop(&t[0].timer);
	timer_start(l, &t[0].timer, NSEC_NEVER);
	assert_true(timer_is_armed(&t[0].timer));
	timer_stop(&t[0].timer);
	timer_stop(&t[0].timer);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(t[0].calls, 2);
	loop_free(l);
}

static void test_timer_stops_timer(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct ticker a = { .timer.on_expire = on_tick };
	struct ticker b = { .timer.on_expire = on_tick, .victim = &a };
	a.victim = &b;
	timer_start(l, &a.timer, loop_now(l));
	timer_start(l, &b.timer, loop_now(l));
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(a.calls + b.calls, 1);
	loop_free(l);
}

/* A timer that re-arms itself for the past runs once a turn and doesn't hold the turn up. */
static void test_timer_in_the_past(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct ticker t = { .timer.on_expire = on_tick, .loop = l, .again = true };
	timer_start(l, &t.timer, 0);
	for (unsigned int i = 1; i <= 5; i++) {
		assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
		assert_int_equal(t.calls, i);
	}
	timer_stop(&t.timer);
	loop_free(l);
}

struct work {
	struct loop_task task;
	struct loop *loop;
	unsigned int calls;
	unsigned int order;
	unsigned int more; /* how often it posts itself again */
	struct work *next; /* posted by it */
	struct work *victim;
	enum loop_phase next_phase;
};

static unsigned int works;

static void run_work(struct loop_task *task)
{
	struct work *w = CONTAINER_OF(task, struct work, task);
	w->calls++;
	w->order = ++works;
	if (w->more > 0) {
		w->more--;
		loop_task_post(w->loop, task, LOOP_PHASE_WORK);
	}
	if (w->next)
		loop_task_post(w->loop, &w->next->task, w->next_phase);
	if (w->victim)
		loop_task_cancel(&w->victim->task);
}

static void test_tasks(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct work flush = { .task.run = run_work, .loop = l };
	struct work second = { .task.run = run_work, .loop = l };
	struct work first = { .task.run = run_work, .loop = l, .next = &second };
	works = 0;
	loop_task_post(l, &flush.task, LOOP_PHASE_FLUSH);
	loop_task_post(l, &first.task, LOOP_PHASE_WORK);
	loop_task_post(l, &first.task, LOOP_PHASE_WORK);
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0); /* doesn't wait */
	assert_int_equal(first.order, 1);
	assert_int_equal(second.order, 2);
	assert_int_equal(flush.order, 3); /* after the work that work had posted */
	assert_int_equal(first.calls, 1);
	loop_task_cancel(&first.task);
	loop_free(l);
}

static void test_task_cancels_task_of_its_round(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct work victim = { .task.run = run_work, .loop = l };
	struct work first = { .task.run = run_work, .loop = l, .victim = &victim };
	loop_task_post(l, &first.task, LOOP_PHASE_WORK);
	loop_task_post(l, &victim.task, LOOP_PHASE_WORK);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(first.calls, 1);
	assert_int_equal(victim.calls, 0);
	loop_free(l);
}

/* Endless work ends the turn all the same, is flushed, and goes on in the next without waiting. */
static void test_rounds_are_bounded(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct work flush = { .task.run = run_work, .loop = l };
	struct work endless = { .task.run = run_work, .loop = l, .more = 1000 };
	loop_task_post(l, &endless.task, LOOP_PHASE_WORK);
	loop_task_post(l, &flush.task, LOOP_PHASE_FLUSH);
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
	assert_true(endless.calls > 1 && endless.calls < 100);
	assert_int_equal(flush.calls, 1);
	unsigned int before = endless.calls;
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
	assert_true(endless.calls > before);
	loop_task_cancel(&endless.task);
	loop_free(l);
}

struct rubbish {
	struct loop_garbage garbage;
	struct work task;
	struct loop *loop;
	struct rubbish *child;
};

static unsigned int released;

static void release_rubbish(struct loop_garbage *garbage)
{
	struct rubbish *r = CONTAINER_OF(garbage, struct rubbish, garbage);
	released++;
	if (r->child)
		loop_defer_free(r->loop, &r->child->garbage);
	free(r);
}

static struct rubbish *new_rubbish(struct loop *l, struct rubbish *child)
{
	struct rubbish *r = calloc(1, sizeof(*r));
	assert_non_null(r);
	r->garbage.release = release_rubbish;
	r->loop = l;
	r->child = child;
	return r;
}

static void defer_from_work(struct loop_task *task)
{
	struct rubbish *r = CONTAINER_OF(task, struct rubbish, task.task);
	loop_defer_free(r->loop, &r->garbage);
	assert_int_equal(released, 0);
}

static void test_garbage(void **state UNUSED)
{
	struct loop *l = new_loop();
	released = 0;
	struct rubbish *r = new_rubbish(l, new_rubbish(l, NULL));
	r->task.task.run = defer_from_work;
	loop_task_post(l, &r->task.task, LOOP_PHASE_WORK);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(released, 2);
	loop_defer_free(l, &new_rubbish(l, NULL)->garbage);
	loop_defer_free(l, &new_rubbish(l, NULL)->garbage);
	assert_int_equal(loop_turn(l, NSEC_NEVER), 0); /* doesn't wait */
	assert_int_equal(released, 4);
	loop_defer_free(l, &new_rubbish(l, NULL)->garbage);
	loop_free(l);
	assert_int_equal(released, 5);
}

static void *quit_thread(void *arg)
{
	loop_quit(arg);
	return NULL;
}

static void test_quit(void **state UNUSED)
{
	struct loop *l = new_loop();
	for (unsigned int i = 0; i < 3; i++) {
		pthread_t thread;
		assert_int_equal(pthread_create(&thread, NULL, quit_thread, l), 0);
		assert_int_equal(loop_run(l), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	loop_free(l);
	loop_free(NULL);
}

static void run_quit(struct loop_task *task)
{
	struct work *w = CONTAINER_OF(task, struct work, task);
	w->calls++;
	loop_quit(w->loop);
	loop_task_post(w->loop, task, LOOP_PHASE_FLUSH);
}

static void test_quit_from_inside(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct work w = { .task.run = run_quit, .loop = l };
	loop_task_post(l, &w.task, LOOP_PHASE_FLUSH);
	assert_int_equal(loop_run(l), 0);
	assert_true(w.calls >= 1);
	loop_task_cancel(&w.task);
	loop_free(l);
}

static void run_burn(struct loop_task *task UNUSED)
{
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 2 * NSEC_PER_MSEC;
	while (nsec_clock(CLOCK_MONOTONIC) < end) {
	}
}

static void test_busy(void **state UNUSED)
{
	struct loop *l = new_loop();
	struct work w = { .task.run = run_burn, .loop = l };
	loop_task_post(l, &w.task, LOOP_PHASE_WORK);
	assert_int_equal(loop_turn(l, 0), 0);
	assert_int_equal(loop_turn(l, 0), 0);
	nsec_t busy = loop_busy(l);
	assert_true(busy >= 2 * NSEC_PER_MSEC);

	/* Waiting isn't work; when the processor was somebody else's all the while, once more. */
	struct ticker t = { .timer.on_expire = on_tick };
	nsec_t give_up = nsec_clock(CLOCK_MONOTONIC) + 10 * NSEC_PER_SEC, waited = 0;
	while (waited < 15 * NSEC_PER_MSEC) {
		nsec_t since = loop_now(l);
		assert_true(since < give_up);
		busy = loop_busy(l);
		t.calls = 0;
		timer_start(l, &t.timer, since + 20 * NSEC_PER_MSEC);
		while (t.calls == 0)
			assert_int_equal(loop_turn(l, NSEC_NEVER), 0);
		assert_int_equal(loop_turn(l, 0), 0);
		waited = nsec_sub(loop_now(l) - since, loop_busy(l) - busy);
	}
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_stopped_events_are_dropped),
		cmocka_unit_test(test_first_descriptor),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_timers),
		cmocka_unit_test(test_timer_stops_timer),
		cmocka_unit_test(test_timer_in_the_past),
		cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_task_cancels_task_of_its_round),
		cmocka_unit_test(test_rounds_are_bounded),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_quit),
		cmocka_unit_test(test_quit_from_inside),
		cmocka_unit_test(test_busy),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
