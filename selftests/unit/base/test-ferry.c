/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ferry: what crosses comes whole and in order, how much may be under way, and its end in the
 * middle. Turns of two workers are the test's; in the last test their threads run.
 */
#include "daemon/base/ferry.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "util/macro.h"

enum {
	WORKERS = 2,
	IN_BATCH = 64, /* datagrams */
	BATCHES = 3,
	BYTES = 4096,
	ROOM = 24,
	LONGEST = BYTES - ROOM,
	CROSSINGS = 20000,
};

struct head {
	uint64_t number;
	void *pointer; /* as far aligned as anything that is carried */
	uint8_t odd;
};

/* A worker's end: what leaves and what has come. */
struct end {
	struct ferry ferry;
	struct worker *worker;
	struct loop_task more;
	uint64_t next; /* to be sent */
	uint64_t taken;
	size_t last_len;
};

static struct world {
	struct worker_set *set;
	struct end ends[WORKERS];
	sem_t all_taken;
	atomic_uint forgotten; /* heads */
	atomic_uint allocations;
	bool is_out_of_memory;
} w;

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

void *__wrap_malloc(size_t size)
{
	w.allocations++;
	return w.is_out_of_memory ? NULL : __real_malloc(size);
}

/* ---- ends ---- */

static uint8_t byte_of(uint64_t number, size_t at)
{
	return (uint8_t)(number * 31 + at);
}

static bool add(struct end *e, unsigned int to, size_t len)
{
	uint8_t bytes[BYTES];
	struct head head = { .number = e->next, .pointer = e, .odd = (uint8_t)e->next };
	for (size_t i = 0; i < len; i++)
		bytes[i] = byte_of(e->next, i);
	bool is_taken = ferry_add(&e->ferry, to, &head, span_of(len ? bytes : NULL, len));
	memset(bytes, 0, len);
	memset(&head, 0, sizeof(head)); /* both were copied */
	e->next += is_taken;
	return is_taken;
}

/* Everything of a sender comes here, in order. */
static void take(const void *from, const struct worker *here, const void *data, uint8_t *bytes,
		 size_t len)
{
	const struct head *head = data;
	struct end *e = &w.ends[here->index];
	assert_ptr_equal(from, head->pointer);
	assert_true(from != e);
	assert_int_equal(head->number, e->taken);
	assert_int_equal(head->odd, (uint8_t)e->taken);
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != byte_of(head->number, i))
			fail();
	memset(bytes - ROOM, 0xee, ROOM + len); /* ours; the next and its head aren't */
	e->last_len = len;
	e->taken++;
	if (e->taken == CROSSINGS)
		sem_post(&w.all_taken);
}

/* After it was taken, if it was. */
static void forget(const void *data)
{
	const struct head *head = data;
	const struct end *e = head->pointer;
	assert_int_equal(head->odd, (uint8_t)head->number);
	assert_true(e == &w.ends[0] || e == &w.ends[1]);
	w.forgotten++;
}

static const struct ferry_kind kind = {
	.batches = BATCHES,
	.bytes = BYTES,
	.room = ROOM,
	.head_len = sizeof(struct head),
	.take = take,
	.forget = forget,
};

static int start(void **state UNUSED)
{
	w = (struct world){};
	const struct worker_params params = { .count = WORKERS, .memory = 1 << 20 };
	assert_int_equal(worker_set_new(&params, &w.set), 0);
	assert_int_equal(sem_init(&w.all_taken, 0, 0), 0);
	for (unsigned int i = 0; i < WORKERS; i++) {
		struct end *e = &w.ends[i];
		e->worker = worker_set_get(w.set, i);
		ferry_init(&e->ferry, &kind, e->worker, e);
	}
	w.allocations = 0;
	return 0;
}

