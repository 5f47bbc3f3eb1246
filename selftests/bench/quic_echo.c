/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What QUIC alone costs an echo: two links in one process, a thread each, and DATAGRAM frames that
 * come back as they are. The second end is the one that is measured. Run by
 * selftests/bench/datapath.
 *
 *   quic_echo SIZE OUTSTANDING SECONDS
 *
 * Prints one JSON object: echoes, and the CPU time of the second end in us for each.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "selftests/lib/quic_pair.h"
#include "util/macro.h"

enum {
	DATAGRAM_MAX = 1400,
	WARM = 200 * NSEC_PER_MSEC,
	LOST = 200 * NSEC_PER_MSEC, /* without an echo for so long: what is out has been lost */
	PATH_MSEC = 200,            /* until the size of the path is known */
};

static struct quic_pair pair;
static atomic_bool is_done;

/* ---- the second end ---- */

static void on_state(struct link *link, enum link_state state, void *user)
{
	(void)link;
	(void)state;
	(void)user;
}

static void on_datagram(struct link *link, struct span payload, void *user)
{
	(void)user;
	(void)link_send_datagram(link, DATAGRAM_KIND_PAYLOAD, payload);
}

static void hold_to(unsigned int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	(void)pthread_setaffinity_np(pthread_self(), sizeof(set), &set); /* there may be one only */
}

static void *run_second(void *arg)
{
	(void)arg;
	hold_to(0);
	struct loop *loop = worker_set_get(pair.server_set, 0)->loop;
	while (!is_done)
		if (loop_turn(loop, NSEC_PER_MSEC) < 0)
			abort();
	return NULL;
}

/* ---- the first ---- */

/* Echoes for a while, with so many under way. */
static uint64_t run_first(size_t size, unsigned int outstanding, nsec_t duration)
{
	static const uint8_t bytes[DATAGRAM_MAX];
	struct loop *loop = worker_set_get(pair.set, 0)->loop;
	nsec_t now = nsec_clock(CLOCK_MONOTONIC), end = now + duration, heard = now;
	unsigned int begun = pair.client.datagrams, before = begun, out = 0;
	while (now < end) {
		unsigned int came = pair.client.datagrams - before;
		before += came;
		out -= MIN(came, out);
		if (came)
			heard = now;
		if (now - heard > LOST)
			out = 0;
		while (out < outstanding &&
		       link_send_datagram(pair.client.link, DATAGRAM_KIND_PAYLOAD,
					  span_of(bytes, size)) == 0)
			out++;
		if (loop_turn(loop, NSEC_PER_MSEC) < 0)
			abort();
		now = nsec_clock(CLOCK_MONOTONIC);
	}
	return pair.client.datagrams - begun;
}

static double cpu_usec(clockid_t clock)
{
	struct timespec t;
	(void)clock_gettime(clock, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
	static const struct link_sink echo = { .on_state = on_state, .on_datagram = on_datagram };
	size_t size = argc == 4 ? strtoul(argv[1], NULL, 10) : 0;
	unsigned int outstanding = argc == 4 ? (unsigned int)strtoul(argv[2], NULL, 10) : 0;
	if (size == 0 || size > DATAGRAM_MAX || outstanding == 0) {
		(void)fputs("usage: quic_echo SIZE OUTSTANDING SECONDS\n", stderr);
		return 2;
	}
	nsec_t duration = (nsec_t)(strtod(argv[3], NULL) * (double)NSEC_PER_SEC);
	pair_init(&pair, 1);
	pair_start(&pair);
	pair_connect(&pair);
	pair_run(&pair, PATH_MSEC);
	pair.accepted[0]->link->sink = &echo;

	pthread_t second;
	clockid_t clock;
	if (pthread_create(&second, NULL, run_second, NULL) != 0 ||
	    pthread_getcpuclockid(second, &clock) != 0)
		return 1;
	hold_to(1);
	(void)run_first(size, outstanding, WARM);
	double before = cpu_usec(clock);
	uint64_t echoes = run_first(size, outstanding, duration);
	double spent = cpu_usec(clock) - before;
	is_done = true;
	(void)pthread_join(second, NULL);
	pair_done(&pair);
	(void)printf("{\"received\": %llu, \"cpu\": %.4f}\n", (unsigned long long)echoes,
		     spent / (double)MAX(echoes, (uint64_t)1));
	return 0;
}
