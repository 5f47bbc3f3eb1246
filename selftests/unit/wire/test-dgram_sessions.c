/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every message of the recorded sessions (selftests/data/datagram-sessions.md): datagrams of both
 * versions, frames of the calls, and the packets between daemon and origin, as far as codecs can
 * say something of them. What the ends do is for the tests of session/.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "data/datagram-sessions.h"

#include "selftests/lib/connect_exercise.h"
#include "selftests/lib/dgram_exercise.h"
#include "selftests/lib/ip_exercise.h"
#include "selftests/lib/rpc_exercise.h"

enum { ROOM = 2048 };

static bool is_v2(const struct vector_case *c)
{
	return c->name[0] == 'B';
}

static bool between_ends(const struct vector_case *c)
{
	return strchr(c->direction, '#') != NULL && !strstr(c->direction, "stream");
}

static bool is_in(const struct vector_case *c, const char *section)
{
	return strncmp(c->name, section, strlen(section)) == 0;
}

/* What a datagram has to give: A12 is the section of malformed ones, A11 has one too large. */
static int expected(const struct vector_case *c)
{
	static const struct {
		const char *name;
		int want;
	} bad[] = {
		{ "A12/1 ", -ENODATA }, { "A12/3 ", -ENODATA }, { "A12/5 ", -EBADMSG },
		{ "A12/7 ", -EBADMSG }, { "A12/9 ", -ENODATA }, { "A12/11 ", -ENODATA },
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (is_in(c, bad[i].name))
			return bad[i].want;
	return 0;
}

/* A packet that a daemon returned: made again from what it says. */
static void check_answer(struct span packet)
{
	uint8_t room[ROOM];
	struct packer out = packer_over(room, sizeof(room));
	struct ip_packet p = {};
	struct icmp_message m = {};
	assert_int_equal(ip_read(packet, &p), 0);
	assert_int_equal(icmp_read(&p, &m), 0);
	struct icmp_echo echo = { .src = p.src,
				  .dst = p.dst,
				  .ttl = ICMP_TTL,
				  .is_reply = true,
				  .id = m.id,
				  .seq = m.seq,
				  .data = m.data };
	struct icmp_error error = { .src = p.src, .dst = p.dst, .kind = m.kind, .quote = m.data };
	if (icmp_kind_is_error(m.kind))
		assert_int_equal(icmp_error_write(&out, &error), 0);
	else
		assert_int_equal(icmp_echo_write(&out, &echo), 0);
	assert_true(span_eq(packer_span(&out), packet));
}

static unsigned int answers;

static void check_datagram(const struct vector_case *c, struct span in)
{
	bool from_daemon = c->direction[0] == 'd';
	struct span packet = {};
	struct dgram2 d = {};
	if (is_v2(c)) {
		assert_int_equal(exercise_dgram2(in), 0);
		assert_int_equal(dgram2_read(in, &d), 0);
		packet = d.type == DGRAM2_TYPE_PACKET ? d.content : packet;
	} else {
		assert_int_equal(exercise_dgram3(in), expected(c));
		if (from_daemon)
			(void)dgram3_icmp_read(in, &packet);
	}
	if (from_daemon && packet.len) {
		check_answer(packet);
		answers++;
	}
}

static void test_datagrams(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!between_ends(c))
			continue;
		struct span in = vector_heap_copy(vector_span(c));
		check_datagram(c, in);
		vector_heap_free(in);
		count++;
	}
	print_message("%u datagrams, %u packets made again\n", count, answers);
	assert_int_equal(count, 140);
	assert_true(answers >= 16);
}

/* A11: 1281 bytes of payload are too many, unless both ends are ours. */
static void test_too_large(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		struct dgram3_payload d;
		if (!is_in(c, "A11/") || !between_ends(c) || c->len < 1298)
			continue;
		assert_int_equal(dgram3_payload_read(vector_span(c), DGRAM_PAYLOAD_MAX, &d),
				 -EMSGSIZE);
		assert_int_equal(dgram3_payload_read(vector_span(c), DGRAM_PAYLOAD_MAX_ADIT, &d),
				 0);
		count++;
	}
	assert_int_equal(count, 1);
}

static void test_calls(void **state)
{
	(void)state;
	unsigned int frames = 0, preambles = 0, calls = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!strstr(c->direction, "stream") || c->len == 0)
			continue;
		if (c->len == PREAMBLE_SIGNATURE_LEN) {
			assert_int_equal(exercise_preamble(vector_span(c)), 0);
			preambles++;
			continue;
		}
		struct span in = vector_heap_copy(vector_span(c));
		struct capnp_msg m;
		struct rpc_message msg = {};
		assert_int_equal(rpc_decode(in, &m, &msg), 0);
		if (msg.payload.content.msg)
			exercise_structs(&msg.payload.content);
		calls += msg.kind == RPC_KIND_CALL;
		vector_heap_free(in);
		frames++;
	}
	print_message("%u frames, %u of them calls, %u preambles\n", frames, calls, preambles);
	assert_int_equal(frames + preambles, 151);
}

/* What kernels sent: every checksum right, and an echo's message is the one that we'd send. */
static void test_packets_on_the_wire(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!strstr(c->direction, " 10.77.") && !strstr(c->direction, " fd77:"))
			continue;
		struct span in = vector_heap_copy(vector_span(c));
		uint8_t room[ROOM];
		struct packer out = packer_over(room, sizeof(room));
		struct ip_packet p = {};
		struct icmp_message m = {};
		assert_int_equal(exercise_ip(in), 0);
		assert_int_equal(ip_read(in, &p), 0);
		assert_int_equal(icmp_read(&p, &m), 0);
		assert_true(ip_checksum_ok(&p) && icmp_checksum_ok(&p));
		struct icmp_echo echo = { .src = p.src,
					  .dst = p.dst,
					  .is_reply = m.kind == ICMP_KIND_ECHO_REPLY,
					  .id = m.id,
					  .seq = m.seq,
					  .data = m.data };
		assert_int_equal(icmp_echo_write_message(&out, &echo), 0);
		assert_true(span_eq(packer_span(&out), p.payload));
		vector_heap_free(in);
		count++;
	}
	assert_int_equal(count, 28);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_datagrams),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_calls),
		cmocka_unit_test(test_packets_on_the_wire),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
