/* SPDX-License-Identifier: Apache-2.0 */
/* Byte queues: against a plain array as a model, at the budget, and by reference. */
#include "daemon/base/bufq.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/macro.h"

static struct slab *new_slab(size_t budget)
{
	struct slab *s = NULL;
	assert_int_equal(slab_new(budget, &s), 0);
	return s;
}

static size_t in_use(const struct slab *s)
{
	struct slab_stats st;
	slab_get_stats(s, &st);
	return st.in_use;
}

static void check(const struct bufq *q, const uint8_t *want, size_t len)
{
	assert_int_equal(q->len, len);
	assert_int_equal(bufq_is_empty(q), len == 0);
	uint8_t *got = malloc(len + 1);
	assert_non_null(got);
	assert_int_equal(bufq_copy_out(q, got, len + 1), len);
	assert_memory_equal(got, want, len);
	free(got);
}

static void test_copy_fills_the_last_buffer(void **state UNUSED)
{
	struct slab *s = new_slab(SLAB_SMALL_LEN);
	struct bufq q;
	bufq_init(&q, s);
	for (unsigned int i = 0; i < SLAB_SMALL_LEN; i++)
		assert_int_equal(bufq_append_copy(&q, SPAN_LIT("x")), 0);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("x")), -ENOBUFS);
	assert_int_equal(q.len, SLAB_SMALL_LEN);
	assert_int_equal(bufq_peek(&q).len, SLAB_SMALL_LEN);
	bufq_clear(&q);
	assert_int_equal(in_use(s), 0);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("usable")), 0);
	check(&q, (const uint8_t *)"usable", 6);
	bufq_clear(&q);
	slab_free(s);
}

static void test_copy_is_all_or_nothing(void **state UNUSED)
{
	static const uint8_t big[3 * SLAB_LARGE_LEN];
	struct slab *s = new_slab(2 * (size_t)SLAB_LARGE_LEN + SLAB_SMALL_LEN);
	struct bufq q;
	bufq_init(&q, s);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("abc")), 0);
	assert_int_equal(bufq_append_copy(&q, span_of(big, sizeof(big))), -ENOBUFS);
	check(&q, (const uint8_t *)"abc", 3);
	assert_int_equal(in_use(s), SLAB_SMALL_LEN);
	size_t fits = SLAB_SMALL_LEN - 3 + 2 * SLAB_LARGE_LEN;
	assert_int_equal(bufq_append_copy(&q, span_of(big, fits + 1)), -ENOBUFS);
	assert_int_equal(bufq_append_copy(&q, span_of(big, fits)), 0);
	assert_int_equal(q.len, fits + 3);
	bufq_clear(&q);
	assert_int_equal(in_use(s), 0);
	slab_free(s);
}

static void test_room_and_commit(void **state UNUSED)
{
	struct slab *s = new_slab(SLAB_LARGE_LEN + (size_t)SLAB_SMALL_LEN);
	struct bufq q;
	bufq_init(&q, s);
	size_t len = 0;
	assert_non_null(bufq_room(&q, 100, &len));
	assert_int_equal(len, SLAB_SMALL_LEN);
	bufq_commit(&q, 0);
	assert_int_equal(in_use(s), 0); /* the unused buffer went back */
	assert_null(q.head);

	uint8_t *p = bufq_room(&q, 100, &len);
	memset(p, 'a', len);
	bufq_commit(&q, len - 10);
	assert_ptr_equal(bufq_room(&q, 40, &len), p + SLAB_SMALL_LEN - 10); /* a quarter is left */
	assert_int_equal(len, 10);
	bufq_commit(&q, 0);
	assert_int_equal(q.len, SLAB_SMALL_LEN - 10);
	p = bufq_room(&q, SLAB_LARGE_LEN, &len); /* now it isn't */
	assert_int_equal(len, SLAB_LARGE_LEN);
	memset(p, 'b', len);
	bufq_commit(&q, len);
	assert_null(bufq_room(&q, 1, &len));
	assert_int_equal(q.len, SLAB_SMALL_LEN - 10 + SLAB_LARGE_LEN);
	bufq_clear(&q);

	/* Room that nobody committed does no harm. */
	assert_non_null(bufq_room(&q, 1, &len));
	assert_non_null(bufq_room(&q, SLAB_LARGE_LEN, &len));
	assert_int_equal(bufq_peek(&q).len, 0);
	assert_int_equal(bufq_append_copy(&q, SPAN_LIT("z")), 0);
	check(&q, (const uint8_t *)"z", 1);
	bufq_consume(&q, 5);
	assert_true(bufq_is_empty(&q));
	assert_int_equal(in_use(s), 0);
	slab_free(s);
}

