/* SPDX-License-Identifier: Apache-2.0 */
/*
 * h2 against a peer that doesn't keep to the rules: bytes and frames by hand.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "selftests/lib/h2_pair.h"
#include "util/endian.h"
#include "util/macro.h"

enum {
	F_DATA,
	F_HEADERS,
	F_PRIORITY,
	F_RST,
	F_SETTINGS,
	F_PUSH,
	F_PING,
	F_GOAWAY,
	F_UPDATE,
	F_CONTINUATION,

	END_STREAM = 1,
	END_HEADERS = 4,
	PADDED = 8,
	BUDGET = 64 << 20,
	FLOW_CONTROL_ERROR = 3, /* RFC 9113 §7 */
};

static struct h2_pair pair;
static struct h2_end_point *const client = &pair.client, *const server = &pair.server;

static int setup(void **state)
{
	(void)state;
	h2_pair_init(&pair, BUDGET);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	h2_pair_done(&pair);
	return 0;
}

#define RUN_UNTIL(condition) H2_RUN_UNTIL(&pair, condition)

static void turns(unsigned int count)
{
	while (count--)
		assert_int_equal(loop_turn(pair.loop, 0), 0);
}

static void start(enum h2_role role)
{
	h2_pair_start_raw(&pair, role);
	h2_raw_hello(&pair);
	RUN_UNTIL(server->opened + client->opened == 1);
}

static void frame(uint8_t type, uint8_t flags, uint32_t id, struct span payload)
{
	struct h2_raw_frame head = { .type = type, .flags = flags, .id = id };
	h2_raw_send(&pair, &head, payload.ptr, payload.len);
}

static void frame_u32(uint8_t type, uint32_t id, uint32_t value)
{
	uint8_t bytes[4];
	store_be32(bytes, value);
	frame(type, 0, id, span_of(bytes, sizeof(bytes)));
}

/* ---- header blocks --------------------------------------------------------------------------- */

static size_t put_text(uint8_t *to, const char *text, size_t len)
{
	size_t at = 0;
	if (len < 127) {
		to[at++] = (uint8_t)len;
	} else {
		size_t rest = len - 127;
		to[at++] = 127;
		for (; rest >= 128; rest /= 128)
			to[at++] = (uint8_t)(128 | (rest % 128));
		to[at++] = (uint8_t)rest;
	}
	memcpy(to + at, text, len);
	return at + len;
}

/* "name=value|name=value" as literals that aren't indexed. */
static size_t block(uint8_t *to, const char *text)
{
	size_t at = 0;
	struct span rest = span_str(text);
	while (rest.len) {
		struct span field = span_first(rest, span_find(rest, '|'));
		size_t name = span_find(field, '=');
		const char *s = (const char *)field.ptr;
		rest = span_skip(rest, field.len + 1);
		to[at++] = 0;
		at += put_text(to + at, s, name);
		at += put_text(to + at, s + name + 1, field.len - name - 1);
	}
	return at;
}

static void headers(uint32_t id, uint8_t flags, const char *text)
{
	uint8_t bytes[16000];
	frame(F_HEADERS, flags | END_HEADERS, id, span_of(bytes, block(bytes, text)));
}

#define GET ":method=GET|:scheme=https|:path=/|:authority=h"

static uint32_t reset_code(uint32_t id)
{
	struct h2_raw_frame f;
	assert_true(h2_raw_next(&pair, F_RST, &f));
	assert_int_equal(f.id, id);
	return load_be32(f.payload);
}

static void expect_alive(void)
{
	frame(F_PING, 0, 0, SPAN_LIT("12345678"));
	struct h2_raw_frame f;
	assert_true(h2_raw_next(&pair, F_PING, &f));
	assert_int_equal(server->closed + client->closed, 0);
}

/* GOAWAY with the code, the end of the stream, and the user knows. */
static void expect_death(uint32_t code)
{
	struct h2_end_point *e = server->conn ? server : client;
	struct h2_raw_frame f;
	assert_true(h2_raw_next(&pair, F_GOAWAY, &f));
	assert_int_equal(load_be32(f.payload + 4), code);
	RUN_UNTIL(e->closed == 1);
	assert_int_equal(e->end, H2_END_PROTOCOL);
	assert_int_equal(e->code, code);
	assert_false(h2_raw_next(&pair, F_GOAWAY, &f));
}

