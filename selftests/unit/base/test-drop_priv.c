/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Privileges are gone and don't come back. Each case is a child of its own; what needs root runs
 * only as root, the rest as anybody.
 */
#include "daemon/base/drop_priv.h"

#include <errno.h>
#include <grp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <linux/capability.h>

#include "daemon/base/file.h"
#include "util/macro.h"

enum { NOBODY = 65534 };

static int run_child(int (*body)(void))
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(body());
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* True when /proc/self/status has the line "key:\tvalue". */
static bool status_is(const char *key, const char *value)
{
	char *text = NULL;
	char want[128];
	(void)snprintf(want, sizeof(want), "\n%s:\t%s\n", key, value);
	/* Not dumpable any more: the file is root's, but our own status can be read. */
	if (file_read("/proc/self/status", 65536, &text, NULL) < 0)
		return false;
	bool is = strstr(text, want) != NULL;
	free(text);
	return is;
}

static const char none[] = "0000000000000000";

static int stay_and_drop(void)
{
	const struct drop_priv p = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	if (drop_priv(&p) != 0)
		return 1;
	if (!status_is("CapEff", none) || !status_is("CapPrm", none) || !status_is("CapInh", none))
		return 2;
	if (!status_is("NoNewPrivs", "1") || prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 3;
	return 0;
}

static void test_stay(void **state UNUSED)
{
	assert_int_equal(run_child(stay_and_drop), 0);
}

static int become_nobody(void)
{
	const struct drop_priv p = { .uid = NOBODY, .gid = NOBODY };
	const gid_t groups[] = { 1, 2 };
	if (setgroups(2, groups) < 0 || drop_priv(&p) != 0)
		return 1;
	uid_t uid[3];
	gid_t gid[3];
	if (getresuid(&uid[0], &uid[1], &uid[2]) < 0 || getresgid(&gid[0], &gid[1], &gid[2]) < 0)
		return 2;
	for (unsigned int i = 0; i < 3; i++)
		if (uid[i] != NOBODY || gid[i] != NOBODY)
			return 3;
	if (getgroups(0, NULL) != 0)
		return 4;
	if (!status_is("CapEff", none) || !status_is("CapPrm", none) || !status_is("CapBnd", none))
		return 5;
	if (setuid(0) == 0 || setgid(0) == 0)
		return 6;
	return 0;
}

static int keep_one(void)
{
	const struct drop_priv p = { .uid = NOBODY,
				     .gid = NOBODY,
				     .keep = UINT64_C(1) << CAP_NET_ADMIN };
	if (drop_priv(&p) != 0)
		return 1;
	return status_is("CapEff", "0000000000001000") && status_is("CapPrm", "0000000000001000") &&
			       status_is("CapBnd", "0000000000001000")
		       ? 0
		       : 2;
}

static void test_switch(void **state UNUSED)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(run_child(become_nobody), 0);
	assert_int_equal(run_child(keep_one), 0);
}

static void *wait_for_end(void *arg)
{
	char byte;
	(void)!read(*(int *)arg, &byte, 1);
	return NULL;
}

static void test_threads_are_refused(void **state UNUSED)
{
	int fds[2];
	pthread_t thread;
	const struct drop_priv p = { .uid = (uid_t)-1, .gid = (gid_t)-1 };
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_end, &fds[0]), 0);
	assert_int_equal(drop_priv(&p), -EBUSY);
	close(fds[1]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	close(fds[0]);
}

static void test_parameters(void **state UNUSED)
{
	struct drop_priv p = { .uid = NOBODY, .gid = (gid_t)-1 };
	assert_int_equal(drop_priv(&p), -EINVAL);
	p = (struct drop_priv){ .uid = (uid_t)-1, .gid = NOBODY };
	assert_int_equal(drop_priv(&p), -EINVAL);

	uid_t uid = 1;
	gid_t gid = 1;
	assert_int_equal(drop_priv_find_user("root", &uid, &gid), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(gid, 0);
	uid = 7;
	assert_int_equal(drop_priv_find_user("no-such-user-here", &uid, &gid), -ENOENT);
	assert_int_equal(uid, 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_threads_are_refused),
		cmocka_unit_test(test_stay),
		cmocka_unit_test(test_switch),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
