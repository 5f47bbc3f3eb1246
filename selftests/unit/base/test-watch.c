/* SPDX-License-Identifier: Apache-2.0 */
/* A watched file: every way in which it gets other content, and what doesn't mean it. */
#include "daemon/base/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/base/mainloop.h"
#include "util/macro.h"

enum { SOON_MSEC = 5000, QUIET_MSEC = 250 };

struct fixture {
	struct mainloop *ml;
	struct watch *watch;
	unsigned int changes;
	bool frees_itself;
	char folder[64];
	char path[96];
};

static void on_change(void *arg)
{
	struct fixture *fx = arg;
	fx->changes++;
	if (fx->frees_itself) {
		watch_free(fx->watch);
		fx->watch = NULL;
	}
}

static const char *in(const struct fixture *fx, const char *name)
{
	static char path[2][128];
	static unsigned int turn;
	char *buf = path[turn++ % 2];
	(void)snprintf(buf, sizeof(path[0]), "%s/%s", fx->folder, name);
	return buf;
}

static void put(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* Turns until there are so many changes, or a while passes. */
static unsigned int wait_for(struct fixture *fx, unsigned int changes, unsigned int msec)
{
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + msec * NSEC_PER_MSEC;
	while (fx->changes < changes && nsec_clock(CLOCK_MONOTONIC) < end)
		assert_int_equal(mainloop_turn(fx->ml, 10 * NSEC_PER_MSEC), 0);
	return fx->changes;
}

static int start(void **state)
{
	struct fixture *fx = calloc(1, sizeof(*fx));
	assert_non_null(fx);
	(void)snprintf(fx->folder, sizeof(fx->folder), "/tmp/adit-watch-XXXXXX");
	assert_non_null(mkdtemp(fx->folder));
	(void)snprintf(fx->path, sizeof(fx->path), "%s/x.conf", fx->folder);
	put(fx->path, "one");
	assert_int_equal(mainloop_new(fx, &fx->ml), 0);
	assert_int_equal(watch_new(fx->ml, fx->path, on_change, fx, &fx->watch), 0);
	*state = fx;
	return 0;
}

static int end(void **state)
{
	static const char *const names[] = { "x.conf", "x.new", "other", "first", "second" };
	struct fixture *fx = *state;
	watch_free(fx->watch);
	watch_free(NULL);
	mainloop_free(fx->ml);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)unlink(in(fx, names[i]));
	assert_int_equal(rmdir(fx->folder), 0);
	free(fx);
	return 0;
}

static void test_ways(void **state)
{
	struct fixture *fx = *state;
	put(fx->path, "written in place");
	assert_int_equal(wait_for(fx, 1, SOON_MSEC), 1);
	put(in(fx, "x.new"), "renamed over");
	assert_int_equal(rename(in(fx, "x.new"), fx->path), 0);
	assert_int_equal(wait_for(fx, 2, SOON_MSEC), 2);
	/* A row of changes is one. */
	for (unsigned int i = 0; i < 5; i++)
		put(fx->path, i % 2 ? "longer and longer" : "short");
	assert_int_equal(wait_for(fx, 3, SOON_MSEC), 3);
	assert_int_equal(wait_for(fx, 4, QUIET_MSEC), 3);
}

static void test_other_files(void **state)
{
	struct fixture *fx = *state;
	put(in(fx, "other"), "x");
	assert_int_equal(chmod(fx->path, 0600), 0);
	assert_int_equal(unlink(fx->path), 0);
	assert_int_equal(wait_for(fx, 1, QUIET_MSEC), 0);
	put(fx->path, "there again");
	assert_int_equal(wait_for(fx, 1, SOON_MSEC), 1);
}

/* As volumes of orchestrators do it: the link is replaced, the file not touched. */
static void test_link(void **state)
{
	struct fixture *fx = *state;
	put(in(fx, "first"), "one");
	put(in(fx, "second"), "two");
	assert_int_equal(unlink(fx->path), 0);
	assert_int_equal(symlink("first", fx->path), 0);
	assert_int_equal(wait_for(fx, 1, SOON_MSEC), 1);
	assert_int_equal(symlink("second", in(fx, "x.new")), 0);
	assert_int_equal(rename(in(fx, "x.new"), fx->path), 0);
	assert_int_equal(wait_for(fx, 2, SOON_MSEC), 2);
}

static void test_freed_inside(void **state)
{
	struct fixture *fx = *state;
	fx->frees_itself = true;
	put(fx->path, "again");
	assert_int_equal(wait_for(fx, 1, SOON_MSEC), 1);
	assert_null(fx->watch);
}

static void test_no_folder(void **state)
{
	struct fixture *fx = *state;
	struct watch *w = NULL;
	assert_int_equal(watch_new(fx->ml, "/nonexistent/x.conf", on_change, fx, &w), -ENOENT);
	assert_null(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ways, start, end),
		cmocka_unit_test_setup_teardown(test_other_files, start, end),
		cmocka_unit_test_setup_teardown(test_link, start, end),
		cmocka_unit_test_setup_teardown(test_freed_inside, start, end),
		cmocka_unit_test_setup_teardown(test_no_folder, start, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
