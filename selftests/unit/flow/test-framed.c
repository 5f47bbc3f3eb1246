/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Framed bodies over a stream in memory: every split of every message, small windows, endings.
 */
#include "daemon/flow/framed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "selftests/lib/fake_stream.h"
#include "util/macro.h"

enum { OUT_MAX = 256 * 1024 };

static struct loop *loop;
static struct slab *slab;
static struct arena arena;
static struct stream *ours, *peer;
static struct framed f;
static uint8_t out[OUT_MAX];
static const struct framed_limits limits = { .trailer_max = 1000, .trailer_fields = 3 };

static void open_pair(size_t window)
{
	assert_int_equal(fake_pair_new(loop, slab, window, &ours, &peer), 0);
	framed_init(&f, ours, &arena, &limits);
}

static void close_pair(void)
{
	framed_done(&f);
	stream_close(ours);
	stream_close(peer);
	assert_int_equal(loop_turn(loop, 0), 0);
	arena_reset(&arena);
}

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 1 << 20, NULL);
	return loop_new(&loop) < 0 || slab_new(64 << 20, &slab) < 0;
}

static int teardown(void **state)
{
	(void)state;
	arena_done(&arena);
	loop_free(loop);
	slab_free(slab); /* asserts that every buffer has come back */
	return 0;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Reads on; returns what reading said last. */
static ssize_t read_on(size_t max, size_t *len)
{
	struct bufq q;
	bufq_init(&q, slab);
	ssize_t n;
	do {
		n = stream_read(&f.base, &q, max);
		assert_true(n <= (ssize_t)max);
		*len += bufq_copy_out(&q, out + *len, q.len);
		bufq_clear(&q);
		assert_int_equal(loop_turn(loop, 0), 0);
	} while (n > 0);
	return n;
}

#define T_FRAME               \
	"\x01\x0d\x03x-a\x01" \
	"1"                   \
	"\x03x-b\x02"         \
	"22"

static const struct {
	const char *bytes;
	size_t len;
	const char *body;
	int end; /* what reading says in the end */
	unsigned int trailers;
} cases[] = {
#define CASE(b, body, end, trailers) { b, sizeof(b) - 1, body, end, trailers }
	CASE("", "", 0, 0),
	CASE("\x00\x05hello", "hello", 0, 0),
	CASE("\x00\x00\x00\x02he\x00\x00\x00\x03llo\x00\x00", "hello", 0, 0),
	CASE("\x09\x03xyz\x00\x05hello\x40\x80\x00", "hello", 0, 0),
	CASE("\x00\x05hello" T_FRAME, "hello", 0, 2),
	CASE(T_FRAME, "", 0, 2),
	CASE("\x01\x00", "", 0, 0),
	CASE("\x00\x05hello" T_FRAME "\x07\x01z", "hello", 0, 2),
	CASE("\x00\x05hello\x02\x01\x09", "hello", -ECONNRESET, 0),
	CASE("\x00\x05hello" T_FRAME "\x02\x01\x09", "hello", -ECONNRESET, 2),
	CASE("\x00", "", -EBADMSG, 0),
	CASE("\x00\x05hell", "hell", -EBADMSG, 0),
	CASE("\x00\x05hello\x09\x02x", "hello", -EBADMSG, 0),
	CASE("\x00\x05hello\x01\x04\x01x\x01", "hello", -EBADMSG, 0),
	CASE("\x00\x01h" T_FRAME "\x00\x01x", "h", -EBADMSG, 2),
	CASE("\x00\x01h" T_FRAME T_FRAME, "h", -EBADMSG, 2),
	CASE("\x00\x01h\x01\x43\xe9", "h", -EBADMSG, 0), /* 1001 bytes of trailers */
	CASE("\x00\x01h\x01\x0c\x01"
	     "a\x00\x01"
	     "b\x00\x01"
	     "c\x00\x01"
	     "d\x00",
	     "h", -EBADMSG, 0),
	CASE("\x00\x01h\x02\x00", "h", -EBADMSG, 0),
	CASE("\x00\x01h\x02\x09", "h", -EBADMSG, 0),
#undef CASE
};

/* Delivered in pieces of step bytes, read in pieces of max. */
static void run_case(size_t i, size_t step, size_t max)
{
	open_pair(OUT_MAX);
	size_t len = 0;
	ssize_t end = -EAGAIN;
	for (size_t at = 0; at < cases[i].len; at += step) {
		fake_stream_put(peer, cases[i].bytes + at, MIN(step, cases[i].len - at));
		end = read_on(max, &len);
	}
	if (end == -EAGAIN) {
		stream_finish(peer);
		end = read_on(max, &len);
	}
	if (end != cases[i].end || len != strlen(cases[i].body) ||
	    memcmp(out, cases[i].body, len) != 0)
		fail_msg("case %zu step %zu: %zd, %zu bytes", i, step, end, len);
	assert_int_equal(f.field_count, cases[i].trailers);
	if (f.field_count) {
		assert_true(span_eq_str(f.fields[1].name, "x-b"));
		assert_true(span_eq_str(f.fields[1].value, "22"));
	}
	assert_int_equal(f.is_aborted && f.error == -ECONNRESET, cases[i].end == -ECONNRESET);
	if (cases[i].end == -ECONNRESET)
		assert_true(f.base.error_code == 9);
	/* It stays. */
	assert_int_equal(read_on(max, &len), cases[i].end);
	close_pair();
}

static void test_reading(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t step = 1; step <= MAX(cases[i].len, (size_t)1); step++) {
			run_case(i, step, 1);
			run_case(i, step, 1000);
		}
}

