/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bridges between two running workers: bulk both ways, every way to end, hundreds of bridges whose
 * ends behave at random. Afterwards each worker must have all of its buffers back.
 * TEST_BRIDGE_MIB=100 moves more than the usual amount (for ThreadSanitizer), TEST_BRIDGE_SEED=N
 * makes another crowd.
 */
#include "daemon/flow/bridge.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "util/macro.h"

enum {
	MEMORY = 4 * 1024 * 1024, /* of each worker */
	CROWD = 200,              /* bridges of the random test */
	TURN_BYTES = 128 * 1024,  /* an end moves in one go */
	CODE = 7000,              /* of resets and stops, plus the end's number */
};

static struct worker_set *set;
static struct metric_registry *registry;
static struct bridge_metrics metrics;
static sem_t done;

static int setup(void **state)
{
	(void)state;
	if (metric_registry_new(100, &registry) < 0 ||
	    bridge_metrics_init(&metrics, registry, 2) < 0)
		return -1;
	struct worker_params p = { .count = 2, .memory = MEMORY, .metrics = registry };
	if (worker_set_new(&p, &set) < 0 || worker_set_start(set, NULL, NULL) < 0)
		return -1;
	return sem_init(&done, 0, 0);
}

static int teardown(void **state)
{
	(void)state;
	worker_set_stop(set);
	worker_set_free(set);
	bridge_metrics_done(&metrics);
	metric_registry_free(registry);
	return sem_destroy(&done);
}

/* ---- one end --------------------------------------------------------------------------------- */

/* What ends an end's direction, and after how many bytes. */
enum manner : uint8_t {
	MANNER_FINISH,
	MANNER_RESET,
	MANNER_STOP, /* of receiving */
	MANNER_CLOSE,
	MANNER_MAX_,
};

struct end {
	struct stream *s;
	struct worker *worker;
	struct loop_task again;
	struct bufq tx;
	uint64_t random;
	uint64_t code; /* of our reset and stop */
	uint64_t peer_code;
	uint64_t made, sent, received;
	uint64_t tx_until; /* send so many bytes, then … */
	enum manner tx_manner;
	uint64_t rx_until; /* receive so many, then stop or close; UINT64_MAX: until the end */
	enum manner rx_manner;
	ssize_t tx_status, rx_status;
	bool is_tx_over, is_rx_over;
	const char *wrong; /* cmocka can't be used on these threads */
};

static uint32_t next_random(struct end *e)
{
	e->random = e->random * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (uint32_t)(e->random >> 33);
}

static uint64_t pattern(uint64_t word)
{
	return word * UINT64_C(0x9e3779b97f4a7c15) ^ word >> 29;
}

static void end_over(struct end *e)
{
	stream_closep(&e->s);
	bufq_clear(&e->tx);
	loop_task_cancel(&e->again);
	(void)sem_post(&done);
}

/* Whole words, so that the check is quick; the length of a buffer varies. */
static bool produce(struct end *e)
{
	size_t room = 0;
	size_t want = next_random(e) % 3 ? SLAB_LARGE_LEN : 8 + next_random(e) % 1500;
	uint8_t *at = bufq_room(&e->tx, want, &room);
	if (!at)
		return false;
	uint64_t len = MIN((uint64_t)room, (uint64_t)want + 8);
	len = MIN(len, e->tx_until - e->made) & ~UINT64_C(7);
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t word = pattern((e->made + i) / 8);
		memcpy(at + i, &word, 8);
	}
	bufq_commit(&e->tx, len);
	e->made += len;
	return len > 0;
}

static void end_tx(struct end *e)
{
	e->is_tx_over = true;
	if (e->tx_manner == MANNER_RESET)
		stream_reset(e->s, e->code);
	else if (e->tx_manner != MANNER_CLOSE)
		stream_finish(e->s);
}

static void send_some(struct end *e, size_t budget)
{
	while (!e->is_tx_over && budget) {
		if (e->sent >= e->tx_until) {
			end_tx(e);
			return;
		}
		if (bufq_is_empty(&e->tx) && !produce(e)) {
			loop_task_post(e->worker->loop, &e->again, LOOP_PHASE_WORK);
			return; /* buffers come back */
		}
		size_t max = next_random(e) % 4 ? e->tx.len : 1 + next_random(e) % 3000;
		ssize_t n = stream_write(e->s, &e->tx, max);
		e->tx_status = n;
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			e->is_tx_over = true;
			if (n != -EPIPE)
				e->wrong = "unexpected error of a write";
			e->peer_code = e->s->error_code;
			return;
		}
		e->sent += (uint64_t)n;
		budget -= MIN((size_t)n, budget);
	}
}

/* Compares in words where they are aligned to the stream. */
static bool is_right(uint64_t at, struct span s)
{
	for (size_t i = 0, n; i < s.len; i += n) {
		uint64_t word = pattern((at + i) / 8);
		size_t from = (size_t)((at + i) % 8);
		n = MIN(8 - from, s.len - i);
		if (memcmp(s.ptr + i, (const uint8_t *)&word + from, n) != 0)
			return false;
	}
	return true;
}

