/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets of command line and environment are gone from where others read them. The test runs
 * itself once more with a secret in both places.
 */
#include "daemon/base/argv.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/base/file.h"
#include "daemon/base/secret.h"
#include "util/macro.h"

enum { FILE_MAX = 1 << 20 };

static bool file_has(const char *path, const char *text)
{
	char *content = NULL;
	size_t len = 0;
	if (file_read(path, FILE_MAX, &content, &len) < 0)
		return true;
	bool has = memmem(content, len, text, strlen(text)) != NULL;
	free(content);
	return has;
}

/* What the second run does. Returns the number of what went wrong, or 0. */
static int run_inner(char *token)
{
	struct secret *from_arg = NULL;
	struct secret *from_env = NULL;
	if (!file_has("/proc/self/cmdline", "hunter2") ||
	    !file_has("/proc/self/environ", "swordfish"))
		return 1; /* the test tests nothing */
	if (argv_take_secret(token, &from_arg) < 0 || argv_take_env("TOKEN", &from_env) < 0)
		return 2;
	if (file_has("/proc/self/cmdline", "hunter2") || !file_has("/proc/self/cmdline", "after"))
		return 3;
	if (file_has("/proc/self/environ", "swordfish") || getenv("TOKEN"))
		return 4;
	if (!span_eq_str(secret_span(from_arg), "hunter2") ||
	    !span_eq_str(secret_span(from_env), "swordfish"))
		return 5;
	secret_free(from_arg);
	secret_free(from_env);
	return 0;
}

static void test_overwritten(void **state UNUSED)
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		char *const argv[] = { (char[]){ "inner" }, (char[]){ "hunter2" },
				       (char[]){ "after" }, NULL };
		char *const envp[] = { (char[]){ "A=1" }, (char[]){ "TOKEN=swordfish" },
				       (char[]){ "Z=2" }, NULL };
		(void)execve("/proc/self/exe", argv, envp);
		_exit(99);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void test_not_set(void **state UNUSED)
{
	struct secret *s = NULL;
	assert_int_equal(argv_take_env("ADIT_TEST_NOT_SET", &s), -ENOENT);
	assert_null(s);
}

int main(int argc, char **argv)
{
	if (argc == 3)
		return run_inner(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overwritten),
		cmocka_unit_test(test_not_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
