/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of the routed mode. A worker looks for a port among the addresses that are its own; one
 * that went to another worker with its path is in the index of owners, so it isn't given away.
 */
#include "daemon/datapath/tun_path.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/base/random.h"
#include "daemon/datapath/tun_ground_priv.h"
#include "daemon/net/tun_steer.h"
#include "daemon/wire/ip_udp.h"
#include "util/cleanup.h"

enum {
	TRIES = 128, /* random ones: with nine of ten ports taken one fails in 700 000 searches */
	TTL = 64,
	HEAD_MAX = IP_HEAD_MAX + UDP_HEAD_LEN,
	FRAGMENT_HEAD = 8, /* RFC 8200 §4.5 */
	PIECE_UNIT = 8,
	PIECES_OF_MAX = 2048, /* bytes of a datagram that is cut; no link carries as many */
	KEY_UDP = 1,          /* first byte of what is told to all */
};

static void make_key(const struct ip_port *local, uint8_t ret[TUN_KEY_LEN])
{
	ret[0] = KEY_UDP;
	ret[1] = (uint8_t)local->ip.family;
	ret[2] = (uint8_t)(local->port >> 8);
	ret[3] = (uint8_t)local->port;
	memcpy(ret + 4, local->ip.bytes, sizeof(local->ip.bytes));
}

struct flow_path *tun_path_find(const struct tun_ground *g, const struct ip_port *local)
{
	uint8_t key[TUN_KEY_LEN];
	make_key(local, key);
	struct map_node *node = map_find(&g->places, span_of(key, sizeof(key)));
	return node ? MAP_ENTRY(node, struct tun_place, node)->path : NULL;
}

int tun_path_owner(const struct tun_ground *g, const struct ip_port *local)
{
	uint8_t key[TUN_KEY_LEN];
	make_key(local, key);
	int owner = owners_find(g->p.owners, span_of(key, sizeof(key)));
	return owner == (int)g->p.worker->index ? -EINPROGRESS : owner;
}

/* ---- who has which port ---- */

static struct span key_of(struct tun_place *place)
{
	return span_of(place->key, sizeof(place->key));
}

/* 0; -EEXIST taken, -ENOMEM. */
static int try_place(struct tun_ground *g, struct tun_place *place)
{
	make_key(&place->local, place->key);
	if (tun_path_owner(g, &place->local) != -ENOENT)
		return -EEXIST;
	int r = map_insert(&g->places, &place->node, key_of(place));
	if (r < 0)
		return r;
	if (owners_set(g->p.owners, key_of(place), g->p.worker->index))
		return 0;
	map_remove(&g->places, &place->node); /* what comes back wouldn't find it */
	return -EEXIST;
}

static int search(struct tun_ground *g, enum ip_family family, struct tun_place *place)
{
	const struct tun_plan *plan = g->p.plan;
	unsigned int count = tun_plan_count(plan, family);
	for (unsigned int i = 0; i < TRIES && count > 0; i++) {
		uint64_t any = random_u64();
		place->local.ip = tun_plan_address(plan, family, g->p.worker->index,
						   (unsigned int)(any >> 32) % count);
		place->local.port = (uint16_t)(plan->port_first + (uint32_t)any % plan->ports);
		int r = try_place(g, place);
		if (r != -EEXIST)
			return r;
	}
	return -EADDRNOTAVAIL;
}

int tun_path_open(struct tun_ground *g, struct flow_path *path)
{
	_cleanup_(freep) struct tun_place *place = calloc(1, sizeof(*place));
	if (!place)
		return -ENOMEM;
	int r = search(g, path->remote.ip.family, place);
	if (r < 0)
		return r;
	place->path = path;
	path->tun = TAKE_PTR(place);
	return 0;
}

static struct tun_flow flow_of(const struct flow_path *path)
{
	return (struct tun_flow){ .src = path->remote,
				  .dst = path->tun->local,
				  .protocol = IP_PROTOCOL_UDP };
}

void tun_path_close(struct flow_path *path)
{
	struct tun_place *place = path->tun;
	/* Between two workers neither may be there any more; its port stays taken. */
	if (path->datapath) {
		struct tun_ground *g = path->datapath->tun;
		const struct tun_flow flow = flow_of(path);
		if (g->p.steer)
			tun_steer_remove(g->p.steer, &flow);
		map_remove(&g->places, &place->node);
		owners_clear(g->p.owners, key_of(place), g->p.worker->index);
	}
	path->tun = NULL;
	free(place);
}

void tun_path_detach(struct tun_ground *g, struct flow_path *path)
{
	map_remove(&g->places, &path->tun->node);
}

int tun_path_attach(struct tun_ground *g, struct flow_path *path)
{
	struct tun_place *place = path->tun;
	int r = map_insert(&g->places, &place->node, key_of(place));
	if (r < 0)
		return r;
	(void)owners_set(g->p.owners, key_of(place), g->p.worker->index);
	return 0;
}

/* ---- sending ---- */

void tun_path_note_mtu(struct flow_path *path, uint32_t mtu)
{
	if (path->remote.ip.family == IP_FAMILY_V6)
		path->tun->mtu = MAX(mtu, (uint32_t)IP6_MTU_MIN);
}

