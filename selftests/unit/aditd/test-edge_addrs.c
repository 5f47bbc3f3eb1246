/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which address an index takes.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/aditd/edge_addrs.h"
#include "util/macro.h"

#define T0 (1000 * NSEC_PER_SEC)

/* xorshift: the same in every run. */
static uint64_t seed = 88172645463325252;

static uint64_t below(uint64_t bound)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return bound ? seed % bound : 0;
}

static struct edge_addr v4(unsigned int n, uint8_t region)
{
	return (struct edge_addr){
		.addr = { .ip = { IP_FAMILY_V4, { 192, 0, 2, (uint8_t)n } }, .port = 7844 },
		.region = region,
	};
}

static struct edge_addr v6(unsigned int n, uint8_t region)
{
	return (struct edge_addr){
		.addr = { .ip = { IP_FAMILY_V6, { 0x20, 1, 0xd, 0xb8, [15] = (uint8_t)n } },
			  .port = 7844 },
		.region = region,
	};
}

static struct edge_addrs with(const struct edge_addr *set, size_t count, uint8_t ip_version)
{
	struct edge_addrs e;
	edge_addrs_init(&e, ip_version, below);
	assert_int_equal(edge_addrs_replace(&e, set, count), 0);
	return e;
}

static struct ip_port choose(const struct edge_addrs *e, struct edge_query q, nsec_t now)
{
	struct ip_port got = {};
	assert_int_equal(edge_addrs_choose(e, &q, now, &got), 0);
	return got;
}

/* Chooses for an index and lets it stay there. */
static struct ip_port settle(struct edge_addrs *e, unsigned int index)
{
	struct ip_port got = choose(e, (struct edge_query){ .index = index }, T0);
	edge_addrs_set_own(e, index, &got);
	return got;
}

static void assert_addr(struct ip_port got, struct edge_addr want)
{
	assert_int_equal(got.ip.family, want.addr.ip.family);
	assert_memory_equal(got.ip.bytes, want.addr.ip.bytes, 16);
	assert_int_equal(got.port, want.addr.port);
}

/*
 * supervisor.json address_choice_bias/ten_addresses_20000_picks and three_addresses_20000_picks,
 * overridden: each of n addresses gets 1/n within five standard deviations.
 */
static void check_uniform(unsigned int n, int deviation)
{
	struct edge_addr set[10];
	int hits[10] = {};
	for (unsigned int i = 0; i < n; i++)
		set[i] = v4(i, (uint8_t)(i % 2));
	struct edge_addrs e = with(set, n, 0);
	for (int i = 0; i < 20000; i++)
		hits[choose(&e, (struct edge_query){}, T0).ip.bytes[3]]++;
	for (unsigned int i = 0; i < n; i++)
		assert_in_range(hits[i], 20000 / (int)n - deviation,
				20000 / (int)n + 1 + deviation);
}

static void test_uniform(void **state)
{
	(void)state;
	check_uniform(10, 212);
	check_uniform(3, 333);
}

static void test_empty(void **state)
{
	(void)state;
	struct edge_addrs e;
	edge_addrs_init(&e, 0, below);
	struct ip_port got;
	struct edge_query q = {};
	assert_int_equal(edge_addrs_choose(&e, &q, T0, &got), -ENOENT);
	assert_int_equal(edge_addrs_replace(&e, NULL, 0), 0);
}

/* Two and two over the regions, and no two on one address while another is free. */
static void test_spread(void **state)
{
	(void)state;
	for (int round = 0; round < 200; round++) {
		struct edge_addr set[] = { v4(1, 0), v4(2, 0), v4(3, 0), v4(4, 1),
					   v4(5, 1), v4(6, 1), v4(7, 1) };
		struct edge_addrs e = with(set, ARRAY_SIZE(set), 0);
		unsigned int region1 = 0;
		uint8_t seen[8] = {};
		for (unsigned int i = 0; i < 4; i++) {
			uint8_t n = settle(&e, i).ip.bytes[3];
			region1 += n >= 4;
			assert_int_equal(seen[n]++, 0);
		}
		assert_int_equal(region1, 2);
		for (unsigned int i = 4; i < 7; i++)
			assert_int_equal(seen[settle(&e, i).ip.bytes[3]]++, 0);
		/* More indexes than addresses: evenly. */
		for (unsigned int i = 7; i < 14; i++)
			assert_int_equal(seen[settle(&e, i).ip.bytes[3]]++, 1);
	}
}

