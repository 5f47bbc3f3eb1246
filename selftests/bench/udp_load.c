/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of a measurement of UDP echoes. Compiled and run by selftests/bench/datapath.
 *
 *   udp_load echo FIRST COUNT PORT  echoes at so many addresses from FIRST on; says "ready"
 *   udp_load run ADDRESS PORTS FLOWS SIZE BURST SECONDS RATE WARM
 *
 * run: FLOWS sockets to the address at the ports in turn. When an echo of each has come back, and
 * WARM seconds of the same load have passed, "warm" is said, and a line on standard input begins
 * the measurement. RATE 0: a flow sends BURST datagrams, waits for all of them (or 200 ms: the rest
 * is lost) and goes to the end of the queue, at most OUTSTANDING datagrams being under way. Else so
 * many a second go out whatever comes back, and what hasn't come 200 ms after the end is lost.
 * Prints one JSON object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	OUTSTANDING = 1024,
	SAMPLES = 1 << 20,
	EVENTS = 256,
	BATCH = 64,
	DATAGRAM_MAX = 1400,
	BUFFER = 4 << 20,
	LOST_USEC = 200000,
	WARM_USEC = 20000000,
};

/* In front of every datagram. */
struct stamp {
	uint32_t turn;
	uint32_t unused;
	uint64_t usec;
};

struct flow {
	int fd;
	uint32_t turn;
	unsigned int waiting; /* echoes of this turn */
	uint64_t sent_at;
	struct flow *next; /* in the queue */
	struct flow *older, *newer;
	int is_warm;
};

struct load {
	struct flow *flows;
	unsigned int count, size, burst;
	int epoll;
	struct flow *first, *last;    /* that may send */
	struct flow *oldest, *newest; /* that wait */
	unsigned int outstanding;
	uint64_t begun;
	uint64_t sent, received, sample_count;
	uint32_t samples[SAMPLES];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_usec(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static int open_socket(int epoll, uint64_t data)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int buffer = BUFFER;
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = data };
	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		die("epoll_ctl");
	return fd;
}

/* ---- the origin ---- */

static void echo_some(int fd)
{
	static uint8_t bytes[BATCH][2048];
	static struct sockaddr_in names[BATCH];
	static struct iovec iov[BATCH];
	static struct mmsghdr headers[BATCH];
	for (unsigned int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){ bytes[i], sizeof(bytes[i]) };
		headers[i].msg_hdr = (struct msghdr){ .msg_name = &names[i],
						      .msg_namelen = sizeof(names[i]),
						      .msg_iov = &iov[i],
						      .msg_iovlen = 1 };
	}
	int n = recvmmsg(fd, headers, BATCH, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		iov[i].iov_len = headers[i].msg_len;
	if (n > 0)
		(void)sendmmsg(fd, headers, (unsigned int)n, MSG_DONTWAIT);
}

[[noreturn]] static void echo(uint32_t first, unsigned int count, unsigned int port)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int fds[256];
	for (unsigned int i = 0; i < count && i < 256; i++) {
		struct sockaddr_in at = { .sin_family = AF_INET,
					  .sin_port = htons((uint16_t)port),
					  .sin_addr.s_addr = htonl(first + i) };
		fds[i] = open_socket(epoll, i);
		if (bind(fds[i], (struct sockaddr *)&at, sizeof(at)) < 0)
			die("bind");
	}
	(void)puts("ready");
	(void)fflush(stdout);
	for (;;) {
		struct epoll_event events[EVENTS];
		int n = epoll_wait(epoll, events, EVENTS, -1);
		for (int i = 0; i < n; i++)
			echo_some(fds[events[i].data.u64]);
	}
}

/* ---- the clients ---- */

static void queue_append(struct load *l, struct flow *f)
{
	f->next = NULL;
	if (l->last)
		l->last->next = f;
	else
		l->first = f;
	l->last = f;
}

static void waiting_append(struct load *l, struct flow *f)
{
	f->older = l->newest;
	f->newer = NULL;
	if (l->newest)
		l->newest->newer = f;
	else
		l->oldest = f;
	l->newest = f;
}

static void waiting_remove(struct load *l, struct flow *f)
{
	*(f->older ? &f->older->newer : &l->oldest) = f->newer;
	*(f->newer ? &f->newer->older : &l->newest) = f->older;
}

static unsigned int send_burst(struct load *l, struct flow *f, unsigned int count)
{
	uint8_t bytes[DATAGRAM_MAX] = {};
	struct stamp stamp = { .turn = ++f->turn, .usec = now_usec() };
	struct iovec iov = { bytes, l->size };
	struct mmsghdr headers[BATCH];
	memcpy(bytes, &stamp, sizeof(stamp));
	f->sent_at = stamp.usec;
	for (unsigned int i = 0; i < count; i++)
		headers[i].msg_hdr = (struct msghdr){ .msg_iov = &iov, .msg_iovlen = 1 };
	int n = sendmmsg(f->fd, headers, count, MSG_DONTWAIT);
	return n > 0 ? (unsigned int)n : 0;
}

static void take_echo(struct load *l, struct flow *f, const uint8_t *bytes, ssize_t len)
{
	struct stamp stamp;
	if (len < (ssize_t)sizeof(stamp))
		return;
	memcpy(&stamp, bytes, sizeof(stamp));
	f->is_warm = 1;
	if (stamp.usec < l->begun)
		return; /* of the warming */
	l->received++;
	l->samples[l->sample_count++ % SAMPLES] = (uint32_t)(now_usec() - stamp.usec);
	if (stamp.turn != f->turn || f->waiting == 0)
		return;
	l->outstanding--;
	if (--f->waiting == 0) {
		waiting_remove(l, f);
		queue_append(l, f);
	}
}

