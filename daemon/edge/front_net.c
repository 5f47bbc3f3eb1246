/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private networks: packets between the TUN device and flows. A way of udp_clients is the number of
 * a network; a client is known by both its address and the one that it wrote to. Answers of a turn
 * to one client become one burst, which the kernel cuts as far out as it can.
 *
 * Errors that we make have the address that the client wrote to as their source: an address of this
 * host would be a martian on its own TUN.
 */
#include "daemon/edge/front_net.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/base/random.h"
#include "daemon/edge/edge_conn.h"
#include "daemon/net/tun.h"
#include "daemon/net/tun_steer.h"
#include "daemon/wire/icmp.h"
#include "daemon/wire/ip_udp.h"
#include "util/cleanup.h"

enum {
	READS = 64,          /* of a turn */
	FLOW_IDLE_SEC = 210, /* as the daemon's own default */
	ANSWER_TTL = 64,
	HEAD_MAX = IP_HEAD_MAX + UDP_HEAD_LEN,
};

/* Answers to one client that are still collected. */
struct burst {
	struct ip_port src;
	struct ip_port dst;
	size_t segment_len; /* of all but the last */
	unsigned int count;
	size_t used;
	uint8_t bytes[TUN_BURST_MAX];
};

struct front_net {
	struct front_net_params p;
	struct loop_io io;
	struct udp_clients clients;
	struct ratelimit errors;
	bool has_errors; /* their rate isn't 0 */
	struct loop_task flush;
	struct front_net_stats stats;
	uint16_t next_id;                   /* of IPv4 packets that may be fragmented */
	const struct edge_tunnel **tunnels; /* by network; of the roster in force; NULL: none */
	struct burst burst;
	uint8_t packet[TUN_PACKET_MAX];
};

const char *net_drop_name(enum net_drop reason)
{
	static const char *const names[NET_DROP_MAX_] = {
		[NET_DROP_MALFORMED] = "malformed", [NET_DROP_STRAY] = "stray",
		[NET_DROP_FRAGMENT] = "fragment",   [NET_DROP_PROTOCOL] = "protocol",
		[NET_DROP_ICMP_KIND] = "icmp-kind", [NET_DROP_TOO_BIG] = "too-big",
		[NET_DROP_LINK] = "link-full",      [NET_DROP_FOREIGN] = "icmp-foreign",
		[NET_DROP_FULL] = "device-full",    [NET_DROP_ERRORS] = "icmp-rate",
	};
	return reason < ARRAY_SIZE(names) ? names[reason] : "unknown";
}

static void drop(struct front_net *f, enum net_drop reason)
{
	f->stats.drops[reason]++;
}

/* ---- to clients: datagrams ---- */

/* Sends what was collected. */
static void flush(struct front_net *f)
{
	struct burst *b = &f->burst;
	if (b->count == 0)
		return;
	uint8_t head[HEAD_MAX];
	struct packer p = packer_over(head, sizeof(head));
	const struct ip_head ip = {
		.src = b->src.ip,
		.dst = b->dst.ip,
		.ttl = ANSWER_TTL,
		.id = f->next_id,
	};
	const struct ip_udp udp = { .src_port = b->src.port, .dst_port = b->dst.port };
	f->next_id += (uint16_t)b->count;
	int r = ip_udp_write_partial(&p, &ip, &udp, b->used);
	struct span written = packer_span(&p);
	const struct tun_send send = {
		.pieces = { written, span_of(b->bytes, b->used) },
		.piece_count = 2,
		.udp_at = written.len - UDP_HEAD_LEN,
		.segment_len = b->count > 1 ? b->segment_len : 0,
	};
	if (r == 0)
		r = tun_write(f->p.fd, &send);
	if (r == 0) {
		f->stats.tx_datagrams += b->count;
		f->stats.tx_bursts += b->count > 1;
	} else {
		f->stats.drops[NET_DROP_FULL] += b->count;
	}
	b->count = 0;
	b->used = 0;
}

static void on_flush(struct loop_task *task)
{
	flush(CONTAINER_OF(task, struct front_net, flush));
}

/* Datagrams of a burst have one length; only the last may be shorter, and none is empty. */
static bool joins(const struct front_net *f, const struct udp_client *c, struct span payload)
{
	const struct burst *b = &f->burst;
	return f->p.has_bursts && b->count < TUN_SEGMENTS_MAX && payload.len > 0 &&
	       payload.len <= b->segment_len && b->used == b->count * b->segment_len &&
	       b->used + payload.len + HEAD_MAX <= TUN_BURST_MAX &&
	       ip_port_eq(&b->src, &c->local) && ip_port_eq(&b->dst, &c->addr);
}

