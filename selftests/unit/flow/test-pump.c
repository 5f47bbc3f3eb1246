/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pump between two scripted streams: credit, limit, ends and errors of both, the budget of a
 * run. Also what stream.c does for all implementations: when a user is told.
 */
#include "daemon/flow/pump.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/macro.h"

static struct loop *loop;
static struct slab *slab;

static int setup(void **state)
{
	(void)state;
	return loop_new(&loop) < 0 || slab_new(4 << 20, &slab) < 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_free(loop);
	slab_free(slab);
	return 0;
}

/* ---- a stream that does what it is told ------------------------------------------------------ */

struct fake {
	struct stream base;
	size_t there;  /* bytes to read now */
	ssize_t after; /* what reading says when they are gone */
	size_t credit; /* bytes that writing takes now */
	ssize_t full;  /* what writing says then */
	int lost;      /* what stream_read_error() says */
	int broken;    /* what stream_write_error() says */
	size_t got;
	size_t most; /* the largest read that was asked for */
	unsigned int writes, finished, closed;
};

static struct fake *fake_of(struct stream *s)
{
	return CONTAINER_OF(s, struct fake, base);
}

static ssize_t fake_read(struct stream *s, struct bufq *to, size_t max)
{
	struct fake *f = fake_of(s);
	uint8_t bytes[1000] = {};
	f->most = MAX(f->most, max);
	if (!f->there)
		return f->after;
	size_t total = 0;
	while (total < max && f->there) {
		size_t n = MIN(sizeof(bytes), max - total);
		n = MIN(n, f->there);
		if (bufq_append_copy(to, span_of(bytes, n)) < 0)
			break;
		f->there -= n;
		total += n;
	}
	return (ssize_t)total;
}

static ssize_t fake_write(struct stream *s, struct bufq *from, size_t max)
{
	struct fake *f = fake_of(s);
	f->writes++;
	size_t n = MIN(max, from->len);
	n = MIN(n, f->credit);
	if (!n)
		return f->full;
	bufq_consume(from, n);
	f->credit -= n;
	f->got += n;
	return (ssize_t)n;
}

static int fake_read_error(struct stream *s)
{
	return fake_of(s)->lost;
}

static int fake_write_error(const struct stream *s)
{
	return ((const struct fake *)s)->broken; /* base comes first */
}

static size_t fake_credit(const struct stream *s)
{
	return ((const struct fake *)s)->credit;
}

static void fake_finish(struct stream *s)
{
	fake_of(s)->finished++;
}

static void fake_code(struct stream *s, uint64_t code)
{
	(void)s;
	(void)code;
}

static void fake_close(struct stream *s)
{
	fake_of(s)->closed++;
}

static const struct stream_ops fake_ops = {
	.read = fake_read,
	.write = fake_write,
	.credit = fake_credit,
	.read_error = fake_read_error,
	.write_error = fake_write_error,
	.finish = fake_finish,
	.reset = fake_code,
	.stop = fake_code,
	.close = fake_close,
};

static struct fake fake_new(void)
{
	return (struct fake){
		.base = { .ops = &fake_ops, .loop = loop, .slab = slab },
		.after = -EAGAIN,
		.full = -EAGAIN,
	};
}

/* ---- pump ------------------------------------------------------------------------------------ */

static void test_moves_and_ends(void **state)
{
	(void)state;
	struct fake a = fake_new(), b = fake_new();
	struct pump p;
	pump_init(&p, &a.base, &b.base);
	p.finish_sink = true;
	a.there = 5000;
	b.credit = 100000;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_RUNNING);
	assert_int_equal(b.got, 5000);
	assert_int_equal(b.finished, 0);
	a.there = 10;
	a.after = 0;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_DONE);
	assert_int_equal(p.moved, 5010);
	assert_int_equal(b.finished, 1);
	assert_false(pump_run(&p));
	assert_int_equal(b.finished, 1);
	pump_done(&p);
}

/* The sink's credit bounds what is taken from the source. */
static void test_credit(void **state)
{
	(void)state;
	struct fake a = fake_new(), b = fake_new();
	struct pump p;
	pump_init(&p, &a.base, &b.base);
	a.there = 1000000;
	b.credit = 10000;
	assert_false(pump_run(&p));
	assert_int_equal(b.got, 10000);
	assert_true(p.pending.len <= 2048);
	assert_int_equal(a.there, 1000000 - 10000 - p.pending.len);
	assert_int_equal(a.most, 10000);

	/* Nothing more is read while something waits. */
	size_t there = a.there;
	assert_false(pump_run(&p));
	assert_int_equal(a.there, there);
	b.credit = 1 << 20;
	(void)pump_run(&p);
	assert_true(a.most <= PUMP_CHUNK);
	pump_done(&p);
}