/* Whatever became of it: each head that was added is forgotten once. */
static int end(void **state UNUSED)
{
	uint64_t added = 0;
	for (unsigned int i = 0; i < WORKERS; i++) {
		ferry_done(&w.ends[i].ferry);
		added += w.ends[i].next;
	}
	worker_set_free(w.set);
	assert_int_equal(w.forgotten, added);
	sem_destroy(&w.all_taken);
	return 0;
}

static void turn(unsigned int worker)
{
	assert_int_equal(loop_turn(w.ends[worker].worker->loop, 0), 0);
}

/* ---- tests ---- */

/* One batch for a turn's, and it leaves at its end. */
static void test_a_turn(void **state UNUSED)
{
	struct end *there = &w.ends[1];
	for (unsigned int i = 0; i < 5; i++)
		assert_true(add(&w.ends[0], 1, 10 * i));
	assert_int_equal(w.allocations, 1);
	turn(1);
	assert_int_equal(there->taken, 0);
	turn(0);
	assert_int_equal(there->taken, 0);
	turn(1);
	assert_int_equal(there->taken, 5);
	assert_int_equal(w.forgotten, 5);
	assert_int_equal(there->last_len, 40);
	turn(0);
	assert_int_equal(w.ends[0].ferry.under_way, 0);
	turn(1);
	assert_int_equal(there->taken, 5);
}

/* Batches that are full by count and by bytes; what has come back is used again. */
static void test_many(void **state UNUSED)
{
	static const struct {
		size_t lens[2];
		unsigned int allocations; /* so far; one that has come back is kept */
	} rows[] = {
		{ { LONGEST, 0 }, 2 },
		{ { LONGEST - ROOM, 0 }, 2 }, /* fit exactly */
		{ { LONGEST - ROOM, 1 }, 3 },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_true(add(&w.ends[0], 1, rows[i].lens[0]));
		assert_true(add(&w.ends[0], 1, rows[i].lens[1]));
		turn(0);
		turn(1);
		turn(0);
		assert_int_equal(w.ends[1].last_len, rows[i].lens[1]);
		assert_int_equal(w.allocations, rows[i].allocations);
	}
	for (unsigned int i = 0; i < 2 * IN_BATCH + 1; i++)
		assert_true(add(&w.ends[0], 1, 3));
	assert_int_equal(w.ends[0].ferry.under_way, 3);
	turn(0);
	turn(1);
	assert_int_equal(w.ends[1].taken, 2 * ARRAY_SIZE(rows) + 2 * IN_BATCH + 1);
	turn(0);
	assert_int_equal(w.ends[0].ferry.under_way, 0);
}

static void test_too_long(void **state UNUSED)
{
	assert_false(add(&w.ends[0], 1, LONGEST + 1));
	assert_false(ferry_add(&w.ends[0].ferry, 1, &(struct head){}, span_of("", SIZE_MAX)));
	assert_int_equal(w.allocations, 0);
	assert_true(add(&w.ends[0], 1, 1));
	assert_false(add(&w.ends[0], 1, LONGEST + 1));
	turn(0);
	turn(1);
	assert_int_equal(w.ends[1].taken, 1);
}

/* It is of all that leave a worker, whatever worker they are for. */
static void test_limit(void **state UNUSED)
{
	struct end *from = &w.ends[0];
	for (unsigned int i = 0; i < BATCHES * IN_BATCH; i++)
		assert_true(add(from, 1, 1));
	assert_false(add(from, 1, 1));
	assert_false(ferry_add(&from->ferry, 0, &(struct head){}, span_of("", 0)));
	assert_int_equal(w.allocations, BATCHES);
	turn(0);
	assert_false(add(from, 1, 1)); /* none has come back */
	turn(1);
	assert_false(add(from, 1, 1));
	turn(0);
	assert_true(add(from, 1, 1));
	turn(0);
	turn(1);
	assert_int_equal(w.ends[1].taken, BATCHES * IN_BATCH + 1);
	assert_int_equal(w.allocations, BATCHES);
}