static void test_malformed_requests_end_their_stream(void **state)
{
	(void)state;
	static const char *const texts[] = {
		":method=GET|:scheme=https",
		":method=GET|:scheme=ftp|:path=/",
		GET "|X-Upper=1",
		GET "|x=a\nb",
		GET "|x=y|:authority=late",
		GET "|:path=/again",
		GET "|:unknown=1",
		"",
	};
	start(H2_ROLE_SERVER);
	uint32_t id = 1;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++, id += 2) {
		headers(id, END_STREAM, texts[i]);
		assert_int_equal(reset_code(id), H2_CODE_PROTOCOL_ERROR);
	}
	/* A body is promised and doesn't come. */
	headers(id, END_STREAM, GET "|content-length=5");
	assert_int_equal(reset_code(id), H2_CODE_PROTOCOL_ERROR);
	assert_int_equal(server->count, 0);
	headers(id + 2, END_STREAM, GET);
	RUN_UNTIL(server->count == 1);
	expect_alive();
}

static void test_what_is_accepted(void **state)
{
	(void)state;
	start(H2_ROLE_SERVER);
	headers(1, END_STREAM, ":method=CONNECT|:authority=a:22");
	headers(3, END_STREAM, ":method=GET|:scheme=http|:path=/|host=h|x=\xff");
	RUN_UNTIL(server->count == 2);
	assert_string_equal(server->calls[0].head, "CONNECT - a:22 -");
	assert_string_equal(server->calls[1].head, "GET http - /|host=h|x=\xff");
}

static void test_faults_are_for_the_user(void **state)
{
	(void)state;
	start(H2_ROLE_SERVER);
	headers(1, END_STREAM, GET "|connection=close");
	RUN_UNTIL(server->count == 1);
	assert_int_equal(server->calls[0].fault, H2_FAULT_FORBIDDEN);
	assert_int_equal(h2_call_respond(&server->calls[0], 400, NULL, true), 0);
	struct h2_raw_frame f;
	assert_true(h2_raw_next(&pair, F_HEADERS, &f));
	assert_int_equal(f.flags & END_STREAM, END_STREAM);

	/* A list over the limit in several frames. */
	static uint8_t bytes[16000];
	char text[8000];
	(void)snprintf(text, sizeof(text), GET "|x=%07000d", 1);
	frame(F_HEADERS, END_STREAM, 3, span_of(bytes, block(bytes, text)));
	(void)snprintf(text, sizeof(text), "x=%07000d", 1);
	for (unsigned int i = 0; i < 12; i++)
		frame(F_CONTINUATION, i == 11 ? END_HEADERS : 0, 3,
		      span_of(bytes, block(bytes, text)));
	RUN_UNTIL(server->count == 2);
	assert_int_equal(server->calls[1].fault, H2_FAULT_TOO_LARGE);
	expect_alive();
}

static void test_malformed_answers(void **state)
{
	(void)state;
	static const struct {
		const char *head;
		uint8_t flags;
		uint32_t code;
	} cases[] = {
		{ ":status=2x0", 0, H2_CODE_PROTOCOL_ERROR },
		{ "x=y", 0, H2_CODE_PROTOCOL_ERROR },
		{ ":status=101", 0, H2_CODE_PROTOCOL_ERROR },
		{ ":status=100", END_STREAM, H2_CODE_PROTOCOL_ERROR },
		{ ":status=200|connection=close", 0, H2_CODE_PROTOCOL_ERROR },
		{ ":status=200|content-length=3", END_STREAM, H2_CODE_PROTOCOL_ERROR },
	};
	start(H2_ROLE_CLIENT);
	uint32_t id = 1;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++, id += 2) {
		struct h2_call *call;
		struct h2_raw_frame f;
		assert_int_equal(h2_call_open(client, "GET", NULL, false, &call), 0);
		assert_true(h2_raw_next(&pair, F_HEADERS, &f));
		assert_int_equal(f.id, id);
		headers(id, cases[i].flags, cases[i].head);
		assert_int_equal(reset_code(id), cases[i].code);
		RUN_UNTIL(call->rx_status == -ECONNRESET);
		assert_false(call->has_head);
	}
	expect_alive();
}

static struct h2_call *call_raw(uint32_t *ret_id)
{
	struct h2_call *call;
	struct h2_raw_frame f;
	assert_int_equal(h2_call_open(client, "GET", NULL, true, &call), 0);
	assert_true(h2_raw_next(&pair, F_HEADERS, &f));
	*ret_id = f.id;
	return call;
}

