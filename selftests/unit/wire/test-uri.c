/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URIs and hosts, HTTP field names and values.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/wire/http_field.h"
#include "daemon/wire/uri.h"
#include "util/macro.h"

static void test_uri_parts(void **state)
{
	(void)state;
	const struct {
		const char *text;
		const char *scheme;
		const char *host;
		const char *port;
		const char *path;
		const char *query;
		const char *target;
	} cases[] = {
		{ "https://app.example.com/p?q=1", "https", "app.example.com", "", "/p", "q=1",
		  "/p?q=1" },
		{ "http://u:p@h:8080/x#frag", "http", "h", "8080", "/x", "", "/x" },
		{ "http://u@v@h/", "http", "h", "", "/", "", "/" },
		{ "http://[::1]:80/", "http", "[::1]", "80", "/", "", "/" },
		{ "http://[::1]", "http", "[::1]", "", "", "", "" },
		{ "http://h?x", "http", "h", "", "", "x", "?x" },
		{ "http://h:/", "http", "h", "", "/", "", "/" },
		{ "http:///p", "http", "", "", "/p", "", "/p" },
		{ "/path/a%2Fb?x?y", "", "", "", "/path/a%2Fb", "x?y", "/path/a%2Fb?x?y" },
		{ "//h/p", "", "", "", "//h/p", "", "//h/p" },
		{ "/a:b", "", "", "", "/a:b", "", "/a:b" },
		{ "?q", "", "", "", "", "q", "?q" },
		{ "", "", "", "", "", "", "" },
		{ "a+b-c.1://h", "a+b-c.1", "h", "", "", "", "" },
		{ "/\xc3\xa4", "", "", "", "/\xc3\xa4", "", "/\xc3\xa4" },
		{ "/p?%zz", "", "", "", "/p", "%zz", "/p?%zz" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct uri u;
		assert_int_equal(uri_parse(span_str(cases[i].text), &u), 0);
		if (!span_eq_str(u.scheme, cases[i].scheme) ||
		    !span_eq_str(u.host, cases[i].host) || !span_eq_str(u.port, cases[i].port) ||
		    !span_eq_str(u.path, cases[i].path) || !span_eq_str(u.query, cases[i].query) ||
		    !span_eq_str(u.target, cases[i].target))
			fail_msg("%s", cases[i].text);
	}
	/* Absent and empty are told apart. */
	struct uri u;
	assert_int_equal(uri_parse(SPAN_LIT("/p?"), &u), 0);
	assert_non_null(u.query.ptr);
	assert_int_equal(uri_parse(SPAN_LIT("/p"), &u), 0);
	assert_null(u.query.ptr);

	static const char *const bad[] = {
		"/a b",
		"/a\r\nb",
		"/\x7f",
		"/%",
		"/%4",
		"/%4g",
		"http://h:8x/",
		"http://[::1",
		"http://[::1]x/",
		"mailto:x",
		"h:80",
		"http:/one",
		"http://h:80:90/",
		" /",
		"/a\tb",
	};
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (uri_parse(span_str(bad[i]), &u) != -EBADMSG)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(uri_parse(SPAN_LIT("/a\0b"), &u), -EBADMSG);
}

static void test_path_decode(void **state)
{
	(void)state;
	uint8_t buf[8];
	struct packer p = packer_over(buf, sizeof(buf));
	assert_int_equal(uri_path_decode(SPAN_LIT("/a%2fb%41"), &p), 0);
	assert_true(span_eq_str(packer_span(&p), "/a/bA"));
	assert_int_equal(uri_path_decode(SPAN_LIT("%"), &p), -EBADMSG);
	assert_int_equal(uri_path_decode(SPAN_LIT("abcd"), &p), -ENOBUFS);
	assert_int_equal(p.len, 5);
	p = packer_over(buf, sizeof(buf));
	assert_int_equal(uri_path_decode(SPAN_LIT("/../+%00"), &p), 0);
	assert_true(span_eq(packer_span(&p), SPAN_LIT("/../+\0")));
}

static void test_hosts(void **state)
{
	(void)state;
	const struct {
		const char *authority;
		const char *host;
	} cases[] = {
		{ "A.Example.COM", "a.example.com" },
		{ "a.example.com.", "a.example.com" },
		{ "a.example.com..", "a.example.com." },
		{ "a.example.com:", "a.example.com" },
		{ "a.example.com:8443", "a.example.com" },
		{ "a.example.com.:8443", "a.example.com" },
		{ "a.example.com:notaport", "a.example.com" },
		{ "a:1:2", "a:1:2" },
		{ "[::1]:443", "::1" },
		{ "[::1]", "[::1]" },
		{ "[::1]x:443", "[::1]x:443" },
		{ "[::1]:4:5", "[::1]:4:5" },
		{ "[[::1]:443", "[[::1]:443" },
		{ "[::1", "[::1" },
		{ "a]:80", "a]:80" },
		{ "::1", "::1" },
		{ "", "" },
		{ ":", "" },
		{ ".", "" },
		{ "M\xc3\x84.de", "m\xc3\x84.de" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t buf[32];
		struct packer p = packer_over(buf, sizeof(buf));
		assert_int_equal(uri_host_normalize(span_str(cases[i].authority), &p), 0);
		if (!span_eq_str(packer_span(&p), cases[i].host))
			fail_msg("%s gives %.*s", cases[i].authority, (int)p.len, (char *)buf);
	}
	uint8_t buf[2];
	struct packer p = packer_over(buf, sizeof(buf));
	assert_int_equal(uri_host_normalize(SPAN_LIT("abc"), &p), -ENOBUFS);
	assert_int_equal(p.len, 0);
}

static void test_tokens_and_values(void **state)
{
	(void)state;
	assert_true(http_token_is_valid(SPAN_LIT("!#$%&'*+-.^_`|~09azAZ")));
	assert_false(http_token_is_valid(SPAN_LIT("")));
	for (unsigned int c = 0; c < 256; c++) {
		uint8_t text[3] = { 'a', (uint8_t)c, 'b' };
		bool is_token = c != 0 && c < 0x7f &&
				strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				       "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
				       (int)c) != NULL;
		assert_int_equal(http_token_is_valid(span_of(text, 3)), is_token);
		bool is_value = c == '\t' || (c >= ' ' && c != 0x7f);
		assert_int_equal(http_value_is_valid(span_of(text, 3)), is_value);
	}
	assert_true(http_value_is_valid(SPAN_LIT("")));
	assert_false(http_value_is_valid(SPAN_LIT(" a")));
	assert_false(http_value_is_valid(SPAN_LIT("a\t")));
}

static void test_hop_by_hop(void **state)
{
	(void)state;
	static const char *const hop[] = { "Connection",
					   "KEEP-ALIVE",
					   "proxy-connection",
					   "TE",
					   "Trailer",
					   "Transfer-Encoding",
					   "Upgrade",
					   "Proxy-Authenticate",
					   "Proxy-Authorization",
					   "HTTP2-Settings" };
	for (size_t i = 0; i < ARRAY_SIZE(hop); i++)
		assert_true(http_field_is_hop_by_hop(span_str(hop[i])));
	assert_false(http_field_is_hop_by_hop(SPAN_LIT("Content-Length")));
	assert_false(http_field_is_hop_by_hop(SPAN_LIT("")));

	struct span connection = SPAN_LIT("close, X-One ,,\tx-two");
	assert_true(http_connection_lists(connection, SPAN_LIT("x-one")));
	assert_true(http_connection_lists(connection, SPAN_LIT("X-TWO")));
	assert_true(http_connection_lists(connection, SPAN_LIT("close")));
	assert_false(http_connection_lists(connection, SPAN_LIT("x-")));
	assert_false(http_connection_lists(connection, SPAN_LIT("")));
	assert_false(http_connection_lists((struct span){}, SPAN_LIT("x")));
}

static void test_names(void **state)
{
	(void)state;
	const struct {
		const char *name;
		const char *canonical;
	} cases[] = {
		{ "x-lOWER", "X-Lower" },
		{ "CONTENT-TYPE", "Content-Type" },
		{ "a", "A" },
		{ "", "" },
		{ "-a--b", "-A--B" },
		{ "1a-2b", "1a-2b" },
		{ "bad name", "bad name" },
		{ "x_y-z", "X_y-Z" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t buf[32];
		struct packer p = packer_over(buf, sizeof(buf));
		http_name_canonical(&p, span_str(cases[i].name));
		assert_true(span_eq_str(packer_span(&p), cases[i].canonical));
	}
	uint8_t buf[32];
	struct packer p = packer_over(buf, sizeof(buf));
	http_name_lower(&p, SPAN_LIT("X-Lower"));
	assert_true(span_eq_str(packer_span(&p), "x-lower"));
}

static void test_lengths(void **state)
{
	(void)state;
	uint64_t v = 0;
	assert_int_equal(http_length_parse(SPAN_LIT("0"), &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(http_length_parse(SPAN_LIT("9223372036854775807"), &v), 0);
	assert_true(v == INT64_MAX);
	static const char *const bad[] = { "",
					   "-1",
					   "+1",
					   " 1",
					   "1 ",
					   "0x1",
					   "1,1",
					   "1.0",
					   "9223372036854775808",
					   "99999999999999999999" };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(http_length_parse(span_str(bad[i]), &v), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uri_parts),  cmocka_unit_test(test_path_decode),
		cmocka_unit_test(test_hosts),      cmocka_unit_test(test_tokens_and_values),
		cmocka_unit_test(test_hop_by_hop), cmocka_unit_test(test_names),
		cmocka_unit_test(test_lengths),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
