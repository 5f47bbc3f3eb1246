/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams of version 3 against the recorded ones (selftests/data/datagrams.json), their
 * limits, truncations and bit flips. What the daemon does with them is for the tests of session/.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "data/datagrams.h"

#include "daemon/wire/endpoint.h"
#include "selftests/lib/dgram_exercise.h"
#include "util/macro.h"

enum { ROOM = 2048 };

static uint8_t pattern[ROOM];

static bool begins(const struct vector_case *c, const char *prefix)
{
	return strncmp(c->name, prefix, strlen(prefix)) == 0;
}

static bool is_kind(const struct vector_case *c, const char *kind)
{
	const char *override = vector_override(c);
	return override && strcmp(override, kind) == 0;
}

static void check_id(const struct vector_case *c, const struct dgram_id *id)
{
	char text[DGRAM_ID_TEXT_LEN + 1];
	dgram_id_format(id, text);
	assert_string_equal(text, vector_get(c, "request_id"));
}

static void check_payload(const struct vector_case *c, struct span payload)
{
	const char *digits = vector_get(c, "payload_hex");
	assert_int_equal(payload.len, vector_number(c, "payload_len"));
	if (digits) {
		uint8_t bytes[64];
		struct packer p = packer_over(bytes, sizeof(bytes));
		assert_int_equal(hex_decode(span_str(digits), &p), 0);
		assert_true(span_eq(packer_span(&p), payload));
	} else {
		assert_memory_equal(payload.ptr, pattern, payload.len);
	}
}

/* ---- registration ---- */

static void check_register(const struct vector_case *c, const struct dgram3_register *r)
{
	uint8_t text[ENDPOINT_TEXT_MAX];
	struct packer p = packer_over(text, sizeof(text));
	ip_port_print(&p, &r->dest);
	assert_true(span_eq_str(packer_span(&p), vector_get(c, "dest")));
	assert_int_equal(r->idle_sec, vector_number(c, "idle_hint_seconds"));
	assert_int_equal(r->is_traced, vector_is(c, "traced", "true"));
	check_id(c, &r->id);
	check_payload(c, r->payload);
}

/*
 * Row 1 (behaviour): where the reference panics an error is asserted. Rows 4: the payload is read
 * as recorded. wire-lenient ones are read, and what we write differs or is refused.
 */
static void test_registrations(void **state)
{
	(void)state;
	unsigned int count = 0, refused = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!begins(c, "v3_register_") || vector_get(c, "encode"))
			continue;
		struct span in = vector_heap_copy(vector_span(c));
		struct dgram3_register r = {};
		int e = dgram3_register_read(in, &r);
		count++;
		if (!vector_is(c, "decode", "ok")) {
			assert_true(e == -ENODATA || e == -EBADMSG);
			vector_heap_free(in);
			refused++;
			continue;
		}
		assert_int_equal(e, 0);
		check_register(c, &r);

		uint8_t room[ROOM];
		struct packer p = packer_over(room, sizeof(room));
		e = dgram3_register_write(&p, &r);
		if (r.payload.len > dgram3_bundle_max(r.dest.ip.family))
			assert_int_equal(e, -EMSGSIZE);
		else
			assert_int_equal(e, 0);
		bool is_odd =
			is_kind(c, "wire-lenient") && !vector_get(c, "requested_idle_seconds");
		assert_int_equal(span_eq(packer_span(&p), in), !is_odd);
		vector_heap_free(in);
	}
	assert_int_equal(count, 32);
	assert_int_equal(refused, 9);
}

/* v3_register_ipv4_idle_overflow and _fraction: from the time that was asked for. */
static void test_idle_hint(void **state)
{
	(void)state;
	assert_int_equal(dgram3_idle_sec(65537 * NSEC_PER_SEC), 65535); /* recorded: 1 */
	assert_int_equal(dgram3_idle_sec(1900 * NSEC_PER_MSEC), 1);
	assert_int_equal(dgram3_idle_sec(1), 1); /* 0 would mean 210 s */
	assert_int_equal(dgram3_idle_sec(0), 0);
	assert_int_equal(dgram3_idle_sec(65535 * NSEC_PER_SEC), 65535);
	assert_int_equal(dgram3_idle_sec(NSEC_NEVER), 65535);
	assert_int_equal(dgram3_idle(0), 210 * NSEC_PER_SEC);
	assert_int_equal(dgram3_idle(1), NSEC_PER_SEC);
	assert_int_equal(dgram3_idle(65535), 65535 * NSEC_PER_SEC);

	uint8_t room[64];
	struct packer p = packer_over(room, sizeof(room));
	struct dgram3_register r = { .dest.ip.family = IP_FAMILY_V4,
				     .idle_sec = dgram3_idle_sec(65537 * NSEC_PER_SEC) };
	assert_int_equal(dgram3_register_write(&p, &r), 0);
	assert_int_equal(room[4], 0xff);
	assert_int_equal(room[5], 0xff);
}