static void test_answers_and_what_follows(void **state)
{
	(void)state;
	uint32_t id;
	start(H2_ROLE_CLIENT);
	/* Interim answers are passed over. */
	struct h2_call *call = call_raw(&id);
	headers(id, 0, ":status=103|link=x");
	headers(id, 0, ":status=200|x=1");
	frame(F_DATA, 0, id, SPAN_LIT("abc"));
	headers(id, END_STREAM, "x-sum=1");
	RUN_UNTIL(call->rx_status == 0);
	assert_string_equal(call->head, "200|x=1");
	assert_int_equal(h2_trailers(call->s)->count, 1);
	/* Bytes before the head, trailers that end nothing, trailers over the limit, bytes where
	 * there can't be any. */
	call = call_raw(&id);
	headers(id, 0, ":status=103");
	frame(F_DATA, 0, id, SPAN_LIT("abc"));
	assert_int_equal(reset_code(id), H2_CODE_PROTOCOL_ERROR);
	call = call_raw(&id);
	headers(id, 0, ":status=200");
	headers(id, 0, "x-sum=1");
	assert_int_equal(reset_code(id), H2_CODE_PROTOCOL_ERROR);
	call = call_raw(&id);
	headers(id, 0, ":status=200");
	headers(id, END_STREAM, "a=1|a=2|a=3|a=4|a=5|a=6|a=7|a=8|a=9|a=10|a=11");
	assert_int_equal(reset_code(id), H2_CODE_ENHANCE_YOUR_CALM);
	RUN_UNTIL(call->rx_status == -ECONNRESET);
	call = call_raw(&id);
	headers(id, 0, ":status=204");
	frame(F_DATA, END_STREAM, id, SPAN_LIT("abc"));
	assert_int_equal(reset_code(id), H2_CODE_PROTOCOL_ERROR);
	expect_alive();
}

/* ---- connection errors ----------------------------------------------------------------------- */