static void test_sticky(void **state)
{
	(void)state;
	struct edge_addr set[] = { v4(1, 0), v4(2, 0), v4(3, 1), v4(4, 1) };
	struct edge_addrs e = with(set, 4, 0);
	edge_addrs_set_own(&e, 0, &set[2].addr);
	for (int i = 0; i < 50; i++)
		assert_addr(choose(&e, (struct edge_query){}, T0), set[2]);
	/* Another index has moved in, and there is a free one. */
	struct edge_use use = { .addr = set[2].addr, .index = 1 };
	struct edge_query q = { .uses = &use, .use_count = 1 };
	for (int i = 0; i < 50; i++)
		assert_int_not_equal(choose(&e, q, T0).ip.bytes[3], 3);
}

/* Both attempts of an index are one user, and its own ones don't disturb it. */
static void test_uses(void **state)
{
	(void)state;
	struct edge_addr set[] = { v4(1, 0), v4(2, 1) };
	struct edge_addrs e = with(set, 2, 0);
	struct edge_use uses[] = { { set[0].addr, 1 },
				   { set[0].addr, 1 },
				   { set[1].addr, 0 },
				   { set[1].addr, 2 },
				   { set[1].addr, 3 } };
	struct edge_query q = { .uses = uses, .use_count = ARRAY_SIZE(uses) };
	for (int i = 0; i < 20; i++)
		assert_addr(choose(&e, q, T0), set[0]);
}

static void test_avoid(void **state)
{
	(void)state;
	struct edge_addr set[] = { v4(1, 0), v4(2, 0), v4(3, 1) };
	struct edge_addrs e = with(set, 3, 0);
	edge_addrs_set_own(&e, 0, &set[0].addr);
	struct edge_query q = { .avoid = &set[0].addr };
	for (int i = 0; i < 50; i++)
		assert_int_not_equal(choose(&e, q, T0).ip.bytes[3], 1);
	/* EDUPCONN: the other region, even where somebody is there. */
	struct edge_use use = { .addr = set[2].addr, .index = 1 };
	q = (struct edge_query){
		.avoid = &set[0].addr, .wants_other_region = true, .uses = &use, .use_count = 1
	};
	for (int i = 0; i < 50; i++)
		assert_addr(choose(&e, q, T0), set[2]);
	/* The only one is taken in spite of it. */
	e = with(set, 1, 0);
	assert_addr(choose(&e, q, T0), set[0]);
}

static void test_blame(void **state)
{
	(void)state;
	static const struct {
		enum edge_fault fault;
		unsigned int sec;
	} rows[] = { { EDGE_FAULT_NETWORK, 60 },
		     { EDGE_FAULT_SILENT, 60 },
		     { EDGE_FAULT_BROKEN, 60 },
		     { EDGE_FAULT_DUPLICATE, 30 },
		     { EDGE_FAULT_AWAY, 60 } };
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct edge_addr set[] = { v4(1, 0), v4(2, 1) };
		struct edge_addrs e = with(set, 2, 0);
		nsec_t end = T0 + rows[i].sec * NSEC_PER_SEC;
		edge_addrs_set_own(&e, 0, &set[0].addr);
		edge_addrs_blame(&e, &set[0].addr, rows[i].fault, T0);
		assert_true(edge_addrs_is_blamed(&e, &set[0].addr, rows[i].fault, end - 1));
		assert_addr(choose(&e, (struct edge_query){}, end - 1), set[1]);
		assert_false(edge_addrs_is_blamed(&e, &set[0].addr, rows[i].fault, end));
		assert_addr(choose(&e, (struct edge_query){}, end), set[0]);
	}
	/* Rather beside another index than where nothing answers. */
	struct edge_addr set[] = { v4(1, 0), v4(2, 1) };
	struct edge_addrs e = with(set, 2, 0);
	edge_addrs_set_own(&e, 1, &set[1].addr);
	edge_addrs_blame(&e, &set[0].addr, EDGE_FAULT_NETWORK, T0);
	assert_addr(choose(&e, (struct edge_query){}, T0), set[1]);
	edge_addrs_praise(&e, &set[0].addr);
	assert_addr(choose(&e, (struct edge_query){}, T0), set[0]);
}

