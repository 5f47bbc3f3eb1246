/* SPDX-License-Identifier: Apache-2.0 */
/* What a kernel said (recorded), read whole, cut and damaged; what of it is news, and how often. */
#include "netlink/monitor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <linux/netlink.h>
#include <linux/rtnetlink.h>

#include <cmocka.h>

#include "data/netlink.h"
#include "netlink/event.h"
#include "util/macro.h"

/* ---- events ---------------------------------------------------------------------------------- */

static const char *kind_name(enum netlink_event_kind kind)
{
	static const char *const names[] = {
		[NETLINK_EVENT_KIND_LINK] = "link",
		[NETLINK_EVENT_KIND_ADDRESS] = "address",
		[NETLINK_EVENT_KIND_ROUTE] = "route",
	};
	return names[kind];
}

static void check_event(const struct vector_case *c, const struct netlink_event *e)
{
	char text[INET6_ADDRSTRLEN + 8] = "";
	print_message("%s\n", c->name);
	assert_string_equal(kind_name(e->kind), vector_get(c, "kind"));
	assert_int_equal(e->is_new, vector_is(c, "is_new", "true"));
	assert_int_equal(e->is_up, vector_is(c, "up", "true"));
	assert_int_equal(e->matters, vector_is(c, "matters", "true"));
	assert_int_equal(e->ifindex, strtoul(vector_get(c, "ifindex"), NULL, 10));
	if (e->kind == NETLINK_EVENT_KIND_LINK)
		return;
	assert_non_null(inet_ntop(e->family == IP_FAMILY_V4 ? AF_INET : AF_INET6, e->addr.bytes,
				  text, INET6_ADDRSTRLEN));
	(void)snprintf(text + strlen(text), 8, "/%u", e->prefix_len);
	assert_string_equal(text, vector_get(c, "address"));
}

static void test_recorded(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		struct netlink_event e;
		struct span s = vector_heap_copy(vector_span(&vector_cases[i]));
		assert_int_equal(netlink_event_parse(s, &e), 0);
		check_event(&vector_cases[i], &e);
		vector_heap_free(s);
	}
}

/* Cut anywhere, and with a header that admits to the cut: an error or less detail, never a read
 * past the end (the copy has exactly this length). */
static void test_truncated(void **state UNUSED)
{
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		for (size_t len = 0; len < c->len; len++) {
			struct netlink_event e;
			struct span s = vector_heap_copy(span_of(c->octets, len));
			assert_int_equal(netlink_event_parse(s, &e), -EBADMSG);
			if (len >= sizeof(struct nlmsghdr)) {
				uint32_t own = (uint32_t)len;
				memcpy((void *)(uintptr_t)s.ptr, &own, sizeof(own));
				int r = netlink_event_parse(s, &e);
				assert_true(r == 0 || r == -EBADMSG);
			}
			vector_heap_free(s);
		}
	}
}

/* Every byte of the small messages set to values that are wrong lengths, types and flags. */
static void test_damaged(void **state UNUSED)
{
	static const uint8_t values[] = { 0, 1, 3, 4, 5, 0x7f, 0x80, 0xff };
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		for (size_t at = 0; at < c->len && c->len <= 128; at++) {
			for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
				struct netlink_event e;
				struct span s = vector_heap_copy(vector_span(c));
				*(uint8_t *)(uintptr_t)(s.ptr + at) = values[v];
				int r = netlink_event_parse(s, &e);
				assert_true(r == 0 || r == -EBADMSG || r == -ENOMSG);
				vector_heap_free(s);
			}
		}
	}
}

/* ---- the monitor over a transcript ------------------------------------------------------------
 */

struct step {
	struct span datagram;
	int error;
	uint32_t port; /* of the sender */
};

static struct {
	struct step step;
	unsigned int count, at;
	bool is_endless; /* the first one again and again */
} transcript;

static ssize_t receive(int fd, void *buf, size_t len, struct sockaddr_nl *ret_from)
{
	assert_int_equal(fd, -EBADF);
	if (transcript.is_endless)
		transcript.at = 0;
	if (transcript.at == transcript.count)
		return -EAGAIN;
	const struct step *s = &transcript.step;
	transcript.at++;
	if (s->error)
		return s->error;
	*ret_from = (struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_pid = s->port };
	memcpy(buf, s->datagram.ptr, MIN(len, s->datagram.len));
	return (ssize_t)s->datagram.len;
}

static struct monitor *new_monitor(void)
{
	struct monitor *m;
	transcript.count = transcript.at = 0;
	assert_int_equal(monitor_new(-EBADF, receive, &m), 0);
	assert_int_equal(monitor_fd(m), -EBADF);
	return m;
}

