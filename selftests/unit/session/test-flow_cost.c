/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a payload of a UDP flow costs at the daemon, in calls: none for memory, locks, timers or the
 * log, and of the clock and the kernel so many a turn, however many payloads it has. Calls of our
 * own objects are counted where the linker leads them here (test-flow_cost_wraps).
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

#include <cmocka.h>

#include "daemon/base/log.h"
#include "daemon/wire/dgram_v3.h"
#include "selftests/lib/flow_world.h"
#include "util/macro.h"

enum { FLOWS = 8, PAYLOADS = 64, WARM_UP = 3, ROUNDS = 5, LEN = 100 };

enum call {
	CALL_MEMORY,
	CALL_LOCK,
	CALL_TIMER,
	CALL_LOG,
	CALL_CLOCK,
	CALL_SEND,
	CALL_RECEIVE,
	CALL_MAX_,
};

static struct {
	bool is_on; /* while nothing but the daemon's code runs */
	unsigned int calls[CALL_MAX_], turns;
} seen;

static void note(enum call c)
{
	seen.calls[c] += seen.is_on;
}

/* clang-format off */
#define COUNTED(call, type, name, params, args) \
	type __real_##name params;              \
	type __wrap_##name params;              \
	type __wrap_##name params               \
	{                                       \
		note(call);                     \
		return __real_##name args;      \
	}
/* clang-format on */

COUNTED(CALL_MEMORY, void *, malloc, (size_t size), (size))
COUNTED(CALL_MEMORY, void *, calloc, (size_t count, size_t size), (count, size))
COUNTED(CALL_MEMORY, void *, realloc, (void *p, size_t size), (p, size))
COUNTED(CALL_LOCK, int, pthread_mutex_lock, (pthread_mutex_t * mutex), (mutex))
COUNTED(CALL_TIMER, int, timerfd_settime,
	(int fd, int flags, const struct itimerspec *value, struct itimerspec *before),
	(fd, flags, value, before))
COUNTED(CALL_TIMER, int, epoll_ctl, (int fd, int op, int of, struct epoll_event *event),
	(fd, op, of, event))
COUNTED(CALL_LOG, bool, log_is_enabled,
	(const struct log *log, enum log_level level, const char *area), (log, level, area))
COUNTED(CALL_CLOCK, int, clock_gettime, (clockid_t clock, struct timespec *ts), (clock, ts))
COUNTED(CALL_SEND, ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags),
	(fd, msg, flags))
COUNTED(CALL_SEND, int, sendmmsg, (int fd, struct mmsghdr *msgs, unsigned int n, int flags),
	(fd, msgs, n, flags))
COUNTED(CALL_RECEIVE, ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
COUNTED(CALL_RECEIVE, int, recvmmsg,
	(int fd, struct mmsghdr *msgs, unsigned int n, int flags, struct timespec *timeout),
	(fd, msgs, n, flags, timeout))

static void turn(struct flow_world *fx, nsec_t wait)
{
	seen.is_on = true;
	assert_int_equal(loop_turn(fx->worker->loop, wait), 0);
	seen.turns++;
	seen.is_on = false;
}

/* Payloads of all flows arrive in one turn, and leave. */
static void outwards(struct flow_world *fx)
{
	uint8_t bytes[PAYLOADS][DGRAM3_PAYLOAD_HEAD + LEN] = {};
	for (unsigned int i = 0; i < PAYLOADS; i++) {
		const struct dgram_id id = world_id_of(1 + i % FLOWS);
		dgram3_payload_head(&id, bytes[i]);
		bytes[i][DGRAM3_PAYLOAD_HEAD] = (uint8_t)i;
	}
	seen.is_on = true;
	for (unsigned int i = 0; i < PAYLOADS; i++)
		flow_table_datagram(&fx->table, &fx->edge.port,
				    span_of(bytes[i], sizeof(bytes[i])));
	seen.is_on = false;
	turn(fx, 0);
	for (unsigned int i = 0; i < PAYLOADS; i++)
		assert_int_equal(recv(fx->origin, bytes[0], LEN, MSG_DONTWAIT), LEN);
}

/* Answers lie there when the turn begins. */
static void inwards(struct flow_world *fx, const struct sockaddr_storage from[FLOWS])
{
	static const uint8_t bytes[LEN] = {};
	fx->edge.count = 0;
	for (unsigned int i = 0; i < PAYLOADS; i++)
		world_answer(fx->origin, &from[i % FLOWS], span_of(bytes, LEN));
	for (unsigned int i = 0; i < TURNS && fx->edge.count < PAYLOADS; i++)
		turn(fx, NSEC_PER_MSEC);
	assert_int_equal(fx->edge.count, PAYLOADS);
}

static void test_calls(void **state)
{
	struct flow_world *fx = *state;
	struct sockaddr_storage from[FLOWS];
	for (unsigned int n = 0; n < FLOWS; n++)
		world_begin_flow(fx, 1 + n, &from[n]);
	for (unsigned int i = 0; i < WARM_UP + ROUNDS; i++) {
		if (i == WARM_UP)
			seen = (typeof(seen)){};
		outwards(fx);
		inwards(fx, from);
	}
	static const char *const names[] = { "memory", "lock", "timer",  "log",
					     "clock",  "send", "receive" };
	for (unsigned int c = 0; c < CALL_MAX_; c++)
		print_message("%s %u\n", names[c], seen.calls[c]);
	print_message("%u turns, %u payloads each way\n", seen.turns, ROUNDS * PAYLOADS);
	assert_int_equal(seen.calls[CALL_MEMORY], 0);
	assert_int_equal(seen.calls[CALL_LOCK], 0);
	assert_int_equal(seen.calls[CALL_TIMER], 0);
	assert_int_equal(seen.calls[CALL_LOG], 0);
	/* Where the kernel lets a turn see only some of the answers there are more turns. */
	assert_in_range(seen.calls[CALL_CLOCK], 1, 4 * seen.turns);
	/* Flows to one origin have a socket each. */
	assert_in_range(seen.calls[CALL_SEND], ROUNDS, ROUNDS * FLOWS);
	assert_in_range(seen.calls[CALL_RECEIVE], ROUNDS, 2 * FLOWS * seen.turns);
	assert_true(seen.turns < ROUNDS * PAYLOADS / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_calls, world_start, world_end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
