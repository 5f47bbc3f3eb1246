/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists, time, small macros, scope-bound cleanup.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "util/cleanup.h"
#include "util/list.h"
#include "util/time.h"

struct item {
	int value;
	struct list link;
};

static void test_lists(void **state)
{
	(void)state;
	struct list head;
	struct item items[4] = {};
	list_init(&head);
	assert_true(list_is_empty(&head));
	assert_null(list_pop(&head));
	for (int i = 0; i < 4; i++) {
		items[i].value = i;
		assert_false(list_is_linked(&items[i].link));
	}
	list_append(&head, &items[1].link);
	list_append(&head, &items[2].link);
	list_prepend(&head, &items[0].link);
	list_insert_after(&items[2].link, &items[3].link);

	int want = 0;
	LIST_FOREACH(n, &head)
	assert_int_equal(LIST_ENTRY(n, struct item, link)->value, want++);
	assert_int_equal(want, 4);

	/* The current node may go. */
	LIST_FOREACH(n, &head)
	if (LIST_ENTRY(n, struct item, link)->value % 2 == 0)
		list_remove(n);
	assert_false(list_is_linked(&items[0].link));
	list_remove(&items[0].link);
	assert_ptr_equal(list_pop(&head), &items[1].link);
	assert_ptr_equal(list_pop(&head), &items[3].link);
	assert_true(list_is_empty(&head));
	list_append(&head, &items[0].link);
	assert_true(list_is_linked(&items[0].link));
}

static void test_time(void **state)
{
	(void)state;
	struct timespec ts = nsec_to_timespec(3 * NSEC_PER_SEC + 5);
	assert_int_equal(ts.tv_sec, 3);
	assert_int_equal(ts.tv_nsec, 5);
	assert_true(nsec_from_timespec(ts) == 3 * NSEC_PER_SEC + 5);
	assert_true(nsec_add(NSEC_NEVER, 1) == NSEC_NEVER);
	assert_true(nsec_add(NSEC_NEVER - 1, 1) == NSEC_NEVER);
	assert_true(nsec_add(NSEC_NEVER - 1, 2) == NSEC_NEVER);
	assert_true(nsec_add(1, 2) == 3);
	assert_true(nsec_sub(1, 2) == 0);
	assert_true(nsec_sub(2, 1) == 1);
	nsec_t before = nsec_clock(CLOCK_MONOTONIC);
	assert_true(before > 0 && nsec_clock(CLOCK_MONOTONIC) >= before);
}

static int calls;

static int count_calls(int v)
{
	calls++;
	return v;
}

static void test_macros(void **state)
{
	(void)state;
	assert_int_equal(MIN(count_calls(2), count_calls(1)), 1);
	assert_int_equal(MAX(count_calls(2), count_calls(1)), 2);
	assert_int_equal(calls, 4); /* each argument once */
	struct item it = {};
	assert_ptr_equal(CONTAINER_OF(&it.link, struct item, link), &it);
	int three[3];
	assert_int_equal(ARRAY_SIZE(three), 3);
}

static unsigned int freed;

static void thing_free(const int *thing)
{
	freed += thing != NULL;
}
DEFINE_CLEANUP(int *, thing_free)

static int *take(bool is_good)
{
	static int object;
	_cleanup_(thing_freep) int *thing = &object;
	return is_good ? TAKE_PTR(thing) : NULL;
}

static void test_cleanup(void **state)
{
	(void)state;
	assert_null(take(false));
	assert_int_equal(freed, 1);
	assert_non_null(take(true));
	assert_int_equal(freed, 1);

	int raw = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(raw >= 0);
	{
		_cleanup_(fd_closep) int fd = raw;
		_cleanup_(freep) char *memory = malloc(1);
		_cleanup_(file_closep) FILE *none = NULL;
		assert_non_null(memory);
		assert_null(none);
		int moved = TAKE_FD(fd);
		assert_int_equal(fd, -EBADF);
		fd = moved;
	}
	assert_int_equal(fcntl(raw, F_GETFD), -1);
	errno = EXDEV;
	assert_int_equal(fd_close(-EBADF), -EBADF);
	assert_int_equal(errno, EXDEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_macros),
		cmocka_unit_test(test_cleanup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
