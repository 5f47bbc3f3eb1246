/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/1.1 receiver and sender without connections: every message of the tables is fed whole,
 * split at every byte, and byte by byte, and must come out the same.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "daemon/http/h1_priv.h"
#include "util/macro.h"

enum { OUT_MAX = 8192 };

static struct slab *slab;
static struct arena arena;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, 1024 * 1024, NULL);
	return slab_new(16 * 1024 * 1024, &slab);
}

static int teardown(void **state)
{
	(void)state;
	arena_done(&arena);
	slab_free(slab);
	return 0;
}

/* ---- feeding ---- */

/* Each piece in a buffer of its own, so that pieces stay slices. */
static void add_piece(struct bufq *q, const char *bytes, size_t len)
{
	for (size_t done = 0; done < len;) {
		struct slab_buf *b = slab_buf_get(slab, len - done);
		assert_non_null(b);
		size_t n = MIN(len - done, (size_t)b->cap);
		memcpy(b->data, bytes + done, n);
		assert_int_equal(bufq_append_ref(q, b, b->data, n), 0);
		slab_buf_unref(b);
		done += n;
	}
}

/* A reader of a connection that carries messages of one kind; writes down what it saw. */
struct reader {
	struct h1_rx rx;
	char *out;
	size_t len;
	bool in_body;
	bool is_done; /* an error */
	bool has_body_byte;
};

PRINTF_LIKE(2, 3) static void say(struct reader *r, const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	int n = vsnprintf(r->out + r->len, OUT_MAX - r->len, format, ap);
	va_end(ap);
	assert_true(n >= 0 && (size_t)n < OUT_MAX - r->len);
	r->len += (size_t)n;
}

#define SPAN_ARGS(s) (int)(s).len, (const char *)(s).ptr

static void say_head(struct reader *r)
{
	static const char *const bodies[] = { "none", "length", "unknown", "upgrade" };
	const struct http_head *h = &r->rx.head;
	if (r->rx.kind == H1_KIND_REQUEST)
		say(r, "%.*s %.*s @%.*s", SPAN_ARGS(h->method), SPAN_ARGS(h->target),
		    SPAN_ARGS(h->authority));
	else
		say(r, "%u", h->status);
	say(r, " 1.%u %s", h->minor, bodies[h->body]);
	if (h->has_length)
		say(r, "=%u", (unsigned int)h->content_length);
	say(r, "%s", r->rx.keep_alive ? " keep" : " close");
	for (unsigned int i = 0; i < h->field_count; i++)
		say(r, " [%.*s:%.*s]", SPAN_ARGS(h->fields[i].name), SPAN_ARGS(h->fields[i].value));
}

static void fail_reader(struct reader *r, int error)
{
	say(r, "!%s",
	    error == -EBADMSG    ? "bad"
	    : error == -EMSGSIZE ? "large"
	    : error == -E2BIG    ? "body"
				 : "?");
	if (r->rx.kind == H1_KIND_REQUEST)
		say(r, " %u", r->rx.status);
	r->is_done = true;
}

static void end_message(struct reader *r)
{
	say(r, ";");
	r->in_body = false;
	r->has_body_byte = false;
	h1_rx_next(&r->rx);
	arena_reset(&arena);
}

static int read_head(struct reader *r)
{
	int e = h1_rx_head(&r->rx);
	if (e == 0)
		say_head(r);
	r->in_body = e == 0;
	return e;
}

/* In small pieces, which must not show. */
static int read_piece(struct reader *r)
{
	char text[8];
	struct bufq body;
	bufq_init(&body, slab);
	ssize_t n = h1_rx_body(&r->rx, &body, 7);
	assert_true(n <= 7);
	if (n > 0) {
		assert_int_equal(bufq_copy_out(&body, text, 8), n);
		say(r, "%s%.*s", r->has_body_byte ? "" : " <", (int)n, text);
		r->has_body_byte = true;
	} else if (n == 0) {
		end_message(r);
	}
	bufq_clear(&body);
	return n < 0 ? (int)n : 0;
}

