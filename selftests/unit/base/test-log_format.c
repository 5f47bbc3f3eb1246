/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of the log: golden ones of each format, hostile values, and what doesn't fit. */
#include "daemon/base/log_format.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <systemd/sd-json.h>

#include "util/macro.h"

enum { REALTIME_SEC = 1763745721 };
static const nsec_t realtime = REALTIME_SEC * NSEC_PER_SEC + 45 * NSEC_PER_MSEC + 999;

static const struct ip_port v4 = { .ip = { IP_FAMILY_V4, { 192, 0, 2, 1 } }, .port = 443 };
static const struct ip_port v6 = { .ip = { IP_FAMILY_V6, { 0x20, 1, 0xd, 0xb8, [15] = 1 } },
				   .port = 7844 };
static const struct ip_port local = { .ip = { IP_FAMILY_V6, { 0xfe, 0x80, [15] = 1 } },
				      .port = 1,
				      .scope = 3 };

static struct log_event make_event(const struct log_field *fields, unsigned int count)
{
	return (struct log_event){ .level = LOG_LEVEL_WARNING,
				   .area = "link",
				   .message = "dial failed",
				   .fields = fields,
				   .field_count = count };
}

static void check_text(const struct log_event *event, const char *want)
{
	char buf[LOG_LINE_LEN + 1];
	buf[log_format_text(buf, event, realtime, false)] = '\0';
	assert_string_equal(buf, want);
}

static void check_json(const struct log_event *event, const char *want)
{
	char buf[LOG_LINE_LEN + 1];
	buf[log_format_json(buf, event, realtime)] = '\0';
	assert_string_equal(buf, want);
}

static void check_journal(const struct log_event *event, const char *want)
{
	char buf[LOG_JOURNAL_LEN + 1];
	buf[log_format_journal(buf, event, "aditd")] = '\0';
	assert_string_equal(buf, want);
}

static void test_golden(void **state UNUSED)
{
	const struct log_field fields[] = { KV_U64("index", 3),          KV_I64("delta", -5),
					    KV_STR("location", "fra 1"), KV_ERR(-ECONNREFUSED),
					    KV_ADDR("peer", &v4),        KV_ADDR("from", &v6),
					    KV_ADDR("scoped", &local),   KV_ADDR("nobody", NULL),
					    KV_STR("empty", NULL) };
	struct log_event event = make_event(fields, ARRAY_SIZE(fields));
	check_text(&event, "2025-11-21T17:22:01.045Z warning link: dial failed index=3 delta=-5 "
			   "location=\"fra 1\" error=\"Connection refused\" peer=192.0.2.1:443 "
			   "from=[2001:db8::1]:7844 scoped=[fe80::1%3]:1 nobody=none empty=\"\"\n");
	check_json(&event,
		   "{\"time\":\"2025-11-21T17:22:01.045Z\",\"level\":\"warning\",\"area\":\"link\","
		   "\"message\":\"dial failed\",\"index\":3,\"delta\":-5,\"location\":\"fra 1\","
		   "\"error\":\"Connection refused\",\"peer\":\"192.0.2.1:443\","
		   "\"from\":\"[2001:db8::1]:7844\",\"scoped\":\"[fe80::1%3]:1\","
		   "\"nobody\":\"none\",\"empty\":\"\"}\n");
	event.field_count = 4;
	check_journal(&event, "MESSAGE=dial failed index=3 delta=-5 location=\"fra 1\" "
			      "error=\"Connection refused\"\nPRIORITY=4\n"
			      "SYSLOG_IDENTIFIER=aditd\nADIT_AREA=link\nINDEX=3\nDELTA=-5\n"
			      "LOCATION=fra 1\nERROR=Connection refused\nERRNO=111\n");
	event = make_event(NULL, 0);
	check_text(&event, "2025-11-21T17:22:01.045Z warning link: dial failed\n");
	check_journal(&event, "MESSAGE=dial failed\nPRIORITY=4\nSYSLOG_IDENTIFIER=aditd\n"
			      "ADIT_AREA=link\n");
}

static void test_color(void **state UNUSED)
{
	char buf[LOG_LINE_LEN + 1];
	struct log_event event = make_event(NULL, 0);
	event.level = LOG_LEVEL_ERROR;
	buf[log_format_text(buf, &event, realtime, true)] = '\0';
	assert_string_equal(buf,
			    "2025-11-21T17:22:01.045Z \x1b[31merror   link: dial failed\x1b[0m\n");
}