/* A shared buffer is never written again, not even behind the shared bytes. */
static void test_shared_tail_is_not_written(void **state UNUSED)
{
	struct slab *s = new_slab(1 << 20);
	struct bufq a;
	struct bufq b;
	bufq_init(&a, s);
	bufq_init(&b, s);
	assert_int_equal(bufq_append_copy(&a, SPAN_LIT("hello world")), 0);
	assert_int_equal(bufq_move(&b, &a, 6), 6);
	assert_int_equal(in_use(s), SLAB_SMALL_LEN); /* split by reference */
	assert_int_equal(bufq_append_copy(&b, SPAN_LIT("there")), 0);
	assert_int_equal(bufq_append_copy(&a, SPAN_LIT("!")), 0);
	check(&b, (const uint8_t *)"hello there", 11);
	check(&a, (const uint8_t *)"world!", 6);
	bufq_clear(&a);
	bufq_clear(&b);
	assert_int_equal(in_use(s), 0);
	slab_free(s);
}

/* Moving a buffer piece by piece costs one node, not one a piece. */
static void test_pieces_are_joined(void **state UNUSED)
{
	struct slab *s = new_slab(1 << 20);
	struct bufq a;
	struct bufq b;
	bufq_init(&a, s);
	bufq_init(&b, s);
	for (unsigned int i = 0; i < 100; i++)
		assert_int_equal(bufq_append_copy(&a, SPAN_LIT("ab")), 0);
	while (!bufq_is_empty(&a))
		assert_int_equal(bufq_move(&b, &a, 2), 2);
	assert_int_equal(bufq_peek(&b).len, 200);
	assert_ptr_equal(b.head, b.tail);
	assert_int_equal(bufq_append_copy(&b, SPAN_LIT("c")), 0); /* sole owner again */
	assert_ptr_equal(b.head, b.tail);

	struct slab_buf *buf = slab_buf_get(s, 1);
	memcpy(buf->data, "0123456789", 10);
	assert_int_equal(bufq_append_ref(&b, buf, buf->data, 5), 0);
	assert_int_equal(bufq_append_ref(&b, buf, buf->data + 5, 5), 0);
	assert_int_equal(bufq_append_ref(&b, buf, buf->data, 0), 0);
	assert_int_equal(b.tail->len, 10);
	slab_buf_unref(buf);
	bufq_clear(&b);
	assert_int_equal(in_use(s), 0);
	slab_free(s);
}

static void test_iov(void **state UNUSED)
{
	struct slab *s = new_slab(1 << 20);
	struct bufq q;
	bufq_init(&q, s);
	struct slab_buf *buf = slab_buf_get(s, 1);
	memcpy(buf->data, "0123456789", 10);
	for (unsigned int i = 0; i < 4; i++) /* runs that can't be joined */
		assert_int_equal(bufq_append_ref(&q, buf, buf->data + i, 3), 0);
	slab_buf_unref(buf);

	struct iovec iov[8];
	assert_int_equal(bufq_iov(&q, 0, SIZE_MAX, iov, 8), 4);
	assert_int_equal(bufq_iov(&q, 0, SIZE_MAX, iov, 2), 2);
	assert_int_equal(bufq_iov(&q, 12, SIZE_MAX, iov, 8), 0);
	assert_int_equal(bufq_iov(&q, 0, 0, iov, 8), 0);
	assert_int_equal(bufq_iov(&q, 4, 3, iov, 8), 2);
	assert_int_equal(iov[0].iov_len, 2);
	assert_memory_equal(iov[0].iov_base, "23", 2);
	assert_int_equal(iov[1].iov_len, 1);
	assert_memory_equal(iov[1].iov_base, "2", 1);
	bufq_clear(&q);
	slab_free(s);
}