/* v3_register_ipv*_encode_too_large, and our own limits of 1254 and 1242. */
static void test_bundle_limits(void **state)
{
	(void)state;
	static const struct {
		enum ip_family family;
		size_t max, recorded;
	} cases[] = { { IP_FAMILY_V4, 1254, 1307 }, { IP_FAMILY_V6, 1242, 1319 } };
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t room[ROOM];
		struct dgram3_register r = { .dest.ip.family = cases[i].family };
		struct packer p = packer_over(room, sizeof(room));
		assert_int_equal(dgram3_bundle_max(cases[i].family), cases[i].max);
		r.payload = span_of(pattern, cases[i].max);
		assert_int_equal(dgram3_register_write(&p, &r), 0);
		assert_int_equal(p.len, DGRAM3_REGISTER_MAX);
		p = packer_over(room, sizeof(room));
		r.payload.len++;
		assert_int_equal(dgram3_register_write(&p, &r), -EMSGSIZE);
		r.payload.len = cases[i].recorded;
		assert_int_equal(dgram3_register_write(&p, &r), -EMSGSIZE);
		assert_int_equal(p.len, 0);
		p = packer_over(room, DGRAM3_REGISTER_MAX - 1);
		r.payload.len = cases[i].max;
		assert_int_equal(dgram3_register_write(&p, &r), -ENOBUFS);
	}
	struct dgram3_register nowhere = {};
	struct packer p = packer_over(pattern, 0);
	assert_int_equal(dgram3_register_write(&p, &nowhere), -EINVAL);
}

/* ---- payload ---- */

static void test_payloads(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!begins(c, "v3_payload_"))
			continue;
		struct span in = vector_heap_copy(vector_span(c));
		struct dgram3_payload d = {};
		int r = dgram3_payload_read(in, DGRAM_PAYLOAD_MAX, &d);
		count++;
		if (vector_is(c, "decode", "ok")) {
			uint8_t room[ROOM], head[DGRAM3_PAYLOAD_HEAD];
			struct packer p = packer_over(room, sizeof(room));
			assert_int_equal(r, 0);
			check_id(c, &d.id);
			check_payload(c, d.payload);
			assert_int_equal(dgram3_payload_write(&p, &d, DGRAM_PAYLOAD_MAX), 0);
			assert_true(span_eq(packer_span(&p), in));
			dgram3_payload_head(&d.id, head);
			assert_memory_equal(head, in.ptr, sizeof(head));
		} else {
			assert_true(r < 0);
		}
		vector_heap_free(in);
	}
	assert_int_equal(count, 9);
}

/* Between our own ends a payload may have 1380 bytes (docs/protocol.md §11.2). */
static void test_payload_limits(void **state)
{
	(void)state;
	static const struct {
		size_t len, max;
		int want;
	} cases[] = {
		{ 1280, DGRAM_PAYLOAD_MAX, 0 },
		{ 1281, DGRAM_PAYLOAD_MAX, -EMSGSIZE },
		{ 1281, DGRAM_PAYLOAD_MAX_ADIT, 0 },
		{ 1380, DGRAM_PAYLOAD_MAX_ADIT, 0 },
		{ 1381, DGRAM_PAYLOAD_MAX_ADIT, -EMSGSIZE },
	};
	uint8_t room[ROOM];
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct packer p = packer_over(room, sizeof(room));
		struct dgram3_payload d = { .payload = span_of(pattern, cases[i].len) };
		assert_int_equal(dgram3_payload_write(&p, &d, cases[i].max), cases[i].want);
		assert_int_equal(p.len, cases[i].want ? 0 : DGRAM3_PAYLOAD_HEAD + cases[i].len);

		room[0] = DGRAM3_TYPE_PAYLOAD;
		struct span in =
			vector_heap_copy(span_of(room, DGRAM3_PAYLOAD_HEAD + cases[i].len));
		assert_int_equal(dgram3_payload_read(in, cases[i].max, &d), cases[i].want);
		vector_heap_free(in);
	}
	assert_int_equal(dgram3_payload_max(false), 1280);
	assert_int_equal(dgram3_payload_max(true), 1380);
}