/* What a peer may try: control characters, quotation marks, forged fields, malformed UTF-8. */
static void test_hostile_values(void **state UNUSED)
{
	static const struct {
		const char *in;
		const char *text;
		const char *json;
		const char *journal;
	} cases[] = {
		{ "a\nb", "a\\nb", "a\\nb", "a\\nb" },
		{ "\x1b[31m", "\\x1b[31m", "\\u001b[31m", "\\x1b[31m" },
		{ "say \"hi\"\\", "say \\\"hi\\\"\\\\", "say \\\"hi\\\"\\\\", "say \"hi\"\\" },
		{ "x=1 y=2", "x=1 y=2", "x=1 y=2", "x=1 y=2" },
		{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f",
		  "gr\xc3\xbc\xc3\x9f" },
		{ "\xc0\xaf", "\\xc0\\xaf", "\\\\xc0\\\\xaf", "\\xc0\\xaf" },
		{ "\xed\xa0\x80", "\\xed\\xa0\\x80", "\\\\xed\\\\xa0\\\\x80", "\\xed\\xa0\\x80" },
		{ "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80" },
		{ "\xf4\x90\x80\x80!", "\\xf4\\x90\\x80\\x80!", "\\\\xf4\\\\x90\\\\x80\\\\x80!",
		  "\\xf4\\x90\\x80\\x80!" },
		{ "\xc2\x9b", "\\xc2", "\\u009b", "\\xc2" }, /* C1: CSI */
		{ "cut \xe2\x82", "cut \\xe2\\x82", "cut \\\\xe2\\\\x82", "cut \\xe2\\x82" },
		{ "del\x7f", "del\\x7f", "del\\u007f", "del\\x7f" },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct log_field field = KV_STR("v", cases[i].in);
		struct log_event event = make_event(&field, 1);
		char want[256];
		char buf[LOG_JOURNAL_LEN + 1];

		buf[log_format_text(buf, &event, realtime, false)] = '\0';
		(void)snprintf(want, sizeof(want), "dial failed v=\"%s\"\n", cases[i].text);
		assert_string_equal(strstr(buf, "dial"), want);

		buf[log_format_json(buf, &event, realtime)] = '\0';
		(void)snprintf(want, sizeof(want), "\"v\":\"%s\"}\n", cases[i].json);
		assert_string_equal(strstr(buf, "\"v\""), want);

		buf[log_format_journal(buf, &event, "x")] = '\0';
		(void)snprintf(want, sizeof(want), "\nV=%s\n", cases[i].journal);
		assert_string_equal(strstr(buf, "\nV="), want);
	}
}

/* Any bytes and any number of fields: JSON stays JSON, lines stay lines and within their length. */
static void test_bounds(void **state UNUSED)
{
	enum { FIELDS = 40 };
	uint64_t seed = 7;
	uint8_t *bytes = malloc(8000);
	assert_non_null(bytes);
	for (unsigned int round = 0; round < 300; round++) {
		struct log_field fields[FIELDS];
		for (unsigned int i = 0; i < 8000; i++) {
			seed = seed * UINT64_C(6364136223846793005) + 1;
			bytes[i] = (uint8_t)(seed >> (round % 2 ? 40 : 57));
		}
		unsigned int count = round % FIELDS;
		for (unsigned int i = 0; i < count; i++)
			fields[i] = KV_SPAN("key",
					    span_of(bytes + i * 10, (i * 37 + round * 11) % 4000));
		struct log_event event = make_event(fields, count);
		char buf[LOG_JOURNAL_LEN + 1];

		size_t len = log_format_text(buf, &event, realtime, true);
		assert_true(len <= LOG_LINE_LEN);
		assert_ptr_equal(memchr(buf, '\n', len), buf + len - 1);

		len = log_format_json(buf, &event, realtime);
		assert_true(len <= LOG_LINE_LEN);
		assert_ptr_equal(memchr(buf, '\n', len), buf + len - 1);
		buf[len] = '\0';
		sd_json_variant *v = NULL;
		assert_int_equal(sd_json_parse(buf, 0, &v, NULL, NULL), 0);
		sd_json_variant_unref(v);

		len = log_format_journal(buf, &event, "x");
		assert_true(len <= LOG_JOURNAL_LEN);
		assert_int_equal(buf[len - 1], '\n');
	}
	free(bytes);
}

static void test_truncation_is_marked(void **state UNUSED)
{
	static char big[2000];
	memset(big, 'x', sizeof(big) - 1);
	const struct log_field fields[] = { KV_STR("a", big), KV_STR("b", big), KV_STR("c", big),
					    KV_STR("d", big), KV_STR("e", big) };
	struct log_event event = make_event(fields, ARRAY_SIZE(fields));
	char buf[LOG_JOURNAL_LEN + 1];
	buf[log_format_text(buf, &event, realtime, false)] = '\0';
	assert_non_null(strstr(buf, " \xe2\x80\xa6\n"));
	assert_non_null(strstr(buf, " c="));
	assert_null(strstr(buf, " d="));
	buf[log_format_json(buf, &event, realtime)] = '\0';
	assert_non_null(strstr(buf, ",\"truncated\":true}\n"));
}

static void test_levels(void **state UNUSED)
{
	enum log_level level;
	assert_true(log_level_parse(SPAN_LIT("debug"), &level));
	assert_int_equal(level, LOG_LEVEL_DEBUG);
	assert_true(log_level_parse(SPAN_LIT("error"), &level));
	assert_int_equal(level, LOG_LEVEL_ERROR);
	assert_false(log_level_parse(SPAN_LIT("Debug"), &level));
	assert_false(log_level_parse(SPAN_LIT(""), &level));
	assert_string_equal(log_level_name(LOG_LEVEL_NOTICE), "notice");
	assert_string_equal(log_level_name((enum log_level)0), "unknown");
	assert_string_equal(log_level_name((enum log_level)200), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_color),
		cmocka_unit_test(test_hostile_values),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_truncation_is_marked),
		cmocka_unit_test(test_levels),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
