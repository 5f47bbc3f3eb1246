/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64, hexadecimal digits, UUIDs and the join token: what is read, what is refused, round trips.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/wire/base64.h"
#include "daemon/wire/hex.h"
#include "daemon/wire/token.h"
#include "daemon/wire/uuid.h"
#include "util/macro.h"

static void test_base64_known(void **state)
{
	(void)state;
	/* RFC 4648 §10, and every alphabet character. */
	const struct {
		const char *bytes;
		const char *text;
	} cases[] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
		{ "\xfb\xff\xbf", "+/+/" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t buf[16];
		struct packer p = packer_over(buf, sizeof(buf));
		base64_encode(&p, span_str(cases[i].bytes));
		assert_true(span_eq_str(packer_span(&p), cases[i].text));
		p = packer_over(buf, sizeof(buf));
		assert_int_equal(base64_decode(span_str(cases[i].text), &p), 0);
		assert_true(span_eq_str(packer_span(&p), cases[i].bytes));
	}
}

static void test_base64_refuses(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"Z",    "Zg",   "Zg=",   "Zg===", "Zg==Zg==", "Z===",  "====", "=Zg=",      "Zm9=v",
		"Zh==", "Zm9=", "Zm 9v", "Zm9\n", "Zm-_",     "Zm9v=", "Z=g=", "Zm9v Zm9v",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		uint8_t buf[16];
		struct packer p = packer_over(buf, sizeof(buf));
		if (base64_decode(span_str(bad[i]), &p) != -EBADMSG)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(p.len, 0);
	}
	uint8_t two[2];
	struct packer p = packer_over(two, sizeof(two));
	assert_int_equal(base64_decode(SPAN_LIT("Zm9v"), &p), -ENOBUFS);
	assert_int_equal(p.len, 0);
	assert_int_equal(p.error, 0);
	assert_int_equal(base64_decode(SPAN_LIT("Zm8="), &p), 0);
}

static void test_base64_round_trip(void **state)
{
	(void)state;
	uint8_t bytes[100];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		uint8_t text[BASE64_ENCODED_LEN(sizeof(bytes))];
		uint8_t back[sizeof(bytes)];
		struct packer p = packer_over(text, BASE64_ENCODED_LEN(len));
		base64_encode(&p, span_of(bytes, len));
		assert_int_equal(packer_finish(&p), 0);
		assert_int_equal(p.len, p.cap);
		struct packer q = packer_over(back, len);
		assert_true(len <= BASE64_DECODED_MAX(p.len));
		assert_int_equal(base64_decode(packer_span(&p), &q), 0);
		assert_true(span_eq(packer_span(&q), span_of(bytes, len)));
	}
}

static void test_base64_raw(void **state)
{
	(void)state;
	static const char *const bad[] = { "Z",   "Zg==", "Zm8=",  "Zm9vZ",
					   "Zg ", "Z\nQ", "Zm9\n", "-_" };
	uint8_t bytes[100];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 59 + 7);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		uint8_t text[BASE64_RAW_LEN(sizeof(bytes))];
		uint8_t back[sizeof(bytes)];
		struct packer p = packer_over(text, BASE64_RAW_LEN(len));
		base64_raw_encode(&p, span_of(bytes, len));
		assert_int_equal(packer_finish(&p), 0);
		assert_int_equal(p.len, p.cap);
		assert_int_equal(BASE64_RAW_DECODED_MAX(p.len), len);
		struct packer q = packer_over(back, len);
		assert_int_equal(base64_raw_decode(packer_span(&p), &q), 0);
		assert_true(span_eq(packer_span(&q), span_of(bytes, len)));
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct packer p = packer_over(bytes, sizeof(bytes));
		if (base64_raw_decode(span_str(bad[i]), &p) != -EBADMSG)
			fail_msg("accepted: %s", bad[i]);
		assert_int_equal(p.len, 0);
	}
	/* Left-over bits may be set. */
	struct packer p = packer_over(bytes, 1);
	assert_int_equal(base64_raw_decode(SPAN_LIT("YR"), &p), 0);
	assert_int_equal(bytes[0], 'a');
	assert_int_equal(base64_raw_decode(SPAN_LIT("YQ"), &p), -ENOBUFS);
	assert_int_equal(p.len, 1);
}

static void test_hex(void **state)
{
	(void)state;
	uint8_t buf[8];
	struct packer p = packer_over(buf, sizeof(buf));
	hex_encode(&p, SPAN_LIT("\x00\x9a\xff"));
	assert_true(span_eq_str(packer_span(&p), "009aff"));
	p = packer_over(buf, sizeof(buf));
	assert_int_equal(hex_decode(SPAN_LIT("009AfF"), &p), 0);
	assert_true(span_eq(packer_span(&p), SPAN_LIT("\x00\x9a\xff")));
	p = packer_over(buf, 2);
	assert_int_equal(hex_decode(SPAN_LIT("0"), &p), -EBADMSG);
	assert_int_equal(hex_decode(SPAN_LIT("0g"), &p), -EBADMSG);
	assert_int_equal(hex_decode(SPAN_LIT("g0"), &p), -EBADMSG);
	assert_int_equal(hex_decode(SPAN_LIT("0x"), &p), -EBADMSG);
	assert_int_equal(hex_decode(SPAN_LIT("010203"), &p), -ENOBUFS);
	assert_int_equal(p.len, 0);
	assert_int_equal(hex_decode(SPAN_LIT("0102"), &p), 0);
}

