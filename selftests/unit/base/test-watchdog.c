/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watchdog over real workers: fed while all answer, not fed while one is stuck, and nothing is
 * left of a ping that was out at the end.
 */
#include "daemon/base/watchdog.h"

#include <errno.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/base/mainloop.h"
#include "util/macro.h"

enum { WORKERS = 3, PERIOD_MSEC = 60 };

static char dir[] = "/tmp/test-watchdog-XXXXXX";
static struct sockaddr_un addr = { .sun_family = AF_UNIX };
static int manager;
static struct mainloop *ml;
static struct worker_set *set;
static struct watchdog *wd;
static sem_t held, go;

static int set_up_manager(void **state UNUSED)
{
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
	manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (manager < 0 || bind(manager, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -1;
	return setenv("NOTIFY_SOCKET", addr.sun_path, 1);
}

static int take_down_manager(void **state UNUSED)
{
	(void)close(manager);
	(void)unlink(addr.sun_path);
	return rmdir(dir);
}

static int setup(void **state UNUSED)
{
	const struct worker_params params = { .count = WORKERS, .memory = 1 << 20 };
	char text[24];
	(void)snprintf(text, sizeof(text), "%u", PERIOD_MSEC * 1000);
	wd = NULL;
	if (setenv("WATCHDOG_USEC", text, 1) < 0 || unsetenv("WATCHDOG_PID") < 0 ||
	    sem_init(&held, 0, 0) < 0 || sem_init(&go, 0, 0) < 0 || mainloop_new(NULL, &ml) < 0 ||
	    worker_set_new(&params, &set) < 0)
		return -1;
	return worker_set_start(set, NULL, NULL);
}

static int teardown(void **state UNUSED)
{
	watchdog_stop(wd);
	worker_set_stop(set);
	worker_set_free(set);
	mainloop_free(ml);
	char text[64];
	while (recv(manager, text, sizeof(text), MSG_DONTWAIT) > 0)
		;
	return 0;
}

static int begin(void)
{
	const struct watchdog_params params = { .loop = ml, .workers = set };
	return watchdog_start(&params, &wd);
}

/* Runs the control thread until it has fed the watchdog count times, for that long at most. */
static unsigned int feed(unsigned int count, nsec_t limit)
{
	unsigned int n = 0;
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + limit;
	while (n < count && nsec_clock(CLOCK_MONOTONIC) < end) {
		char text[64] = "";
		assert_int_equal(mainloop_turn(ml, 5 * NSEC_PER_MSEC), 0);
		while (recv(manager, text, sizeof(text) - 1, MSG_DONTWAIT) > 0) {
			assert_string_equal(text, "WATCHDOG=1");
			n++;
		}
	}
	return n;
}

static void hold(struct worker *worker UNUSED, void *arg UNUSED)
{
	(void)sem_post(&held);
	(void)sem_wait(&go);
}

static void hold_worker(unsigned int index)
{
	assert_int_equal(worker_call(worker_set_get(set, index), hold, NULL), 0);
	assert_int_equal(sem_wait(&held), 0);
}

static void test_fed_while_all_answer(void **state UNUSED)
{
	assert_int_equal(begin(), 0);
	assert_non_null(wd);
	assert_int_equal(feed(6, 30 * NSEC_PER_SEC), 6);
}

static void test_not_fed_while_one_is_stuck(void **state UNUSED)
{
	assert_int_equal(begin(), 0);
	assert_int_equal(feed(2, 30 * NSEC_PER_SEC), 2);
	hold_worker(1);
	assert_in_range(feed(2, 2 * PERIOD_MSEC * NSEC_PER_MSEC), 0, 1); /* a ping just home */
	assert_int_equal(feed(1, 2 * PERIOD_MSEC * NSEC_PER_MSEC), 0);
	assert_int_equal(sem_post(&go), 0);
	assert_int_equal(feed(3, 30 * NSEC_PER_SEC), 3);
}

/* Whether the ping waits at a worker or is on its way home, its memory comes back. */
static void test_stopped_with_a_ping_out(void **state UNUSED)
{
	hold_worker(WORKERS - 1);
	assert_int_equal(begin(), 0);
	assert_int_equal(mainloop_turn(ml, NSEC_PER_SEC), 0);
	watchdog_stop(wd);
	wd = NULL;
	assert_int_equal(sem_post(&go), 0);
	assert_int_equal(feed(1, 2 * PERIOD_MSEC * NSEC_PER_MSEC), 0);
}

static void test_stopped_with_a_ping_out_for_ever(void **state UNUSED)
{
	assert_int_equal(begin(), 0);
	worker_set_stop(set);
	assert_int_equal(mainloop_turn(ml, NSEC_PER_SEC), 0);
	watchdog_stop(wd);
	wd = NULL;
}

static void test_not_asked_for(void **state UNUSED)
{
	assert_int_equal(setenv("WATCHDOG_PID", "1", 1), 0); /* somebody else is */
	assert_int_equal(begin(), 0);
	assert_null(wd);
	assert_int_equal(unsetenv("WATCHDOG_PID"), 0);
	assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
	assert_int_equal(begin(), 0);
	assert_null(wd);
	assert_int_equal(setenv("WATCHDOG_USEC", "soon", 1), 0);
	assert_int_equal(begin(), -EINVAL);
	assert_int_equal(setenv("WATCHDOG_USEC", "18446744073709551614", 1), 0);
	assert_int_equal(begin(), 0);
	assert_int_equal(feed(1, 30 * NSEC_PER_SEC), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_fed_while_all_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_fed_while_one_is_stuck, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped_with_a_ping_out, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stopped_with_a_ping_out_for_ever, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_not_asked_for, setup, teardown),
	};
	return cmocka_run_group_tests(tests, set_up_manager, take_down_manager);
}