/* Nothing but bad ones: the oldest fault first, so that each has its turn; away is last. */
static void test_all_blamed(void **state)
{
	(void)state;
	struct edge_addr set[] = { v4(1, 0), v4(2, 1), v4(3, 0) };
	struct edge_addrs e = with(set, 3, 0);
	edge_addrs_blame(&e, &set[2].addr, EDGE_FAULT_AWAY, T0);
	edge_addrs_blame(&e, &set[1].addr, EDGE_FAULT_BROKEN, T0 + NSEC_PER_SEC);
	edge_addrs_blame(&e, &set[0].addr, EDGE_FAULT_NETWORK, T0 + 2 * NSEC_PER_SEC);
	nsec_t now = T0 + 3 * NSEC_PER_SEC;
	assert_addr(choose(&e, (struct edge_query){}, now), set[1]);
	edge_addrs_blame(&e, &set[1].addr, EDGE_FAULT_BROKEN, now);
	assert_addr(choose(&e, (struct edge_query){}, now), set[0]);
	edge_addrs_blame(&e, &set[0].addr, EDGE_FAULT_NETWORK, now + NSEC_PER_SEC);
	assert_addr(choose(&e, (struct edge_query){}, now + NSEC_PER_SEC), set[1]);
	/* Two indexes don't fight about the order by who is where. */
	edge_addrs_set_own(&e, 5, &set[1].addr);
	assert_addr(choose(&e, (struct edge_query){}, now + NSEC_PER_SEC), set[1]);
}