/* ---- response ---- */

/* Row 14 (behaviour): v3_response_decode_trailing_bytes is cut at its length. */
static void check_text(const struct vector_case *c, struct span text)
{
	const char *want = vector_get(c, "error_message");
	if (is_kind(c, "behaviour")) {
		assert_string_equal(c->name, "v3_response_decode_trailing_bytes");
		assert_true(span_eq_str(text, "ab"));
		return;
	}
	assert_int_equal(text.len, vector_number(c, "error_message_len"));
	if (want)
		assert_true(span_eq_str(text, want));
	for (size_t i = 0; !want && i < text.len; i++)
		assert_int_equal(text.ptr[i], 'e');
}

static void test_responses(void **state)
{
	(void)state;
	unsigned int count = 0, overridden = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!begins(c, "v3_response_") || vector_get(c, "encode"))
			continue;
		struct span in = vector_heap_copy(vector_span(c));
		struct dgram3_response d = {};
		int r = dgram3_response_read(in, &d);
		count++;
		if (vector_is(c, "decode", "ok")) {
			uint8_t room[ROOM];
			struct packer p = packer_over(room, sizeof(room));
			assert_int_equal(r, 0);
			check_id(c, &d.id);
			check_text(c, d.text);
			assert_int_equal(d.code, vector_number(c, "response_code"));
			assert_int_equal(dgram3_response_write(&p, &d), 0);
			/* Never a byte behind the text. */
			assert_int_equal(span_eq(packer_span(&p), in), !vector_override(c));
			overridden += vector_override(c) != NULL;
		} else {
			assert_true(r < 0);
		}
		vector_heap_free(in);
	}
	assert_int_equal(count, 21);
	assert_int_equal(overridden, 2);
}

/* v3_response_encode_text_too_large */
static void test_text_limit(void **state)
{
	(void)state;
	uint8_t room[ROOM];
	struct packer p = packer_over(room, sizeof(room));
	struct dgram3_response d = { .text = span_of(pattern, DGRAM3_TEXT_MAX) };
	assert_int_equal(dgram3_response_write(&p, &d), 0);
	assert_int_equal(p.len, 1280);
	assert_int_equal(dgram3_response_read(packer_span(&p), &d), 0);
	d.text = span_of(pattern, DGRAM3_TEXT_MAX + 1);
	p = packer_over(room, sizeof(room));
	assert_int_equal(dgram3_response_write(&p, &d), -EMSGSIZE);
	assert_int_equal(p.len, 0);
}

/* ---- ICMP ---- */

/* The packets themselves are for test-icmp. */
static void test_icmp(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if ((!begins(c, "v3_icmp") && !begins(c, "v3_ttl")) || vector_get(c, "encode"))
			continue;
		struct span in = vector_heap_copy(vector_span(c));
		struct span packet = {};
		int r = dgram3_icmp_read(in, &packet);
		count++;
		if (vector_is(c, "decode", "ok")) {
			uint8_t room[ROOM];
			struct packer p = packer_over(room, sizeof(room));
			assert_int_equal(r, 0);
			assert_int_equal(packet.len, vector_number(c, "ip_packet_len"));
			assert_int_equal(dgram3_icmp_write(&p, packet), 0);
			assert_true(span_eq(packer_span(&p), in));
		} else {
			assert_true(r < 0);
		}
		vector_heap_free(in);
	}
	assert_int_equal(count, 35);
}

/* v3_icmp_encode_too_large */
static void test_icmp_limits(void **state)
{
	(void)state;
	uint8_t room[ROOM];
	struct packer p = packer_over(room, sizeof(room));
	assert_int_equal(dgram3_icmp_write(&p, span_of(pattern, 1280)), 0);
	assert_int_equal(p.len, 1281);
	p = packer_over(room, sizeof(room));
	assert_int_equal(dgram3_icmp_write(&p, span_of(pattern, 1281)), -EMSGSIZE);
	assert_int_equal(dgram3_icmp_write(&p, (struct span){}), -ENODATA);
	assert_int_equal(p.len, 0);
}

/* ---- all types ---- */