static void test_no_preface(void **state)
{
	(void)state;
	h2_pair_start_raw(&pair, H2_ROLE_SERVER);
	h2_raw_bytes(&pair, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
	expect_death(H2_CODE_PROTOCOL_ERROR);
}

static void violate(unsigned int which)
{
	static const uint8_t big[17000];
	switch (which) {
	case 0: /* a stream of the server's */
		headers(2, END_STREAM, GET);
		break;
	case 1: /* a field block with something else in between */
		frame(F_HEADERS, 0, 1, span_of("\x82", 1));
		frame(F_PING, 0, 0, SPAN_LIT("12345678"));
		break;
	case 2:
		frame(F_UPDATE, 0, 0, span_of("\0\0\0\0", 4));
		break;
	case 3:
		frame(F_PUSH, END_HEADERS, 1, span_of(big, 8));
		break;
	case 4:
		frame_u32(F_RST, 5, 0); /* never opened */
		break;
	default:
		frame(F_CONTINUATION, END_HEADERS, 1, span_of("\x82", 1));
		break;
	}
}

static void test_violations_end_the_connection(void **state)
{
	for (unsigned int i = 0; i < 6; i++) {
		start(H2_ROLE_SERVER);
		violate(i);
		expect_death(H2_CODE_PROTOCOL_ERROR);
		(void)teardown(state);
		(void)setup(state);
	}
	h2_pair_start_raw(&pair, H2_ROLE_SERVER);
}

static void test_window_games(void **state)
{
	(void)state;
	start(H2_ROLE_SERVER);
	/* Over 2^31 - 1, of a stream. */
	headers(1, END_STREAM, GET);
	RUN_UNTIL(server->count == 1);
	frame_u32(F_UPDATE, 1, INT32_MAX);
	assert_int_equal(reset_code(1), FLOW_CONTROL_ERROR);
	/* Windows that become negative, and positive again. */
	headers(3, END_STREAM, GET);
	RUN_UNTIL(server->count == 2);
	struct h2_call *call = &server->calls[1];
	assert_int_equal(h2_call_respond(call, 200, NULL, false), 0);
	h2_call_write_pattern(call, 30000);
	turns(5);
	static const uint8_t small[] = { 0, 4, 0, 0, 0, 100 };
	static const uint8_t large[] = { 0, 4, 0, 1, 0, 0 };
	frame(F_SETTINGS, 0, 0, span_of(small, sizeof(small)));
	h2_call_write_pattern(call, 30000);
	turns(5);
	assert_true(stream_credit(call->s) <= 32768);
	frame(F_SETTINGS, 0, 0, span_of(large, sizeof(large)));
	h2_call_finish(call);
	struct h2_raw_frame f;
	size_t sum = 0;
	do {
		assert_true(h2_raw_next(&pair, F_DATA, &f));
		sum += f.len;
	} while (!(f.flags & END_STREAM));
	assert_int_equal(sum, 60000);
	/* Over 2^31 - 1, of the connection. */
	frame_u32(F_UPDATE, 0, INT32_MAX);
	expect_death(FLOW_CONTROL_ERROR);
}

/* More bytes than the window has. */
static void test_overrun(void **state)
{
	(void)state;
	static const uint8_t bytes[16000];
	start(H2_ROLE_SERVER);
	headers(1, 0, GET);
	RUN_UNTIL(server->count == 1);
	server->calls[0].is_quiet = true;
	for (unsigned int i = 0; i < 5; i++)
		frame(F_DATA, 0, 1, span_of(bytes, sizeof(bytes)));
	RUN_UNTIL(server->closed == 1 || stream_read_error(server->calls[0].s) < 0);
	if (server->closed)
		assert_int_equal(server->code, FLOW_CONTROL_ERROR);
}

/* ---- floods -----------------------------------------------------------------------------------
 */

static uint64_t floods(void)
{
	struct h2_stats stats;
	h2_get_stats(server->conn, &stats);
	return stats.floods;
}

/* Frames of a kind until the connection has had enough. Reads what it says. */
static void flood(unsigned int which)
{
	/* Streams count until their reset is out. */
	pair.batch_max = which == 3 ? 0 : 4096;
	for (uint32_t i = 0; i < 50000 && !server->closed; i++) {
		uint32_t id = 2 * i + 1;
		switch (which) {
		case 0:
			frame(F_PING, 0, 0, SPAN_LIT("12345678"));
			break;
		case 1:
			frame(F_SETTINGS, 0, 0, (struct span){});
			break;
		case 2:
			headers(id, END_STREAM, GET);
			frame_u32(F_RST, id, H2_CODE_CANCEL);
			break;
		case 3:
			headers(id, END_STREAM, ":method=GET");
			break;
		case 4:
			if (i == 0)
				headers(1, 0, GET);
			frame(F_DATA, 0, 1, (struct span){});
			break;
		case 5:
			frame(F_PRIORITY, 0, 1, span_of("\0\0\0\0\1", 5));
			break;
		case 6:
			frame(F_HEADERS + (i ? F_CONTINUATION - F_HEADERS : 0), 0, 1,
			      (struct span){});
			break;
		default:
			frame_u32(F_UPDATE, 0, 1);
			break;
		}
		h2_raw_drop(&pair);
	}
}

static void test_floods(void **state)
{
	for (unsigned int which = 0; which < 8; which++) {
		start(H2_ROLE_SERVER);
		flood(which);
		if (!server->closed)
			fail_msg("flood %u went on", which);
		assert_int_equal(server->end, H2_END_PROTOCOL);
		assert_int_equal(server->code, H2_CODE_ENHANCE_YOUR_CALM);
		assert_int_equal(floods(), 1);
		(void)teardown(state);
		(void)setup(state);
	}
	h2_pair_start_raw(&pair, H2_ROLE_SERVER);
}

/* Answers that nobody reads don't pile up. */
static void test_peer_that_never_reads(void **state)
{
	(void)state;
	start(H2_ROLE_SERVER);
	pair.batch_max = 4096;
	for (uint32_t i = 0; i < 200000 && !server->closed; i++)
		frame(F_PING, 0, 0, SPAN_LIT("12345678"));
	RUN_UNTIL(server->closed == 1);
	assert_int_equal(server->code, H2_CODE_ENHANCE_YOUR_CALM);
	assert_int_equal(floods(), 1);
}

/* ---- cuts -------------------------------------------------------------------------------------
 */

static void test_truncations(void **state)
{
	(void)state;
	enum { LEN = 24 + 9 + 9 + 9 };
	for (size_t cut = 0; cut < LEN; cut++) {
		uint8_t bytes[LEN + 64] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
		static const uint8_t rest[] = {
			0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0
		};
		memcpy(bytes + 24, rest, sizeof(rest));
		h2_pair_start_raw(&pair, H2_ROLE_SERVER);
		h2_raw_bytes(&pair, bytes, MIN(cut, 24 + sizeof(rest)));
		stream_finish(client->raw);
		RUN_UNTIL(server->closed == 1);
		assert_int_equal(server->end, H2_END_PEER);
		(void)teardown(state);
		(void)setup(state);
	}
	h2_pair_start_raw(&pair, H2_ROLE_SERVER);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_malformed_requests_end_their_stream),
		T(test_what_is_accepted),
		T(test_faults_are_for_the_user),
		T(test_malformed_answers),
		T(test_answers_and_what_follows),
		T(test_no_preface),
		T(test_violations_end_the_connection),
		T(test_window_games),
		T(test_overrun),
		T(test_floods),
		T(test_peer_that_never_reads),
		T(test_truncations),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