/* Lets the monitor read one thing. */
static struct monitor_stats say(struct monitor *m, struct step step)
{
	struct monitor_stats stats;
	transcript.step = step;
	transcript.count = 1;
	transcript.at = 0;
	assert_int_equal(monitor_read(m), step.error == -EBADF ? -EBADF : 0);
	monitor_get_stats(m, &stats);
	return stats;
}

static const struct vector_case *find_case(const char *name)
{
	char whole[128];
	(void)snprintf(whole, sizeof(whole), "events/%s", name);
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++)
		if (strcmp(vector_cases[i].name, whole) == 0)
			return &vector_cases[i];
	fail_msg("no case %s", name);
	return NULL;
}

static struct step of(const char *name)
{
	return (struct step){ .datagram = vector_span(find_case(name)) };
}

static void test_news(void **state UNUSED)
{
	struct monitor *m = new_monitor();
	uint64_t news = 0;
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		struct monitor_stats stats =
			say(m, (struct step){ .datagram = vector_span(&vector_cases[i]) });
		print_message("%s\n", vector_cases[i].name);
		news += vector_is(&vector_cases[i], "news", "true");
		assert_int_equal(stats.news, news);
		assert_int_equal(stats.messages, i + 1);
		assert_int_equal(stats.malformed + stats.foreign + stats.overruns, 0);
	}
	monitor_close(m);
}

/* What a router or a DHCP server has announced again and again. */
static void test_repeated(void **state UNUSED)
{
	static const char *const names[] = {
		"ip link set v0 alias x #1",
		"ip addr add 192.0.2.1/24 dev v0 #1",
		"ip -6 addr add 2001:db8::1/64 dev v0 #3",
		"ip route replace default via 192.0.2.3 #1",
		"ip -6 route add default via 2001:db8::2 #1",
	};
	struct monitor *m = new_monitor();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(say(m, of(names[i])).news, i + 1);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(say(m, of(names[i])).news, ARRAY_SIZE(names));
	/* Back to what it was before the last change is a change, too. */
	assert_int_equal(say(m, of("ip route add default via 192.0.2.2 #1")).news, 6);
	assert_int_equal(say(m, of("ip route replace default via 192.0.2.3 #1")).news, 7);
	/* What is gone comes as new, and one that nobody knew may have mattered. */
	assert_int_equal(say(m, of("ip addr del 192.0.2.1/24 dev v0 #1")).news, 8);
	assert_int_equal(say(m, of("ip addr add 192.0.2.1/24 dev v0 #1")).news, 9);
	assert_int_equal(say(m, of("ip route del blackhole 198.51.100.0/24 #1")).news, 10);
	monitor_close(m);
}

/* A burst is told once; then no more than every 100 ms. */
static void test_pace(void **state UNUSED)
{
	struct monitor *m = new_monitor();
	nsec_t now = 5 * NSEC_PER_SEC;
	assert_false(monitor_take(m, now));
	assert_true(monitor_deadline(m) == NSEC_NEVER);
	(void)say(m, of("ip addr add 192.0.2.1/24 dev v0 #1"));
	(void)say(m, of("ip route add default via 192.0.2.2 #1"));
	assert_true(monitor_deadline(m) <= now);
	assert_true(monitor_take(m, now));
	assert_false(monitor_take(m, now));
	assert_true(monitor_deadline(m) == NSEC_NEVER);

	(void)say(m, of("ip route replace default via 192.0.2.3 #1"));
	assert_true(monitor_deadline(m) == now + MONITOR_INTERVAL);
	assert_false(monitor_take(m, now + MONITOR_INTERVAL - 1));
	assert_true(monitor_take(m, now + MONITOR_INTERVAL));
	assert_false(monitor_take(m, now + 10 * MONITOR_INTERVAL));
	(void)say(m, of("ip link set v0 alias x #1"));
	(void)say(m, of("ip link set v0 mtu 1400 #1"));
	assert_true(monitor_take(m, now + 10 * MONITOR_INTERVAL));
	monitor_close(m);
}

static void test_lost_messages(void **state UNUSED)
{
	struct monitor *m = new_monitor();
	(void)say(m, of("ip addr add 192.0.2.1/24 dev v0 #1"));
	assert_true(monitor_take(m, NSEC_PER_SEC));
	assert_int_equal(say(m, (struct step){ .error = -ENOBUFS }).overruns, 1);
	assert_true(monitor_take(m, 2 * NSEC_PER_SEC));
	/* What was known may be wrong. */
	assert_int_equal(say(m, of("ip addr add 192.0.2.1/24 dev v0 #1")).news, 2);
	/* A datagram that is longer than any has lost its end. */
	uint8_t *big = calloc(1, 40000);
	assert_non_null(big);
	assert_int_equal(say(m, (struct step){ .datagram = span_of(big, 40000) }).overruns, 2);
	free(big);
	monitor_close(m);
}