/* Reads what can be read. */
static void run_reader(struct reader *r)
{
	while (!r->is_done) {
		int e = r->in_body ? read_piece(r) : read_head(r);
		if (e == -EAGAIN)
			break;
		if (e < 0)
			fail_reader(r, e);
	}
}

struct feed {
	enum h1_kind kind;
	bool to_head;
	bool eof;
	const struct http_limits *limits;
};

static void end_input(struct reader *r)
{
	int e = h1_rx_eof(&r->rx);
	if (e < 0)
		fail_reader(r, e);
	else
		end_message(r);
}

/* Feeds text in pieces of the given lengths (the rest in the last). */
static void feed(const struct feed *f, struct span in, size_t piece, size_t pieces, char *out)
{
	struct reader r = { .out = out };
	out[0] = 0;
	h1_rx_init(&r.rx, f->kind, slab, f->limits, &arena);
	r.rx.is_answer_to_head = f->to_head;
	while (in.len) {
		struct span run = span_first(in, pieces ? piece : in.len);
		pieces -= pieces > 0;
		add_piece(&r.rx.raw, (const char *)run.ptr, run.len);
		run_reader(&r);
		in = span_skip(in, run.len);
	}
	if (f->eof && !r.is_done && (r.in_body || r.rx.has_bytes))
		end_input(&r);
	h1_rx_done(&r.rx);
	arena_reset(&arena);
}

static void check_all_splits(const struct feed *f, const char *text, size_t len, const char *want)
{
	char out[OUT_MAX];
	feed(f, span_of(text, len), len, 0, out);
	if (strcmp(out, want) != 0)
		fail_msg("%s\n  gives %s\n  not   %s", text, out, want);
	for (size_t at = 1; at < len; at++) {
		feed(f, span_of(text, len), at, 1, out);
		if (strcmp(out, want) != 0)
			fail_msg("%s\n  split at %zu gives %s\n  not   %s", text, at, out, want);
	}
	feed(f, span_of(text, len), 1, SIZE_MAX, out);
	assert_string_equal(out, want);
}

struct row {
	const char *text;
	const char *want;
};

static void check_rows(const struct feed *f, const struct row *rows, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check_all_splits(f, rows[i].text, strlen(rows[i].text), rows[i].want);
}

/* ---- requests ---- */

