/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short cut's program on interfaces, in a network of the test's own: who may attach it, what
 * the operator is told when it can't be, and what an interface that goes leaves behind. What the
 * program does with frames: bpf/test-flow. Needs root rights; without them the tests are skipped.
 */
#include "daemon/net/bpf.h"

#include <errno.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/base/drop_priv.h"
#include "selftests/lib/own_net.h"

enum { NOBODY = 65534 };

static bool is_usable;
static struct bpf_flow *flow, *other;

static struct bpf_flow *load(void)
{
	const char *why = NULL;
	const struct bpf_flow_params p = { .max_flows = 16 };
	struct bpf_flow *f = NULL;
	int r = bpf_flow_load(&p, &f, &why);
	if (r < 0 && r != -EPERM)
		fail_msg("%s: %s", strerror(-r), why);
	return f;
}

static int group_setup(void **state)
{
	(void)state;
	is_usable = own_net_enter();
	return 0;
}

static int setup(void **state)
{
	(void)state;
	if (!is_usable)
		return 0;
	flow = load();
	other = load();
	if (!flow || !other)
		return 0;
	return own_net_make_pair() ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	if (is_usable)
		own_net_remove_pair();
	bpf_flow_free(flow);
	bpf_flow_free(other);
	flow = other = NULL;
	return 0;
}

static void need_kernel(void)
{
	if (!flow || !other)
		skip();
}

static void expect_refused(struct bpf_flow *f, unsigned int ifindex, int error, const char *said)
{
	const char *why = NULL;
	assert_int_equal(bpf_flow_attach(f, ifindex, &why), error);
	assert_string_equal(why, said);
	assert_int_equal(bpf_flow_ifindex(f), 0);
}

static void test_attach(void **state)
{
	(void)state;
	need_kernel();
	unsigned int eth1 = if_nametoindex("eth1");
	const char *why = NULL;
	assert_int_equal(bpf_flow_ifindex(flow), 0);
	assert_int_equal(bpf_flow_attach(flow, eth1, &why), 0);
	assert_int_equal(bpf_flow_ifindex(flow), eth1);
	assert_int_equal(bpf_flow_attach(flow, eth1, &why), -EALREADY);
	bpf_flow_detach(flow);
	assert_int_equal(bpf_flow_ifindex(flow), 0);
	bpf_flow_detach(flow);
	assert_int_equal(bpf_flow_attach(flow, eth1, &why), 0);
}

/* Whoever came first stays, and is told from a driver that can't. */
static void test_another_program(void **state)
{
	(void)state;
	need_kernel();
	unsigned int eth1 = if_nametoindex("eth1");
	const char *why = NULL;
	assert_int_equal(bpf_flow_attach(flow, eth1, &why), 0);
	expect_refused(other, eth1, -EBUSY, "interface has an XDP program already");
	assert_int_equal(bpf_flow_ifindex(flow), eth1);
	bpf_flow_free(flow); /* the program goes with it */
	flow = NULL;
	assert_int_equal(bpf_flow_attach(other, eth1, &why), 0);
}

static void test_refused(void **state)
{
	(void)state;
	need_kernel();
	expect_refused(flow, if_nametoindex("lo"), -EOPNOTSUPP,
		       "the interface's driver has no XDP");
	expect_refused(flow, 4711, -ENODEV, "there is no such interface");
}

/* Then frames may lie in several buffers, and only the other program may be attached. */
static void test_large_mtu(void **state)
{
	(void)state;
	need_kernel();
	const char *why = NULL;
	assert_int_equal(own_net_run("ip link set peer1 mtu 9000"), 0);
	assert_int_equal(bpf_flow_attach(flow, if_nametoindex("eth1"), &why), 0);
}

/* A new interface of the same name has no program; ours can be put on it. */
static void test_interface_deleted(void **state)
{
	(void)state;
	need_kernel();
	const char *why = NULL;
	assert_int_equal(bpf_flow_attach(flow, if_nametoindex("eth1"), &why), 0);
	assert_int_equal(own_net_run("ip link del eth1"), 0);
	assert_int_equal(bpf_flow_ifindex(flow), 0);
	assert_int_equal(own_net_run("ip link add eth1 type veth peer name peer1"), 0);
	assert_int_equal(bpf_flow_ifindex(flow), 0);
	bpf_flow_detach(flow);
	assert_int_equal(bpf_flow_attach(flow, if_nametoindex("eth1"), &why), 0);
	assert_int_equal(bpf_flow_ifindex(flow), if_nametoindex("eth1"));
}

/* In a process that has given its privileges up: what was loaded can be attached and used. */
static int use_without_privileges(unsigned int eth1)
{
	const struct drop_priv p = { .uid = NOBODY, .gid = NOBODY };
	const struct bpf_flow_params load_params = { .max_flows = 16 };
	const struct adit_flow_key key = { .proto = 17 };
	const struct adit_flow_val val = { .slot = 1 };
	struct bpf_flow *third = NULL;
	uint64_t counts[FLOW_VERDICTS];
	const char *why = "";
	if (drop_priv(&p) < 0)
		return 1;
	if (bpf_flow_load(&load_params, &third, &why) != -EPERM || !strstr(why, "CAP_BPF"))
		return 2;
	if (bpf_flow_attach(flow, eth1, &why) < 0 || bpf_flow_ifindex(flow) != eth1)
		return 3;
	if (bpf_flow_set(flow, &key, &val) < 0 || bpf_flow_remove(flow, &key) < 0)
		return 4;
	bpf_flow_detach(flow);
	if (bpf_flow_attach(flow, eth1, &why) < 0)
		return 5;
	return bpf_flow_verdicts(flow, counts) < 0 ? 6 : 0;
}

static void test_without_privileges(void **state)
{
	(void)state;
	need_kernel();
	unsigned int eth1 = if_nametoindex("eth1");
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(use_without_privileges(eth1));
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* It has ended, and so has its link. */
	const char *why = NULL;
	assert_int_equal(bpf_flow_attach(other, eth1, &why), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_attach, setup, teardown),
		cmocka_unit_test_setup_teardown(test_another_program, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(test_large_mtu, setup, teardown),
		cmocka_unit_test_setup_teardown(test_interface_deleted, setup, teardown),
		cmocka_unit_test_setup_teardown(test_without_privileges, setup, teardown),
	};
	return cmocka_run_group_tests(tests, group_setup, NULL);
}
