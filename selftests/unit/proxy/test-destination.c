/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What [network] lets an edge reach: ranges, lists, and what an entry opens by the way or not.
 */
#include "daemon/proxy/destination.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/conf/conf.h"
#include "daemon/wire/endpoint.h"
#include "util/macro.h"

enum { LIST_MAX = 4 };

struct row {
	const char *allow; /* divided by blanks */
	const char *deny;
	const char *addr;
	bool is_own;
	bool ours;   /* allowed through an edge of ours */
	bool vendor; /* … through another one */
};

static size_t read_list(const char *text, struct conf_prefix ret[LIST_MAX])
{
	struct span list = span_str(text), item;
	size_t count = 0;
	while (endpoint_list_next(&list, &item)) {
		assert_in_range(count, 0, LIST_MAX - 1);
		assert_int_equal(conf_parse_prefix(item, &ret[count]), 0);
		count++;
	}
	return count;
}

static bool ask(const struct row *row, enum conf_edge_kind kind)
{
	struct conf_prefix allow[LIST_MAX], deny[LIST_MAX];
	struct conf conf = { .edge.kind = kind };
	conf.network = (struct conf_network){
		.allow = allow,
		.allow_count = read_list(row->allow, allow),
		.deny = deny,
		.deny_count = read_list(row->deny, deny),
	};
	struct ip_addr addr;
	assert_int_equal(ip_addr_parse(span_str(row->addr), &addr), 0);
	return destination_is_allowed(&conf, &addr, row->is_own);
}

static void test_rows(void **state)
{
	(void)state;
	/* clang-format off */
	static const struct row rows[] = {
		/* nothing is said */
		{ "", "", "192.0.2.1", false, false, true },
		{ "", "", "2001:db8::1", false, false, true },
		{ "", "", "192.0.2.1", true, false, false },
		{ "", "", "127.0.0.1", true, false, false },
		{ "", "", "::1", true, false, false },
		{ "", "", "169.254.1.1", false, false, false },
		{ "", "", "fe80::1", false, false, false },
		{ "", "", "0.0.0.0", false, false, false },
		{ "", "", "0.1.2.3", false, false, false },
		{ "", "", "::", false, false, false },
		{ "", "", "224.0.0.1", false, false, false },
		{ "", "", "255.255.255.255", false, false, false },
		{ "", "", "ff02::1", false, false, false },
		{ "", "", "::ffff:127.0.0.1", true, false, false },
		{ "", "", "::ffff:0.0.0.0", false, false, false },
		{ "", "192.0.2.0/24", "192.0.2.1", false, false, false },
		{ "", "192.0.2.0/24", "192.0.3.1", false, false, true },
		/* lists */
		{ "10.20.0.0/16", "", "10.20.1.1", false, true, true },
		{ "10.20.0.0/16", "", "10.21.1.1", false, false, false },
		{ "10.20.0.0/16", "10.20.9.0/24", "10.20.9.1", false, false, false },
		{ "10.20.0.0/16", "", "::ffff:10.20.1.1", false, true, true },
		{ "10.20.0.0/16 2001:db8::/32", "", "2001:db8::1", false, true, true },
		{ "0.0.0.0/0", "", "192.0.2.1", false, true, true },
		{ "0.0.0.0/0", "", "2001:db8::1", false, false, false },
		/* own addresses: any entry but the whole world */
		{ "10.20.0.0/16", "", "10.20.1.1", true, true, true },
		{ "0.0.0.0/0", "", "10.20.1.1", true, false, false },
		{ "::/0", "", "2001:db8::1", true, false, false },
		{ "::/0 2001:db8::/64", "", "2001:db8::1", true, true, true },
		/* loopback and link-local: an entry that means them */
		{ "127.0.0.1/32", "", "127.0.0.1", true, true, true },
		{ "127.0.0.1/32", "", "127.0.0.2", true, false, false },
		{ "127.0.0.0/8", "", "127.9.9.9", true, true, true },
		{ "126.0.0.0/7", "", "127.0.0.1", true, false, false },
		{ "0.0.0.0/0", "", "127.0.0.1", true, false, false },
		{ "127.0.0.0/8", "127.0.0.1/32", "127.0.0.1", true, false, false },
		{ "::1/128", "", "::1", true, true, true },
		{ "::/64", "", "::1", true, false, false },
		{ "169.254.169.254/32", "", "169.254.169.254", false, true, true },
		{ "169.0.0.0/8", "", "169.254.169.254", false, false, false },
		{ "fe80::/64", "", "fe80::1", false, true, true },
		/* never */
		{ "0.0.0.0/32 0.0.0.0/8", "", "0.0.0.0", false, false, false },
		{ "224.0.0.0/4", "", "224.0.0.1", false, false, false },
		{ "ff00::/8", "", "ff02::1", false, false, false },
	};
	/* clang-format on */
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		bool ours = ask(&rows[i], CONF_EDGE_KIND_ADIT);
		bool vendor = ask(&rows[i], CONF_EDGE_KIND_VENDOR);
		if (ours != rows[i].ours || vendor != rows[i].vendor)
			fail_msg("row %zu, %s: %d, %d", i, rows[i].addr, ours, vendor);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