/* What is in the batch that is there still goes. */
static void test_no_memory(void **state UNUSED)
{
	for (unsigned int i = 0; i < IN_BATCH; i++)
		assert_true(add(&w.ends[0], 1, 1));
	w.is_out_of_memory = true;
	assert_false(add(&w.ends[0], 1, 1));
	assert_false(add(&w.ends[0], 1, 1));
	assert_int_equal(w.ends[0].ferry.under_way, 1);
	turn(0);
	turn(1);
	assert_int_equal(w.ends[1].taken, IN_BATCH);
	turn(0);
	assert_true(add(&w.ends[0], 1, 1)); /* that batch again */
	w.is_out_of_memory = false;
	turn(0);
	assert_true(add(&w.ends[0], 1, 1));
	turn(0);
	turn(1);
	assert_int_equal(w.ends[1].taken, IN_BATCH + 2);
}

/* What is under way then gets there and its batch comes home; nothing else leaves. */
static void test_done_in_the_middle(void **state UNUSED)
{
	struct end *from = &w.ends[0];
	for (unsigned int i = 0; i < 2; i++) {
		assert_true(add(from, 1, 1));
		turn(0);
	}
	assert_true(add(from, 1, 1)); /* hasn't left */
	ferry_done(&from->ferry);
	assert_int_equal(w.forgotten, 1);
	assert_false(add(from, 1, 1));
	turn(0);
	turn(1);
	assert_int_equal(w.ends[1].taken, 2);
	turn(0);
	assert_false(add(from, 1, 1));
	assert_null(from->ferry.spare);
}

/* One that is under way, one on its way back, one that is built and one that waits to be used:
 * whoever has it gives its memory back. */
static void test_end_in_the_middle(void **state UNUSED)
{
	struct end *from = &w.ends[0];
	for (unsigned int i = 0; i < IN_BATCH + 1; i++)
		assert_true(add(from, 1, 1));
	turn(0);
	turn(1);
	turn(0);
	assert_non_null(from->ferry.spare);
	for (unsigned int i = 0; i < 2; i++) {
		assert_true(add(from, 1, 1));
		turn(0);
		if (i == 0)
			turn(1);
	}
	assert_true(add(from, 1, 1));
}

/* Without any under way its memory may go, the loop having more turns. */
static void test_nothing_is_left(void **state UNUSED)
{
	struct ferry *f = &w.ends[0].ferry;
	assert_true(add(&w.ends[0], 1, 1));
	ferry_done(f);
	memset(f, 0xff, sizeof(*f));
	turn(0);
	*f = (struct ferry){};
}

/* As many as may, for ever, until the other end has seen enough. */
static void on_more(struct loop_task *task)
{
	struct end *e = CONTAINER_OF(task, struct end, more);
	while (add(e, 1 - e->worker->index, e->next % 200))
		;
	loop_task_post(e->worker->loop, task, LOOP_PHASE_WORK);
}

static void begin(struct worker *worker)
{
	struct end *e = &w.ends[worker->index];
	e->more.run = on_more;
	on_more(&e->more);
}

static void stop(struct worker *worker)
{
	struct end *e = &w.ends[worker->index];
	loop_task_cancel(&e->more);
	ferry_done(&e->ferry);
	for (unsigned int i = 0; i < 3; i++)
		turn(worker->index);
}

static void test_both_ways_at_once(void **state UNUSED)
{
	struct timespec deadline;
	(void)clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 60;
	assert_int_equal(worker_set_start(w.set, begin, stop), 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(sem_timedwait(&w.all_taken, &deadline), 0);
	worker_set_stop(w.set);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	static const struct CMUnitTest tests[] = {
		T(test_a_turn),
		T(test_many),
		T(test_too_long),
		T(test_limit),
		T(test_no_memory),
		T(test_done_in_the_middle),
		T(test_end_in_the_middle),
		T(test_nothing_is_left),
		T(test_both_ways_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
