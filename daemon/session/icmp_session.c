/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ICMP of the edge's users at the daemon. There is no queue: what the kernel or a link doesn't take
 * at once is dropped and counted. No error of ours is about an error (RFC 1122 §3.2.2, RFC 4443
 * §2.4).
 */
#include "daemon/session/icmp_session.h"

#include <errno.h>

enum {
	SWEEP_SEC = 5,
	VERDICT_SEC = 1,
	TTL_AT_THE_END = 1, /* in what a hop quotes that has found no hops left */
};

const char *icmp_drop_name(enum icmp_drop reason)
{
	static const char *const names[ICMP_DROP_MAX_] = {
		[ICMP_DROP_MALFORMED] = "malformed",
		[ICMP_DROP_KIND] = "no-echo",
		[ICMP_DROP_NOT_SERVED] = "not-served",
		[ICMP_DROP_DENIED] = "denied",
		[ICMP_DROP_TTL] = "ttl",
		[ICMP_DROP_UNREACHABLE] = "unreachable",
		[ICMP_DROP_TOO_BIG] = "too-big",
		[ICMP_DROP_ORIGIN_FULL] = "origin-full",
		[ICMP_DROP_ORIGIN] = "origin",
		[ICMP_DROP_ANSWER_RATE] = "answer-rate",
		[ICMP_DROP_FORGOTTEN] = "forgotten",
		[ICMP_DROP_STRANGER] = "stranger",
		[ICMP_DROP_REPLY_BIG] = "reply-too-big",
		[ICMP_DROP_LINK_FULL] = "link-full",
		[ICMP_DROP_LINK_DOWN] = "link-down",
		[ICMP_DROP_NO_ADDRESS] = "no-address",
	};
	return reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

void icmp_session_drop(struct icmp_session *s, unsigned int index, enum icmp_drop reason)
{
	s->drops[MIN(index, ICMP_INDEX_MAX - 1U)][reason]++;
}

static struct echo_map *map_of(struct icmp_session *s, enum ip_family family)
{
	return family == IP_FAMILY_V4 ? &s->v4 : &s->v6;
}

static nsec_t now_of(const struct icmp_session *s)
{
	return loop_now(s->p.worker->loop);
}

/* ---- back to the edge ---- */

int icmp_session_give(struct icmp_session *s, struct icmp_port *port, struct span packet)
{
	int r = port->send(port, packet);
	if (r < 0)
		icmp_session_drop(s, port->index,
				  r == -EMSGSIZE ? ICMP_DROP_REPLY_BIG
				  : r == -EPROTO ? ICMP_DROP_LINK_DOWN
						 : ICMP_DROP_LINK_FULL);
	return r;
}

static bool give(struct icmp_session *s, struct icmp_port *port, struct span packet)
{
	return icmp_session_give(s, port, packet) == 0;
}

/* Does an address mean this host elsewhere, too? */
static bool is_known_elsewhere(const struct ip_addr *a)
{
	bool is_link_local = a->family == IP_FAMILY_V4
				     ? a->bytes[0] == 169 && a->bytes[1] == 254
				     : a->bytes[0] == 0xfe && (a->bytes[1] & 0xc0) == 0x80;
	return !ip_addr_is_loopback(a) && !ip_addr_is_any(a) && !is_link_local;
}

/* From which address an answer about a packet to dst comes: that of the way there, if it
 * is known elsewhere, else of the way into the world. */
static struct ip_addr own_address(const struct ip_addr *dst)
{
	static const struct ip_addr world[] = {
		{ .family = IP_FAMILY_V4, .bytes = { 192, 168, 0, 1 } },
		{ .family = IP_FAMILY_V6, .bytes = { 0x20 } },
	};
	struct icmp_path_way way;
	if (icmp_path_find_way(dst, &way) == 0 && is_known_elsewhere(&way.src))
		return way.src;
	if (icmp_path_find_way(&world[dst->family == IP_FAMILY_V6], &way) == 0 &&
	    is_known_elsewhere(&way.src))
		return way.src;
	return (struct ip_addr){ .family = dst->family };
}

/* Tells who sent a packet why it went no further. */
static void answer(struct icmp_session *s, struct icmp_port *port, const struct ip_packet *p,
		   struct icmp_error *error)
{
	uint8_t room[ICMP_ERROR_MAX];
	struct packer out = packer_over(room, sizeof(room));
	if (!ip_may_report(p, error->kind == ICMP_KIND_TOO_BIG))
		return;
	if (s->is_silent || !ratelimit_take(&s->answers, now_of(s), 1)) {
		icmp_session_drop(s, port->index, ICMP_DROP_ANSWER_RATE);
		return;
	}
	error->src = own_address(&p->dst);
	error->dst = p->src;
	error->quote = p->whole;
	if (icmp_error_write(&out, error) == 0 && give(s, port, packer_span(&out)))
		s->stats.made[error->kind]++;
}

static void answer_unreachable(struct icmp_session *s, struct icmp_port *port,
			       const struct ip_packet *p, enum icmp_unreachable what)
{
	struct icmp_error error = { .kind = ICMP_KIND_UNREACHABLE,
				    .code = icmp_unreachable_code(p->dst.family, what) };
	answer(s, port, p, &error);
}

/* ---- from the edge to the origin ---- */

static bool is_own_address(const struct ip_addr *addr)
{
	struct icmp_path_way way;
	return ip_addr_is_loopback(addr) ||
	       (icmp_path_find_way(addr, &way) == 0 && ip_addr_eq(&way.src, addr));
}

static const struct icmp_verdict *verdict_of(struct icmp_session *s, const struct ip_addr *dst)
{
	unsigned int at = 0;
	for (size_t i = 0; i < sizeof(dst->bytes); i++)
		at = at * 31 + dst->bytes[i];
	struct icmp_verdict *v = &s->verdicts[at % ARRAY_SIZE(s->verdicts)];
	if (now_of(s) >= v->until || !ip_addr_eq(&v->dst, dst))
		*v = (struct icmp_verdict){
			.dst = *dst,
			.is_allowed = s->p.may_reach(s->p.arg, dst),
			.is_own = s->ground && is_own_address(dst),
			.until = nsec_add(now_of(s), VERDICT_SEC * NSEC_PER_SEC),
		};
	return v;
}

/* The kernel didn't take it. */
static void not_sent(struct icmp_session *s, struct icmp_port *port, const struct ip_packet *p,
		     int error)
{
	struct icmp_error too_big = { .kind = ICMP_KIND_TOO_BIG };
	struct icmp_path_way way = {};
	switch (-error) {
	case EMSGSIZE:
		icmp_session_drop(s, port->index, ICMP_DROP_TOO_BIG);
		if (icmp_path_find_way(&p->dst, &way) == 0)
			too_big.mtu = way.mtu;
		answer(s, port, p, &too_big);
		return;
	case ENETUNREACH:
	case EHOSTUNREACH:
		icmp_session_drop(s, port->index, ICMP_DROP_UNREACHABLE);
		answer_unreachable(s, port, p,
				   error == -ENETUNREACH ? ICMP_UNREACHABLE_NET
							 : ICMP_UNREACHABLE_HOST);
		return;
	case EACCES:
	case EPERM:
		icmp_session_drop(s, port->index, ICMP_DROP_DENIED);
		answer_unreachable(s, port, p, ICMP_UNREACHABLE_PROHIBITED);
		return;
	default:
		icmp_session_drop(s, port->index,
				  error == -EAGAIN ? ICMP_DROP_ORIGIN_FULL : ICMP_DROP_ORIGIN);
	}
}

static void forward(struct icmp_session *s, struct icmp_port *port, const struct ip_packet *p,
		    const struct icmp_message *m)
{
	struct echo_map *map = map_of(s, p->dst.family);
	const struct echo echo = { .port = port,
				   .src = p->src,
				   .dst = p->dst,
				   .id = m->id,
				   .seq = m->seq,
				   .checksum = m->checksum,
				   .len = (uint16_t)p->payload.len,
				   .ttl = p->ttl - 1,
				   .tos = p->tos,
				   .dont_fragment = p->dont_fragment,
				   .label = p->id | p->flow_label };
	struct icmp_path_send send = {
		.dst = p->dst, .ttl = echo.ttl, .dont_fragment = p->dont_fragment, .data = m->data
	};
	uint64_t forgotten = map->forgotten;
	int r = echo_map_add(map, now_of(s), &echo, &send.seq);
	if (r < 0) {
		icmp_session_drop(s, port->index, ICMP_DROP_ORIGIN_FULL);
		return;
	}
	if (map->forgotten > forgotten)
		icmp_session_drop(s, port->index, ICMP_DROP_FORGOTTEN);
	if (!timer_is_armed(&s->sweep))
		timer_start(s->p.worker->loop, &s->sweep,
			    nsec_add(now_of(s), SWEEP_SEC * NSEC_PER_SEC));
	r = icmp_path_send(s->path, &send);
	if (r == 0) {
		s->stats.requests++;
		return;
	}
	echo_map_remove(map, echo_map_find(map, send.seq, now_of(s)));
	not_sent(s, port, p, r);
}

/* Sockets without privilege send echo requests only, so all of them do. */
static bool is_for_socket(struct icmp_session *s, struct icmp_port *port, const struct ip_packet *p,
			  const struct icmp_message *m)
{
	enum icmp_drop reason = ICMP_DROP_MAX_;
	if (m->kind != ICMP_KIND_ECHO_REQUEST || m->code != 0)
		reason = ICMP_DROP_KIND;
	else if (icmp_path_kind(s->path, p->dst.family) == ICMP_PATH_KIND_NONE)
		reason = ICMP_DROP_NOT_SERVED;
	if (reason != ICMP_DROP_MAX_)
		icmp_session_drop(s, port->index, reason);
	return reason == ICMP_DROP_MAX_;
}

void icmp_session_packet(struct icmp_session *s, struct icmp_port *port, struct span packet)
{
	struct ip_packet p;
	struct icmp_message m;
	if (ip_read(packet, &p) < 0 || icmp_read(&p, &m) < 0) {
		icmp_session_drop(s, port->index, ICMP_DROP_MALFORMED);
		return;
	}
	bool is_routed = s->ground && s->ground->reaches(s->ground, &p.dst) &&
			 !verdict_of(s, &p.dst)->is_own;
	if (!is_routed && !is_for_socket(s, port, &p, &m))
		return;
	if (!verdict_of(s, &p.dst)->is_allowed) {
		icmp_session_drop(s, port->index, ICMP_DROP_DENIED);
		answer_unreachable(s, port, &p, ICMP_UNREACHABLE_PROHIBITED);
		return;
	}
	if (p.ttl <= 1) {
		struct icmp_error error = { .kind = ICMP_KIND_TIME_EXCEEDED };
		icmp_session_drop(s, port->index, ICMP_DROP_TTL);
		answer(s, port, &p, &error);
		return;
	}
	if (is_routed)
		s->ground->forward(s->ground, port, &p);
	else
		forward(s, port, &p, &m);
}

/* ---- from the network ---- */

/* The echo that something is about, if it was sent to dst. */
static struct echo *find(struct icmp_session *s, const struct ip_addr *dst, uint16_t seq)
{
	struct echo *e = echo_map_find(map_of(s, dst->family), seq, now_of(s));
	if (e && ip_addr_eq(&e->dst, dst))
		return e;
	icmp_session_drop(s, 0, ICMP_DROP_STRANGER);
	return NULL;
}

static void on_reply(void *arg, const struct icmp_path_reply *reply)
{
	struct icmp_session *s = arg;
	uint8_t room[IP_HEAD_MAX + ICMP_PATH_MAX];
	struct packer out = packer_over(room, sizeof(room));
	struct echo *e = find(s, &reply->src, reply->seq);
	if (!e)
		return;
	const struct icmp_echo answer = { .src = e->dst,
					  .dst = e->src,
					  .ttl = ICMP_TTL,
					  .is_reply = true,
					  .code = reply->code,
					  .id = e->id,
					  .seq = e->seq,
					  .data = reply->data };
	if (icmp_echo_write(&out, &answer) == 0 && give(s, e->port, packer_span(&out)))
		s->stats.replies++;
	echo_map_remove(map_of(s, e->dst.family), e);
}

static void on_error(void *arg, const struct icmp_path_error *error)
{
	struct icmp_session *s = arg;
	uint8_t quote[IP_HEAD_MAX + ICMP_PATH_MAX], room[ICMP_ERROR_MAX];
	struct packer quoted = packer_over(quote, sizeof(quote));
	struct packer out = packer_over(room, sizeof(room));
	struct echo *e = find(s, &error->dst, error->seq);
	if (!e)
		return;
	const struct icmp_requote requote = {
		.src = e->src,
		.dst = e->dst,
		.id = e->id,
		.seq = e->seq,
		.checksum = e->checksum,
		.ttl = error->kind == ICMP_KIND_TIME_EXCEEDED ? TTL_AT_THE_END : e->ttl,
		.tos = e->tos,
		.dont_fragment = e->dont_fragment,
		.ip_id = (uint16_t)e->label,
		.flow_label = e->label,
		.len = e->len,
	};
	struct icmp_error told = {
		.src = error->src,
		.dst = e->src,
		.kind = error->kind,
		.code = error->code,
		.mtu = error->mtu,
	};
	/* What stands behind the message that was sent is somebody else's (RFC 4884). */
	int r = icmp_requote_write(&quoted, &requote, span_first(error->message, e->len));
	told.quote = packer_span(&quoted);
	if (r == 0 && icmp_error_write(&out, &told) == 0 && give(s, e->port, packer_span(&out)))
		s->stats.passed[error->kind]++;
	echo_map_remove(map_of(s, e->dst.family), e);
}

/* ---- life ---- */

static void on_sweep(struct timer *timer)
{
	struct icmp_session *s = CONTAINER_OF(timer, struct icmp_session, sweep);
	nsec_t now = now_of(s);
	echo_map_expire(&s->v4, now);
	echo_map_expire(&s->v6, now);
	if (s->v4.size || s->v6.size)
		timer_start(s->p.worker->loop, timer, nsec_add(now, SWEEP_SEC * NSEC_PER_SEC));
}

int icmp_session_init(struct icmp_session *s, const struct icmp_session_params *params)
{
	*s = (struct icmp_session){ .p = *params, .sweep.on_expire = on_sweep };
	const struct icmp_path_user user = { .on_reply = on_reply, .on_error = on_error, .arg = s };
	return icmp_path_new(params->worker, &user, &s->path);
}

void icmp_session_done(struct icmp_session *s)
{
	timer_stop(&s->sweep);
	icmp_path_free(s->path);
	s->path = NULL;
	echo_map_done(&s->v4);
	echo_map_done(&s->v6);
}

void icmp_session_set_limits(struct icmp_session *s, unsigned int answers)
{
	s->is_silent = answers == 0;
	if (answers)
		ratelimit_set_rate(&s->answers, answers);
	memset(s->verdicts, 0, sizeof(s->verdicts));
}

void icmp_session_remove_port(struct icmp_session *s, struct icmp_port *port)
{
	if (s->ground)
		s->ground->remove_port(s->ground, port);
	echo_map_remove_port(&s->v4, port);
	echo_map_remove_port(&s->v6, port);
}

unsigned int icmp_session_count(const struct icmp_session *s, enum ip_family family)
{
	return family == IP_FAMILY_V4 ? s->v4.count : s->v6.count;
}
