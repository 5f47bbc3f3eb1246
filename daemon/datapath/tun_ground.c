/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker reads from its queue of the TUN device, and whose it is.
 */
#include "daemon/datapath/tun_ground.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/base/random.h"
#include "daemon/datapath/tun_ground_priv.h"
#include "daemon/net/tun_steer.h"
#include "daemon/wire/ip_udp.h"
#include "util/cleanup.h"
#include "util/endian.h"

enum {
	READS = 64, /* of a turn */
	UDP_LEN_AT = 4,
	BATCHES_MAX = 32,        /* under way to other workers */
	BATCH_BYTES = 72 * 1024, /* the largest burst fits */
};

/* A packet on its way through what follows; the callee's to write, and PATH_HEADROOM before it. */
struct arrival {
	uint8_t *bytes;
	size_t len, segment_len;
	bool is_crossed;
};

const char *tun_drop_name(enum tun_drop reason)
{
	static const char *const names[TUN_DROP_MAX_] = {
		[TUN_DROP_MALFORMED] = "malformed",  [TUN_DROP_STRAY] = "stray",
		[TUN_DROP_FRAGMENT] = "fragment",    [TUN_DROP_PROTOCOL] = "protocol",
		[TUN_DROP_STRANGER] = "stranger",    [TUN_DROP_ICMP_KIND] = "icmp-kind",
		[TUN_DROP_FOREIGN] = "icmp-foreign", [TUN_DROP_CROSSING] = "crossing",
		[TUN_DROP_MOVING] = "moving",        [TUN_DROP_FULL] = "device-full",
		[TUN_DROP_ERRORS] = "icmp-rate",
	};
	return reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

void tun_ground_drop(struct tun_ground *g, enum tun_drop reason)
{
	g->stats.drops[reason]++;
}

bool tun_ground_reaches(const struct tun_ground *g, const struct ip_addr *dst)
{
	return tun_plan_count(g->p.plan, dst->family) > 0 && !tun_plan_contains(g->p.plan, dst);
}

void tun_ground_note(struct tun_ground *g, enum ip_family family)
{
	g->stats.read[family == IP_FAMILY_V6]++;
	g->stats.rx_packets++;
}

/* ---- to the network ---- */

static int write_packet(struct tun_ground *g, struct span packet)
{
	const struct tun_send send = { .pieces = { packet }, .piece_count = 1 };
	int r = tun_write(g->p.fd, &send);
	if (r < 0)
		tun_ground_drop(g, TUN_DROP_FULL);
	return r;
}

int tun_ground_write(struct tun_ground *g, struct span packet)
{
	int r = write_packet(g, packet);
	g->stats.tx_packets += r == 0;
	return r;
}

void tun_ground_report(struct tun_ground *g, struct span packet, struct icmp_error *e)
{
	uint8_t buf[ICMP_ERROR_MAX];
	struct packer p = packer_over(buf, sizeof(buf));
	struct ip_packet ip;
	if (ip_read(packet, &ip) < 0 || !ip_may_report(&ip, e->kind == ICMP_KIND_TOO_BIG))
		return;
	if (g->is_silent || !ratelimit_take(&g->errors, loop_now(g->p.worker->loop), 1)) {
		tun_ground_drop(g, TUN_DROP_ERRORS);
		return;
	}
	/* An address of this host would be a martian on its own device. */
	e->src = tun_plan_address(g->p.plan, ip.src.family, g->p.worker->index, 0);
	e->dst = ip.src;
	e->quote = packet;
	if (icmp_error_write(&p, e) == 0 && write_packet(g, packer_span(&p)) == 0)
		g->stats.errors++;
}

/* ---- between workers ---- */

static void hand_on(struct tun_ground *g, const struct arrival *a, unsigned int worker)
{
	if (ferry_add(&g->ferry, worker, &a->segment_len, span_of(a->bytes, a->len)))
		g->stats.crossed++;
	else
		tun_ground_drop(g, TUN_DROP_CROSSING);
}

/* Queues have the numbers of their workers. */
static void steer(const struct tun_ground *g, const struct tun_flow *flow, unsigned int worker)
{
	if (g->p.steer)
		(void)tun_steer_set(g->p.steer, flow, worker);
}

void tun_ground_hand_on(struct tun_ground *g, const struct tun_icmp *icmp, unsigned int worker)
{
	const struct arrival a = { .bytes = icmp->packet, .len = icmp->len };
	const struct tun_flow flow = { .src.ip = icmp->ip->src,
				       .dst.ip = icmp->ip->dst,
				       .protocol = icmp->ip->protocol };
	if (!icmp_kind_is_error(icmp->message->kind))
		steer(g, &flow, worker);
	hand_on(g, &a, worker);
}

/* Nothing here has that address and port: another worker may. */
static void pass_on(struct tun_ground *g, const struct arrival *a, const struct ip_port *local,
		    const struct tun_flow *flow)
{
	int owner = tun_path_owner(g, local);
	if (owner >= 0 && !a->is_crossed) {
		if (flow)
			steer(g, flow, (unsigned int)owner);
		hand_on(g, a, (unsigned int)owner);
	} else {
		tun_ground_drop(g, owner == -ENOENT ? TUN_DROP_STRAY : TUN_DROP_MOVING);
	}
}

/* ---- UDP ---- */

/* Larger than its user takes: what its sender is told quotes it as it was, for it is written over.
 */
static void deliver_big(struct tun_ground *g, struct flow_path *path, const struct ip_packet *ip,
			uint8_t *data, size_t len)
{
	size_t max = path->user->max(path);
	uint8_t copy[ICMP_QUOTE_MAX_V6];
	struct icmp_error e;
	struct span kept = span_first(ip->whole, sizeof(copy));
	memcpy(copy, kept.ptr, kept.len);
	path->user->on_datagram(path, data, len);
	if (icmp_too_big(ip, max + UDP_HEAD_LEN + ip_head_len(ip->src.family), &e))
		tun_ground_report(g, span_of(copy, kept.len), &e);
}

static void deliver(struct tun_ground *g, const struct arrival *a, const struct ip_packet *ip,
		    const struct ip_udp *udp)
{
	const struct ip_port local = { .ip = ip->dst, .port = udp->dst_port };
	const struct ip_port remote = { .ip = ip->src, .port = udp->src_port };
	struct datapath_stats *stats = &g->datapath->stats;
	uint8_t *data = a->bytes + (udp->payload.ptr - a->bytes);
	size_t left = udp->payload.len;
	size_t step = a->segment_len ? a->segment_len : MAX(left, (size_t)1);
	bool is_burst = left > step;
	do {
		/* Looked up for each: the user may close the path. */
		struct flow_path *path = tun_path_find(g, &local);
		size_t len = MIN(step, left);
		if (!path || !ip_port_eq(&path->remote, &remote)) {
			tun_ground_drop(g, TUN_DROP_STRANGER);
		} else {
			size_t max = path->user->max ? path->user->max(path) : SIZE_MAX;
			g->stats.read[remote.ip.family == IP_FAMILY_V6]++;
			stats->rx_datagrams[PATH_KIND_TUN]++;
			stats->udp.rx_gro += is_burst;
			if (len > max && left == udp->payload.len)
				deliver_big(g, path, ip, data, len);
			else
				path->user->on_datagram(path, data, len);
		}
		data += len;
		left -= len;
	} while (left > 0);
}

/* Only what is quoted may promise more than there is. */
static bool is_whole(const struct ip_packet *ip)
{
	return ip->payload.len >= UDP_HEAD_LEN &&
	       load_be16(ip->payload.ptr + UDP_LEN_AT) <= ip->payload.len;
}

static void take_udp(struct tun_ground *g, const struct arrival *a, const struct ip_packet *ip)
{
	struct ip_udp udp;
	if (!is_whole(ip) || ip_udp_read(ip, &udp) < 0) {
		tun_ground_drop(g, TUN_DROP_MALFORMED);
		return;
	}
	const struct ip_port local = { .ip = ip->dst, .port = udp.dst_port };
	const struct tun_flow flow = { .src = { .ip = ip->src, .port = udp.src_port },
				       .dst = local,
				       .protocol = IP_PROTOCOL_UDP };
	if (tun_path_find(g, &local))
		deliver(g, a, ip, &udp);
	else
		pass_on(g, a, &local, &flow);
}

/* ---- ICMP ---- */

/* As the kernel tells sockets. */
static int error_of(const struct icmp_message *m, enum ip_family family)
{
	switch (m->kind) {
	case ICMP_KIND_TOO_BIG:
		return -EMSGSIZE;
	case ICMP_KIND_BAD_PARAMETER:
		return -EPROTO;
	case ICMP_KIND_UNREACHABLE:
		if (m->code == icmp_unreachable_code(family, ICMP_UNREACHABLE_PORT))
			return -ECONNREFUSED;
		if (m->code == icmp_unreachable_code(family, ICMP_UNREACHABLE_NET))
			return -ENETUNREACH;
		return -EHOSTUNREACH;
	default:
		return -EHOSTUNREACH;
	}
}

/* An error about a datagram that a path has sent. */
static void take_error(struct tun_ground *g, const struct arrival *a, const struct icmp_message *m,
		       const struct ip_packet *quote)
{
	struct ip_udp udp;
	if (ip_udp_read(quote, &udp) < 0) {
		tun_ground_drop(g, TUN_DROP_MALFORMED);
		return;
	}
	const struct ip_port local = { .ip = quote->src, .port = udp.src_port };
	const struct udp_error e = { .error = error_of(m, quote->src.family),
				     .peer = { .ip = quote->dst, .port = udp.dst_port },
				     .mtu = m->mtu };
	struct flow_path *path = tun_path_find(g, &local);
	if (!path) {
		pass_on(g, a, &local, NULL);
		return;
	}
	if (!ip_port_eq(&path->remote, &e.peer)) {
		tun_ground_drop(g, TUN_DROP_STRANGER);
		return;
	}
	g->datapath->stats.errors++;
	if (m->kind == ICMP_KIND_TOO_BIG)
		tun_path_note_mtu(path, m->mtu);
	path->user->on_error(path, &e);
}

static void take_icmp(struct tun_ground *g, const struct arrival *a, const struct ip_packet *ip)
{
	struct icmp_message m;
	struct ip_packet quote;
	if (icmp_read(ip, &m) < 0) {
		tun_ground_drop(g, TUN_DROP_MALFORMED);
		return;
	}
	if (icmp_kind_is_error(m.kind)) {
		if (ip_read(m.data, &quote) < 0 || !ip_addr_eq(&quote.src, &ip->dst)) {
			tun_ground_drop(g, TUN_DROP_MALFORMED);
			return;
		}
		if (quote.protocol == IP_PROTOCOL_UDP) {
			take_error(g, a, &m, &quote);
			return;
		}
	}
	const struct tun_icmp icmp = {
		.packet = a->bytes, .len = a->len, .ip = ip, .message = &m, .is_last = a->is_crossed
	};
	if (g->take_icmp)
		g->take_icmp(g->icmp_arg, &icmp);
	else
		tun_ground_drop(g, TUN_DROP_FOREIGN);
}

/* ---- reading ---- */

static void take(struct tun_ground *g, const struct arrival *a)
{
	struct ip_packet ip;
	if (ip_read(span_of(a->bytes, a->len), &ip) < 0)
		tun_ground_drop(g, TUN_DROP_MALFORMED);
	else if (!tun_plan_contains(g->p.plan, &ip.dst))
		tun_ground_drop(g, TUN_DROP_STRAY);
	else if (ip.is_fragment)
		tun_ground_drop(g, TUN_DROP_FRAGMENT);
	else if (ip.protocol == IP_PROTOCOL_UDP)
		take_udp(g, a, &ip);
	else if (ip.protocol == IP_PROTOCOL_ICMP4 || ip.protocol == IP_PROTOCOL_ICMP6)
		take_icmp(g, a, &ip);
	else
		tun_ground_drop(g, TUN_DROP_PROTOCOL);
}

static void on_crossed(const void *from, const struct worker *here, const void *head,
		       uint8_t *bytes, size_t len)
{
	const struct tun_ground *sender = from;
	const size_t *segment_len = head;
	const struct arrival a = {
		.bytes = bytes, .len = len, .segment_len = *segment_len, .is_crossed = true
	};
	take(sender->p.grounds[here->index], &a);
}

static const struct ferry_kind crossings = {
	.batches = BATCHES_MAX,
	.bytes = BATCH_BYTES,
	.room = PATH_HEADROOM,
	.head_len = sizeof(size_t),
	.take = on_crossed,
};

/* Somebody has removed the device. Its descriptor would be ready for ever. */
static void lose_device(struct tun_ground *g, int error)
{
	loop_io_stop(&g->io);
	g->stats.has_gone = true;
	log_error(g->p.worker->log, "routed",
		  "the TUN device has gone: nothing is routed until a restart",
		  KV_U64("worker", g->p.worker->index), KV_ERR(error));
}

static void on_ready(struct loop_io *io, uint32_t revents UNUSED)
{
	struct tun_ground *g = CONTAINER_OF(io, struct tun_ground, io);
	for (unsigned int i = 0; i < READS; i++) {
		struct tun_packet packet;
		int r = tun_read(g->p.fd, g->packet, &packet);
		if (r == -EBADMSG) {
			tun_ground_drop(g, TUN_DROP_MALFORMED);
			continue;
		}
		if (r < 0) {
			if (r != -EAGAIN && r != -EINTR)
				lose_device(g, r);
			return;
		}
		const struct arrival a = { .bytes = g->packet,
					   .len = packet.bytes.len,
					   .segment_len = packet.segment_len };
		take(g, &a);
	}
}

/* ---- life ---- */

int tun_ground_new(const struct tun_ground_params *params, struct tun_ground **ret)
{
	static_assert(offsetof(struct tun_ground, packet) ==
		      offsetof(struct tun_ground, room) + PATH_HEADROOM);

	struct tun_ground *g = calloc(1, sizeof(*g));
	if (!g)
		return -ENOMEM;
	g->p = *params;
	g->next_id = (uint16_t)random_u64();
	g->io.on_ready = on_ready;
	g->sock.udp.fd = -EBADF;
	g->sock.udp.has_gso = params->has_bursts;
	list_init(&g->sock.tx);
	map_init(&g->places, SIZE_MAX);
	ferry_init(&g->ferry, &crossings, params->worker, g);
	int r = loop_io_start(params->worker->loop, &g->io, params->fd, EPOLLIN);
	if (r < 0) {
		free(g);
		return r;
	}
	*ret = g;
	return 0;
}

void tun_ground_free(struct tun_ground *g)
{
	if (!g)
		return;
	loop_io_stop(&g->io);
	(void)fd_close(g->p.fd);
	map_done(&g->places);
	ferry_done(&g->ferry);
	free(g);
}

void tun_ground_join(struct tun_ground *g, struct datapath *d)
{
	g->datapath = d;
}

struct path_sock *tun_ground_sock(struct tun_ground *g)
{
	return &g->sock;
}

void tun_ground_set_icmp(struct tun_ground *g, tun_icmp_fn take_fn, void *arg)
{
	g->take_icmp = take_fn;
	g->icmp_arg = arg;
}

void tun_ground_set_limits(struct tun_ground *g, unsigned int errors)
{
	g->is_silent = errors == 0;
	ratelimit_set_rate(&g->errors, MAX(errors, 1U));
}

const struct tun_ground_stats *tun_ground_get_stats(const struct tun_ground *g)
{
	return &g->stats;
}

const struct tun_plan *tun_ground_plan(const struct tun_ground *g)
{
	return g->p.plan;
}
