/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of edge addresses, and their text: what was printed is read the same, all else is refused.
 */
#include "daemon/aditd/discovery_set.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/wire/endpoint.h"
#include "util/macro.h"

static struct ip_port at(const char *text)
{
	struct ip_port addr;
	assert_int_equal(ip_port_parse(span_str(text), &addr), 0);
	return addr;
}

static void add(struct edge_set *set, const char *text, uint8_t region)
{
	struct ip_port addr = at(text);
	edge_set_add(set, &addr, region);
}

static void test_sets(void **state)
{
	(void)state;
	struct edge_set a = {}, b = {};
	add(&a, "192.0.2.1:7844", 0);
	add(&a, "192.0.2.1:7844", 1); /* twice: the first counts */
	add(&a, "[2001:db8::1]:7844", 1);
	add(&b, "[2001:db8::1]:7844", 1);
	assert_int_equal(a.count, 2);
	assert_int_equal(a.addrs[0].region, 0);
	assert_false(edge_set_eq(&a, &b));
	add(&b, "192.0.2.1:7844", 0);
	assert_true(edge_set_eq(&a, &b));
	b.addrs[1].region = 1;
	assert_false(edge_set_eq(&a, &b));

	char text[32];
	for (int i = 0; i < EDGE_ADDRS_MAX + 5; i++) {
		(void)snprintf(text, sizeof(text), "192.0.2.%d:7844", i + 1);
		add(&b, text, 0);
	}
	assert_int_equal(b.count, EDGE_ADDRS_MAX);
}

static void test_keep(void **state)
{
	(void)state;
	struct edge_set old = {}, set = {};
	add(&old, "192.0.2.1:7844", 0);
	add(&old, "192.0.2.2:7844", 1);
	add(&old, "[2001:db8::2]:7844", 1);
	add(&set, "192.0.2.9:7844", 0);
	edge_set_keep(&set, &old, edge_set_bit(1, IP_FAMILY_V6));
	assert_int_equal(set.count, 2);
	assert_int_equal(set.addrs[1].addr.ip.family, IP_FAMILY_V6);
	edge_set_keep(&set, &old, edge_set_bit(1, IP_FAMILY_V4) | edge_set_bit(0, IP_FAMILY_V6));
	assert_int_equal(set.count, 3);
	edge_set_keep(&set, &old, 0);
	assert_int_equal(set.count, 3);
}

#define GOOD "adit edge addresses 1\nfrom here\n0 192.0.2.1:7844\n1 [2001:db8::1]:7844\nend\n"

static void test_text(void **state)
{
	(void)state;
	struct edge_set set = {}, back = {};
	uint8_t text[DISCOVERY_CACHE_MAX];
	add(&set, "192.0.2.1:7844", 0);
	add(&set, "[2001:db8::1]:7844", 1);
	struct packer p = packer_over(text, sizeof(text));
	edge_set_print(&set, SPAN_LIT("here"), &p);
	assert_int_equal(packer_finish(&p), 0);
	assert_true(span_eq_str(packer_span(&p), GOOD));
	assert_int_equal(edge_set_parse(packer_span(&p), SPAN_LIT("here"), &back), 0);
	assert_true(edge_set_eq(&set, &back));
	assert_int_equal(edge_set_parse(packer_span(&p), SPAN_LIT("there"), &back), -ESTALE);

	/* A full set of the longest addresses fits. */
	char addr[64];
	for (int i = 0; i < EDGE_ADDRS_MAX; i++) {
		(void)snprintf(addr, sizeof(addr), "[2001:db8:1111:2222:3333:4444:5555:%x]:65535",
			       0x1000 + i);
		add(&set, addr, 1);
	}
	p = packer_over(text, sizeof(text));
	edge_set_print(&set, SPAN_LIT("here"), &p);
	assert_int_equal(packer_finish(&p), 0);
	assert_int_equal(edge_set_parse(packer_span(&p), SPAN_LIT("here"), &back), 0);
	assert_int_equal(back.count, EDGE_ADDRS_MAX);
}

static void test_garbage(void **state)
{
	(void)state;
#define HEAD "adit edge addresses 1\nfrom here\n"
	static const char *const bad[] = {
		"",
		"\n",
		"adit edge addresses 2\nfrom here\n0 192.0.2.1:7844\nend\n",
		"adit edge addresses 1\nof here\n0 192.0.2.1:7844\nend\n",
		"adit edge addresses 1",
		HEAD "end\n",
		HEAD "0 192.0.2.1:7844\n",
		HEAD "0 192.0.2.1:7844\nend",
		HEAD "0 192.0.2.1:7844\nend\nmore\n",
		HEAD "2 192.0.2.1:7844\nend\n",
		HEAD "192.0.2.1:7844\nend\n",
		HEAD "0  192.0.2.1:7844\nend\n",
		HEAD "0 192.0.2.1:0\nend\n",
		HEAD "0 192.0.2.1\nend\n",
		HEAD "0 edge.test:7844\nend\n",
		HEAD "0 192.0.2.1:7844\r\nend\n",
		HEAD "0 192.0.2.1:7844\n0 192.0.2.1:7844\nend\n",
		HEAD "\nend\n",
	};
	struct edge_set set = { .count = 77 };
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(edge_set_parse(span_str(bad[i]), SPAN_LIT("here"), &set),
				 -EBADMSG);
	/* Cut anywhere it is refused. */
	for (size_t len = 0; len < sizeof(GOOD) - 1; len++)
		assert_int_equal(edge_set_parse(span_of(GOOD, len), SPAN_LIT("here"), &set),
				 -EBADMSG);
	assert_int_equal(set.count, 77);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_keep),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_garbage),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