static void on_answer(void *user, struct udp_client *c, struct span payload)
{
	struct front_net *f = user;
	struct burst *b = &f->burst;
	if (b->count > 0 && !joins(f, c, payload))
		flush(f);
	if (b->count == 0) {
		b->src = c->local;
		b->dst = c->addr;
		b->segment_len = payload.len;
		loop_task_post(f->p.worker->loop, &f->flush, LOOP_PHASE_FLUSH);
	}
	if (payload.len > 0)
		memcpy(b->bytes + b->used, payload.ptr, payload.len);
	b->used += payload.len;
	b->count++;
}

/* ---- to clients: packets ---- */

static int write_packet(struct front_net *f, struct span packet)
{
	const struct tun_send send = { .pieces = { packet }, .piece_count = 1 };
	int r = tun_write(f->p.fd, &send);
	if (r < 0)
		drop(f, NET_DROP_FULL);
	return r;
}

/* Answers a client's packet with an error, if one may and the rate allows it. */
static void report(struct front_net *f, struct span packet, struct icmp_error *e)
{
	uint8_t buf[ICMP_ERROR_MAX];
	struct packer p = packer_over(buf, sizeof(buf));
	struct ip_packet ip;
	if (ip_read(packet, &ip) < 0 || !ip_may_report(&ip, e->kind == ICMP_KIND_TOO_BIG))
		return;
	if (!f->has_errors || !ratelimit_take(&f->errors, loop_now(f->p.worker->loop), 1)) {
		drop(f, NET_DROP_ERRORS);
		return;
	}
	e->src = ip.dst;
	e->dst = ip.src;
	e->quote = packet;
	if (icmp_error_write(&p, e) == 0 && write_packet(f, packer_span(&p)) == 0)
		f->stats.errors++;
}

static void report_unreachable(struct front_net *f, struct span packet, enum ip_family family)
{
	struct icmp_error e = {
		.kind = ICMP_KIND_UNREACHABLE,
		.code = icmp_unreachable_code(family, ICMP_UNREACHABLE_HOST),
	};
	report(f, packet, &e);
}

/* mtu: of packets of this kind. */
static void report_too_big(struct front_net *f, struct span packet, size_t mtu)
{
	struct ip_packet ip;
	struct icmp_error e;
	drop(f, NET_DROP_TOO_BIG);
	if (ip_read(packet, &ip) == 0 && icmp_too_big(&ip, mtu, &e))
		report(f, packet, &e);
}

/* What a client has sent, as far as an error needs it; its header is made anew. */
static size_t remake(const struct udp_client *c, struct span payload, uint8_t *buf, size_t size)
{
	struct packer p = packer_over(buf, size);
	const struct ip_head ip = {
		.src = c->addr.ip, .dst = c->local.ip, .ttl = ANSWER_TTL, .dont_fragment = true
	};
	const struct ip_udp udp = { .src_port = c->addr.port,
				    .dst_port = c->local.port,
				    .payload = payload };
	return ip_udp_write(&p, &ip, &udp) < 0 ? 0 : packer_span(&p).len;
}

static void on_refused(void *user, struct udp_client *c)
{
	uint8_t buf[HEAD_MAX];
	size_t len = remake(c, (struct span){}, buf, sizeof(buf));
	report_unreachable(user, span_of(buf, len), c->local.ip.family);
}

static void on_too_big(void *user, struct udp_client *c, const struct udp_arrival *a, size_t max)
{
	struct front_net *f = user;
	uint8_t buf[HEAD_MAX + ICMP_QUOTE_MAX_V6];
	if (!a->dont_fragment) {
		drop(f, NET_DROP_TOO_BIG); /* it may be cut, but here is nothing that could */
		return;
	}
	size_t len = remake(c, span_first(a->bytes, ICMP_QUOTE_MAX_V6), buf, sizeof(buf));
	report_too_big(f, span_of(buf, len), max + UDP_HEAD_LEN + ip_head_len(c->local.ip.family));
}

static void on_packet(void *user, struct udp_client *c, struct call_port *port, struct span packet)
{
	(void)c;
	struct front_net *f = user;
	int r = call_port_send_packet(port, packet);
	if (r == -EMSGSIZE)
		report_too_big(f, packet, call_port_packet_max(port));
	else if (r < 0)
		drop(f, NET_DROP_LINK);
	else
		f->stats.rx_echoes++;
}