/* clang-format off */
static const struct row good_requests[] = {
	{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / @a 1.1 none keep;" },
	{ "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / @a 1.1 none keep;" },
	{ "GET / HTTP/1.0\r\n\r\n", "GET / @ 1.0 none close;" },
	{ "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
	  "GET / @ 1.0 none keep [Connection:Keep-Alive];" },
	{ "GET / HTTP/1.1\r\nhost:a\r\nConnection: x, CLOSE\r\n\r\n",
	  "GET / @a 1.1 none close [Connection:x, CLOSE];" },
	{ "GET /p?q=%zz&r HTTP/1.1\r\nHost: a:8080\r\nX:\r\nY: \t b c \t\r\n\r\n",
	  "GET /p?q=%zz&r @a:8080 1.1 none keep [X:] [Y:b c];" },
	{ "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", "OPTIONS * @[::1]:80 1.1 none keep;" },
	{ "GET http://b.c/d?e HTTP/1.1\r\nHost: a\r\n\r\n", "GET /d?e @b.c 1.1 none keep;" },
	{ "GET HTTPS://b.c HTTP/1.1\r\nHost: a\r\n\r\n", "GET / @b.c 1.1 none keep;" },
	{ "GET http://b.c?x HTTP/1.1\r\nHost: a\r\n\r\n", "GET /?x @b.c 1.1 none keep;" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
	  "POST / @a 1.1 length=5 keep <hello;" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", "POST / @a 1.1 none=0 keep;" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
	  "5\r\nhello\r\nA;x=\"y\"\r\n0123456789\r\n0\r\nT: u\r\n\r\n",
	  "POST / @a 1.1 unknown keep <hello0123456789;" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	  "POST / @a 1.1 unknown keep;" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	  "GET / @a 1.1 none keep [Connection:Upgrade] [Upgrade:websocket];" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"
	  "Content-Length: 2\r\n\r\nhi",
	  "POST / @a 1.1 length=2 keep [Connection:Upgrade] [Upgrade:h2c] <hi;" },
	{ "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n"
	  "\r\nabcGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
	  "GET /1 @a 1.1 none keep;POST /2 @a 1.1 length=3 keep <abc;GET /3 @a 1.1 none keep;" },
	{ "M-SEARCH / HTTP/1.1\r\nHost: a\r\nX: \xc3\xa4\r\n\r\n",
	  "M-SEARCH / @a 1.1 none keep [X:\xc3\xa4];" },
};

static const struct row bad_requests[] = {
	/* not HTTP */
	{ "\x16\x03\x01\x02", "!bad 400" },
	{ "GET /\r\n\r\n", "!bad 400" },
	{ "GET / RTSP/1.0\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "DESCRIBE / RTSP/1.0\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "!bad 505" },
	{ "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "!bad 505" },
	{ "GET / HTTP/3.7\r\nHost: a\r\n\r\n", "!bad 505" },
	{ "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", "!bad 400" },
	{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "!bad 505" },
	{ "\r\n\r\n\r\n\r\n\r\n", "!bad 400" },
	/* methods */
	{ "FROB / HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 501" },
	{ "get / HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 501" },
	{ "GET@ / HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 501" },
	/* targets */
	{ "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET a HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET /#f HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET http://u@b/ HTTP/1.1\r\nHost: a\r\n\r\n", "!bad 400" },
	/* hosts */
	{ "GET / HTTP/1.1\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", "!bad 400" },
	/* lines */
	{ "GET / HTTP/1.1\nHost: a\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\r\n\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost : a\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\r\n: z\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nX: \x01\r\n\r\n", "!bad 400" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", "!bad 400" },
	/* framing that two readers could see differently */
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
	  "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
	  "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n",
	  "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
	  "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n",
	  "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
	  "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "!bad 501" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
	  "Transfer-Encoding: chunked\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\x0b" "chunked\r\n\r\n", "!bad 400" },
	{ "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "!bad 400" },
	/* chunks */
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
	  "POST / @a 1.1 unknown keep!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\na\r\n",
	  "POST / @a 1.1 unknown keep!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
	  "POST / @a 1.1 unknown keep <a!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1 \r\na\r\n",
	  "POST / @a 1.1 unknown keep!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na\r\n",
	  "POST / @a 1.1 unknown keep!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "fffffffffffffffff\r\n", "POST / @a 1.1 unknown keep!bad 400" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n",
	  "POST / @a 1.1 unknown keep!bad 400" },
};

/* Cut short: nothing, or a body without its end, but never a complete message. */
static const struct row answers[] = {
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "200 1.1 length=5 keep <hello;" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 1.1 none=0 keep;" },
	{ "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 1.1 none=0 keep;" },
	{ "HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n", "999 1.1 none=0 keep;" },
	{ "HTTP/1.1 200 OK\r\n\r\nuntil the end", "200 1.1 unknown close <until the end;" },
	{ "HTTP/1.0 200 OK\r\n\r\nold", "200 1.0 unknown close <old;" },
	{ "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
	  "200 1.0 length=1 keep [Connection:keep-alive] <x;" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	  "200 1.1 unknown keep <abc;" },
	{ "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", "204 1.1 none keep;" },
	{ "HTTP/1.1 304 No\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
	  "304 1.1 none=5 keep [ETag:x];" },
	{ "HTTP/1.1 100 C\r\n\r\nHTTP/1.1 103 E\r\nLink: x\r\n\r\nHTTP/1.1 200 O\r\n"
	  "Content-Length: 1\r\n\r\nx",
	  "100 1.1 none keep;103 1.1 none keep [Link:x];200 1.1 length=1 keep <x;" },
	/* what origins do and spec §7 takes */
	{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length:  2 \r\n\r\nhi",
	  "200 1.1 length=2 keep <hi;" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\nX: y\r\n"
	  "Content-Length: 2\r\n\r\nhi", "200 1.1 length=2 keep [X:y] <hi;" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
	  "2\r\nhi\r\n0\r\n\r\n", "200 1.1 unknown close <hi;" },
	{ "HTTP/1.1 200 OK\r\nX: a\r\n  b\r\n\t c\r\nContent-Length: 1\r\n\r\nx",
	  "200 1.1 length=1 keep [X:a b c] <x;" },
	{ "HTTP/1.1 200 OK\nX: a\n b\nContent-Length: 1\n\nx",
	  "200 1.1 length=1 keep [X:a b] <x;" },
	{ "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length : 1\r\n\r\nx",
	  "200 1.1 length=1 keep [X:a] <x;" },
	{ "HTTP/1.1 200 OK\r\nX: \xff\r\nContent-Length: 0\r\n\r\n",
	  "200 1.1 none=0 keep [X:\xff];" },
	/* what nobody should take */
	{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", "!bad" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length:\r\n 3\r\n\r\nhi", "!bad" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi", "!bad" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi", "!bad" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "!bad" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nx", "!bad" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
	  "!bad" },
	{ "HTTP/1.1 099 X\r\n\r\n", "!bad" },
	{ "HTTP/1.1 20 X\r\n\r\n", "!bad" },
	{ "HTTP/2.0 200 X\r\n\r\n", "!bad" },
	{ "ICY 200 OK\r\n\r\n", "!bad" },
	{ "RTSP/1.0 200 OK\r\n\r\n", "!bad" },
	{ "\r\nHTTP/1.1 200 OK\r\n\r\n", "!bad" },
	{ "HTTP/1.1 200 OK\r\n folded: status\r\n\r\n", "!bad" },
	{ "HTTP/1.1 200 OK\r\nX: a\x01\r\n\r\n", "!bad" },
	{ "HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", "!bad" },
	{ "HTTP/1.1 200 OK\r\r\n\r\n", "!bad" },
	{ "HTTP/1.1 200 OK: 0\r\r\n\r\n2\r\nhi\r\n", "!bad" },
	{ "HTTP/1.1 200 OK\r\nX Y: b\r\n\r\n", "!bad" },
	{ "<html>hello</html>\n\n", "!bad" },
	/* ended too early */
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "200 1.1 length=5 keep <hell!bad" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
	  "200 1.1 unknown keep <abc!bad" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
	  "200 1.1 unknown keep <abc!bad" },
	{ "HTTP/1.1 200 OK\r\nContent", "!bad" },
};

static const struct row answers_to_head[] = {
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "200 1.1 none=5 keep;" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "200 1.1 none keep;" },
	{ "HTTP/1.1 200 OK\r\n\r\n", "200 1.1 none keep;" },
};
/* clang-format on */