static void test_uuid(void **state)
{
	(void)state;
	struct uuid u;
	struct uuid v;
	char text[UUID_TEXT_LEN + 1];
	assert_int_equal(uuid_parse(SPAN_LIT("00112233-4455-6677-8899-AAbbccddeeff"), &u), 0);
	assert_memory_equal(u.bytes,
			    "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
	uuid_format(&u, text);
	assert_string_equal(text, "00112233-4455-6677-8899-aabbccddeeff");
	static const char *const bad[] = {
		"",
		"00112233-4455-6677-8899-aabbccddeef",
		"00112233-4455-6677-8899-aabbccddeeff0",
		"00112233445566778899aabbccddeeff",
		"001122334455-6677-8899-aabbccddeeff--",
		"00112233-4455-6677-8899_aabbccddeeff",
		"0011223g-4455-6677-8899-aabbccddeeff",
		"-0112233-4455-6677-8899-aabbccddeeff",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(uuid_parse(span_str(bad[i]), &v), -EBADMSG);
	assert_int_equal(uuid_from_span(uuid_span(&u), &v), 0);
	assert_true(uuid_eq(&u, &v));
	assert_int_equal(uuid_from_span(span_of(u.bytes, 15), &v), -EBADMSG);
	assert_int_equal(uuid_from_span((struct span){}, &v), -EBADMSG);
	memset(&v, 0xff, sizeof(v));
	uuid_make_v4(&v);
	uuid_format(&v, text);
	assert_string_equal(text, "ffffffff-ffff-4fff-bfff-ffffffffffff");
	assert_false(uuid_eq(&u, &v));
}

static struct tunnel_credential credential(void)
{
	struct tunnel_credential c = { .account_len = 4, .secret_len = 3 };
	memcpy(c.account, "acct", 4);
	memcpy(c.secret, "foo", 3);
	memset(c.tunnel_id.bytes, 0x11, UUID_LEN);
	return c;
}

static void check_token(const struct tunnel_credential *c, const char *json)
{
	uint8_t scratch[TOKEN_TEXT_MAX];
	uint8_t text[TOKEN_TEXT_MAX];
	uint8_t back[TOKEN_TEXT_MAX];
	struct packer s = packer_over(scratch, sizeof(scratch));
	struct packer p = packer_over(text, sizeof(text));
	struct packer q = packer_over(back, sizeof(back));
	assert_int_equal(token_encode(c, &s, &p), 0);
	assert_int_equal(base64_decode(packer_span(&p), &q), 0);
	assert_true(span_eq_str(packer_span(&q), json));
}

static void test_token(void **state)
{
	(void)state;
	struct tunnel_credential c = credential();
	check_token(
		&c,
		"{\"a\":\"acct\",\"t\":\"11111111-1111-1111-1111-111111111111\",\"s\":\"Zm9v\"}");
	c.edge_count = 2;
	c.edges[0].len = 6;
	memcpy(c.edges[0].text, "a:7844", 6);
	c.edges[1].len = 3;
	memcpy(c.edges[1].text, "b:1", 3);
	c.has_pin = true;
	check_token(&c,
		    "{\"a\":\"acct\",\"t\":\"11111111-1111-1111-1111-111111111111\",\"s\":\"Zm9v\","
		    "\"x\":{\"v\":1,\"edge\":[\"a:7844\",\"b:1\"],"
		    "\"pin\":\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}}");
	c.edge_count = 0;
	check_token(&c,
		    "{\"a\":\"acct\",\"t\":\"11111111-1111-1111-1111-111111111111\",\"s\":\"Zm9v\","
		    "\"x\":{\"v\":1,"
		    "\"pin\":\"sha256/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"}}");
}

static void test_token_limits(void **state)
{
	(void)state;
	static uint8_t scratch[TOKEN_TEXT_MAX];
	static uint8_t text[TOKEN_TEXT_MAX];
	struct packer s = packer_over(scratch, sizeof(scratch));
	struct packer p = packer_over(text, sizeof(text));

	/* The largest credential fits. */
	struct tunnel_credential c = { .account_len = TUNNEL_ACCOUNT_MAX,
				       .secret_len = TUNNEL_SECRET_MAX,
				       .edge_count = TUNNEL_EDGES_MAX,
				       .has_pin = true };
	memset(c.account, 'a', sizeof(c.account));
	for (int i = 0; i < TUNNEL_EDGES_MAX; i++) {
		c.edges[i].len = TUNNEL_EDGE_MAX;
		memset(c.edges[i].text, 'e', TUNNEL_EDGE_MAX);
	}
	assert_int_equal(token_encode(&c, &s, &p), 0);

	size_t full = p.len;
	struct packer small = packer_over(text, full - 1);
	assert_int_equal(token_encode(&c, &s, &small), -ENOBUFS);
	assert_int_equal(small.len, 0);
	struct packer tight = packer_over(scratch, 100);
	p = packer_over(text, sizeof(text));
	assert_int_equal(token_encode(&c, &tight, &p), -ENOBUFS);

	/* What would need an escape in JSON. */
	static const char bad[] = { '"', '\\', '\n', 0x7f, (char)0x80, 0 };
	for (size_t i = 0; i < sizeof(bad); i++) {
		c = credential();
		c.account[2] = bad[i];
		assert_int_equal(token_encode(&c, &s, &p), -EINVAL);
		c = credential();
		c.edge_count = 1;
		c.edges[0].len = 1;
		c.edges[0].text[0] = bad[i];
		assert_int_equal(token_encode(&c, &s, &p), -EINVAL);
	}
	assert_int_equal(p.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64_known),
		cmocka_unit_test(test_base64_refuses),
		cmocka_unit_test(test_base64_round_trip),
		cmocka_unit_test(test_base64_raw),
		cmocka_unit_test(test_hex),
		cmocka_unit_test(test_uuid),
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_token_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