static void receive(struct load *l, int wait_msec)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(l->epoll, events, EVENTS, wait_msec);
	for (int i = 0; i < n; i++) {
		struct flow *f = &l->flows[events[i].data.u64];
		uint8_t bytes[2048];
		ssize_t len;
		while ((len = recv(f->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) >= 0)
			take_echo(l, f, bytes, len);
	}
}

static void warm(struct load *l)
{
	uint64_t end = now_usec() + WARM_USEC;
	unsigned int cold = l->count;
	while (cold && now_usec() < end) {
		cold = 0;
		for (unsigned int i = 0; i < l->count; i++) {
			if (l->flows[i].is_warm)
				continue;
			cold++;
			(void)send_burst(l, &l->flows[i], 1);
			if (cold % BATCH == 0)
				receive(l, 1);
		}
		receive(l, cold ? 250 : 0);
	}
	if (cold) {
		(void)fprintf(stderr, "%u flows without an echo\n", cold);
		exit(1);
	}
}

static void expire(struct load *l)
{
	uint64_t now = now_usec();
	while (l->oldest && now - l->oldest->sent_at > LOST_USEC) {
		struct flow *f = l->oldest;
		waiting_remove(l, f);
		l->outstanding -= f->waiting;
		f->waiting = 0;
		queue_append(l, f);
	}
}

static void run_closed(struct load *l, uint64_t end)
{
	while (now_usec() < end) {
		while (l->first && l->outstanding + l->burst <= OUTSTANDING) {
			struct flow *f = l->first;
			l->first = f->next;
			if (!l->first)
				l->last = NULL;
			f->waiting = send_burst(l, f, l->burst);
			l->sent += f->waiting;
			l->outstanding += f->waiting;
			if (f->waiting)
				waiting_append(l, f);
			else
				queue_append(l, f);
			if (!f->waiting)
				break;
		}
		receive(l, 1);
		expire(l);
	}
	while (l->outstanding && now_usec() < end + LOST_USEC) {
		receive(l, 1);
		expire(l);
	}
}

static void run_open(struct load *l, uint64_t end, double rate)
{
	uint64_t now, turns = 0;
	while ((now = now_usec()) < end) {
		uint64_t due = (uint64_t)((double)(now - l->begun) / 1e6 * rate);
		for (; l->sent < due; turns++)
			l->sent +=
				send_burst(l, &l->flows[turns % l->count], l->burst) ? l->burst : 0;
		receive(l, 0);
	}
	while (now_usec() < end + LOST_USEC)
		receive(l, 1);
}

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static int run(uint32_t address, char **argv)
{
	static struct load l;
	unsigned int ports[256], port_count = 0;
	for (char *save = NULL, *word = strtok_r(argv[0], ",", &save); word && port_count < 256;
	     word = strtok_r(NULL, ",", &save))
		ports[port_count++] = (unsigned int)strtoul(word, NULL, 10);
	l.count = (unsigned int)strtoul(argv[1], NULL, 10);
	l.size = (unsigned int)strtoul(argv[2], NULL, 10);
	l.burst = (unsigned int)strtoul(argv[3], NULL, 10);
	double seconds = strtod(argv[4], NULL), rate = strtod(argv[5], NULL);
	l.flows = calloc(l.count, sizeof(*l.flows));
	if (!l.flows || port_count == 0 || l.size < sizeof(struct stamp) || l.size > DATAGRAM_MAX ||
	    l.burst < 1 || l.burst > BATCH)
		return 2;
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned int i = 0; i < l.count; i++) {
		struct sockaddr_in at = { .sin_family = AF_INET,
					  .sin_port = htons((uint16_t)ports[i % port_count]),
					  .sin_addr.s_addr = htonl(address) };
		l.flows[i].fd = open_socket(l.epoll, i);
		if (connect(l.flows[i].fd, (struct sockaddr *)&at, sizeof(at)) < 0)
			die("connect");
	}
	warm(&l);
	for (unsigned int i = 0; i < l.count; i++)
		queue_append(&l, &l.flows[i]);
	run_closed(&l, now_usec() + (uint64_t)(strtod(argv[6], NULL) * 1e6));
	(void)puts("warm");
	(void)fflush(stdout);
	if (getchar() == EOF)
		return 1;
	l.begun = now_usec();
	l.sent = l.received = l.sample_count = 0;
	uint64_t end = l.begun + (uint64_t)(seconds * 1e6);
	if (rate > 0)
		run_open(&l, end, rate);
	else
		run_closed(&l, end);
	size_t n = l.sample_count < SAMPLES ? l.sample_count : SAMPLES;
	qsort(l.samples, n, sizeof(l.samples[0]), compare);
	(void)printf("{\"sent\": %llu, \"received\": %llu, \"p50\": %u, \"p99\": %u}\n",
		     (unsigned long long)l.sent, (unsigned long long)l.received,
		     n ? l.samples[n / 2] : 0, n ? l.samples[n * 99 / 100] : 0);
	return 0;
}

int main(int argc, char **argv)
{
	struct in_addr address;
	bool has_address = argc > 2 && inet_pton(AF_INET, argv[2], &address) == 1;
	if (has_address && argc == 5 && strcmp(argv[1], "echo") == 0)
		echo(ntohl(address.s_addr), (unsigned int)strtoul(argv[3], NULL, 10),
		     (unsigned int)strtoul(argv[4], NULL, 10));
	if (has_address && argc == 10 && strcmp(argv[1], "run") == 0)
		return run(ntohl(address.s_addr), argv + 3);
	(void)fputs("usage: udp_load echo FIRST COUNT PORT |\n"
		    "       udp_load run ADDRESS PORTS FLOWS SIZE BURST SECONDS RATE WARM\n",
		    stderr);
	return 2;
}
