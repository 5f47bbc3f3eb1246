/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both ends of a measurement of UDP echoes. Compiled and run by selftests/bench/datapath.
 *
 *   udp_load echo FIRST COUNT PORT  echoes at so many addresses from FIRST on; says "ready"
 *   udp_load reflect DEVICE PORT    sends IPv4 frames that come to this port of UDP back from the
 *                                   driver, which costs next to nothing; says "ready"
 *   udp_load run ADDRESS PORT FLOWS SIZE BURST UNDER_WAY
 *
 * run: FLOWS sockets to the address and port. When an echo of each has come back "warm" is said,
 * and the same load goes on until a line on standard input says for how many seconds it is
 * measured. A flow sends BURST datagrams, waits for all of them (or 200 ms: the rest is lost) and
 * goes to the end of the queue, at most UNDER_WAY datagrams being under way. Prints one JSON
 * object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/bpf.h>

enum {
	SAMPLES = 1 << 20,
	EVENTS = 256,
	BATCH = 64,
	DATAGRAM_MAX = 1400,
	BUFFER = 4 << 20,
	LOST_USEC = 200000,
	WARM_USEC = 40000000,
	BATCH_USEC = 10000,
	PAUSE_USEC = 1000000, /* before cold flows are tried again */
	LINE_USEC = 5000,
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
	unsigned int count, size, burst, under_way;
	unsigned int warm; /* flows that had an echo */
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

/* ---- the reflector ---- */

/* clang-format off */
#define LOAD(width, to, at)    { .code = BPF_LDX | BPF_MEM | (width), .dst_reg = (to), .src_reg = BPF_REG_2, .off = (at) }
#define STORE(width, at, from) { .code = BPF_STX | BPF_MEM | (width), .dst_reg = BPF_REG_2, .src_reg = (from), .off = (at) }
#define FIELD(to, at)          { .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = (to), .src_reg = BPF_REG_1, .off = (at) }
#define SET(to, value)         { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = (to), .imm = (value) }
#define UNLESS(value, skip)    { .code = BPF_JMP | BPF_JNE | BPF_K, .dst_reg = BPF_REG_0, .off = (skip), .imm = (value) }
#define EXIT                   { .code = BPF_JMP | BPF_EXIT }
#define SWAP(width, one, other) LOAD(width, BPF_REG_5, one), LOAD(width, BPF_REG_6, other), \
				STORE(width, one, BPF_REG_6), STORE(width, other, BPF_REG_5)
/* clang-format on */

static int load_reflector(uint16_t port)
{
	/* clang-format off */
	const struct bpf_insn code[] = {
		FIELD(BPF_REG_2, 0), FIELD(BPF_REG_3, 4), /* data, data_end */
		{ .code = BPF_ALU64 | BPF_MOV | BPF_X, .dst_reg = BPF_REG_4, .src_reg = BPF_REG_2 },
		{ .code = BPF_ALU64 | BPF_K, .dst_reg = BPF_REG_4, .imm = 42 }, /* + 42 */
		{ .code = BPF_JMP | BPF_JGT | BPF_X, .dst_reg = BPF_REG_4, .src_reg = BPF_REG_3, .off = 25 },
		LOAD(BPF_H, BPF_REG_0, 12), UNLESS(htons(0x0800), 23),
		LOAD(BPF_B, BPF_REG_0, 23), UNLESS(17, 21),
		LOAD(BPF_H, BPF_REG_0, 36), UNLESS(htons(port), 19),
		SWAP(BPF_W, 0, 6), SWAP(BPF_H, 4, 10), SWAP(BPF_W, 26, 30), SWAP(BPF_H, 34, 36),
		{ .code = BPF_ST | BPF_MEM | BPF_H, .dst_reg = BPF_REG_2, .off = 40 }, /* no checksum */
		SET(BPF_REG_0, XDP_TX), EXIT,
		SET(BPF_REG_0, XDP_PASS), EXIT,
	};
	/* clang-format on */
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_XDP,
		.insns = (uintptr_t)code,
		.insn_cnt = sizeof(code) / sizeof(code[0]),
		.license = (uintptr_t)"GPL",
	};
	return (int)syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

[[noreturn]] static void reflect(const char *device, uint16_t port)
{
	int prog = load_reflector(port);
	if (prog < 0)
		die("program");
	union bpf_attr attr = {
		.link_create = { .prog_fd = (uint32_t)prog,
				 .target_ifindex = if_nametoindex(device),
				 .attach_type = BPF_XDP,
				 .flags = 1 << 2 }, /* in the driver */
	};
	if (syscall(SYS_bpf, BPF_LINK_CREATE, &attr, sizeof(attr)) < 0)
		die("link");
	(void)puts("ready");
	(void)fflush(stdout);
	for (;;)
		(void)pause();
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
	l->warm += !f->is_warm;
	f->is_warm = 1;
	if (stamp.usec >= l->begun) {
		l->received++;
		l->samples[l->sample_count++ % SAMPLES] = (uint32_t)(now_usec() - stamp.usec);
	}
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

/* Until all flows are warm, at most. */
static void receive_for(struct load *l, unsigned int usec)
{
	uint64_t end = now_usec() + usec;
	while (l->warm < l->count && now_usec() < end)
		receive(l, 1);
}

/* Lets each flow be registered, without a flood: who asks too much at once is asked again later. */
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
				receive_for(l, BATCH_USEC);
		}
		receive_for(l, PAUSE_USEC);
	}
	if (l->warm < l->count) {
		(void)printf("%u of %u flows came up\n", l->warm, l->count);
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

static void send_more(struct load *l)
{
	while (l->first && l->outstanding + l->burst <= l->under_way) {
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
}

static void turn_closed(struct load *l)
{
	send_more(l);
	receive(l, 1);
	expire(l);
}

/* Until there is a line: the number in it. */
static double run_warm(struct load *l)
{
	struct pollfd line = { .fd = STDIN_FILENO, .events = POLLIN };
	char text[32];
	while (poll(&line, 1, 0) == 0)
		for (uint64_t end = now_usec() + LINE_USEC; now_usec() < end;)
			turn_closed(l);
	return fgets(text, sizeof(text), stdin) ? strtod(text, NULL) : 0;
}

static void run_closed(struct load *l, uint64_t end)
{
	while (now_usec() < end)
		turn_closed(l);
	while (l->outstanding && now_usec() < end + LOST_USEC) {
		receive(l, 1);
		expire(l);
	}
}

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static int run(uint32_t address, char **argv)
{
	static struct load l;
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)strtoul(argv[0], NULL, 10)),
				  .sin_addr.s_addr = htonl(address) };
	l.count = (unsigned int)strtoul(argv[1], NULL, 10);
	l.size = (unsigned int)strtoul(argv[2], NULL, 10);
	l.burst = (unsigned int)strtoul(argv[3], NULL, 10);
	l.under_way = (unsigned int)strtoul(argv[4], NULL, 10);
	l.flows = calloc(l.count, sizeof(*l.flows));
	if (!l.flows || l.size < sizeof(struct stamp) || l.size > DATAGRAM_MAX || l.burst < 1 ||
	    l.burst > BATCH)
		return 2;
	l.epoll = epoll_create1(EPOLL_CLOEXEC);
	for (unsigned int i = 0; i < l.count; i++) {
		l.flows[i].fd = open_socket(l.epoll, i);
		if (connect(l.flows[i].fd, (struct sockaddr *)&at, sizeof(at)) < 0)
			die("connect");
	}
	warm(&l);
	for (unsigned int i = 0; i < l.count; i++)
		queue_append(&l, &l.flows[i]);
	(void)puts("warm");
	(void)fflush(stdout);
	double seconds = run_warm(&l);
	if (seconds <= 0)
		return 1;
	l.begun = now_usec();
	l.sent = l.received = l.sample_count = 0;
	run_closed(&l, l.begun + (uint64_t)(seconds * 1e6));
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
	if (argc == 4 && strcmp(argv[1], "reflect") == 0)
		reflect(argv[2], (uint16_t)strtoul(argv[3], NULL, 10));
	if (has_address && argc == 8 && strcmp(argv[1], "run") == 0)
		return run(ntohl(address.s_addr), argv + 3);
	(void)fputs("usage: udp_load echo FIRST COUNT PORT |\n"
		    "       udp_load reflect DEVICE PORT |\n"
		    "       udp_load run ADDRESS PORT FLOWS SIZE BURST UNDER_WAY\n",
		    stderr);
	return 2;
}