static void test_budget(void **state)
{
	(void)state;
	struct fake a = fake_new(), b = fake_new();
	struct pump p;
	pump_init(&p, &a.base, &b.base);
	a.there = 3 * PUMP_BUDGET + 5;
	b.credit = SIZE_MAX;
	unsigned int runs = 0;
	while (pump_run(&p))
		runs++;
	assert_int_equal(runs, 3);
	assert_int_equal(b.got, 3 * PUMP_BUDGET + 5);
	pump_done(&p);
}

static void test_limit(void **state)
{
	(void)state;
	struct fake a = fake_new(), b = fake_new();
	struct pump p;
	pump_init(&p, &a.base, &b.base);
	p.limit = 3000;
	p.finish_sink = true;
	a.there = 5000;
	b.credit = 1000;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_RUNNING);
	b.credit = 100000;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_DONE);
	assert_int_equal(b.got, 3000);
	assert_int_equal(a.there, 2000);
	assert_int_equal(b.finished, 1);
	pump_done(&p);

	pump_init(&p, &a.base, &b.base);
	p.limit = 0;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_DONE);
	assert_int_equal(a.there, 2000);
	assert_int_equal(b.finished, 1);
	pump_done(&p);
}

static void test_failures(void **state)
{
	(void)state;
	struct fake a = fake_new(), b = fake_new();
	struct pump p;
	pump_init(&p, &a.base, &b.base);
	p.finish_sink = true;
	a.there = 100;
	a.after = -ECONNRESET;
	b.credit = 1000;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_SOURCE_FAILED);
	assert_int_equal(p.error, -ECONNRESET);
	assert_int_equal(b.got, 100);
	assert_int_equal(b.finished, 0);
	pump_done(&p);

	a = fake_new();
	b = fake_new();
	pump_init(&p, &a.base, &b.base);
	a.there = 50000;
	b.credit = 1000;
	b.full = -EPIPE;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_SINK_FAILED);
	assert_int_equal(p.error, -EPIPE);
	assert_int_equal(p.pending.len, 0);
	assert_int_equal(p.moved, 1000);

	/* Want of buffers is no failure. */
	pump_init(&p, &a.base, &b.base);
	a.there = 0;
	a.after = -ENOBUFS;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_RUNNING);

	/* A sink that fails while there is nothing to write. */
	a.after = -EAGAIN;
	b.broken = -EPIPE;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_SINK_FAILED);
	assert_int_equal(p.error, -EPIPE);
	pump_done(&p);

	/* A source that breaks while the sink takes nothing. */
	a = fake_new();
	b = fake_new();
	pump_init(&p, &a.base, &b.base);
	a.there = 50000;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_RUNNING);
	assert_true(p.pending.len > 0);
	a.lost = -ECONNRESET;
	assert_false(pump_run(&p));
	assert_int_equal(p.state, PUMP_STATE_SOURCE_FAILED);
	assert_int_equal(p.error, -ECONNRESET);
	assert_int_equal(p.pending.len, 0);
}

/* ---- who is told ----------------------------------------------------------------------------- */

struct listener {
	unsigned int readable, writable;
	bool closes;
};

static void on_readable(struct stream *s, void *user)
{
	struct listener *l = user;
	l->readable++;
	if (l->closes)
		stream_close(s);
}

static void on_writable(struct stream *s, void *user)
{
	(void)s;
	struct listener *l = user;
	l->writable++;
}

static const struct stream_user listener_ops = { .on_readable = on_readable,
						 .on_writable = on_writable };

static void test_telling(void **state)
{
	(void)state;
	struct fake a = fake_new();
	struct listener l = {};

	stream_tell(&a.base, true, false); /* nobody there yet */
	assert_int_equal(loop_turn(loop, 0), 0);
	stream_set_user(&a.base, &listener_ops, &l);
	assert_int_equal(l.readable + l.writable, 0);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(l.readable, 1);
	assert_int_equal(l.writable, 1);

	stream_tell(&a.base, false, true);
	stream_tell(&a.base, false, true);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(l.readable, 1);
	assert_int_equal(l.writable, 2);

	/* Closed in the first callback: the second doesn't come, nor any other. */
	l.closes = true;
	stream_tell(&a.base, true, true);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(a.closed, 1);
	assert_int_equal(l.readable, 2);
	assert_int_equal(l.writable, 2);
	stream_tell(&a.base, true, true);
	assert_int_equal(loop_turn(loop, 0), 0);
	assert_int_equal(l.readable, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_moves_and_ends), cmocka_unit_test(test_credit),
		cmocka_unit_test(test_budget),         cmocka_unit_test(test_limit),
		cmocka_unit_test(test_failures),       cmocka_unit_test(test_telling),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