static void test_good_requests(void **state)
{
	(void)state;
	const struct feed f = { .kind = H1_KIND_REQUEST, .limits = &http_limits_default };
	check_rows(&f, good_requests, ARRAY_SIZE(good_requests));
}

static void test_bad_requests(void **state)
{
	(void)state;
	const struct feed f = { .kind = H1_KIND_REQUEST, .limits = &http_limits_default };
	check_rows(&f, bad_requests, ARRAY_SIZE(bad_requests));
}

static void test_answers(void **state)
{
	(void)state;
	const struct feed f = { .kind = H1_KIND_RESPONSE,
				.limits = &http_limits_default,
				.eof = true };
	check_rows(&f, answers, ARRAY_SIZE(answers));
}

static void test_answers_to_head(void **state)
{
	(void)state;
	const struct feed f = { .kind = H1_KIND_RESPONSE,
				.limits = &http_limits_default,
				.to_head = true };
	check_rows(&f, answers_to_head, ARRAY_SIZE(answers_to_head));
}

/* A truncated message never looks whole. */
static void test_truncated(void **state)
{
	(void)state;
	const struct feed f = { .kind = H1_KIND_REQUEST, .limits = &http_limits_default };
	char out[OUT_MAX];
	for (size_t i = 0; i < ARRAY_SIZE(good_requests); i++) {
		const char *text = good_requests[i].text;
		size_t whole = strlen(good_requests[i].want);
		for (size_t len = 0; len < strlen(text); len++) {
			feed(&f, span_of(text, len), len, 0, out);
			assert_true(strlen(out) < whole);
			assert_null(strchr(out, '!'));
		}
	}
}

