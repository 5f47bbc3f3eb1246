/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small link emulator: two TAP devices in two network namespaces, and a bad cable between them.
 *
 * usage: wan SEED NETNS-A DEVICE-A NETNS-B DEVICE-B     (namespaces as paths)
 *
 * It says "ready" when the devices are there. Then every line on stdin gets one line back:
 *
 *   [up|down] KEY VALUE   up is from A to B; without a direction both. KEY VALUE is one of
 *                         delay TIME, jitter TIME, loss %, twice %, reorder %, rate BITS,
 *                         queue BYTES, mtu BYTES, with the usual units (50ms 1.5% 10mbit 64k)
 *   counters              a JSON object of both directions
 *
 * It ends with its stdin, and the devices with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <linux/if_tun.h>

#include "selftests/lib/wan_path.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum { BURST = 64, LINE_MAX_ = 256 };

struct wan {
	int tap[2];              /* -EBADF or the devices A and B */
	struct wan_path path[2]; /* from A, from B */
	uint64_t refused;        /* frames that a device did not take: it is down */
	char line[LINE_MAX_];
	size_t line_len;
};

/* ---- devices ----------------------------------------------------------------------------------
 */

/* A TAP device belongs to the namespace in which its file was opened. */
static int open_tap(const char *netns, const char *device)
{
	_cleanup_(fd_closep) int ns = open(netns, O_RDONLY | O_CLOEXEC);
	if (ns < 0 || setns(ns, CLONE_NEWNET) < 0)
		return -errno;
	_cleanup_(fd_closep) int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	struct ifreq ifr = { .ifr_flags = IFF_TAP | IFF_NO_PI };
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", device);
	if (ioctl(fd, TUNSETIFF, &ifr) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static void read_frames(struct wan *w, int side, nsec_t now)
{
	for (int i = 0; i < BURST; i++) {
		ssize_t n = read(w->tap[side], wan_path_space(&w->path[side]), WAN_FRAME_MAX);
		if (n <= 0)
			return;
		wan_path_take(&w->path[side], (size_t)n, now);
	}
}

static void write_frames(struct wan *w, int side, nsec_t now)
{
	struct span frame;
	while (wan_path_give(&w->path[side], now, &frame))
		w->refused += write(w->tap[!side], frame.ptr, frame.len) < 0;
}

/* ---- commands ---------------------------------------------------------------------------------
 */

static const struct unit {
	const char *name;
	double factor;
} time_units[] = { { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 }, {} },
  part_units[] = { { "%", WAN_MILLION / 100.0 }, {} },
  rate_units[] = { { "bit", 1 }, { "kbit", 1e3 }, { "mbit", 1e6 }, {} },
  byte_units[] = { { "", 1 }, { "k", 1024 }, {} };

static const struct key {
	const char *name;
	size_t offset;
	const struct unit *units;
	double max; /* in the first unit times its factor */
} keys[] = {
	{ "delay", offsetof(struct wan_settings, delay), time_units, 60e9 },
	{ "jitter", offsetof(struct wan_settings, jitter), time_units, 60e9 },
	{ "loss", offsetof(struct wan_settings, loss), part_units, WAN_MILLION },
	{ "twice", offsetof(struct wan_settings, twice), part_units, WAN_MILLION },
	{ "reorder", offsetof(struct wan_settings, reorder), part_units, WAN_MILLION },
	{ "rate", offsetof(struct wan_settings, rate), rate_units, 1e11 },
	{ "queue", offsetof(struct wan_settings, queue), byte_units, 1e9 },
	{ "mtu", offsetof(struct wan_settings, mtu), byte_units, WAN_FRAME_MAX },
};

/* A number with a unit; a bare 0 needs none. Returns 0 or -EINVAL. */
static int parse_value(const char *text, const struct key *key, uint64_t *ret)
{
	char *end;
	double value = strtod(text, &end);
	if (end == text || !(value >= 0))
		return -EINVAL;
	if (value == 0 && !*end) {
		*ret = 0;
		return 0;
	}
	for (const struct unit *u = key->units; u->name; u++)
		if (strcmp(u->name, end) == 0 && value * u->factor <= key->max) {
			*ret = (uint64_t)(value * u->factor);
			return 0;
		}
	return -EINVAL;
}

static int set_key(struct wan *w, int sides, const char *name, const char *value)
{
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (strcmp(keys[i].name, name) != 0)
			continue;
		uint64_t number;
		int r = parse_value(value, &keys[i], &number);
		if (r < 0)
			return r;
		for (int side = 0; side < 2; side++)
			if (sides & (1 << side))
				memcpy((char *)&w->path[side].set + keys[i].offset, &number,
				       sizeof(number));
		return 0;
	}
	return -ENOENT;
}

static void print_counters(const struct wan *w)
{
	static const char *const names[] = { "up", "down" };
	(void)printf("{\"refused\": %ju", (uintmax_t)w->refused);
	for (int side = 0; side < 2; side++) {
		const struct wan_counters *c = &w->path[side].count;
		(void)printf(", \"%s\": {\"received\": %ju, \"sent\": %ju, \"lost\": %ju, "
			     "\"full\": %ju, \"large\": %ju, \"twice\": %ju, \"late\": %ju, "
			     "\"received_bytes\": %ju, \"sent_bytes\": %ju}",
			     names[side], (uintmax_t)c->received, (uintmax_t)c->sent,
			     (uintmax_t)c->lost, (uintmax_t)c->full, (uintmax_t)c->large,
			     (uintmax_t)c->twice, (uintmax_t)c->late, (uintmax_t)c->received_bytes,
			     (uintmax_t)c->sent_bytes);
	}
	(void)printf("}\n");
}

static void obey(struct wan *w, char *line)
{
	char *rest = NULL;
	const char *word = strtok_r(line, " ", &rest);
	int sides = 3;

	if (word && strcmp(word, "counters") == 0) {
		print_counters(w);
		return;
	}
	if (word && (strcmp(word, "up") == 0 || strcmp(word, "down") == 0)) {
		sides = *word == 'u' ? 1 : 2;
		word = strtok_r(NULL, " ", &rest);
	}
	const char *value = strtok_r(NULL, " ", &rest);
	int r = word && value ? set_key(w, sides, word, value) : -EINVAL;
	(void)printf("%s\n", r < 0 ? strerror(-r) : "ok");
}

/* Returns false at the end of stdin, or when a line is longer than any command. */
static bool read_commands(struct wan *w)
{
	if (w->line_len >= sizeof(w->line))
		return false;
	ssize_t n = read(STDIN_FILENO, w->line + w->line_len, sizeof(w->line) - w->line_len);
	if (n <= 0)
		return false;
	w->line_len += (size_t)n;
	char *newline;
	while ((newline = memchr(w->line, '\n', w->line_len))) {
		*newline = '\0';
		obey(w, w->line);
		size_t used = (size_t)(newline + 1 - w->line);
		w->line_len -= used;
		memmove(w->line, newline + 1, w->line_len);
	}
	(void)fflush(stdout);
	return true;
}

/* ---- the loop ---------------------------------------------------------------------------------
 */

static void run(struct wan *w)
{
	struct pollfd fds[] = { { .fd = w->tap[0], .events = POLLIN },
				{ .fd = w->tap[1], .events = POLLIN },
				{ .fd = STDIN_FILENO, .events = POLLIN } };
	bool goes_on = true;

	while (goes_on) {
		nsec_t now = nsec_clock(CLOCK_MONOTONIC);
		nsec_t due = MIN(wan_path_due(&w->path[0]), wan_path_due(&w->path[1]));
		struct timespec wait = nsec_to_timespec(nsec_sub(due, now));
		if (ppoll(fds, ARRAY_SIZE(fds), due == NSEC_NEVER ? NULL : &wait, NULL) < 0)
			break;
		now = nsec_clock(CLOCK_MONOTONIC);
		for (int side = 0; side < 2; side++) {
			if (fds[side].revents)
				read_frames(w, side, now);
			write_frames(w, side, now);
		}
		if (fds[2].revents)
			goes_on = read_commands(w);
	}
}

int main(int argc, char **argv)
{
	static struct wan w;

	if (argc != 6) {
		(void)fprintf(stderr, "usage: wan SEED NETNS-A DEVICE-A NETNS-B DEVICE-B\n");
		return 64;
	}
	uint64_t seed = strtoull(argv[1], NULL, 0);
	for (int side = 0; side < 2; side++) {
		w.tap[side] = open_tap(argv[2 + 2 * side], argv[3 + 2 * side]);
		int r = w.tap[side] < 0 ? w.tap[side]
					: wan_path_init(&w.path[side], seed * 2 + (uint64_t)side);
		if (r < 0) {
			(void)fprintf(stderr, "wan: %s: %s\n", argv[3 + 2 * side], strerror(-r));
			return 1;
		}
	}
	(void)prctl(PR_SET_TIMERSLACK, 1UL);
	(void)printf("ready\n");
	(void)fflush(stdout);
	run(&w);
	for (int side = 0; side < 2; side++) {
		wan_path_done(&w.path[side]);
		w.tap[side] = fd_close(w.tap[side]);
	}
	return 0;
}