static void test_replace(void **state)
{
	(void)state;
	struct edge_addr set[] = { v4(1, 0), v4(2, 1), v4(3, 0) };
	struct edge_addrs e = with(set, 3, 0);
	for (unsigned int i = 0; i < 3; i++)
		edge_addrs_set_own(&e, i * 21, &set[i].addr);
	edge_addrs_blame(&e, &set[1].addr, EDGE_FAULT_NETWORK, T0);
	struct edge_addr next[] = { v4(2, 0), v4(2, 0), v4(9, 1), v4(1, 1) };
	assert_int_equal(edge_addrs_replace(&e, next, 4), UINT64_C(1) << 42);
	assert_int_equal(e.count, 3);
	assert_true(edge_addrs_is_blamed(&e, &set[1].addr, EDGE_FAULT_NETWORK, T0));
	assert_false(edge_addrs_has(&e, &set[2].addr));
	assert_addr(choose(&e, (struct edge_query){ .index = 42 }, T0), next[2]);
	assert_addr(choose(&e, (struct edge_query){ .index = 0 }, T0), set[0]);
	/* No address at all is no set. */
	assert_int_equal(edge_addrs_replace(&e, NULL, 0), 0);
	assert_int_equal(e.count, 3);
	/* Room is limited. */
	struct edge_addr many[EDGE_ADDRS_MAX + 6];
	for (unsigned int i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = v4(100 + i, 0);
	(void)edge_addrs_replace(&e, many, ARRAY_SIZE(many));
	assert_int_equal(e.count, EDGE_ADDRS_MAX);
	/* Unknown ones are nobody's. */
	edge_addrs_blame(&e, &set[0].addr, EDGE_FAULT_NETWORK, T0);
	edge_addrs_praise(&e, &set[0].addr);
}

static void test_ip_version(void **state)
{
	(void)state;
	struct edge_addr set[] = { v6(1, 0), v4(1, 0), v6(2, 1), v4(2, 1) };
	struct edge_addrs e = with(set, 4, 4);
	assert_int_equal(e.count, 2);
	assert_int_equal(choose(&e, (struct edge_query){}, T0).ip.family, IP_FAMILY_V4);
	e = with(set, 4, 6);
	assert_int_equal(e.count, 2);
	assert_int_equal(choose(&e, (struct edge_query){}, T0).ip.family, IP_FAMILY_V6);
}

/* The resolver's first family is preferred; dial failures turn that for ten minutes, per region. */
static void test_family(void **state)
{
	(void)state;
	struct edge_addr set[] = { v6(1, 0), v6(2, 0), v4(1, 0), v4(2, 0) };
	struct edge_addrs e = with(set, 4, 0);
	nsec_t end = T0 + 600 * NSEC_PER_SEC;
	for (int i = 0; i < 50; i++)
		assert_int_equal(choose(&e, (struct edge_query){}, T0).ip.family, IP_FAMILY_V6);
	/* What is no failure of the network turns nothing. */
	edge_addrs_blame(&e, &set[0].addr, EDGE_FAULT_DUPLICATE, T0);
	assert_addr(choose(&e, (struct edge_query){}, T0), set[1]);
	edge_addrs_blame(&e, &set[0].addr, EDGE_FAULT_NETWORK, T0);
	for (int i = 0; i < 50; i++) {
		assert_int_equal(choose(&e, (struct edge_query){}, T0).ip.family, IP_FAMILY_V4);
		assert_int_equal(choose(&e, (struct edge_query){}, end - 1).ip.family,
				 IP_FAMILY_V4);
		assert_int_equal(choose(&e, (struct edge_query){}, end).ip.family, IP_FAMILY_V6);
	}
	/* The other family fails as well: back at once. */
	edge_addrs_blame(&e, &set[2].addr, EDGE_FAULT_NETWORK, T0);
	assert_addr(choose(&e, (struct edge_query){}, T0), set[1]);
	/* It works: the turn is over. */
	edge_addrs_blame(&e, &set[1].addr, EDGE_FAULT_NETWORK, T0);
	edge_addrs_praise(&e, &set[1].addr);
	assert_addr(choose(&e, (struct edge_query){}, T0), set[1]);
	/* A region of one family has nowhere to turn. */
	e = with(set, 2, 0);
	edge_addrs_blame(&e, &set[0].addr, EDGE_FAULT_NETWORK, T0);
	assert_addr(choose(&e, (struct edge_query){}, T0), set[1]);
}

/* Where there are fewer others than where the index is; not where something speaks against it. */
static void test_emptier(void **state)
{
	(void)state;
	const struct edge_addr set[] = { v4(1, 0), v4(2, 0), v4(3, 1) };
	struct edge_addrs e = with(set, 3, 0);
	const struct edge_use uses[] = { { set[0].addr, 0 },
					 { set[0].addr, 1 },
					 { set[1].addr, 2 } };
	struct edge_query q = { .index = 0, .uses = uses, .use_count = 3 };
	struct ip_port got = {};
	assert_int_equal(edge_addrs_choose_emptier(&e, &q, &set[0].addr, T0, &got), 0);
	assert_addr(got, set[2]);
	edge_addrs_blame(&e, &set[2].addr, EDGE_FAULT_AWAY, T0);
	assert_int_equal(edge_addrs_choose_emptier(&e, &q, &set[0].addr, T0, &got), -ENOENT);
	/* Alone at its address, but in the fuller region. */
	q.index = 2;
	nsec_t later = T0 + 61 * NSEC_PER_SEC;
	assert_int_equal(edge_addrs_choose_emptier(&e, &q, &set[1].addr, later, &got), 0);
	assert_addr(got, set[2]);
	/* As even as can be; an address that isn't the edge's. */
	const struct edge_use even[] = { { set[0].addr, 0 },
					 { set[2].addr, 1 },
					 { set[1].addr, 2 } };
	for (unsigned int i = 0; i < 3; i++) {
		q = (struct edge_query){ .index = i, .uses = even, .use_count = 3 };
		assert_int_equal(edge_addrs_choose_emptier(&e, &q, &even[i].addr, later, &got),
				 -ENOENT);
	}
	const struct edge_addr other = v4(9, 0);
	assert_int_equal(edge_addrs_choose_emptier(&e, &q, &other.addr, later, &got), -ENOENT);
}

/* Another network: only what the way was to blame for is forgotten. */
static void test_forgive(void **state)
{
	(void)state;
	const struct edge_addr set[] = { v4(1, 0), v6(2, 0) };
	for (unsigned int f = 0; f < EDGE_FAULT_MAX_; f++) {
		struct edge_addrs e = with(set, 2, 0);
		edge_addrs_blame(&e, &set[0].addr, (enum edge_fault)f, T0);
		edge_addrs_forgive(&e);
		bool is_forgiven = f == EDGE_FAULT_NETWORK || f == EDGE_FAULT_SILENT;
		assert_int_equal(edge_addrs_is_blamed(&e, &set[0].addr, (enum edge_fault)f, T0),
				 !is_forgiven);
		assert_addr(choose(&e, (struct edge_query){}, T0), set[is_forgiven ? 0 : 1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uniform), cmocka_unit_test(test_empty),
		cmocka_unit_test(test_spread),  cmocka_unit_test(test_sticky),
		cmocka_unit_test(test_uses),    cmocka_unit_test(test_avoid),
		cmocka_unit_test(test_blame),   cmocka_unit_test(test_all_blamed),
		cmocka_unit_test(test_replace), cmocka_unit_test(test_ip_version),
		cmocka_unit_test(test_family),  cmocka_unit_test(test_emptier),
		cmocka_unit_test(test_forgive),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