/* ---- limits ---- */

static void check_limit(const struct http_limits *lim, const char *text, bool is_good)
{
	const struct feed f = { .kind = H1_KIND_REQUEST, .limits = lim };
	char out[OUT_MAX];
	size_t len = strlen(text);
	feed(&f, span_of(text, len), len, 0, out);
	assert_true(is_good ? out[0] == 'G' : strcmp(out, "!large 431") == 0);
	feed(&f, span_of(text, len), 1, SIZE_MAX, out);
	assert_true(is_good ? out[0] == 'G' : strcmp(out, "!large 431") == 0);
}

static void test_limits(void **state)
{
	(void)state;
	static const char text[] = "GET / HTTP/1.1\r\nHost: a\r\nX: 0123456789abcdef\r\n\r\n";
	struct http_limits lim = http_limits_default;
	for (int d = -1; d <= 1; d++) {
		lim.head_max = strlen(text) + (size_t)d;
		check_limit(&lim, text, d >= 0);
	}
	lim = http_limits_default;
	for (int d = -1; d <= 1; d++) {
		lim.line_max = strlen("X: 0123456789abcdef") + (size_t)d;
		check_limit(&lim, text, d >= 0);
	}
	lim = http_limits_default;
	for (int d = -1; d <= 1; d++) {
		lim.field_max = (unsigned int)(2 + d);
		check_limit(&lim, text, d >= 0);
	}
	/* Without a line end, too: nothing grows for ever. */
	lim.field_max = 200;
	lim.line_max = 20;
	check_limit(&lim, "GET /0123456789012345678901234567890", false);
}

/* A message too large for a literal. */
struct text {
	char bytes[64 * 1024];
	size_t len;
};

static void add(struct text *t, const char *s)
{
	assert_true(strlen(s) < sizeof(t->bytes) - t->len);
	memcpy(t->bytes + t->len, s, strlen(s) + 1);
	t->len += strlen(s);
}

