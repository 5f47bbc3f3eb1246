/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Headers from a template against those that are made whole, for every length.
 */
#include "daemon/datapath/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/wire/endpoint.h"
#include "daemon/wire/ip_udp.h"
#include "util/endian.h"
#include "util/macro.h"

enum { ETHER = 14, MTU = 1500 };

/* The last pairs have sums that carry. */
static const char *const pairs[][2] = {
	{ "192.0.2.1", "192.0.2.99" },
	{ "255.255.255.255", "255.255.255.254" },
	{ "2001:db8::1", "2001:db8::99" },
	{ "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe" },
};

static struct template_params params_of(size_t pair)
{
	struct template_params p = {
		.local.port = 65535,
		.remote.port = 53,
		.local_mac = { 2, 0, 0, 0, 0, 1 },
		.next_mac = { 2, 0, 0, 0, 0, 2 },
		.mtu = MTU,
	};
	assert_int_equal(ip_addr_parse(span_str(pairs[pair][0]), &p.local.ip), 0);
	assert_int_equal(ip_addr_parse(span_str(pairs[pair][1]), &p.remote.ip), 0);
	return p;
}

static void test_heads(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		struct template_params p = params_of(i);
		bool is_v6 = p.local.ip.family == IP_FAMILY_V6;
		struct frame_template t;
		template_make(&t, &p);
		assert_int_equal(t.len, is_v6 ? 62 : 42);
		assert_int_equal(t.udp, is_v6 ? 54 : 34);
		assert_int_equal(template_room(&t), MTU - (is_v6 ? 48 : 28));
		for (size_t len = 0; len <= template_room(&t); len++) {
			uint8_t got[TEMPLATE_MAX];
			uint8_t whole[TEMPLATE_MAX];
			const struct ip_head head = { .src = p.local.ip,
						      .dst = p.remote.ip,
						      .ttl = 64,
						      .dont_fragment = true };
			const struct ip_udp udp = { .src_port = 65535, .dst_port = 53 };
			struct packer out = packer_over(whole, sizeof(whole));
			assert_int_equal(ip_udp_write_partial(&out, &head, &udp, len), 0);
			template_write(&t, len, got);
			assert_memory_equal(got, "\2\0\0\0\0\2\2\0\0\0\0\1", 12);
			assert_int_equal(load_be16(got + 12), is_v6 ? 0x86dd : 0x0800);
			assert_int_equal(packer_span(&out).len, t.len - ETHER);
			assert_memory_equal(got + ETHER, whole, t.len - ETHER);
		}
	}
}

static void test_room(void **state)
{
	(void)state;
	struct template_params p = params_of(0);
	struct frame_template t;
	p.mtu = 20;
	template_make(&t, &p);
	assert_int_equal(template_room(&t), 0);
	p.mtu = 1 << 20;
	template_make(&t, &p);
	assert_int_equal(template_room(&t), 65535 - 28);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_heads),
		cmocka_unit_test(test_room),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