static void check(struct end *e, struct bufq *rx)
{
	while (!bufq_is_empty(rx)) {
		struct span s = bufq_peek(rx);
		if (!is_right(e->received, s))
			e->wrong = "wrong bytes";
		e->received += s.len;
		bufq_consume(rx, s.len);
	}
}

static void receive_some(struct end *e, size_t budget)
{
	struct bufq rx;
	bufq_init(&rx, e->worker->slab);
	while (!e->is_rx_over && budget) {
		if (e->received >= e->rx_until) {
			stream_stop(e->s, e->code);
			e->is_rx_over = true;
			return;
		}
		size_t max = next_random(e) % 4 ? budget : 1 + next_random(e) % 3000;
		ssize_t n = stream_read(e->s, &rx, max);
		e->rx_status = n;
		if (n == -EAGAIN || n == -ENOBUFS)
			return;
		if (n <= 0) {
			e->is_rx_over = true;
			if (n < 0)
				e->peer_code = e->s->error_code;
			if (n < 0 && n != -ECONNRESET)
				e->wrong = "unexpected error of a read";
			return;
		}
		if ((size_t)n > max || (size_t)n != rx.len)
			e->wrong = "wrong count";
		check(e, &rx);
		budget -= MIN((size_t)n, budget);
	}
}

static bool must_close(const struct end *e)
{
	return (e->tx_manner == MANNER_CLOSE && e->sent >= e->tx_until) ||
	       (e->rx_manner == MANNER_CLOSE && e->received >= e->rx_until) ||
	       (e->is_tx_over && e->is_rx_over);
}

static void step(struct end *e)
{
	if (must_close(e)) {
		end_over(e);
		return;
	}
	receive_some(e, TURN_BYTES);
	send_some(e, TURN_BYTES);
	if (must_close(e))
		end_over(e);
	else if ((!e->is_rx_over && e->rx_status > 0) || (!e->is_tx_over && e->tx_status > 0))
		loop_task_post(e->worker->loop, &e->again, LOOP_PHASE_WORK);
}

static void on_again(struct loop_task *task)
{
	step(CONTAINER_OF(task, struct end, again));
}

static void on_event(struct stream *s, void *user)
{
	struct end *e = user;
	if (s != e->s)
		e->wrong = "event of another stream";
	step(e);
}

static const struct stream_user user = { .on_readable = on_event, .on_writable = on_event };

static void end_start(struct worker *w, void *arg)
{
	struct end *e = arg;
	bufq_init(&e->tx, w->slab);
	e->again.run = on_again;
	stream_set_user(e->s, &user, e);
}

/* ---- pairs ----------------------------------------------------------------------------------- */

struct pair {
	struct end a, b;
};

/* On worker 0; the other half goes to worker 1. */
static void pair_start(struct worker *w, void *arg)
{
	struct pair *p = arg;
	p->a.worker = w;
	p->b.worker = worker_set_get(w->set, 1);
	if (bridge_new(w, p->b.worker, &metrics, &p->a.s, &p->b.s) < 0)
		abort();
	if (worker_call(p->b.worker, end_start, &p->b) < 0)
		abort();
	end_start(w, &p->a);
}

static struct end end_that(uint64_t tx_until, enum manner tx_manner)
{
	static uint64_t number;
	number++;
	return (struct end){
		.random = number,
		.code = CODE + number,
		.tx_until = tx_until & ~UINT64_C(7),
		.tx_manner = tx_manner,
		.rx_until = UINT64_MAX,
	};
}

static void wait_for(unsigned int ends)
{
	struct timespec deadline;
	(void)clock_gettime(CLOCK_REALTIME, &deadline);
	deadline.tv_sec += 120;
	for (unsigned int i = 0; i < ends; i++)
		assert_int_equal(sem_timedwait(&done, &deadline), 0);
}

static void run_pair(struct pair *p)
{
	assert_int_equal(worker_call(worker_set_get(set, 0), pair_start, p), 0);
	wait_for(2);
	assert_null(p->a.wrong);
	assert_null(p->b.wrong);
}

static void collect(struct worker *w, void *arg)
{
	(void)arg;
	(void)slab_trim(w->slab);
}

