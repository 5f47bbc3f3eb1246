/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every state and event of a link against a golden list, and the names and codes of ends.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/link/close.h"
#include "daemon/link/link.h"
#include "util/macro.h"

static const struct {
	enum link_state from;
	enum link_event event;
	enum link_state to;
} golden[] = {
	{ LINK_STATE_CONNECTING, LINK_EVENT_HANDSHAKE_DONE, LINK_STATE_UP },
	{ LINK_STATE_CONNECTING, LINK_EVENT_END, LINK_STATE_CLOSED },
	{ LINK_STATE_UP, LINK_EVENT_SUSPECT, LINK_STATE_SUSPECT },
	{ LINK_STATE_SUSPECT, LINK_EVENT_HEARD, LINK_STATE_UP },
	{ LINK_STATE_SUSPECT, LINK_EVENT_DRAIN, LINK_STATE_DRAINING },
	{ LINK_STATE_SUSPECT, LINK_EVENT_END, LINK_STATE_CLOSED },
	{ LINK_STATE_UP, LINK_EVENT_DRAIN, LINK_STATE_DRAINING },
	{ LINK_STATE_UP, LINK_EVENT_END, LINK_STATE_CLOSED },
	{ LINK_STATE_DRAINING, LINK_EVENT_SUSPECT, LINK_STATE_DRAINING },
	{ LINK_STATE_DRAINING, LINK_EVENT_HEARD, LINK_STATE_DRAINING },
	{ LINK_STATE_DRAINING, LINK_EVENT_END, LINK_STATE_CLOSED },
};

static unsigned int told;

static void on_state(struct link *link, enum link_state state, void *user)
{
	assert_int_equal(link->state, state);
	assert_ptr_equal(user, &told);
	told++;
}

static void on_stream(struct link *link, struct stream *stream, uint64_t id, void *user)
{
	(void)link;
	(void)stream;
	(void)id;
	(void)user;
}

static void on_datagram(struct link *link, struct span payload, void *user)
{
	(void)link;
	(void)payload;
	(void)user;
}

static enum link_state expected(enum link_state from, enum link_event event)
{
	for (size_t i = 0; i < ARRAY_SIZE(golden); i++)
		if (golden[i].from == from && golden[i].event == event)
			return golden[i].to;
	return LINK_STATE_INVALID_;
}

static void test_every_step(void **state)
{
	(void)state;
	static const struct link_sink sink = { .on_state = on_state,
					       .on_stream = on_stream,
					       .on_datagram = on_datagram };
	struct worker worker = {};
	for (unsigned int s = 0; s < LINK_STATE_MAX_; s++) {
		for (unsigned int e = 0; e < LINK_EVENT_MAX_; e++) {
			struct link link = { .sink = &sink, .user = &told, .worker = &worker };
			link.state = (enum link_state)s;
			told = 0;
			enum link_state to = expected((enum link_state)s, (enum link_event)e);
			int r = link_step(&link, (enum link_event)e);
			assert_int_equal(r, to ? 0 : -EPROTO);
			assert_int_equal(link.state, to ? to : s);
			assert_int_equal(told, to ? 1 : 0);
		}
	}
}

static void test_names(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < LINK_END_MAX_; i++) {
		const char *name = link_end_name((enum link_end)i);
		assert_string_not_equal(name, "unknown");
		assert_true(strlen(name) > 2);
	}
	assert_string_equal(link_end_name(LINK_END_MAX_), "unknown");
}

static void test_ends(void **state)
{
	(void)state;
	assert_int_equal(link_end_of_peer(0, false, true), LINK_END_PEER);
	assert_int_equal(link_end_of_peer(0, false, false), LINK_END_PEER);
	assert_int_equal(link_end_of_peer(0x128, true, false), LINK_END_HANDSHAKE);
	assert_int_equal(link_end_of_peer(0x128, true, true), LINK_END_PEER);
	assert_int_equal(link_end_of_peer(0x0a, true, false), LINK_END_PEER);
	assert_int_equal(link_end_of_error(-ECONNREFUSED), LINK_END_REFUSED);
	assert_int_equal(link_end_of_error(-ENETUNREACH), LINK_END_NETWORK);
}

static void test_words_from_outside(void **state)
{
	(void)state;
	char to[8];
	link_reason_copy(to, sizeof(to), SPAN_LIT("ok"));
	assert_string_equal(to, "ok");
	link_reason_copy(to, sizeof(to),
			 SPAN_LIT("a\nb\x1b\xff"
				  "0123456"));
	assert_string_equal(to, "a?b??01");
	link_reason_copy(to, sizeof(to), span_of(NULL, 0));
	assert_string_equal(to, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_step),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_words_from_outside),
	};
	return cmocka_run_group_tests_name("link_fsm", tests, NULL, NULL);
}
