/* SPDX-License-Identifier: Apache-2.0 */
/* Where files go: the environment, the options, the table, and what is too long or another's. */
#include "daemon/base/paths.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/macro.h"

enum {
	SOMEBODY = 54321, /* no uid of this machine */
	EXIT_BAD = 1,
};

static const char *const variables[] = { "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "XDG_CONFIG_HOME",
					 "XDG_STATE_HOME",    "XDG_RUNTIME_DIR", "HOME" };

static int clear(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < ARRAY_SIZE(variables); i++)
		(void)unsetenv(variables[i]);
	return 0;
}

static struct paths find(const char *program, const char *instance)
{
	struct paths p;
	struct paths_params params = { .program = program, .instance = instance };
	assert_int_equal(paths_find(&params, &p), 0);
	return p;
}

static void test_instance_names(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		bool is_good;
	} cases[] = {
		{ "a", true },
		{ "0", true },
		{ "a.b-c_d", true },
		{ "abcdefghijklmnopqrstuvwxyz012345", true },
		{ "abcdefghijklmnopqrstuvwxyz0123456", false },
		{ "", false },
		{ ".", false },
		{ "..", false },
		{ "_a", false },
		{ "-a", false },
		{ "A", false },
		{ "a/b", false },
		{ "a b", false },
		{ "\xc3\xa4", false },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct paths p = { .config = "untouched" };
		struct paths_params params = { .program = "aditd", .instance = cases[i].name };
		assert_int_equal(paths_find(&params, &p), cases[i].is_good ? 0 : -EINVAL);
		if (!cases[i].is_good)
			assert_string_equal(p.config, "untouched");
	}
}

/* Runs in a child, which may become somebody else; what it finds wrong it prints. */
static void as(uid_t uid, bool (*check)(void))
{
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(setresuid(uid, uid, uid) == 0 && check() ? 0 : EXIT_BAD);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static bool is(const char *found, const char *expected)
{
	if (strcmp(found, expected) == 0)
		return true;
	(void)fprintf(stderr, "found %s instead of %s\n", found, expected);
	return false;
}

static bool check_root(void)
{
	(void)setenv("XDG_CONFIG_HOME", "/xdg/config", 1);
	(void)setenv("XDG_STATE_HOME", "/xdg/state", 1);
	(void)setenv("XDG_RUNTIME_DIR", "/xdg/run", 1);
	struct paths d = find("aditd", NULL), b = find("aditd", "blog"),
		     e = find("adit-edge", NULL);
	return is(d.config, "/etc/adit/adit.conf") && is(d.state, "/var/lib/adit/default") &&
	       is(d.run, "/run/adit/default") && is(d.control, "/run/adit/default/control") &&
	       is(b.config, "/etc/adit/blog.conf") && is(b.state, "/var/lib/adit/blog") &&
	       is(b.run, "/run/adit/blog") && is(e.config, "/etc/adit/edge.conf") &&
	       is(e.state, "/var/lib/adit-edge") && is(e.run, "/run/adit-edge") &&
	       is(e.control, "/run/adit-edge/control");
}

static bool check_xdg(void)
{
	(void)setenv("XDG_CONFIG_HOME", "/xdg/config", 1);
	(void)setenv("XDG_STATE_HOME", "/xdg/state", 1);
	(void)setenv("XDG_RUNTIME_DIR", "/xdg/run", 1);
	(void)setenv("HOME", "/somebody", 1);
	struct paths d = find("aditd", NULL), b = find("aditd", "blog"),
		     e = find("adit-edge", NULL);
	return is(d.config, "/xdg/config/adit/adit.conf") &&
	       is(d.state, "/xdg/state/adit/default") && is(d.run, "/xdg/run/adit/default") &&
	       is(b.config, "/xdg/config/adit/blog.conf") && is(b.run, "/xdg/run/adit/blog") &&
	       is(e.config, "/xdg/config/adit/edge.conf") && is(e.state, "/xdg/state/adit-edge") &&
	       is(e.run, "/xdg/run/adit-edge") && is(e.control, "/xdg/run/adit-edge/control");
}

/* A relative path in such a variable is none (XDG base directories). */
static bool check_home(void)
{
	char run[64];
	(void)setenv("XDG_CONFIG_HOME", "relative", 1);
	(void)setenv("HOME", "/somebody", 1);
	(void)snprintf(run, sizeof(run), "/tmp/adit-%u/adit/default", (unsigned int)getuid());
	struct paths d = find("aditd", NULL);
	return is(d.config, "/somebody/.config/adit/adit.conf") &&
	       is(d.state, "/somebody/.local/state/adit/default") && is(d.run, run);
}

static bool check_nothing_set(void)
{
	char state[64];
	(void)snprintf(state, sizeof(state), "/tmp/adit-%u/adit-edge", (unsigned int)getuid());
	struct paths e = find("adit-edge", NULL);
	return is(e.state, state) && is(e.run, state);
}

static void test_table(void **state)
{
	(void)state;
	bool is_root = getuid() == 0;
	uid_t other = is_root ? SOMEBODY : getuid();
	if (is_root)
		as(0, check_root);
	as(other, check_xdg);
	as(other, check_home);
	as(other, check_nothing_set);
}

/* systemd's variables before options before the table; a relative option is made absolute. */
static void test_precedence(void **state)
{
	(void)state;
	struct paths p;
	char cwd[PATHS_LEN], expected[PATHS_LEN + 16];
	struct paths_params params = { .program = "aditd",
				       .run_dir = "/option/run",
				       .state_dir = "some/state" };
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(expected, sizeof(expected), "%s/some/state", cwd);
	assert_int_equal(paths_find(&params, &p), 0);
	assert_string_equal(p.run, "/option/run");
	assert_string_equal(p.control, "/option/run/control");
	assert_string_equal(p.state, expected);

	(void)setenv("RUNTIME_DIRECTORY", "/systemd/run:/systemd/more", 1);
	(void)setenv("STATE_DIRECTORY", "/systemd/state", 1);
	assert_int_equal(paths_find(&params, &p), 0);
	assert_string_equal(p.run, "/systemd/run");
	assert_string_equal(p.control, "/systemd/run/control");
	assert_string_equal(p.state, "/systemd/state");
}

/* What doesn't fit is refused, never cut; the longest that fits isn't. */
static void test_length(void **state)
{
	(void)state;
	static char folder[2 * PATHS_LEN];
	memset(folder, 'a', sizeof(folder) - 1);
	folder[0] = '/';
	struct paths p;
	struct paths_params params = { .program = "aditd", .state_dir = folder };
	folder[PATHS_LEN] = '\0';
	assert_int_equal(paths_find(&params, &p), -ENAMETOOLONG);
	folder[PATHS_LEN - 1] = '\0';
	assert_int_equal(paths_find(&params, &p), 0);
	assert_string_equal(p.state, folder);

	params = (struct paths_params){ .program = "aditd", .run_dir = folder };
	assert_int_equal(paths_find(&params, &p), -ENAMETOOLONG);
	folder[PATHS_LEN - 1 - sizeof("/control") + 1] = '\0';
	assert_int_equal(paths_find(&params, &p), 0);
	assert_string_equal(p.run, folder);
	assert_int_equal(strlen(p.control), PATHS_LEN - 1);
}

static void test_make(void **state)
{
	(void)state;
	char top[] = "/tmp/test-paths.XXXXXX";
	char path[64], file[80];
	struct stat st;
	assert_non_null(mkdtemp(top));
	(void)snprintf(path, sizeof(path), "%s/a/b", top);
	assert_int_equal(paths_make(path, 0700), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	(void)snprintf(file, sizeof(file), "%s/a", top);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0700, 0700);
	assert_int_equal(paths_make(path, 0755), 0); /* there already: as it is */
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);

	/* A file in the place of the last folder, and of one before. */
	(void)snprintf(file, sizeof(file), "%s/file", top);
	FILE *f = fopen(file, "w");
	assert_non_null(f);
	(void)fclose(f);
	assert_int_equal(paths_make(file, 0700), -ENOTDIR);
	(void)snprintf(file, sizeof(file), "%s/file/x", top);
	assert_int_equal(paths_make(file, 0700), -ENOTDIR);

	(void)snprintf(file, sizeof(file), "%s/file", top);
	(void)unlink(file);
	(void)rmdir(path);
	(void)snprintf(path, sizeof(path), "%s/a", top);
	(void)rmdir(path);
	assert_int_equal(rmdir(top), 0);
}