/* Bytes that were read before the frames were known. */
static void test_rest(void **state)
{
	(void)state;
	open_pair(OUT_MAX);
	struct bufq rest;
	bufq_init(&rest, slab);
	assert_int_equal(bufq_append_copy(&rest, SPAN_LIT("\x00\x05hel")), 0);
	framed_take(&f, &rest);
	assert_true(bufq_is_empty(&rest));
	fake_stream_put(peer, "lo", 2);
	stream_finish(peer);
	size_t len = 0;
	assert_int_equal(read_on(100, &len), 0);
	assert_memory_equal(out, "hello", 5);
	close_pair();
}

/* Frames without bytes don't hold the loop. */
static void test_empty_frames(void **state)
{
	(void)state;
	open_pair(OUT_MAX);
	for (int i = 0; i < 10000; i++)
		fake_stream_put(peer, "\x00\x00", 2);
	struct bufq q;
	bufq_init(&q, slab);
	unsigned int calls = 0;
	while (stream_read(&f.base, &q, 1000) == -EAGAIN && ++calls < 1000)
		if (f.in.len == 0 && fake_stream_take(ours, out, 0, &(size_t){ 0 }) == -EAGAIN)
			break;
	assert_true(calls > 10);
	close_pair();
}

static void test_reset(void **state)
{
	(void)state;
	open_pair(OUT_MAX);
	fake_stream_put(peer, "\x00\x05hel", 5);
	size_t len = 0;
	assert_int_equal(read_on(100, &len), -EAGAIN);
	stream_reset(peer, 5);
	assert_int_equal(stream_read_error(&f.base), -ECONNRESET);
	assert_int_equal(read_on(100, &len), -ECONNRESET);
	assert_true(f.base.error_code == 5 && !f.is_aborted);
	close_pair();
}

/* ---- writing --------------------------------------------------------------------------------- */

/* What the peer has got, as plain bytes; its frames are read by another framed. */
static void test_writing(void **state)
{
	(void)state;
	static const size_t windows[] = { 1, 3, 100, 5000, 300000 };
	static uint8_t body[200000];
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)(i * 7);
	for (size_t w = 0; w < ARRAY_SIZE(windows); w++) {
		size_t size = windows[w] < 100 ? 500 : sizeof(body);
		open_pair(windows[w]);
		struct framed other;
		framed_init(&other, peer, &arena, &limits);
		static const struct http_field t[] = { { SPAN_LIT("X-T"), SPAN_LIT("v") } };
		struct bufq q, in;
		bufq_init(&q, slab);
		bufq_init(&in, slab);
		assert_int_equal(bufq_append_copy(&q, span_of(body, size)), 0);
		bool has_end = false;
		for (unsigned int turn = 0; !has_end && turn < 100000; turn++) {
			ssize_t n = 0;
			if (q.len)
				n = stream_write(&f.base, &q, q.len);
			if (!q.len && !f.wants_fin) {
				framed_set_trailers(&f, t, 1);
				stream_finish(&f.base);
			}
			assert_true(n >= 0 || n == -EAGAIN);
			int r = framed_flush(&f);
			assert_true(r == 0 || r == -EAGAIN);
			has_end = stream_read(&other.base, &in, 1000) == 0;
			assert_int_equal(loop_turn(loop, 0), 0);
		}
		assert_true(has_end);
		assert_int_equal(bufq_copy_out(&in, out, sizeof(out)), size);
		assert_memory_equal(out, body, size);
		assert_int_equal(other.field_count, 1);
		assert_true(span_eq_str(other.fields[0].name, "x-t"));
		assert_int_equal(stream_write(&f.base, &in, 1), -EPROTO);
		bufq_clear(&in);
		framed_done(&other);
		close_pair();
	}
}

static void test_abort(void **state)
{
	(void)state;
	/* With room: behind what was written, then FIN. */
	open_pair(1000);
	struct bufq q;
	bufq_init(&q, slab);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("hello")), 0);
	assert_int_equal(stream_write(&f.base, &q, 5), 5);
	assert_int_equal(framed_abort(&f, 9), 0);
	size_t len;
	assert_int_equal(fake_stream_take(peer, out, sizeof(out), &len), 0);
	assert_int_equal(len, 10);
	assert_memory_equal(out, "\x00\x05hello\x02\x01\x09", 10);
	close_pair();

	/* Without: when there is some. */
	open_pair(3);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("hello")), 0);
	assert_int_equal(stream_write(&f.base, &q, 5), 5);
	assert_int_equal(framed_abort(&f, 9), -EAGAIN);
	size_t all = 0;
	for (int i = 0; i < 10; i++) {
		(void)fake_stream_take(peer, out + all, sizeof(out) - all, &len);
		all += len;
		(void)framed_flush(&f);
	}
	assert_int_equal(fake_stream_take(peer, out + all, 1, &len), 0);
	assert_int_equal(all, 10);
	assert_memory_equal(out, "\x00\x05hello\x02\x01\x09", 10);

	/* The end was said already: only a reset is left. */
	assert_int_equal(framed_abort(&f, 9), -ENOBUFS);
	close_pair();
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reading), TEST(test_rest),    TEST(test_empty_frames),
		TEST(test_reset),   TEST(test_writing), TEST(test_abort),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