static void test_default_limits(void **state)
{
	(void)state;
	static struct text t;
	add(&t, "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 0; i < 199; i++)
		add(&t, "X: y\r\n");
	const struct feed f = { .kind = H1_KIND_REQUEST, .limits = &http_limits_default };
	char out[OUT_MAX];
	size_t fields = t.len;
	add(&t, "\r\n");
	feed(&f, span_of(t.bytes, t.len), 100, SIZE_MAX, out);
	assert_int_equal(out[0], 'G');
	t.len = fields;
	add(&t, "Y: z\r\n\r\n");
	feed(&f, span_of(t.bytes, t.len), 100, SIZE_MAX, out);
	assert_string_equal(out, "!large 431");
}

static void test_body_limit(void **state)
{
	(void)state;
	struct http_limits lim = http_limits_default;
	lim.body_max = 5;
	const struct feed f = { .kind = H1_KIND_REQUEST, .limits = &lim };
	static const struct row rows[] = {
		{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		  "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n",
		  "POST / @a 1.1 unknown keep <abcde;" },
	};
	check_rows(&f, rows, 1);
	char out[OUT_MAX];
	const char *over = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n";
	feed(&f, span_of(over, strlen(over)), strlen(over), 0, out);
	assert_non_null(strstr(out, "!body 413"));
	assert_null(strstr(out, "cdef"));
}

/* Trailers and chunk extensions don't go on for ever. */
static void test_extra_limit(void **state)
{
	(void)state;
	static const char head[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
				   "\r\n";
	const struct feed f = { .kind = H1_KIND_REQUEST, .limits = &http_limits_default };
	static struct text t;
	char out[OUT_MAX];
	add(&t, head);
	add(&t, "1;");
	for (int i = 0; i <= H1_TRAILER_MAX; i++)
		add(&t, "e");
	feed(&f, span_of(t.bytes, t.len), 100, SIZE_MAX, out);
	assert_string_equal(out, "POST / @a 1.1 unknown keep!bad 400");

	for (unsigned int count = H1_TRAILER_FIELDS; count <= H1_TRAILER_FIELDS + 1; count++) {
		t.len = 0;
		add(&t, head);
		add(&t, "0\r\n");
		for (unsigned int i = 0; i < count; i++)
			add(&t, "T: u\r\n");
		add(&t, "\r\n");
		feed(&f, span_of(t.bytes, t.len), 100, SIZE_MAX, out);
		assert_string_equal(out, count > H1_TRAILER_FIELDS
						 ? "POST / @a 1.1 unknown keep!bad 400"
						 : "POST / @a 1.1 unknown keep;");
	}
}

/* Body bytes are the receive buffer's own, not copies. */
static void test_body_by_reference(void **state)
{
	(void)state;
	static const char text[] = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
				   "\r\n5\r\nhello\r\n0\r\n\r\n";
	struct h1_rx rx;
	h1_rx_init(&rx, H1_KIND_REQUEST, slab, &http_limits_default, &arena);
	add_piece(&rx.raw, text, sizeof(text) - 1);
	const uint8_t *base = rx.raw.head->ptr;
	assert_int_equal(h1_rx_head(&rx), 0);
	struct bufq body;
	bufq_init(&body, slab);
	assert_int_equal(h1_rx_body(&rx, &body, 100), 5);
	assert_ptr_equal(bufq_peek(&body).ptr, base + (strstr(text, "hello") - text));
	bufq_clear(&body);
	h1_rx_done(&rx);
	arena_reset(&arena);
}

/* ---- sending ---- */

static void take_out(struct h1_tx *tx, char *out)
{
	size_t n = bufq_copy_out(&tx->out, out, OUT_MAX - 1);
	out[n] = 0;
	bufq_clear(&tx->out);
}

static void test_send_requests(void **state)
{
	(void)state;
	struct http_field fields[] = {
		{ SPAN_LIT("X-A"), SPAN_LIT("b") },
		{ SPAN_LIT("Connection"), SPAN_LIT("close") },
		{ SPAN_LIT("Content-Length"), SPAN_LIT("7") },
		{ SPAN_LIT("transfer-encoding"), SPAN_LIT("chunked") },
	};
	const struct http_head base = {
		.method = SPAN_LIT("GET"),
		.target = SPAN_LIT("/p"),
		.authority = SPAN_LIT("h:1"),
		.fields = fields,
		.field_count = ARRAY_SIZE(fields),
	};
	struct h1_tx tx;
	char out[OUT_MAX];
	h1_tx_init(&tx, slab);

	assert_int_equal(h1_tx_request(&tx, &base), 0);
	take_out(&tx, out);
	assert_string_equal(out, "GET /p HTTP/1.1\r\nHost: h:1\r\nX-A: b\r\n\r\n");

	struct http_head head = base;
	head.method = SPAN_LIT("POST");
	assert_int_equal(h1_tx_request(&tx, &head), 0);
	take_out(&tx, out);
	assert_string_equal(out, "POST /p HTTP/1.1\r\nHost: h:1\r\nX-A: b\r\n"
				 "Content-Length: 0\r\n\r\n");

	head.body = HTTP_BODY_LENGTH;
	head.content_length = 12;
	assert_int_equal(h1_tx_request(&tx, &head), 0);
	take_out(&tx, out);
	assert_string_equal(out, "POST /p HTTP/1.1\r\nHost: h:1\r\nX-A: b\r\n"
				 "Content-Length: 12\r\n\r\n");

	struct http_head bad = base;
	bad.target = SPAN_LIT("/a b");
	assert_int_equal(h1_tx_request(&tx, &bad), -EBADMSG);
	bad = base;
	bad.method = SPAN_LIT("G T");
	assert_int_equal(h1_tx_request(&tx, &bad), -EBADMSG);
	bad = base;
	bad.authority = SPAN_LIT("a\r\nX: y");
	assert_int_equal(h1_tx_request(&tx, &bad), -EBADMSG);
	bad = base;
	fields[0].value = SPAN_LIT("a\r\nX: y");
	assert_int_equal(h1_tx_request(&tx, &bad), -EBADMSG);
	fields[0] = (struct http_field){ SPAN_LIT("X Y"), SPAN_LIT("a") };
	assert_int_equal(h1_tx_request(&tx, &bad), -EBADMSG);
	assert_int_equal(tx.out.len, 0);
	h1_tx_done(&tx);
}

static void test_send_answers(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct {
		struct http_head head;
		struct h1_answer_to to;
		const char *want;
		enum h1_framing framing;
	} rows[] = {
		{ { .status = 200 }, { .minor = 1 },
		  "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", H1_FRAMING_NONE },
		{ { .status = 299, .body = HTTP_BODY_LENGTH, .content_length = 3 }, { .minor = 1 },
		  "HTTP/1.1 299 \r\nContent-Length: 3\r\n\r\n", H1_FRAMING_LENGTH },
		{ { .status = 200, .body = HTTP_BODY_UNKNOWN }, { .minor = 1, .close = true },
		  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
		  H1_FRAMING_CHUNKED },
		{ { .status = 200, .body = HTTP_BODY_UNKNOWN }, { .minor = 0 },
		  "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", H1_FRAMING_CLOSE },
		{ { .status = 200, .body = HTTP_BODY_LENGTH, .content_length = 3 }, { .minor = 0 },
		  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n",
		  H1_FRAMING_LENGTH },
		{ { .status = 200, .body = HTTP_BODY_LENGTH, .content_length = 3 },
		  { .minor = 1, .is_head = true },
		  "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", H1_FRAMING_DROP },
		{ { .status = 200, .body = HTTP_BODY_UNKNOWN }, { .minor = 1, .is_head = true },
		  "HTTP/1.1 200 OK\r\n\r\n", H1_FRAMING_DROP },
		{ { .status = 204, .has_length = true }, { .minor = 1 },
		  "HTTP/1.1 204 No Content\r\n\r\n", H1_FRAMING_DROP },
		{ { .status = 304, .has_length = true, .content_length = 9 }, { .minor = 1 },
		  "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", H1_FRAMING_DROP },
		{ { .status = 101, .has_length = true }, { .minor = 1 },
		  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
		  H1_FRAMING_DROP },
	};
	/* clang-format on */
	struct h1_tx tx;
	char out[OUT_MAX];
	h1_tx_init(&tx, slab);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(h1_tx_response(&tx, &rows[i].head, &rows[i].to), 0);
		take_out(&tx, out);
		assert_string_equal(out, rows[i].want);
		assert_int_equal(tx.framing, rows[i].framing);
		h1_tx_next(&tx);
	}
	h1_tx_done(&tx);
}

static void test_send_chunks(void **state)
{
	(void)state;
	struct h1_tx tx;
	struct bufq body;
	char out[OUT_MAX];
	h1_tx_init(&tx, slab);
	bufq_init(&body, slab);
	assert_int_equal(bufq_append_copy(&body, SPAN_LIT("hello, world")), 0);
	assert_int_equal(h1_tx_body(&tx, &body, 5), -EAGAIN); /* no head yet */
	const struct http_head head = { .status = 200, .body = HTTP_BODY_UNKNOWN };
	assert_int_equal(h1_tx_response(&tx, &head, &(struct h1_answer_to){ .minor = 1 }), 0);
	take_out(&tx, out);
	assert_int_equal(h1_tx_body(&tx, &body, 5), 5);
	take_out(&tx, out);
	assert_string_equal(out, "5\r\nhello\r\n");
	assert_int_equal(h1_tx_body(&tx, &body, 50), 7);
	assert_int_equal(h1_tx_body(&tx, &body, 50), -EAGAIN);
	assert_int_equal(h1_tx_finish(&tx), 0);
	assert_int_equal(h1_tx_finish(&tx), 0);
	take_out(&tx, out);
	assert_string_equal(out, "7\r\n, world\r\n0\r\n\r\n");
	assert_int_equal(h1_tx_body(&tx, &body, 50), -EPROTO);

	/* A thousand chunks of one byte take a few buffers for their lines, not a thousand. */
	h1_tx_next(&tx);
	assert_int_equal(h1_tx_response(&tx, &head, &(struct h1_answer_to){ .minor = 1 }), 0);
	struct slab_stats before, after;
	assert_int_equal(bufq_append_copy(&body, SPAN_LIT("0123456789abcdef")), 0);
	slab_get_stats(slab, &before);
	for (int i = 0; i < 16; i++)
		assert_int_equal(h1_tx_body(&tx, &body, 1), 1);
	slab_get_stats(slab, &after);
	assert_true(after.in_use - before.in_use <= SLAB_SMALL_LEN);
	bufq_clear(&body);
	h1_tx_done(&tx);
}

static void test_send_length(void **state)
{
	(void)state;
	struct h1_tx tx;
	struct bufq body;
	h1_tx_init(&tx, slab);
	bufq_init(&body, slab);
	const struct http_head head = { .status = 200,
					.body = HTTP_BODY_LENGTH,
					.content_length = 3 };
	assert_int_equal(h1_tx_response(&tx, &head, &(struct h1_answer_to){ .minor = 1 }), 0);
	assert_int_equal(h1_tx_credit(&tx), 3);
	assert_int_equal(bufq_append_copy(&body, SPAN_LIT("abcd")), 0);
	assert_int_equal(h1_tx_body(&tx, &body, 2), 2);
	assert_int_equal(h1_tx_finish(&tx), -EMSGSIZE);
	assert_int_equal(h1_tx_body(&tx, &body, 10), 1);
	assert_int_equal(h1_tx_body(&tx, &body, 10), -EPROTO); /* one too many */
	assert_int_equal(h1_tx_finish(&tx), 0);
	bufq_clear(&body);
	h1_tx_done(&tx);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_requests),  cmocka_unit_test(test_bad_requests),
		cmocka_unit_test(test_answers),        cmocka_unit_test(test_answers_to_head),
		cmocka_unit_test(test_truncated),      cmocka_unit_test(test_limits),
		cmocka_unit_test(test_default_limits), cmocka_unit_test(test_body_limit),
		cmocka_unit_test(test_extra_limit),    cmocka_unit_test(test_body_by_reference),
		cmocka_unit_test(test_send_requests),  cmocka_unit_test(test_send_answers),
		cmocka_unit_test(test_send_chunks),    cmocka_unit_test(test_send_length),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