/* ---- the model ----------------------------------------------------------------------------- */

enum { MODEL_MAX = 256 * 1024, QUEUES = 3, STEPS = 20000 };

struct model {
	struct bufq q;
	uint8_t *bytes;
	size_t len;
};

static uint64_t seed = 1;

static size_t next_random(size_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + 1;
	return below ? (size_t)(seed >> 33) % below : 0;
}

static void model_append(struct model *m, const uint8_t *bytes, size_t len)
{
	memcpy(m->bytes + m->len, bytes, len);
	m->len += len;
}

static void model_consume(struct model *m, size_t len)
{
	len = MIN(len, m->len);
	memmove(m->bytes, m->bytes + len, m->len - len);
	m->len -= len;
}

static void step_append(struct model *m)
{
	static uint8_t data[40000];
	size_t len = next_random(next_random(4) ? 300 : sizeof(data));
	for (size_t i = 0; i < len; i++)
		data[i] = (uint8_t)next_random(256);
	if (len <= MODEL_MAX - m->len && bufq_append_copy(&m->q, span_of(data, len)) == 0)
		model_append(m, data, len);
}

static void step_room(struct model *m)
{
	size_t len = 0;
	uint8_t *p = bufq_room(&m->q, 1 + next_random(20000), &len);
	if (!p)
		return;
	len = MIN(next_random(len + 1), MODEL_MAX - m->len);
	memset(p, (int)next_random(256), len);
	model_append(m, p, len);
	bufq_commit(&m->q, len);
}

static void step_move(struct model *to, struct model *from)
{
	size_t want = MIN(next_random(20000), MODEL_MAX - to->len);
	if (to == from)
		return;
	size_t n = bufq_move(&to->q, &from->q, want);
	assert_int_equal(n, MIN(want, from->len));
	model_append(to, from->bytes, n);
	model_consume(from, n);
}

static void step_consume(struct model *m)
{
	size_t n = next_random(30000);
	bufq_consume(&m->q, n);
	model_consume(m, n);
}

static void make_step(struct model m[QUEUES], struct model *one)
{
	switch (next_random(4)) {
	case 0:
		step_append(one);
		break;
	case 1:
		step_room(one);
		break;
	case 2:
		step_move(one, &m[next_random(QUEUES)]);
		break;
	default:
		step_consume(one);
	}
}

static void test_model(void **state UNUSED)
{
	struct slab *s = new_slab(400 * 1024);
	struct model m[QUEUES] = {};
	for (unsigned int i = 0; i < QUEUES; i++) {
		bufq_init(&m[i].q, s);
		m[i].bytes = malloc(MODEL_MAX);
		assert_non_null(m[i].bytes);
	}
	for (unsigned int step = 0; step < STEPS; step++) {
		struct model *one = &m[next_random(QUEUES)];
		make_step(m, one);
		assert_int_equal(one->q.len, one->len);
		if (step % 64 == 0)
			check(&one->q, one->bytes, one->len);
	}
	for (unsigned int i = 0; i < QUEUES; i++) {
		check(&m[i].q, m[i].bytes, m[i].len);
		bufq_clear(&m[i].q);
		free(m[i].bytes);
	}
	assert_int_equal(in_use(s), 0);
	slab_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_copy_fills_the_last_buffer),
		cmocka_unit_test(test_copy_is_all_or_nothing),
		cmocka_unit_test(test_room_and_commit),
		cmocka_unit_test(test_shared_tail_is_not_written),
		cmocka_unit_test(test_pieces_are_joined),
		cmocka_unit_test(test_iov),
		cmocka_unit_test(test_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
