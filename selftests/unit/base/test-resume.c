/* SPDX-License-Identifier: Apache-2.0 */
/* A machine that sleeps, by its clocks; and one whose clock is set. */
#include "daemon/base/resume.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/base/mainloop.h"
#include "util/macro.h"

static nsec_t boot, mono;
static nsec_t between; /* passes between two readings */
static int jumps = -1;

static nsec_t read_clock(clockid_t clock)
{
	nsec_t now = clock == CLOCK_BOOTTIME ? boot : mono;
	boot += between;
	mono += between;
	return now;
}

static int open_fake(void)
{
	jumps = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return jumps;
}

static int open_failing(void)
{
	return -EMFILE;
}

struct fixture {
	struct mainloop *loop;
	struct resume *resume;
	unsigned int calls;
	nsec_t slept;
};

static void on_resume(nsec_t slept, void *user)
{
	struct fixture *fx = user;
	fx->calls++;
	fx->slept = slept;
}

static int setup(void **state)
{
	static struct fixture fx;
	fx = (struct fixture){};
	boot = 100 * NSEC_PER_SEC;
	mono = 60 * NSEC_PER_SEC; /* it has slept before we came */
	between = 0;
	assert_int_equal(mainloop_new(&fx, &fx.loop), 0);
	struct resume_params p = { .loop = fx.loop,
				   .clock = read_clock,
				   .open_jumps = open_fake,
				   .on_resume = on_resume,
				   .user = &fx };
	assert_int_equal(resume_start(&p, &fx.resume), 0);
	*state = &fx;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *fx = *state;
	resume_stop(fx->resume);
	mainloop_free(fx->loop);
	return 0;
}

static void pass(nsec_t awake, nsec_t asleep)
{
	mono += awake;
	boot += awake + asleep;
}

/* What the kernel does at the end of a sleep, and when the clock is set. */
static void jump(struct fixture *fx)
{
	assert_int_equal(eventfd_write(jumps, 1), 0);
	assert_int_equal(mainloop_turn(fx->loop, 0), 0);
	assert_int_equal(mainloop_turn(fx->loop, 0), 0);
}

static void test_sleep(void **state)
{
	struct fixture *fx = *state;
	pass(5 * NSEC_PER_SEC, 30 * NSEC_PER_SEC);
	assert_int_equal(fx->calls, 0);
	jump(fx);
	assert_int_equal(fx->calls, 1);
	assert_true(fx->slept == 30 * NSEC_PER_SEC);
	jump(fx); /* told once */
	assert_int_equal(fx->calls, 1);
	pass(NSEC_PER_SEC, 2 * NSEC_PER_SEC);
	jump(fx);
	assert_int_equal(fx->calls, 2);
	assert_true(fx->slept == 2 * NSEC_PER_SEC);
}

static void test_clock_is_set(void **state)
{
	struct fixture *fx = *state;
	pass(3600 * NSEC_PER_SEC, 0);
	jump(fx);
	pass(0, RESUME_SLEPT_MIN - 1);
	jump(fx);
	assert_int_equal(fx->calls, 0);
}

static void test_check(void **state)
{
	struct fixture *fx = *state;
	pass(0, RESUME_SLEPT_MIN);
	resume_check(fx->resume);
	assert_int_equal(fx->calls, 1);
	resume_check(fx->resume);
	assert_int_equal(fx->calls, 1);
}

/* The thread loses the processor between the two readings: no sleep comes of it, and none is
 * missed. */
static void test_readings_far_apart(void **state)
{
	struct fixture *fx = *state;
	between = 20 * NSEC_PER_SEC;
	resume_check(fx->resume);
	between = 0;
	resume_check(fx->resume);
	assert_int_equal(fx->calls, 0);
	pass(0, 10 * NSEC_PER_SEC);
	resume_check(fx->resume);
	assert_int_equal(fx->calls, 1);
	assert_true(fx->slept == 10 * NSEC_PER_SEC);
}

/* With the kernel's own descriptor: quiet while nothing happens. */
static void test_real(void **state)
{
	struct fixture *fx = *state;
	struct resume *real;
	struct resume_params p = { .loop = fx->loop, .on_resume = on_resume, .user = fx };
	assert_int_equal(resume_start(&p, &real), 0);
	assert_int_equal(mainloop_turn(fx->loop, 20 * NSEC_PER_MSEC), 0);
	resume_check(real);
	assert_int_equal(fx->calls, 0);
	resume_stop(real);

	p.open_jumps = open_failing;
	assert_int_equal(resume_start(&p, &real), -EMFILE);
	resume_stop(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_sleep, setup, teardown),
		cmocka_unit_test_setup_teardown(test_clock_is_set, setup, teardown),
		cmocka_unit_test_setup_teardown(test_check, setup, teardown),
		cmocka_unit_test_setup_teardown(test_readings_far_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(test_real, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
