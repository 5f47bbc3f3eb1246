/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preambles and connect messages under any bytes (selftests/lib/wire_exercise.h).
 */
#ifndef SELFTESTS_LIB_CONNECT_EXERCISE_H
#define SELFTESTS_LIB_CONNECT_EXERCISE_H

#include <errno.h>

#include "daemon/wire/connect.h"
#include "daemon/wire/preamble.h"
#include "selftests/lib/wire_exercise.h"

static inline int exercise_preamble(struct span in)
{
	struct preamble_reader whole = {};
	struct preamble_reader bytes = {};
	struct span rest = in;
	int a = preamble_read(&whole, &rest);
	int b = -EAGAIN;

	/* One byte at a time must end the same, at the same place. */
	size_t used = 0;
	while (b == -EAGAIN && used < in.len) {
		struct span one = span_of(in.ptr + used, 1);
		b = preamble_read(&bytes, &one);
		used += 1 - one.len;
	}
	EXERCISE_CHECK(a == b && whole.kind == bytes.kind);
	EXERCISE_CHECK(a < 0 || in.len - rest.len == used);
	return a;
}

/* Builds the same entries again and reads them back. */
static inline void exercise_rebuild_request(struct connect_request *q)
{
	struct connect_writer w;
	struct connect_iter it = {};
	struct connect_meta e;
	struct span built;
	uint32_t count = 0;
	while (connect_next(&q->meta, &it, &e))
		count++;

	connect_writer_init(&w, exercise_buf, sizeof(exercise_buf));
	connect_request_begin(&w, q->type, q->dest, count);
	it = (struct connect_iter){};
	while (connect_next(&q->meta, &it, &e)) {
		exercise_touch(e.name);
		exercise_touch(e.value);
		if (e.is_header)
			connect_add_header(&w, e.name, e.value);
		else
			connect_add(&w, e.name, e.value);
	}
	/* Overlapping texts can be more than what they were read from. */
	int r = connect_finish(&w, &built);
	EXERCISE_CHECK(r == 0 || r == -ENOBUFS);
	if (r < 0)
		return;

	struct connect_request again;
	EXERCISE_CHECK(connect_request_decode(span_skip(built, PREAMBLE_MAX), &again) == 0);
	EXERCISE_CHECK(again.type == q->type && span_eq(again.dest, q->dest));
	EXERCISE_CHECK(again.meta.count == count && !again.meta.bad_key.ptr);
	EXERCISE_CHECK(span_eq(again.method, q->method) && span_eq(again.host, q->host));
}

static inline int exercise_request(struct span frame)
{
	struct connect_request q;
	int r = connect_request_decode(frame, &q);
	if (r < 0)
		return r;
	exercise_touch(q.dest);
	exercise_touch(q.method);
	exercise_touch(q.host);
	exercise_touch(q.meta.bad_key);
	exercise_rebuild_request(&q);
	return 0;
}

static inline int exercise_response(struct span frame)
{
	struct connect_response p;
	struct connect_iter it = {};
	struct connect_meta e;
	uint32_t headers = 0;
	int r = connect_response_decode(frame, &p);
	if (r < 0)
		return r;
	exercise_touch(p.error);
	while (connect_next(&p.meta, &it, &e)) {
		headers += e.is_header;
		exercise_touch(e.name);
		exercise_touch(e.value);
	}
	EXERCISE_CHECK(headers == p.meta.header_count);
	EXERCISE_CHECK(p.status == 0 || (p.status >= 100 && p.status <= 999));
	return 0;
}

#endif
