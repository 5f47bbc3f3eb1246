/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One direction of the emulated link: frames go in, and come out late, fewer, twice or in another
 * order. All frames there will ever be are made at the start; the one that is handed out, and the
 * one that is read into, are never in the heap.
 */
#include "selftests/lib/wan_path.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/macro.h"

enum {
	ETHERNET_HEAD = 14,
	ICMP6_AT = ETHERNET_HEAD + 40,
	ICMP6 = 58,
	ND_FIRST = 133, /* router solicitation */
	ND_LAST = 137,  /* redirect */
};
static const nsec_t late = 5 * NSEC_PER_MSEC;

static bool is_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct wan_packet *x = HEAP_ENTRY_CONST(a, struct wan_packet, node);
	const struct wan_packet *y = HEAP_ENTRY_CONST(b, struct wan_packet, node);
	return x->due != y->due ? x->due < y->due : x->number < y->number;
}

static void put_back(struct wan_path *p, struct wan_packet *packet)
{
	packet->next = p->unused;
	p->unused = packet;
}

/* NULL unless another one remains to be read into. */
static struct wan_packet *take_unused(struct wan_path *p)
{
	struct wan_packet *packet = p->unused;
	if (!packet->next)
		return NULL;
	p->unused = packet->next;
	return packet;
}

int wan_path_init(struct wan_path *p, uint64_t seed)
{
	*p = (struct wan_path){ .set.queue = 256 * 1024 };
	heap_init(&p->waiting, is_before);
	/* Neighbouring seeds must not begin alike, and zero would stay zero. */
	p->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
	if (!p->random)
		p->random = 1;
	p->packets = calloc(WAN_FRAMES, sizeof(*p->packets));
	if (!p->packets)
		return -ENOMEM;
	for (size_t i = 0; i < WAN_FRAMES; i++)
		put_back(p, &p->packets[i]);
	return 0;
}

void wan_path_done(struct wan_path *p)
{
	free(p->packets);
	*p = (struct wan_path){};
}

/* xorshift64* (Vigna 2016); the upper half is the good one. */
static uint32_t draw(struct wan_path *p)
{
	p->random ^= p->random >> 12;
	p->random ^= p->random << 25;
	p->random ^= p->random >> 27;
	return (uint32_t)((p->random * UINT64_C(0x2545f4914f6cdd1d)) >> 32);
}

static uint64_t draw_below(struct wan_path *p, uint64_t limit)
{
	return (uint64_t)(((unsigned __int128)draw(p) * limit) >> 32);
}

static bool happens(struct wan_path *p, uint64_t part)
{
	return part && draw_below(p, WAN_MILLION) < part;
}

/* Without ARP and neighbour discovery a lost packet would cost a second: they are no part of it. */
static bool is_counted(const uint8_t *frame, size_t len)
{
	if (len < ETHERNET_HEAD + 20)
		return false;
	bool is_ip4 = frame[12] == 0x08 && frame[13] == 0x00;
	bool is_ip6 = frame[12] == 0x86 && frame[13] == 0xdd;
	bool is_nd = is_ip6 && len > ICMP6_AT && frame[ETHERNET_HEAD + 6] == ICMP6 &&
		     frame[ICMP6_AT] >= ND_FIRST && frame[ICMP6_AT] <= ND_LAST;
	return is_ip4 || (is_ip6 && !is_nd);
}

/* Puts len bytes on the wire; false when too much waits for it. */
static bool is_carried(struct wan_path *p, size_t len, nsec_t now)
{
	if (!p->set.rate)
		return true;
	nsec_t begin = MAX(p->idle_at, now);
	uint64_t ahead =
		(uint64_t)((unsigned __int128)(begin - now) * p->set.rate / 8 / NSEC_PER_SEC);
	if (ahead + len > p->set.queue)
		return false;
	p->idle_at = begin + len * 8 * NSEC_PER_SEC / p->set.rate;
	return true;
}

static nsec_t arrival(struct wan_path *p, nsec_t now)
{
	nsec_t due = MAX(now, p->idle_at) + p->set.delay;
	if (p->set.jitter)
		due += draw_below(p, p->set.jitter + 1);
	due = MAX(due, p->last_due);
	if (happens(p, p->set.reorder)) {
		p->count.late++;
		return due + late;
	}
	p->last_due = due;
	return due;
}

static void insert(struct wan_path *p, struct wan_packet *packet, nsec_t due)
{
	packet->due = due;
	packet->number = p->number++;
	heap_insert(&p->waiting, &packet->node);
}

static void insert_twin(struct wan_path *p, const struct wan_packet *packet)
{
	struct wan_packet *twin = take_unused(p);
	if (!twin)
		return;
	memcpy(twin->frame, packet->frame, packet->len);
	twin->len = packet->len;
	twin->is_counted = true;
	p->count.twice++;
	insert(p, twin, packet->due);
}

uint8_t *wan_path_space(struct wan_path *p)
{
	return p->unused->frame;
}

void wan_path_take(struct wan_path *p, size_t len, nsec_t now)
{
	struct wan_packet *packet = p->unused;

	packet->len = len;
	packet->is_counted = is_counted(packet->frame, len);
	if (!packet->is_counted) {
		if (take_unused(p))
			insert(p, packet, now + p->set.delay);
		return;
	}
	size_t ip_len = len - ETHERNET_HEAD;
	p->count.received++;
	p->count.received_bytes += ip_len;
	if (p->set.mtu && ip_len > p->set.mtu) {
		p->count.large++;
	} else if (happens(p, p->set.loss)) {
		p->count.lost++;
	} else if (!is_carried(p, ip_len, now) || !take_unused(p)) {
		p->count.full++;
	} else {
		insert(p, packet, arrival(p, now));
		if (happens(p, p->set.twice))
			insert_twin(p, packet);
	}
}

nsec_t wan_path_due(const struct wan_path *p)
{
	const struct heap_node *first = heap_first(&p->waiting);
	return first ? HEAP_ENTRY_CONST(first, struct wan_packet, node)->due : NSEC_NEVER;
}

bool wan_path_give(struct wan_path *p, nsec_t now, struct span *ret_frame)
{
	if (wan_path_due(p) > now)
		return false;
	struct heap_node *first = heap_first(&p->waiting);
	struct wan_packet *packet = HEAP_ENTRY(first, struct wan_packet, node);
	heap_remove(&p->waiting, first);
	put_back(p, packet);
	if (packet->is_counted) {
		p->count.sent++;
		p->count.sent_bytes += packet->len - ETHERNET_HEAD;
	}
	*ret_frame = (struct span){ packet->frame, packet->len };
	return true;
}