static void test_bad_datagrams(void **state UNUSED)
{
	struct monitor *m = new_monitor();
	struct step step = of("ip addr add 192.0.2.1/24 dev v0 #1");
	step.port = 4711;
	assert_int_equal(say(m, step).foreign, 1); /* another process */
	step.port = 0;
	step.datagram.len--;
	assert_int_equal(say(m, step).malformed, 1);
	uint8_t *huge = calloc(1, 32);
	assert_non_null(huge);
	memcpy(huge, &(struct nlmsghdr){ .nlmsg_len = UINT32_MAX, .nlmsg_type = RTM_DELLINK },
	       sizeof(struct nlmsghdr));
	assert_int_equal(netlink_event_parse(span_of(huge, 32), &(struct netlink_event){}),
			 -EBADMSG);
	free(huge);
	step.datagram.len = 3;
	assert_int_equal(say(m, step).malformed, 2);
	assert_int_equal(say(m, (struct step){ .error = -EINTR }).news, 0);
	assert_int_equal(say(m, (struct step){ .error = -EBADF }).news, 0); /* say() checks */
	assert_false(monitor_take(m, NSEC_PER_SEC));

	/* Something that is no event, then one, in one datagram. */
	alignas(4) uint8_t two[256] = {};
	struct nlmsghdr done = { .nlmsg_len = 20, .nlmsg_type = NLMSG_DONE };
	struct nlmsghdr rule = { .nlmsg_len = 16, .nlmsg_type = RTM_NEWRULE };
	struct span addr = of("ip addr add 192.0.2.1/24 dev v0 #1").datagram;
	memcpy(two, &done, sizeof(done));
	memcpy(two + 20, &rule, sizeof(rule));
	memcpy(two + 36, addr.ptr, addr.len);
	struct monitor_stats stats =
		say(m, (struct step){ .datagram = span_of(two, 36 + addr.len) });
	assert_int_equal(stats.news, 1);
	assert_int_equal(stats.messages, 1);
	assert_int_equal(stats.malformed, 2);
	monitor_close(m);
	monitor_close(NULL);
}

/* More objects than are remembered: the rest is news each time, nothing else changes. */
static void test_many_objects(void **state UNUSED)
{
	struct monitor *m = new_monitor();
	const struct vector_case *c = find_case("ip addr add 192.0.2.1/24 dev v0 #1");
	alignas(4) uint8_t copy[128];
	uint64_t before = 0;
	for (unsigned int round = 0; round < 2; round++) {
		for (uint32_t i = 0; i < MONITOR_KNOWN_MAX + 10; i++) {
			memcpy(copy, c->octets, c->len);
			uint32_t ifindex = 100 + i;
			memcpy(copy + sizeof(struct nlmsghdr) + 4, &ifindex, sizeof(ifindex));
			(void)say(m, (struct step){ .datagram = span_of(copy, c->len) });
		}
		struct monitor_stats stats;
		monitor_get_stats(m, &stats);
		assert_int_equal(stats.news - before, round ? 10 : MONITOR_KNOWN_MAX + 10);
		before = stats.news;
	}
	monitor_close(m);
}

/* A budget for each read: the loop comes back. */
static void test_budget(void **state UNUSED)
{
	struct monitor *m = new_monitor();
	struct monitor_stats stats;
	transcript.is_endless = true;
	(void)say(m, of("ip addr add 192.0.2.1/24 dev v0 #1"));
	monitor_get_stats(m, &stats);
	assert_int_equal(stats.messages, MONITOR_BUDGET);
	(void)say(m, (struct step){ .error = -ENOBUFS }); /* nor for ever when all is lost */
	transcript.is_endless = false;
	monitor_close(m);
}

/* The real thing: it opens without privileges and has nothing to say here. */
static void test_socket(void **state UNUSED)
{
	struct monitor *m;
	assert_int_equal(monitor_open(&m), 0);
	assert_true(monitor_fd(m) >= 0);
	assert_int_equal(monitor_read(m), 0);
	monitor_close(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recorded),      cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_damaged),       cmocka_unit_test(test_news),
		cmocka_unit_test(test_repeated),      cmocka_unit_test(test_pace),
		cmocka_unit_test(test_lost_messages), cmocka_unit_test(test_bad_datagrams),
		cmocka_unit_test(test_many_objects),  cmocka_unit_test(test_budget),
		cmocka_unit_test(test_socket),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
