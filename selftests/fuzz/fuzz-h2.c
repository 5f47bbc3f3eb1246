/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An HTTP/2 connection in the role of a server: frames behind the preface, however they are cut.
 * Its user answers each request with the request's own body.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/http/h2.h"
#include "util/macro.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAMS = 16, TURNS = 6 };

static const struct h2_settings settings = {
	.max_streams = STREAMS,
	.stream_window = 4096,
	.stream_window_max = 16384,
	.conn_window = 65536,
	.conn_window_max = 131072,
	.send_queue_max = 16384,
	.field_max = 20,
	.head_max = 4096,
	.line_max = 1024,
	.trailer_max = 512,
	.trailer_field_max = 5,
};

/* ---- what is beneath: gives the input and swallows what is written ----------------------------
 */

static struct bufq input;

static ssize_t below_read(struct stream *s, struct bufq *to, size_t max)
{
	(void)s;
	size_t n = bufq_move(to, &input, max);
	return n ? (ssize_t)n : -EAGAIN;
}

static ssize_t below_write(struct stream *s, struct bufq *from, size_t max)
{
	(void)s;
	size_t n = MIN(from->len, max);
	bufq_consume(from, n);
	return n ? (ssize_t)n : -EAGAIN;
}

static size_t below_credit(const struct stream *s)
{
	(void)s;
	return SIZE_MAX;
}

static void below_end(struct stream *s)
{
	(void)s;
}

static void below_abort(struct stream *s, uint64_t code)
{
	(void)s, (void)code;
}

static const struct stream_ops below_ops = {
	.read = below_read,
	.write = below_write,
	.credit = below_credit,
	.finish = below_end,
	.reset = below_abort,
	.stop = below_abort,
	.close = below_end,
};

static void put(struct stream *below, const void *bytes, size_t len)
{
	if (bufq_append_copy(&input, span_of(bytes, len)) < 0)
		abort();
	stream_tell(below, true, false);
}

/* ---- the user ---------------------------------------------------------------------------------
 */

static struct stream *streams[STREAMS];
static unsigned int stream_count;

static void echo(struct stream *s, void *user)
{
	(void)user;
	struct bufq q;
	bufq_init(&q, s->slab);
	ssize_t n = stream_read(s, &q, stream_credit(s));
	if (n > 0)
		(void)stream_write(s, &q, q.len);
	if (n == 0)
		stream_finish(s);
	bufq_clear(&q);
}

static const struct stream_user user = { .on_readable = echo, .on_writable = echo };

static void on_request(struct h2_conn *c, struct stream *s, const struct h2_request *request,
		       void *arg)
{
	(void)c, (void)arg;
	struct h2_head answer = { .status = 400 };
	if (request->fault == H2_FAULT_NONE)
		answer = (struct h2_head){ .status = 200,
					   .fields = request->head.fields,
					   .field_count = request->head.field_count };
	if (stream_count == STREAMS || h2_respond(s, &answer, request->is_end) < 0) {
		stream_close(s);
		return;
	}
	streams[stream_count++] = s;
	stream_set_user(s, &user, NULL);
}

static void on_response(struct h2_conn *c, struct stream *s, const struct h2_head *head,
			bool is_end, void *arg)
{
	(void)c, (void)s, (void)head, (void)is_end, (void)arg;
	abort(); /* never of a server */
}

static void on_event(struct h2_conn *c, void *arg)
{
	(void)c, (void)arg;
}

static void on_closed(struct h2_conn *c, enum h2_end end, uint32_t code, const char *reason,
		      void *arg)
{
	(void)c, (void)end, (void)code, (void)reason, (void)arg;
}

static const struct h2_events events = {
	.on_open = on_event,
	.on_request = on_request,
	.on_response = on_response,
	.on_goaway = on_event,
	.on_pong = on_event,
	.on_closed = on_closed,
};

static void run(struct loop *loop)
{
	for (unsigned int i = 0; i < TURNS; i++)
		if (loop_turn(loop, 0) < 0)
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
	static struct loop *loop;
	static struct slab *slab;
	if (!loop && (loop_new(&loop) < 0 || slab_new((size_t)8 << 20, &slab) < 0))
		abort();
	struct stream below = { .ops = &below_ops, .loop = loop, .slab = slab };
	struct h2_conn *c;
	bufq_init(&input, slab);
	struct h2_params params = {
		.role = H2_ROLE_SERVER, .below = &below, .settings = &settings, .events = &events
	};
	if (h2_new(loop, slab, &params, &c) < 0)
		abort();
	put(&below, preface, sizeof(preface));
	size_t half = size / 2;
	put(&below, data, half);
	run(loop);
	put(&below, data + half, size - half);
	run(loop);

	while (stream_count)
		stream_close(streams[--stream_count]);
	h2_free(c);
	bufq_clear(&input);
	run(loop);
	struct slab_stats stats;
	slab_get_stats(slab, &stats);
	if (stats.in_use || stats.reserved)
		abort();
	return 0;
}