static bool check_foreign_folder(void)
{
	return paths_make("/", 0700) == -EPERM;
}

static void test_folder_of_another(void **state)
{
	(void)state;
	as(getuid() == 0 ? SOMEBODY : getuid(), check_foreign_folder);
}

static bool check_below_tmp(void)
{
	char top[64], folder[96];
	(void)snprintf(top, sizeof(top), "/tmp/adit-%u", (unsigned int)getuid());
	(void)snprintf(folder, sizeof(folder), "%s/adit", top);
	bool good = mkdir(top, 0755) == 0 && paths_make(folder, 0755) == -EPERM; /* not closed */
	(void)rmdir(top);
	good = good && symlink("/", top) == 0 && paths_make(folder, 0755) == -EPERM;
	(void)unlink(top);
	struct stat st;
	good = good && paths_make(folder, 0755) == 0 && stat(top, &st) == 0 &&
	       (st.st_mode & 07777) == 0700;
	(void)rmdir(folder);
	(void)rmdir(top);
	return good;
}

/* Anybody may make /tmp/adit-UID before us. */
static void test_below_tmp(void **state)
{
	(void)state;
	if (getuid() != 0)
		skip(); /* it would be in the way of who runs this */
	as(SOMEBODY, check_below_tmp);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_instance_names, clear),
		cmocka_unit_test_setup(test_table, clear),
		cmocka_unit_test_setup(test_precedence, clear),
		cmocka_unit_test_setup(test_length, clear),
		cmocka_unit_test(test_make),
		cmocka_unit_test(test_folder_of_another),
		cmocka_unit_test(test_below_tmp),
	};
	return cmocka_run_group_tests_name("paths", tests, NULL, NULL);
}
