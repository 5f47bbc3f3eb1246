/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP at the daemon: packets of an edge, replies and errors of a network, in any order. Whatever
 * they are, what the edge gets is a whole reply or error, to somebody who has asked.
 *
 * A step is a byte that says what comes, one that says about which of the echoes that left, two
 * for its length, and its bytes.
 */
#include "daemon/session/icmp_session.h"

#include <errno.h>
#include <stdlib.h>

#include "selftests/lib/wire_exercise.h"
#include "util/cursor.h"
#include "util/macro.h"

enum { LINKS = 2, ECHOES = 64, STEPS = 256 };

/* The network in place of datapath/icmp_path.c. */
struct icmp_path {
	struct icmp_path_user user;
	struct icmp_path_send sent[ECHOES];
	unsigned int count;
	int error; /* what the next send gives */
};

struct link {
	struct icmp_port port;
	struct icmp_path *path;
	uint64_t asked; /* packets that came by it */
	uint64_t given;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int icmp_path_new(struct worker *worker, const struct icmp_path_user *user, struct icmp_path **ret)
{
	(void)worker;
	struct icmp_path *path = calloc(1, sizeof(*path));
	if (!path)
		abort();
	path->user = *user;
	*ret = path;
	return 0;
}

void icmp_path_free(struct icmp_path *path)
{
	free(path);
}

enum icmp_path_kind icmp_path_kind(const struct icmp_path *path, enum ip_family family)
{
	(void)path;
	EXERCISE_CHECK(ip_family_len(family) > 0);
	return ICMP_PATH_KIND_PING;
}

int icmp_path_send(struct icmp_path *path, const struct icmp_path_send *send)
{
	static const int failures[] = { 0,       -EAGAIN,       -EMSGSIZE,   -EPERM,
					-EINVAL, -EHOSTUNREACH, -ENETUNREACH };
	int r = failures[(unsigned int)path->error % ARRAY_SIZE(failures)];
	path->error = 0;
	EXERCISE_CHECK(send->ttl >= 1 && ip_family_len(send->dst.family) > 0);
	EXERCISE_CHECK(send->data.len <= UINT16_MAX);
	if (r < 0)
		return r;
	path->sent[path->count++ % ECHOES] = *send;
	return 0;
}

int icmp_path_find_way(const struct ip_addr *dst, struct icmp_path_way *ret)
{
	*ret = (struct icmp_path_way){ .src = *dst, .mtu = 576 };
	return 0;
}

static int on_packet(struct icmp_port *port, struct span packet)
{
	struct link *l = CONTAINER_OF(port, struct link, port);
	struct ip_packet p;
	struct icmp_message m;
	EXERCISE_CHECK(ip_read(packet, &p) == 0 && icmp_read(&p, &m) == 0);
	EXERCISE_CHECK(ip_checksum_ok(&p) && icmp_checksum_ok(&p) && p.ttl == ICMP_TTL);
	EXERCISE_CHECK(m.kind == ICMP_KIND_ECHO_REPLY || icmp_kind_is_error(m.kind));
	if (icmp_kind_is_error(m.kind)) {
		struct ip_packet quote;
		struct icmp_message asked;
		EXERCISE_CHECK(packet.len <= ICMP_ERROR_MAX);
		/* A cut may go through options of IPv6. */
		if (ip_read(m.data, &quote) == 0 && icmp_read(&quote, &asked) == 0)
			EXERCISE_CHECK(asked.kind == ICMP_KIND_ECHO_REQUEST &&
				       ip_addr_eq(&quote.src, &p.dst));
		else
			EXERCISE_CHECK(m.data.len == ICMP_QUOTE_MAX_V6);
	}
	l->given++;
	EXERCISE_CHECK(l->given <= l->asked); /* nobody is told more than he has asked */
	return l->given % 7 == 6 ? -ENOBUFS : 0;
}

static bool may_reach(void *arg, const struct ip_addr *addr)
{
	(void)arg;
	return addr->bytes[0] != 9;
}

static void on_reply_step(struct icmp_path *path, uint8_t which, struct span bytes)
{
	const struct icmp_path_send *sent = &path->sent[which % ECHOES];
	const struct icmp_path_reply reply = {
		.src = sent->dst,
		.code = which >> 6,
		.seq = sent->seq,
		.data = span_first(bytes, ICMP_PATH_MAX - ICMP_HEAD_LEN),
	};
	if (sent->dst.family != IP_FAMILY_NONE)
		path->user.on_reply(path->user.arg, &reply);
}

static void on_error_step(struct icmp_path *path, uint8_t which, struct span bytes)
{
	const struct icmp_path_send *sent = &path->sent[which % ECHOES];
	struct icmp_path_error error = {
		.src = sent->dst,
		.dst = sent->dst,
		.kind = (enum icmp_kind)(ICMP_KIND_UNREACHABLE + (which >> 6)),
		.code = bytes.len > 8 ? bytes.ptr[8] : 0,
		.seq = sent->seq,
		.message = span_first(bytes, ICMP_PATH_MAX),
	};
	/* What isn't a request's beginning, the path keeps to itself. */
	static const uint8_t types[2] = { 8, 128 };
	uint8_t begin = types[sent->dst.family == IP_FAMILY_V6];
	if (sent->dst.family != IP_FAMILY_NONE && bytes.len >= ICMP_HEAD_LEN &&
	    bytes.ptr[0] == begin)
		path->user.on_error(path->user.arg, &error);
}

static void step(struct icmp_session *s, struct link links[LINKS], struct cursor *c)
{
	uint8_t what = cursor_u8(c), which = cursor_u8(c);
	size_t len = cursor_be16(c);
	struct span bytes = cursor_bytes(c, MIN(len, cursor_left(c)));
	struct link *l = &links[which % LINKS];
	if (c->error)
		return;
	switch (what % 8) {
	case 0:
	case 1:
	case 2:
		l->asked++;
		icmp_session_packet(s, &l->port, bytes);
		return;
	case 3:
	case 4:
		on_reply_step(s->path, which, bytes);
		return;
	case 5:
		on_error_step(s->path, which, bytes);
		return;
	case 6:
		s->path->error = which;
		return;
	default:
		icmp_session_remove_port(s, &l->port);
		icmp_session_set_limits(s, which);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct loop *loop = NULL;
	if (loop_new(&loop) < 0)
		abort();
	struct worker worker = { .loop = loop };
	struct icmp_session *s = calloc(1, sizeof(*s));
	struct link links[LINKS] = { { .port = { .send = on_packet, .index = 0 } },
				     { .port = { .send = on_packet, .index = 1 } } };
	const struct icmp_session_params params = { .worker = &worker, .may_reach = may_reach };
	if (!s || icmp_session_init(s, &params) < 0)
		abort();
	icmp_session_set_limits(s, 1000);
	struct cursor c = cursor_over(span_of(data, size));
	for (unsigned int i = 0; i < STEPS && cursor_left(&c) > 0; i++)
		step(s, links, &c);
	icmp_session_remove_port(s, &links[0].port);
	icmp_session_remove_port(s, &links[1].port);
	EXERCISE_CHECK(icmp_session_count(s, IP_FAMILY_V4) == 0);
	EXERCISE_CHECK(icmp_session_count(s, IP_FAMILY_V6) == 0);
	icmp_session_done(s);
	free(s);
	loop_free(loop);
	return 0;
}
