/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files and secrets: limits, modes, what a failed replacement leaves, what is wiped. */
#include "daemon/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/base/secret.h"
#include "util/macro.h"

static char dir[64];
static char path[128];

static int set_up(void **state UNUSED)
{
	(void)snprintf(dir, sizeof(dir), "/tmp/test-file-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/file", dir);
	return 0;
}

static int tear_down(void **state UNUSED)
{
	(void)unlink(path);
	return rmdir(dir); /* fails when a temporary file was left */
}

static void check_content(const char *want, size_t len)
{
	char *got = NULL;
	size_t got_len = 0;
	assert_int_equal(file_read(path, 100000, &got, &got_len), 0);
	assert_int_equal(got_len, len);
	assert_memory_equal(got, want, len);
	assert_int_equal(got[len], '\0');
	free(got);
}

static void test_read_limits(void **state UNUSED)
{
	static char big[10000];
	memset(big, 'x', sizeof(big));
	char *got = NULL;
	size_t len = 0;
	assert_int_equal(file_read(path, 10, &got, &len), -ENOENT);
	assert_int_equal(file_read(dir, 10, &got, &len), -EISDIR);
	assert_int_equal(file_read(path, SIZE_MAX, &got, &len), -EINVAL);
	static const size_t lens[] = { 0, 1, 4095, 4096, 4097, 8191, 8192, 8193, 10000 };
	for (unsigned int i = 0; i < ARRAY_SIZE(lens); i++) {
		assert_int_equal(file_replace(path, span_of(big, lens[i]), 0600), 0);
		check_content(big, lens[i]);
		assert_int_equal(file_read(path, lens[i], &got, NULL), 0);
		free(got);
		got = NULL;
		if (lens[i])
			assert_int_equal(file_read(path, lens[i] - 1, &got, NULL), -EMSGSIZE);
		assert_null(got);
	}
	/* A file that claims to be empty. */
	assert_int_equal(file_read("/proc/self/status", 100000, &got, &len), 0);
	assert_true(len > 100);
	free(got);
}

static void test_replace(void **state UNUSED)
{
	struct stat st;
	mode_t mask = umask(0077);
	assert_int_equal(file_replace(path, SPAN_LIT("one"), 0644), 0);
	(void)umask(mask);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644); /* whatever the umask */
	assert_int_equal(file_replace(path, SPAN_LIT("two\0."), 0600), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	check_content("two\0.", 5);
}

static void test_replace_fails_cleanly(void **state UNUSED)
{
	char bad[512];
	(void)snprintf(bad, sizeof(bad), "%s/none/file", dir);
	assert_int_equal(file_replace(bad, SPAN_LIT("x"), 0600), -ENOENT);
	(void)snprintf(bad, sizeof(bad), "%s/", dir);
	assert_int_equal(file_replace(bad, SPAN_LIT("x"), 0600), -EINVAL);
	(void)snprintf(bad, sizeof(bad), "%s/..", dir);
	assert_int_equal(file_replace(bad, SPAN_LIT("x"), 0600), -EINVAL);
	(void)snprintf(bad, sizeof(bad), "%s/%0250d", dir, 1);
	assert_int_equal(file_replace(bad, SPAN_LIT("x"), 0600), -ENAMETOOLONG);
	/* A directory is in the way: the temporary file goes. */
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(file_replace(path, SPAN_LIT("x"), 0600), -EISDIR);
	assert_int_equal(rmdir(path), 0);
}

/* ---- secrets ------------------------------------------------------------------------------- */

static void test_secret(void **state UNUSED)
{
	struct secret *s = NULL;
	assert_int_equal(secret_new(SPAN_LIT("hunter2"), &s), 0);
	assert_true(span_eq_str(secret_span(s), "hunter2"));
	secret_data(s)[0] = 'H';
	assert_true(span_eq_str(secret_span(s), "Hunter2"));
	secret_free(s);
	secret_free(NULL);
	assert_int_equal(secret_span(NULL).len, 0);

	assert_int_equal(secret_new_empty(SECRET_MAX, &s), 0);
	memset(secret_data(s), 1, SECRET_MAX);
	secret_free(s);
	s = NULL;
	assert_int_equal(secret_new_empty(SECRET_MAX + 1, &s), -EMSGSIZE);
	assert_null(s);
	assert_int_equal(secret_new((struct span){}, &s), 0);
	assert_int_equal(secret_span(s).len, 0);
	secret_free(s);
}

static void test_secret_compare(void **state UNUSED)
{
	assert_true(secret_eq(SPAN_LIT("same"), SPAN_LIT("same")));
	assert_false(secret_eq(SPAN_LIT("same"), SPAN_LIT("samE")));
	assert_false(secret_eq(SPAN_LIT("same"), SPAN_LIT("Same")));
	assert_false(secret_eq(SPAN_LIT("same"), SPAN_LIT("same!")));
	assert_true(secret_eq((struct span){}, (struct span){}));
	uint8_t bytes[4] = { 1, 2, 3, 4 };
	secret_wipe(bytes, sizeof(bytes));
	assert_memory_equal(bytes, "\0\0\0\0", 4);
	secret_wipe(NULL, 0);
}

static void test_secret_file(void **state UNUSED)
{
	struct secret *s = NULL;
	assert_int_equal(secret_read_file(path, 100, &s), -ENOENT);
	assert_int_equal(file_replace(path, SPAN_LIT("token \r\n\n"), 0600), 0);
	assert_int_equal(secret_read_file(path, 100, &s), 0);
	assert_true(span_eq_str(secret_span(s), "token"));
	secret_free(s);
	s = NULL;
	assert_int_equal(secret_read_file(path, 8, &s), -EMSGSIZE);
	assert_int_equal(secret_read_file(dir, 8, &s), -EISDIR);
	assert_null(s);
	assert_int_equal(secret_read_file(path, SIZE_MAX, &s), 0);
	secret_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_read_limits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_replace, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_replace_fails_cleanly, set_up, tear_down),
		cmocka_unit_test(test_secret),
		cmocka_unit_test(test_secret_compare),
		cmocka_unit_test_setup_teardown(test_secret_file, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