/* All buffers come back; those that another worker gave back when their owner looks. */
static void check_memory(void)
{
	for (unsigned int i = 0; i < 2; i++) {
		struct slab_stats stats = { .in_use = 1 };
		for (int tries = 0; tries < 5000; tries++) {
			assert_int_equal(worker_call(worker_set_get(set, i), collect, NULL), 0);
			slab_get_stats(worker_set_get(set, i)->slab, &stats);
			if (!stats.in_use)
				break;
			struct timespec ms = { .tv_nsec = 1000 * 1000 };
			(void)nanosleep(&ms, NULL);
		}
		assert_int_equal(stats.in_use, 0);
	}
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void test_bulk(void **state)
{
	(void)state;
	const char *mib = getenv("TEST_BRIDGE_MIB");
	uint64_t bytes = (mib ? strtoul(mib, NULL, 10) : 16) << 20;
	struct pair p = { end_that(bytes, MANNER_FINISH), end_that(bytes + 8, MANNER_FINISH) };
	run_pair(&p);
	assert_int_equal(p.a.received, bytes + 8);
	assert_int_equal(p.b.received, bytes);
	assert_int_equal(p.a.rx_status, 0);
	assert_int_equal(p.b.rx_status, 0);
	check_memory();

	/* Wake-ups are far fewer than slices: at most one a turn. */
	int64_t there = metric_value(registry, metrics.messages[0 * 2 + 1]);
	int64_t back = metric_value(registry, metrics.messages[1 * 2 + 0]);
	assert_true(there > 0 && back > 0);
	print_message("%llu MiB each way, %lld + %lld messages\n",
		      (unsigned long long)(bytes >> 20), (long long)there, (long long)back);
	assert_true((uint64_t)(there + back) < 8 + 4 * bytes / (BRIDGE_WINDOW / 4));
}

static void test_one_way(void **state)
{
	(void)state;
	struct pair p = { end_that(0, MANNER_FINISH), end_that(1 << 20, MANNER_FINISH) };
	run_pair(&p);
	assert_int_equal(p.a.received, 1 << 20);
	assert_int_equal(p.b.received, 0);
	check_memory();
}

static void test_reset(void **state)
{
	(void)state;
	struct pair p = { end_that(400000, MANNER_RESET), end_that(400000, MANNER_FINISH) };
	run_pair(&p);
	assert_int_equal(p.b.rx_status, -ECONNRESET);
	assert_int_equal(p.b.peer_code, p.a.code);
	assert_true(p.b.received <= 400000);
	/* The other direction isn't touched. */
	assert_int_equal(p.a.rx_status, 0);
	assert_int_equal(p.a.received, 400000);
	check_memory();
}

static void test_stop(void **state)
{
	(void)state;
	struct pair p = { end_that(1000, MANNER_FINISH), end_that(64 << 20, MANNER_FINISH) };
	p.a.rx_until = 100000;
	p.a.rx_manner = MANNER_STOP;
	run_pair(&p);
	assert_int_equal(p.b.tx_status, -EPIPE);
	assert_int_equal(p.b.peer_code, p.a.code);
	assert_int_equal(p.b.received, 1000);
	check_memory();
}

static void test_close(void **state)
{
	(void)state;
	struct pair p = { end_that(100000, MANNER_CLOSE), end_that(64 << 20, MANNER_FINISH) };
	run_pair(&p);
	assert_int_equal(p.b.rx_status, -ECONNRESET);
	assert_int_equal(p.b.tx_status, -EPIPE);
	check_memory();
}

/* What was finished arrives although its half is closed at once. */
static void test_close_after_finish(void **state)
{
	(void)state;
	struct pair p = { end_that(200000, MANNER_FINISH), end_that(0, MANNER_FINISH) };
	p.a.rx_until = 0; /* stops receiving: so it ends with its finish */
	p.a.rx_manner = MANNER_STOP;
	run_pair(&p);
	assert_int_equal(p.b.rx_status, 0);
	assert_int_equal(p.b.received, 200000);
	check_memory();
}

static void randomize(struct end *e)
{
	uint32_t length = next_random(e) % 4 ? 300000 : 3000;
	*e = end_that(next_random(e) % length, next_random(e) % MANNER_MAX_);
	if (next_random(e) % 3 == 0) {
		e->rx_until = next_random(e) % length;
		e->rx_manner = next_random(e) % 2 ? MANNER_STOP : MANNER_CLOSE;
	}
}

static void test_crowd(void **state)
{
	(void)state;
	const char *text = getenv("TEST_BRIDGE_SEED");
	uint64_t seed = text ? strtoul(text, NULL, 10) * 10000 : 0;
	struct pair *pairs = calloc(CROWD, sizeof(*pairs));
	assert_non_null(pairs);
	for (unsigned int i = 0; i < CROWD; i++) {
		pairs[i].a.random = seed + i;
		pairs[i].b.random = seed + i + 5000;
		randomize(&pairs[i].a);
		randomize(&pairs[i].b);
		assert_int_equal(worker_call(worker_set_get(set, 0), pair_start, &pairs[i]), 0);
	}
	wait_for(2 * CROWD);
	unsigned int whole = 0, reset = 0;
	for (unsigned int i = 0; i < CROWD; i++) {
		struct pair *p = &pairs[i];
		assert_null(p->a.wrong);
		assert_null(p->b.wrong);
		assert_true(p->a.received <= p->b.tx_until && p->b.received <= p->a.tx_until);
		if (p->b.rx_status == 0 && p->b.is_rx_over)
			whole += p->b.received == p->a.tx_until;
		reset += p->b.rx_status == -ECONNRESET;
	}
	assert_true(whole > 0);
	assert_true(reset > 0);
	free(pairs);
	check_memory();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bulk),  cmocka_unit_test(test_one_way),
		cmocka_unit_test(test_reset), cmocka_unit_test(test_stop),
		cmocka_unit_test(test_close), cmocka_unit_test(test_close_after_finish),
		cmocka_unit_test(test_crowd),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