static struct tun_flow flow_of(const struct udp_client *c)
{
	bool is_v6 = c->addr.ip.family == IP_FAMILY_V6;
	return (struct tun_flow){
		.src = c->addr,
		.dst = c->local,
		.protocol = !c->is_packet ? IP_PROTOCOL_UDP
			    : is_v6       ? IP_PROTOCOL_ICMP6
					  : IP_PROTOCOL_ICMP4,
	};
}

/* Queues have the numbers of their workers. */
static void on_elsewhere(void *user, const struct udp_client *c, const struct worker *worker)
{
	const struct front_net *f = user;
	const struct tun_flow flow = flow_of(c);
	if (f->p.steer)
		(void)tun_steer_set(f->p.steer, &flow, worker->index);
}

static void on_ended(void *user, const struct udp_client *c)
{
	const struct front_net *f = user;
	const struct tun_flow flow = flow_of(c);
	if (f->p.steer)
		tun_steer_remove(f->p.steer, &flow);
}

static struct udp_route on_route(void *user, unsigned int way)
{
	const struct front_net *f = user;
	return (struct udp_route){ .tunnel = f->tunnels[way],
				   .idle = FLOW_IDLE_SEC * NSEC_PER_SEC };
}

static const struct udp_clients_ops clients_ops = {
	.route = on_route,
	.answer = on_answer,
	.packet = on_packet,
	.elsewhere = on_elsewhere,
	.ended = on_ended,
	.refused = on_refused,
	.too_big = on_too_big,
};

/* ---- from daemons: ICMP ---- */

/* Whose answer it is: an echo's addresses turned round, or those that an error quotes. */
static bool read_asker(const struct ip_packet *ip, struct udp_arrival *ret)
{
	struct icmp_message m;
	struct ip_packet quote;
	if (icmp_read(ip, &m) < 0)
		return false;
	*ret = (struct udp_arrival){ .is_packet = true };
	if (m.kind == ICMP_KIND_ECHO_REPLY) {
		ret->client.ip = ip->dst;
		ret->local.ip = ip->src;
		return true;
	}
	if (!icmp_kind_is_error(m.kind) || ip_read(m.data, &quote) < 0 ||
	    !ip_addr_eq(&quote.src, &ip->dst))
		return false;
	ret->client.ip = quote.src;
	ret->local.ip = quote.dst;
	return true;
}

/* Only what a client here has asked this tunnel for lately goes out. */
static void on_daemon_packet(void *user, struct call_port *port, struct span packet)
{
	struct front_net *f = user;
	struct ip_packet ip;
	struct udp_arrival a;
	const struct edge_conf *conf = f->p.roster->conf;
	if (ip_read(packet, &ip) < 0 || packet.len > TUN_PACKET_MAX || !read_asker(&ip, &a)) {
		drop(f, NET_DROP_MALFORMED);
		return;
	}
	size_t network = edge_conf_find_network(conf, &a.local.ip);
	a.way = (unsigned int)network;
	const struct udp_client *c =
		network < conf->network_count ? udp_clients_find(&f->clients, &a) : NULL;
	if (!c || c->el->tunnel != edge_conn_tunnel_of_port(port)) {
		drop(f, NET_DROP_FOREIGN);
		return;
	}
	if (write_packet(f, packet) == 0)
		f->stats.tx_packets++;
}

/* ---- from clients ---- */

static void take_udp(struct front_net *f, const struct ip_packet *ip, struct udp_arrival *a,
		     size_t segment_len)
{
	struct ip_udp udp;
	if (ip_udp_read(ip, &udp) < 0) {
		drop(f, NET_DROP_MALFORMED);
		return;
	}
	a->client.port = udp.src_port;
	a->local.port = udp.dst_port;
	f->stats.rx_bursts += segment_len > 0 && udp.payload.len > segment_len;
	size_t step = segment_len ? segment_len : MAX(udp.payload.len, (size_t)1);
	struct span left = udp.payload;
	int r = 0;
	do {
		a->bytes = span_first(left, MIN(step, left.len));
		left = span_skip(left, a->bytes.len);
		f->stats.rx_datagrams++;
		r = udp_clients_take(&f->clients, a);
	} while (left.len > 0 && r == 0);
	if (r < 0)
		report_unreachable(f, ip->whole, ip->src.family);
}

static void take_icmp(struct front_net *f, const struct ip_packet *ip, struct udp_arrival *a)
{
	struct icmp_message m;
	int r = icmp_read(ip, &m);
	if (r < 0 || m.kind != ICMP_KIND_ECHO_REQUEST) {
		drop(f, r < 0 ? NET_DROP_MALFORMED : NET_DROP_ICMP_KIND);
		return;
	}
	a->is_packet = true;
	a->bytes = ip->whole;
	if (udp_clients_take(&f->clients, a) < 0)
		report_unreachable(f, ip->whole, ip->src.family);
}