/* What the codec can say of the datagrams that the daemon drops; the log level is not asserted. */
static void test_dropped_ones(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		int type, read;
	} cases[] = {
		{ "v3_mux_empty_datagram", -ENODATA, -ENODATA },
		{ "v3_mux_response_from_edge", DGRAM3_TYPE_RESPONSE, -ENODATA },
		{ "v3_mux_unknown_type_04", -EBADMSG, -EBADMSG },
		{ "v3_mux_unknown_type_63", -EBADMSG, -EBADMSG },
		{ "v3_mux_unknown_type_ff", -EBADMSG, -EBADMSG },
		{ "v3_mux_payload_too_short", DGRAM3_TYPE_PAYLOAD, -ENODATA },
		{ "v3_mux_payload_unknown_flow", DGRAM3_TYPE_PAYLOAD, 0 },
		{ "v3_mux_icmp_missing", DGRAM3_TYPE_ICMP, -ENODATA },
	};
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!begins(c, "v3_mux_"))
			continue;
		assert_true(count < ARRAY_SIZE(cases));
		assert_string_equal(c->name, cases[count].name);
		struct span in = vector_heap_copy(vector_span(c));
		enum dgram3_type type = DGRAM3_TYPE_REGISTER;
		int r = dgram3_type(in, &type);
		assert_int_equal(r < 0 ? r : (int)type, cases[count].type);
		assert_int_equal(exercise_dgram3(in), cases[count].read);
		vector_heap_free(in);
		count++;
	}
	assert_int_equal(count, ARRAY_SIZE(cases));
}

/* Cut behind the fixed fields some stay whole datagrams; nothing is read too far. */
static void test_truncations(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!begins(c, "v3_") || !vector_is(c, "decode", "ok") || c->len > 64)
			continue;
		for (size_t len = 0; len < c->len; len++) {
			struct span cut = vector_heap_copy(span_first(vector_span(c), len));
			int r = exercise_dgram3(cut);
			size_t head = (size_t[]){
				[DGRAM3_TYPE_REGISTER] = c->octets[1] & 1 ? 38 : 26,
				[DGRAM3_TYPE_PAYLOAD] = DGRAM3_PAYLOAD_HEAD,
				[DGRAM3_TYPE_ICMP] = DGRAM3_ICMP_HEAD + 1,
				[DGRAM3_TYPE_RESPONSE] = DGRAM3_RESPONSE_HEAD,
			}[c->octets[0]];
			if (len < head)
				assert_int_equal(r, -ENODATA);
			vector_heap_free(cut);
			count++;
		}
	}
	print_message("%u truncations\n", count);
	assert_true(count > 1000);
}

static void test_bit_flips(void **state)
{
	(void)state;
	unsigned int count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		if (!begins(c, "v3_") || !vector_is(c, "decode", "ok") || c->len > 64)
			continue;
		count += vector_flip_bits(vector_span(c), exercise_dgram3);
	}
	print_message("%u bit flips\n", count);
	assert_true(count > 10000);
}

/* On failure nothing has been written to the result (style E4). */
static void test_results_stay_untouched(void **state)
{
	(void)state;
	uint8_t in[] = { DGRAM3_TYPE_RESPONSE, 0, 1 };
	enum dgram3_type type = DGRAM3_TYPE_ICMP;
	struct dgram3_register r = { .idle_sec = 7 };
	struct dgram3_payload d = { .payload.len = 7 };
	struct dgram3_response a = { .code = DGRAM3_CODE_OTHER };
	struct span packet = { .len = 7 };
	assert_int_equal(dgram3_type(span_of(in, 0), &type), -ENODATA);
	assert_int_equal(type, DGRAM3_TYPE_ICMP);
	assert_int_equal(dgram3_register_read(span_of(in, 3), &r), -EBADMSG);
	assert_int_equal(r.idle_sec, 7);
	assert_int_equal(dgram3_payload_read(span_of(in, 3), 1280, &d), -EBADMSG);
	assert_int_equal(d.payload.len, 7);
	assert_int_equal(dgram3_response_read(span_of(in, 3), &a), -ENODATA);
	assert_int_equal(a.code, DGRAM3_CODE_OTHER);
	assert_int_equal(dgram3_icmp_read(span_of(in, 3), &packet), -EBADMSG);
	assert_int_equal(packet.len, 7);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registrations),
		cmocka_unit_test(test_idle_hint),
		cmocka_unit_test(test_bundle_limits),
		cmocka_unit_test(test_payloads),
		cmocka_unit_test(test_payload_limits),
		cmocka_unit_test(test_responses),
		cmocka_unit_test(test_text_limit),
		cmocka_unit_test(test_icmp),
		cmocka_unit_test(test_icmp_limits),
		cmocka_unit_test(test_dropped_ones),
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_bit_flips),
		cmocka_unit_test(test_results_stay_untouched),
	};
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (uint8_t)i;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
