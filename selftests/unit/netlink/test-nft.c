/* SPDX-License-Identifier: Apache-2.0 */
/* nftables messages: what a kernel listed (recorded), whole, cut and damaged; rules that have room
 * or not. That a kernel takes the rules as they are meant is what the system tests ask `nft`. */
#include "netlink/nft.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <linux/netlink.h>

#include <cmocka.h>

#include "data/nft.h"
#include "netlink/event.h"
#include "util/macro.h"

static void test_recorded(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		struct span s = vector_heap_copy(vector_span(c));
		struct nft_chain chain = {};
		int r = nft_chain_parse(s, &chain);
		print_message("%s\n", c->name);
		if (vector_is(c, "base", "false")) {
			assert_int_equal(r, -ENOMSG);
		} else {
			assert_int_equal(r, 0);
			assert_true(span_eq_str(chain.table, vector_get(c, "table")));
			assert_true(span_eq_str(chain.name, vector_get(c, "chain")));
			assert_int_equal(chain.hook, strtoul(vector_get(c, "hook"), NULL, 10));
			assert_int_equal(chain.family, strtoul(vector_get(c, "family"), NULL, 10));
			assert_int_equal(chain.is_drop, vector_is(c, "drop", "true"));
		}
		vector_heap_free(s);
	}
}

/* Cut anywhere, also with a header that admits to the cut: never a read past the end. */
static void test_truncated(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		for (size_t len = 0; len < c->len; len++) {
			struct nft_chain chain;
			struct span s = vector_heap_copy(span_of(c->octets, len));
			assert_int_equal(nft_chain_parse(s, &chain), -EBADMSG);
			if (len >= sizeof(struct nlmsghdr)) {
				uint32_t own = (uint32_t)len;
				memcpy((void *)(uintptr_t)s.ptr, &own, sizeof(own));
				int r = nft_chain_parse(s, &chain);
				assert_true(r == 0 || r == -EBADMSG || r == -ENOMSG);
			}
			vector_heap_free(s);
		}
	}
}

static void test_damaged(void **state UNUSED)
{
	static const uint8_t values[] = { 0, 1, 3, 4, 5, 0x7f, 0x80, 0xff };
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		for (size_t at = 0; at < c->len; at++) {
			for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
				struct nft_chain chain;
				struct span s = vector_heap_copy(vector_span(c));
				*(uint8_t *)(uintptr_t)(s.ptr + at) = values[v];
				int r = nft_chain_parse(s, &chain);
				assert_true(r == 0 || r == -EBADMSG || r == -ENOMSG);
				vector_heap_free(s);
			}
		}
	}
}

static void write_batch(struct nl_builder *b)
{
	static const struct nft_base base = { "t", "c", "filter", NFT_HOOK_PREROUTING, -150 };
	static const struct ip_port to = { .ip = { IP_FAMILY_V6, { [15] = 1 } }, .port = 9 };
	static const struct ip_addr net = { IP_FAMILY_V6, { 0xfd } };
	struct nft_rule rule;
	nft_batch_begin(b);
	nft_table_make(b, "t");
	nft_chain_make(b, &base);
	nft_rule_begin(&rule, b, "t", "c");
	nft_match_family(&rule, IP_FAMILY_V6);
	nft_match_protocol(&rule, 6);
	nft_match_destination(&rule, &net, 9);
	nft_tproxy(&rule, &to);
	nft_match_source(&rule, &net, 64);
	nft_match_output_but(&rule, "adit0");
	nft_masquerade(&rule);
	nft_set_mark(&rule, 1);
	nft_accept(&rule);
	nft_rule_end(&rule);
	nft_batch_end(b);
}

/* With any less room than all it says so, and never writes behind its end. */
static void test_room(void **state UNUSED)
{
	alignas(struct nlmsghdr) uint8_t buf[4096];
	struct nl_builder b;
	struct span all = {}, s = {};
	nl_builder_init(&b, buf, sizeof(buf));
	write_batch(&b);
	assert_int_equal(nl_builder_finish(&b, &all), 0);
	unsigned int count = 0;
	struct span left = all;
	for (; netlink_next_message(&left).len > 0;)
		count++;
	assert_int_equal(count, 5);
	assert_int_equal(left.len, 0);
	size_t need = all.len;
	for (size_t size = 0; size < need; size += 4) {
		uint8_t *exact = malloc(size ? size : 1);
		assert_non_null(exact);
		nl_builder_init(&b, exact, size);
		write_batch(&b);
		assert_int_equal(nl_builder_finish(&b, &s), -ENOBUFS);
		free(exact);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_damaged),
		cmocka_unit_test(test_room),
	};
	return cmocka_run_group_tests_name("nft", tests, NULL, NULL);
}
