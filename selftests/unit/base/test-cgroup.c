/* SPDX-License-Identifier: Apache-2.0 */
/* CPU quotas from made-up /proc and /sys trees of both versions. */
#include "daemon/base/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <ftw.h>
#include <limits.h>

#include "util/macro.h"

static char root[64];

static void put(const char *path, const char *text)
{
	char full[PATH_MAX];
	assert_true(snprintf(full, sizeof(full), "%s%s", root, path) < (int)sizeof(full));
	for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(full, 0700);
		*slash = '/';
	}
	FILE *f = fopen(full, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state UNUSED)
{
	(void)snprintf(root, sizeof(root), "/tmp/test-cgroup-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st UNUSED, int flag UNUSED,
		      struct FTW *ftw UNUSED)
{
	return remove(path);
}

static int tear_down(void **state UNUSED)
{
	return nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void test_nothing(void **state UNUSED)
{
	assert_int_equal(cgroup_cpu_quota(root), 0);
	put("/proc/self/cgroup", "garbage\n::\n0:\n\n1:cpu:relative\n");
	assert_int_equal(cgroup_cpu_quota(root), 0);
	(void)cgroup_cpu_quota(""); /* whatever this machine has */
}

static void test_v2(void **state UNUSED)
{
	put("/proc/self/cgroup", "0::/a.slice/b.service\n");
	assert_int_equal(cgroup_cpu_quota(root), 0);
	put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "max 100000\n");
	assert_int_equal(cgroup_cpu_quota(root), 0);
	put("/sys/fs/cgroup/a.slice/b.service/cpu.max", "250000 100000\n");
	assert_int_equal(cgroup_cpu_quota(root), 3);
	put("/sys/fs/cgroup/a.slice/cpu.max", "200000 100000\n"); /* the parent is stricter */
	assert_int_equal(cgroup_cpu_quota(root), 2);
	put("/sys/fs/cgroup/cpu.max", "1 100000\n");
	assert_int_equal(cgroup_cpu_quota(root), 1);
}

/* In a container the path may be the host's: only the mount's root is there. */
static void test_v2_container(void **state UNUSED)
{
	put("/proc/self/cgroup", "0::/../../host/path\n");
	put("/sys/fs/cgroup/cpu.max", "400000 100000\n");
	assert_int_equal(cgroup_cpu_quota(root), 4);
}

static void test_v1(void **state UNUSED)
{
	put("/proc/self/cgroup", "12:cpuset:/x\n3:cpu,cpuacct:/x\n1:name=systemd:/y\n");
	put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "-1\n");
	put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpuset/x/cpu.cfs_quota_us", "100000\n");
	put("/sys/fs/cgroup/cpuset/x/cpu.cfs_period_us", "100000\n");
	assert_int_equal(cgroup_cpu_quota(root), 0);
	put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "150000\n");
	assert_int_equal(cgroup_cpu_quota(root), 2);
	put("/sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "0\n");
	assert_int_equal(cgroup_cpu_quota(root), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_v2, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_v2_container, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_v1, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