static struct ip_head head_of(struct tun_ground *g, const struct flow_path *path)
{
	return (struct ip_head){
		.src = path->tun->local.ip, .dst = path->remote.ip, .ttl = TTL, .id = g->next_id++
	};
}

/* One piece of a datagram: so many bytes at an offset. */
static int send_piece(struct tun_ground *g, const struct ip_head *ip, struct span datagram,
		      size_t at, size_t len)
{
	uint8_t head[IP6_HEAD_LEN + FRAGMENT_HEAD];
	struct packer p = packer_over(head, sizeof(head));
	bool is_last = at + len == datagram.len;
	int r = ip_head_write(&p, ip, FRAGMENT_HEAD + len);
	packer_u8(&p, IP_PROTOCOL_UDP);
	packer_u8(&p, 0);
	packer_be16(&p, (uint16_t)(at | !is_last)); /* in units of eight bytes, and whether more */
	packer_be32(&p, ip->id);
	const struct tun_send send = {
		.pieces = { packer_span(&p), span_first(span_skip(datagram, at), len) },
		.piece_count = 2,
	};
	return r < 0 ? r : tun_write(g->p.fd, &send);
}

/* In IPv6 only the sender cuts, which is us. */
static int send_in_pieces(struct tun_ground *g, const struct flow_path *path, struct span payload)
{
	uint8_t whole[PIECES_OF_MAX];
	struct packer p = packer_over(whole, sizeof(whole));
	struct ip_head ip = head_of(g, path);
	const struct ip_udp udp = { .src_port = path->tun->local.port,
				    .dst_port = path->remote.port,
				    .payload = payload };
	int r = ip_udp_write(&p, &ip, &udp);
	if (r < 0)
		return r == -ENOBUFS ? -EMSGSIZE : r;
	struct span datagram = span_skip(packer_span(&p), IP6_HEAD_LEN);
	size_t step = (path->tun->mtu - IP6_HEAD_LEN - FRAGMENT_HEAD) & ~(size_t)(PIECE_UNIT - 1);
	ip.protocol = IP_PROTOCOL_FRAGMENT;
	for (size_t at = 0; at < datagram.len && r == 0; at += step)
		r = send_piece(g, &ip, datagram, at, MIN(step, datagram.len - at));
	return r;
}

/* A run as one packet, which the kernel cuts as far out as it can. */
static int send_burst(struct tun_ground *g, const struct flow_path *path, const struct udp_run *run)
{
	uint8_t head[HEAD_MAX];
	struct packer p = packer_over(head, sizeof(head));
	size_t len = 0;
	for (unsigned int i = 0; i < run->count; i++)
		len += run->iov[i].iov_len;
	const struct ip_head ip = head_of(g, path);
	const struct ip_udp udp = { .src_port = path->tun->local.port,
				    .dst_port = path->remote.port };
	g->next_id += (uint16_t)(run->count - 1);
	int r = ip_udp_write_partial(&p, &ip, &udp, len);
	struct span written = packer_span(&p);
	const struct tun_send send = {
		.pieces = { written },
		.piece_count = 1,
		.more = run->iov,
		.more_count = run->count,
		.udp_at = written.len - UDP_HEAD_LEN,
		.segment_len = run->count > 1 ? run->iov[0].iov_len : 0,
	};
	return r < 0 ? r : tun_write(g->p.fd, &send);
}

static bool fits(const struct flow_path *path, size_t len)
{
	uint32_t mtu = path->tun->mtu;
	return mtu == 0 || len + UDP_HEAD_LEN + IP6_HEAD_LEN <= mtu;
}

static int send_one(struct tun_ground *g, const struct flow_path *path, struct iovec *iov)
{
	const struct udp_run one = { .iov = iov, .count = 1 };
	return fits(path, iov->iov_len)
		       ? send_burst(g, path, &one)
		       : send_in_pieces(g, path, span_of(iov->iov_base, iov->iov_len));
}

/* How many of a run have left; why not all, in *ret_error. */
static unsigned int send_run(struct tun_ground *g, const struct flow_path *path,
			     const struct udp_run *run, int *ret_error)
{
	unsigned int sent = 0;
	int r = 0;
	if (fits(path, run->iov[0].iov_len)) { /* no other is longer */
		r = send_burst(g, path, run);
		sent = r < 0 ? 0 : run->count;
	}
	for (; r == 0 && sent < run->count; sent += r == 0)
		r = send_one(g, path, &run->iov[sent]);
	*ret_error = r == -ENOBUFS || r == -ENOMEM ? -EAGAIN : r;
	return sent;
}

void tun_path_send(struct tun_ground *g, struct udp_run *runs, struct flow_path *const *paths,
		   unsigned int count)
{
	struct udp_stats *stats = &g->datapath->stats.udp;
	for (unsigned int i = 0; i < count; i++) {
		struct udp_run *run = &runs[i];
		run->sent = send_run(g, paths[i], run, &run->result);
		stats->tx_calls++;
		stats->tx_segments += run->sent;
		stats->tx_gso += run->count > 1 ? run->sent : 0;
	}
}