static void take_packet(struct front_net *f, const struct tun_packet *t)
{
	const struct edge_conf *conf = f->p.roster->conf;
	struct ip_packet ip;
	if (ip_read(t->bytes, &ip) < 0) {
		drop(f, NET_DROP_MALFORMED);
		return;
	}
	size_t network = edge_conf_find_network(conf, &ip.dst);
	if (network == conf->network_count) {
		drop(f, NET_DROP_STRAY);
		return;
	}
	struct udp_arrival a = {
		.way = (unsigned int)network,
		.dont_fragment = ip.dont_fragment,
		.client.ip = ip.src,
		.local.ip = ip.dst,
	};
	if (ip.is_fragment)
		drop(f, NET_DROP_FRAGMENT);
	else if (ip.protocol == IP_PROTOCOL_UDP)
		take_udp(f, &ip, &a, t->segment_len);
	else if (ip.protocol == IP_PROTOCOL_ICMP4 || ip.protocol == IP_PROTOCOL_ICMP6)
		take_icmp(f, &ip, &a);
	else
		drop(f, NET_DROP_PROTOCOL);
}

/* Somebody has removed the device. Its descriptor would be ready for ever. */
static void lose_device(struct front_net *f, int error)
{
	loop_io_stop(&f->io);
	log_error(f->p.worker->log, "network",
		  "the TUN device has gone: UDP and ICMP of private networks wait for a restart",
		  KV_U64("worker", f->p.worker->index), KV_ERR(error));
}

static void on_ready(struct loop_io *io, uint32_t revents UNUSED)
{
	struct front_net *f = CONTAINER_OF(io, struct front_net, io);
	for (unsigned int i = 0; i < READS; i++) {
		struct tun_packet packet;
		int r = tun_read(f->p.fd, f->packet, &packet);
		if (r == 0) {
			take_packet(f, &packet);
		} else if (r == -EBADMSG) {
			drop(f, NET_DROP_MALFORMED);
		} else {
			if (r != -EAGAIN && r != -EINTR)
				lose_device(f, r);
			return;
		}
	}
}

/* ---- life ---- */

struct udp_clients *front_net_clients(struct front_net *f)
{
	return &f->clients;
}

const struct front_net_stats *front_net_get_stats(const struct front_net *f)
{
	return &f->stats;
}

void front_net_use_roster(struct front_net *f, struct roster *roster)
{
	const struct edge_conf *conf = roster->conf;
	const struct conf_limits *l = &conf->common.limits;
	unsigned int workers = worker_set_count(f->p.worker->set);
	f->p.roster = roster;
	udp_clients_use_limits(&f->clients, l);
	f->has_errors = l->icmp_answers > 0;
	ratelimit_set_rate(&f->errors, MAX(l->icmp_answers / workers, 1U));
	for (size_t i = 0; i < conf->network_count; i++)
		f->tunnels[i] = roster_tunnel_named(roster, conf->networks[i].tunnel);
}

int front_net_new(const struct front_net_params *params, struct front_net **ret)
{
	struct front_net *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->tunnels = (const struct edge_tunnel **)calloc(params->roster->conf->network_count,
							 sizeof(*f->tunnels));
	if (!f->tunnels) {
		free(f);
		return -ENOMEM;
	}
	f->p = *params;
	f->next_id = (uint16_t)random_u64();
	f->io.on_ready = on_ready;
	f->flush.run = on_flush;
	udp_clients_init(&f->clients, &(struct udp_clients_params){
					      .worker = params->worker,
					      .directory = params->directory,
					      .flows = params->flows,
					      .peers = params->peers,
					      .ops = &clients_ops,
					      .user = f,
				      });
	*ret = f;
	return 0;
}

int front_net_start(struct front_net *f)
{
	f->p.flows->on_packet = on_daemon_packet;
	f->p.flows->packet_user = f;
	udp_clients_start(&f->clients);
	return loop_io_start(f->p.worker->loop, &f->io, f->p.fd, EPOLLIN);
}

void front_net_stop(struct front_net *f)
{
	f->p.flows->on_packet = NULL;
	udp_clients_stop(&f->clients);
	loop_task_cancel(&f->flush);
	loop_io_stop(&f->io);
	f->p.fd = fd_close(f->p.fd);
}

void front_net_free(struct front_net *f)
{
	if (!f)
		return;
	udp_clients_done(&f->clients);
	(void)fd_close(f->p.fd);
	free((void *)f->tunnels);
	free(f);
}
