/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Probe, promote, demote. Nothing is done for a datagram but counting it; once a second those that
 * moved are looked at, and those that are entered in the program's map. The map's value is replaced
 * as a whole.
 */
#include "daemon/datapath/promote.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/datapath/neighbour.h"
#include "daemon/datapath/slots.h"
#include "daemon/datapath/sock.h"
#include "daemon/datapath/template.h"
#include "daemon/net/bpf.h"
#include "daemon/net/xsk.h"
#include "netlink/lookup.h"
#include "util/cache.h"
#include "util/cleanup.h"
#include "util/endian.h"

enum {
	BURST = 4,          /* datagrams of a turn from which the socket is as cheap */
	RECEIVES = 4,       /* batches of one queue in a turn */
	GIVE_UP_TICKS = 10, /* on probe without an answer, or slow: forgotten */
	PROMOTIONS = 64,    /* at a time; the next ones a little later */
	PROBES = 512,       /* begun in a tick */
	SPREAD = 64,
	REST = 2,     /* ticks after news: answers to what was sent before them prove nothing */
	FULL_MAX = 3, /* heartbeats in a row for which there was no room */
};
#define CATCH_UP_GAP  (10 * NSEC_PER_MSEC)
#define TICK          NSEC_PER_SEC
#define HEARTBEAT     (10 * NSEC_PER_SEC)
#define HEARTBEAT_GAP (100 * NSEC_PER_MSEC) /* to the next when there was no room for one */
#define RETRY         (10 * NSEC_PER_SEC)   /* a flow that couldn't be promoted is asked again */
#define FLUSH_GAP     NSEC_PER_MSEC         /* the device had no room */

/* A flow in the map. What a datagram needs comes first, and is one fetch from memory. */
struct promoted {
	alignas(CACHE_PAIR) struct flow_path *path;
	nsec_t heartbeat; /* when the socket is due again */
	struct adit_flow_val val;
	uint32_t moved;  /* by the short cut, since the last tick */
	uint8_t way;     /* index */
	bool is_sending; /* the template is true */
	uint8_t full;    /* heartbeats in a row for which there was no room */
	struct frame_template template;

	uint32_t slot;
	struct list node; /* in the promoter's */
	struct adit_flow_key key;
	uint64_t base_probes;   /* what the slot had counted when the probe began */
	unsigned int rest;      /* ticks until an answer counts */
	unsigned int waited;    /* ticks on probe without an answer */
	unsigned int quiet;     /* ticks since it was last worth it */
	struct neighbour *next; /* whose MAC address is in the template; NULL: it isn't */
	struct list beside;     /* on the neighbour's */
};
static_assert(offsetof(struct promoted, slot) <= CACHE_PAIR);
static_assert((int)PROMOTE_WAYS_MAX <= UINT8_MAX);

/* A socket of a way. */
struct inlet {
	struct loop_io io;
	struct promoter *promoter;
	unsigned int way, queue;
};

struct way {
	struct promote_way p;
	struct inlet *inlets;
	struct xsk_drops counted; /* of its drops, what is in the statistics */
	bool is_dirty;            /* something is queued to be sent */
};

struct promoter {
	struct promote_params p;
	struct loop *loop;
	struct lookup *lookup;
	struct neighbours neighbours;
	bool is_barred;
	nsec_t news; /* the network has changed */
	struct way ways[PROMOTE_WAYS_MAX];
	struct list busy;    /* paths that moved something by their sockets since the last tick */
	struct list entered; /* struct promoted */
	struct timer tick, catch_up;
	unsigned int probes_left; /* that may begin in this tick */
	struct loop_task flush;
	struct timer flush_again;
	struct slots slots; /* … of struct promoted */
	uint64_t serial;
};

/* ---- a flow's state ---- */

static struct way *way_of(struct promoter *p, const struct promoted *f)
{
	return &p->ways[f->way];
}

static bool is_hit(const struct promoted *f)
{
	return f->val.state == FLOW_STATE_HIT;
}

bool promote_is_receiving(const struct flow_path *path)
{
	return path->fast && is_hit(path->fast);
}

bool promote_is_sending(const struct flow_path *path)
{
	return path->fast && path->fast->is_sending;
}

/* A promoted path is counted here and not with those of its socket. */
static void count_hit(struct promoter *p, const struct promoted *f, int by)
{
	if (!is_hit(f))
		return;
	p->p.stats->paths[PATH_KIND_SHORT_CUT] += (uint64_t)by;
	p->p.stats->paths[path_sock_kind(f->path)] -= (uint64_t)by;
}

static int set_state(struct promoter *p, struct promoted *f, uint8_t state)
{
	struct adit_flow_val val = f->val;
	val.state = state;
	int r = bpf_flow_set(way_of(p, f)->p.flows, &f->key, &val);
	if (r < 0)
		return r;
	count_hit(p, f, -1);
	f->val = val;
	count_hit(p, f, 1);
	return 0;
}

static uint64_t probes_of(struct promoter *p, const struct promoted *f)
{
	return bpf_flow_probes(way_of(p, f)->p.flows, f->val.slot);
}

static bool has_answer(struct promoter *p, const struct promoted *f)
{
	return f->rest == 0 && probes_of(p, f) > f->base_probes;
}

static void leave_neighbour(struct promoter *p, struct promoted *f)
{
	struct neighbour *n = TAKE_PTR(f->next);
	f->is_sending = false;
	list_remove(&f->beside);
	if (n && list_is_empty(&n->flows))
		neighbour_free(&p->neighbours, n);
}

/* Both ways go by the socket again, and the next reply there counts. */
static void demote(struct promoter *p, struct promoted *f, const char *why)
{
	if (is_hit(f) || f->is_sending) {
		p->p.stats->demotions++;
		flow_path_note(f->path, why);
	}
	leave_neighbour(p, f);
	f->path->why = why;
	f->quiet = f->waited = f->full = 0;
	f->rest = REST;
	if (is_hit(f) && set_state(p, f, FLOW_STATE_PROBE) < 0)
		(void)bpf_flow_remove(way_of(p, f)->p.flows, &f->key);
	f->base_probes = probes_of(p, f);
}

/* Out of the map; the path is left to its socket. */
static void take_out(struct promoter *p, struct promoted *f)
{
	(void)bpf_flow_remove(way_of(p, f)->p.flows, &f->key);
	leave_neighbour(p, f);
	count_hit(p, f, -1);
	slots_put(&p->slots, f->slot, loop_now(p->loop));
	list_remove(&f->node);
	f->path->fast = NULL;
	free(f);
}

/* ---- probing ---- */

static void fill_key(struct adit_flow_key *key, const struct ip_port *local,
		     const struct ip_port *remote)
{
	uint8_t bytes[16];
	*key = (struct adit_flow_key){
		.lport = htobe16(local->port),
		.rport = htobe16(remote->port),
		.proto = 17,
	};
	ip_addr_to_mapped(&local->ip, bytes);
	memcpy(key->local, bytes, sizeof(bytes));
	ip_addr_to_mapped(&remote->ip, bytes);
	memcpy(key->remote, bytes, sizeof(bytes));
}

/* Room for the header of the datagram that carries the payload on; until then it says whose it is:
 * no two flows that ever had a slot have the same. */
static void fill_head(struct promoter *p, struct promoted *f)
{
	f->val.hdr[0] = 1;
	store_be64(f->val.hdr + 1, ++p->serial);
	store_be32(f->val.hdr + 9, f->slot);
	store_be32(f->val.hdr + 13, p->p.worker->index);
}

static const char *find_way(struct promoter *p, const struct flow_path *path, unsigned int *ret_way,
			    struct lookup_route *ret_route)
{
	struct lookup_route route;
	if (p->is_barred)
		return "the host has policies of IPsec";
	if (lookup_route(p->lookup, flow_path_local(path), &path->remote, &route) < 0)
		return "no route";
	unsigned int i = 0;
	while (i < PROMOTE_WAYS_MAX &&
	       (p->ways[i].p.ifindex == 0 || p->ways[i].p.ifindex != route.ifindex))
		i++;
	if (i == PROMOTE_WAYS_MAX)
		return "no short cut on its interface";
	if (!route.is_plain)
		return "its route isn't a plain one";
	*ret_way = i;
	*ret_route = route;
	return NULL;
}

/* NULL: it is on probe. */
static const char *begin_probe(struct promoter *p, struct flow_path *path)
{
	struct lookup_route route;
	unsigned int way = 0;
	const char *why = find_way(p, path, &way, &route);
	if (why)
		return why;
	struct promoted *f = aligned_alloc(CACHE_PAIR, sizeof(*f));
	if (!f)
		return "no memory";
	uint32_t slot = slots_get(&p->slots, f, loop_now(p->loop));
	if (slot == SLOT_NONE) {
		free(f);
		return "all places are taken";
	}
	*f = (struct promoted){ .path = path, .way = (uint8_t)way, .slot = slot };
	f->val.worker = (uint16_t)p->p.worker->index;
	f->val.slot = p->p.first_slot + slot;
	fill_key(&f->key, flow_path_local(path), &path->remote);
	fill_head(p, f);
	f->base_probes = probes_of(p, f);
	bool is_older = path->since <= p->news;
	f->rest = is_older && loop_now(p->loop) < nsec_add(p->news, REST * TICK) ? REST : 0;
	if (set_state(p, f, FLOW_STATE_PROBE) < 0) {
		slots_put(&p->slots, slot, loop_now(p->loop));
		free(f);
		return "no memory";
	}
	list_append(&p->entered, &f->node);
	path->fast = f;
	return NULL;
}

static int join_neighbour(struct promoter *p, struct promoted *f, const struct ip_addr *next,
			  const struct template_params *params)
{
	struct solicit question = { .local = params->local.ip, .target = *next };
	memcpy(question.local_mac, params->local_mac, sizeof(question.local_mac));
	memcpy(question.mac, params->next_mac, sizeof(question.mac));
	struct neighbour *n =
		neighbour_get(&p->neighbours, f->way, way_of(p, f)->p.ifindex, &question);
	if (!n)
		return -ENOMEM;
	f->next = n;
	list_append(&n->flows, &f->beside);
	/* Others still send to the old one: the news are on their way. */
	return memcmp(n->question.mac, question.mac, sizeof(question.mac)) == 0 ? 0 : -ESTALE;
}

/* A reply was seen in the program: is the way as it must be, and who is next on it? */
static const char *promote(struct promoter *p, struct promoted *f)
{
	struct lookup_route route;
	struct lookup_neighbour next;
	unsigned int way = 0;
	const char *why = find_way(p, f->path, &way, &route);
	if (why || way != f->way)
		return why ? why : "its route has changed";
	const struct promote_way *w = &p->ways[way].p;
	if (lookup_neighbour(p->lookup, w->ifindex, &route.next, &next) < 0)
		return "its neighbour isn't known";
	struct template_params params = {
		.local = *flow_path_local(f->path),
		.remote = f->path->remote,
		.mtu = route.mtu ? MIN(route.mtu, w->mtu) : w->mtu,
	};
	memcpy(params.local_mac, w->mac, sizeof(params.local_mac));
	memcpy(params.next_mac, next.mac, sizeof(params.next_mac));
	int r = join_neighbour(p, f, &route.next, &params);
	if (r == 0)
		r = set_state(p, f, FLOW_STATE_HIT);
	if (r < 0) {
		leave_neighbour(p, f);
		return r == -ESTALE ? "its neighbour has changed" : "no memory";
	}
	template_make(&f->template, &params);
	f->is_sending = true;
	/* Those that are promoted together aren't due together. */
	f->heartbeat = nsec_add(loop_now(p->loop),
				HEARTBEAT - f->slot % SPREAD * (HEARTBEAT / 2 / SPREAD));
	p->p.stats->promotions++;
	flow_path_note(f->path, "busy, and proved");
	return NULL;
}

/* ---- neighbours ---- */

static void demote_beside(struct promoter *p, struct neighbour *n, const char *why)
{
	bool is_last = false; /* with its last flow it goes */
	while (!is_last) {
		is_last = n->flows.next == n->flows.prev;
		demote(p, LIST_ENTRY(n->flows.next, struct promoted, beside), why);
	}
}

static bool on_ask(void *user, const struct neighbour *n)
{
	struct promoter *p = user;
	struct way *w = &p->ways[n->way];
	uint8_t *at = xsk_take(w->p.area, p->p.worker->index);
	if (!at)
		return false;
	const struct xsk_frame frame = { .data = at, .len = solicit_write(&n->question, at) };
	xsk_send(w->p.area, p->p.worker->index, &frame, 0, 0);
	w->is_dirty = true;
	loop_task_post(p->loop, &p->flush, LOOP_PHASE_FLUSH);
	return true;
}

static void on_lost(void *user, struct neighbour *n)
{
	demote_beside(user, n, "its neighbour doesn't answer");
}

void promoter_neighbour_changed(struct promoter *p, unsigned int ifindex,
				const struct ip_addr *addr, const uint8_t *mac)
{
	struct neighbour *n = neighbour_find(&p->neighbours, ifindex, addr);
	/* Its answers go on coming as they do; to send, it waits for a new address. */
	if (n && (!mac || memcmp(mac, n->question.mac, PROMOTE_MAC_LEN) != 0))
		demote_beside(p, n, "its neighbour has changed: on probe");
}

/* ---- once a second ---- */

static bool is_worth_it(const struct promoter *p, const struct path_pace *pace)
{
	if (p->p.rate == 0)
		return true;
	return pace->moved >= p->p.rate && pace->moved / MAX(pace->turns, 1U) < BURST;
}

static void look_at_busy(struct promoter *p, struct flow_path *path)
{
	struct path_pace *pace = &path->pace;
	nsec_t now = loop_now(p->loop);
	bool is_worth = is_worth_it(p, pace);
	if (!path->fast && !is_worth) {
		path->why = path->own                 ? path->why
			    : pace->moved < p->p.rate ? "too slow for the short cut"
						      : "its bursts are long";
	} else if (!path->fast && now >= pace->retry && p->probes_left > 0) {
		p->probes_left--;
		const char *why = begin_probe(p, path);
		path->why = why ? why : "on probe";
		pace->retry = why ? nsec_add(now, RETRY) : 0;
	}
	pace->moved = 0;
	pace->turns = 0;
}

static void look_at_entered(struct promoter *p, struct promoted *f)
{
	if (is_hit(f)) {
		f->quiet = f->moved >= p->p.rate ? 0 : f->quiet + 1;
		f->moved = 0;
		if (f->quiet < GIVE_UP_TICKS)
			return;
		demote(p, f, "too slow");
		take_out(p, f);
		return;
	}
	if (f->rest > 0) {
		f->rest--;
		f->base_probes = probes_of(p, f);
	} else if (has_answer(p, f)) {
		f->waited = 0;
	} else if (++f->waited >= GIVE_UP_TICKS) {
		f->path->why = "no answer comes by its interface as it is";
		f->path->pace.retry = nsec_add(loop_now(p->loop), RETRY);
		take_out(p, f);
	}
}

/* Those that have their answer, some at a time: the kernel is asked twice for each. */
static void promote_some(struct promoter *p)
{
	unsigned int left = PROMOTIONS;
	LIST_FOREACH(node, &p->entered)
	{
		struct promoted *f = LIST_ENTRY(node, struct promoted, node);
		if (is_hit(f) || !has_answer(p, f))
			continue;
		if (left-- == 0) {
			timer_start(p->loop, &p->catch_up,
				    nsec_add(loop_now(p->loop), CATCH_UP_GAP));
			return;
		}
		const char *why = promote(p, f);
		f->path->why = why ? why : f->path->why;
		if (why) /* another answer is waited for */
			f->base_probes = probes_of(p, f);
	}
}

static void on_catch_up(struct timer *timer)
{
	promote_some(CONTAINER_OF(timer, struct promoter, catch_up));
}

static void on_tick(struct timer *timer)
{
	struct promoter *p = CONTAINER_OF(timer, struct promoter, tick);
	LIST_FOREACH(node, &p->entered)
	look_at_entered(p, LIST_ENTRY(node, struct promoted, node));
	neighbours_tick(&p->neighbours, loop_now(p->loop));
	promote_some(p);
	p->probes_left = PROBES;
	LIST_FOREACH(node, &p->busy)
	{
		list_remove(node);
		look_at_busy(p, LIST_ENTRY(node, struct flow_path, pace.node));
	}
	if (!list_is_empty(&p->entered))
		timer_start(p->loop, &p->tick, nsec_add(loop_now(p->loop), TICK));
}

void promote_note(struct promoter *p, struct flow_path *path, unsigned int count)
{
	struct path_pace *pace = &path->pace;
	if (p->p.stats->open == 0)
		return;
	nsec_t now = loop_now(p->loop);
	if (pace->moved == 0) {
		list_append(&p->busy, &pace->node);
		if (!timer_is_armed(&p->tick))
			timer_start(p->loop, &p->tick, nsec_add(now, TICK));
	}
	pace->moved += count;
	pace->turns += pace->turn != now;
	pace->turn = now;
	if (path->fast)
		path->fast->full = 0;
}

void promote_forget(struct promoter *p, struct flow_path *path)
{
	if (path->fast)
		take_out(p, path->fast);
	if (path->pace.moved > 0)
		list_remove(&path->pace.node);
	path->pace = (struct path_pace){};
}

/* A queue of this host was full, which passes: a promoted flow asks again soon, and one on probe
 * has its answer when there is room. */
static bool will_pass(struct promoter *p, struct promoted *f, int error)
{
	if (error != -ENOBUFS)
		return false;
	if (!f->is_sending)
		return true;
	f->heartbeat = nsec_add(loop_now(p->loop), HEARTBEAT_GAP);
	return ++f->full < FULL_MAX;
}

void promote_error(struct promoter *p, struct flow_path *path, int error)
{
	if (path->fast && !will_pass(p, path->fast, error))
		demote(p, path->fast, "the network refused a datagram");
}

/* ---- sending ---- */

/* What a way can't carry any more goes by sockets, until something is heard of the interface. */
static void demote_way(struct promoter *p, unsigned int way, const char *why)
{
	LIST_FOREACH(node, &p->entered)
	{
		struct promoted *f = LIST_ENTRY(node, struct promoted, node);
		if (f->way == way)
			demote(p, f, why);
	}
}

static void flush(struct promoter *p)
{
	for (unsigned int i = 0; i < PROMOTE_WAYS_MAX; i++) {
		struct way *w = &p->ways[i];
		if (!w->is_dirty)
			continue;
		int r = xsk_flush(w->p.area, p->p.worker->index);
		w->is_dirty = r == -EAGAIN;
		if (r == -EAGAIN)
			timer_start(p->loop, &p->flush_again,
				    nsec_add(loop_now(p->loop), FLUSH_GAP));
		if (r == 0 || r == -EAGAIN)
			continue;
		xsk_withdraw(w->p.area, p->p.worker->index);
		demote_way(p, i, "its interface takes nothing");
	}
}

static void on_flush(struct loop_task *task)
{
	flush(CONTAINER_OF(task, struct promoter, flush));
}

static void on_flush_again(struct timer *timer)
{
	flush(CONTAINER_OF(timer, struct promoter, flush_again));
}

void promote_fetch(const struct promoted *f)
{
	cache_fetch_pair(f);
}

bool promote_send(struct promoter *p, struct flow_path *path, struct span datagram)
{
	struct promoted *f = path->fast;
	if (!f->is_sending || datagram.len > template_room(&f->template))
		return false;
	nsec_t now = loop_now(p->loop);
	if (now >= f->heartbeat) {
		f->heartbeat = nsec_add(now, HEARTBEAT);
		return false;
	}
	struct way *w = way_of(p, f);
	unsigned int worker = p->p.worker->index;
	uint8_t *at = xsk_take(w->p.area, worker);
	if (!at) { /* a long turn: what is queued can leave now */
		flush(p);
		at = f->is_sending ? xsk_take(w->p.area, worker) : NULL;
	}
	if (!at)
		return false;
	template_write(&f->template, datagram.len, at);
	memcpy(at + f->template.len, datagram.ptr, datagram.len);
	const struct xsk_frame frame = { .data = at, .len = f->template.len + datagram.len };
	xsk_send(w->p.area, worker, &frame, f->template.udp, TEMPLATE_CSUM_OFFSET);
	w->is_dirty = true;
	loop_task_post(p->loop, &p->flush, LOOP_PHASE_FLUSH);
	f->moved++;
	p->p.stats->tx_datagrams[PATH_KIND_SHORT_CUT]++;
	return true;
}

/* ---- receiving ---- */

static struct promoted *flow_of(const struct promoter *p, const struct adit_rx_meta *meta)
{
	return slots_user(&p->slots, meta->slot - p->p.first_slot);
}

static void read_meta(const struct xsk_frame *frame, struct adit_rx_meta *ret)
{
	memcpy(ret, frame->data - sizeof(*ret), sizeof(*ret));
}

/* Many flows are more than the caches hold: what they have in memory is asked for, of all frames at
 * once, before the first is looked at. */
static void fetch(const struct promoter *p, const struct xsk_frame *frames, unsigned int count)
{
	const struct promoted *flows[XSK_BATCH];
	for (unsigned int k = 0; k < count; k++) {
		struct adit_rx_meta meta;
		read_meta(&frames[k], &meta);
		flows[k] = flow_of(p, &meta);
		if (flows[k])
			__builtin_prefetch(flows[k], 1);
	}
	for (unsigned int k = 0; k < count; k++)
		if (flows[k])
			__builtin_prefetch(flows[k]->path, 1);
}

static void deliver(struct promoter *p, const struct xsk_frame *frame)
{
	struct adit_rx_meta meta;
	read_meta(frame, &meta);
	struct promoted *f = flow_of(p, &meta);
	if (!f || meta.len != frame->len || frame->len < FLOW_HDR_LEN ||
	    memcmp(frame->data, f->val.hdr, FLOW_HDR_LEN) != 0) {
		p->p.stats->late++;
		return;
	}
	f->moved++;
	p->p.stats->rx_datagrams[PATH_KIND_SHORT_CUT]++;
	f->path->user->on_datagram(f->path, frame->data + FLOW_HDR_LEN, frame->len - FLOW_HDR_LEN);
}

static void receive(struct inlet *in, unsigned int batches)
{
	static_assert((int)XSK_HEADROOM_RX >= (int)PATH_HEADROOM);

	struct promoter *p = in->promoter;
	struct xsk_area *area = p->ways[in->way].p.area;
	unsigned int worker = p->p.worker->index;
	struct xsk_frame frames[XSK_BATCH];
	for (unsigned int i = 0; i < batches; i++) {
		unsigned int n = xsk_receive(area, worker, in->queue, frames);
		fetch(p, frames, n);
		for (unsigned int k = 0; k < n; k++)
			deliver(p, &frames[k]);
		xsk_release(area, worker, in->queue, frames, n);
		if (n < XSK_BATCH)
			return;
	}
}

static void on_frames(struct loop_io *io, uint32_t revents)
{
	if (revents & EPOLLIN)
		receive(CONTAINER_OF(io, struct inlet, io), RECEIVES);
}

/* ---- ways ---- */

static void close_inlets(struct way *w, unsigned int count)
{
	for (unsigned int q = 0; q < count; q++)
		loop_io_stop(&w->inlets[q].io);
	free(TAKE_PTR(w->inlets));
}

int promoter_open_way(struct promoter *p, unsigned int index, const struct promote_way *way)
{
	struct way *w = &p->ways[index];
	struct inlet *inlets = calloc(way->queues, sizeof(*inlets));
	if (!inlets)
		return -ENOMEM;
	*w = (struct way){ .p = *way, .inlets = inlets };
	for (unsigned int q = 0; q < way->queues; q++) {
		inlets[q] = (struct inlet){
			.io.on_ready = on_frames, .promoter = p, .way = index, .queue = q
		};
		int r = loop_io_start(p->loop, &inlets[q].io,
				      xsk_fd(way->area, p->p.worker->index, q), EPOLLIN);
		if (r < 0) {
			close_inlets(w, q);
			*w = (struct way){};
			return r;
		}
	}
	p->p.stats->open++;
	return 0;
}

/* Sums over sockets that aren't read at one instant may lag behind what they were before. */
static uint64_t grown(uint64_t *counted, uint64_t now)
{
	uint64_t before = *counted;
	*counted = MAX(before, now);
	return *counted - before;
}

void promoter_count_losses(struct promoter *p)
{
	uint64_t *lost = p->p.stats->frames_lost;
	for (unsigned int i = 0; i < PROMOTE_WAYS_MAX; i++) {
		struct way *w = &p->ways[i];
		struct xsk_drops now;
		if (w->p.ifindex == 0)
			continue;
		xsk_drops(w->p.area, p->p.worker->index, &now);
		lost[PATH_LOSS_RING_FULL] += grown(&w->counted.ring_full, now.ring_full);
		lost[PATH_LOSS_NO_CHUNK] += grown(&w->counted.no_chunk, now.no_chunk);
		lost[PATH_LOSS_TOO_LONG] += grown(&w->counted.too_long, now.too_long);
		lost[PATH_LOSS_NOT_SENT] += grown(&w->counted.not_sent, now.not_sent);
	}
}

void promoter_close_way(struct promoter *p, unsigned int index)
{
	struct way *w = &p->ways[index];
	if (w->p.ifindex == 0)
		return;
	/* What has come is served; what hasn't left is lost. */
	for (unsigned int q = 0; q < w->p.queues; q++)
		receive(&w->inlets[q], XSK_RX_CHUNKS / XSK_BATCH);
	xsk_withdraw(w->p.area, p->p.worker->index);
	LIST_FOREACH(node, &p->entered)
	{
		struct promoted *f = LIST_ENTRY(node, struct promoted, node);
		if (f->way != index)
			continue;
		demote(p, f, "the short cut on its interface has been closed");
		take_out(p, f);
	}
	promoter_count_losses(p);
	close_inlets(w, w->p.queues);
	*w = (struct way){};
	p->p.stats->open--;
}

void promoter_bar(struct promoter *p, bool is_barred)
{
	p->is_barred = is_barred;
	promoter_way_changed(p);
}

void promoter_way_changed(struct promoter *p)
{
	p->news = loop_now(p->loop);
	LIST_FOREACH(node, &p->entered)
	demote(p, LIST_ENTRY(node, struct promoted, node), "the network has changed: on probe");
	LIST_FOREACH(node, &p->busy)
	LIST_ENTRY(node, struct flow_path, pace.node)->pace.retry = 0;
}

/* ---- life ---- */

int promoter_new(const struct promote_params *params, struct promoter **ret)
{
	static const struct neighbour_ops neighbour_ops = { .ask = on_ask, .on_lost = on_lost };
	_cleanup_(freep) struct promoter *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	int r = slots_init(&p->slots, params->slots, TICK);
	if (r < 0)
		return r;
	r = lookup_open(&p->lookup);
	if (r < 0) {
		slots_done(&p->slots);
		return r;
	}
	p->p = *params;
	p->loop = params->worker->loop;
	list_init(&p->busy);
	list_init(&p->entered);
	neighbours_init(&p->neighbours, &neighbour_ops, p, p->lookup, params->slots);
	p->tick.on_expire = on_tick;
	p->catch_up.on_expire = on_catch_up;
	p->flush.run = on_flush;
	p->flush_again.on_expire = on_flush_again;
	*ret = TAKE_PTR(p);
	return 0;
}

void promoter_free(struct promoter *p)
{
	if (!p)
		return;
	for (unsigned int i = 0; i < PROMOTE_WAYS_MAX; i++)
		promoter_close_way(p, i);
	timer_stop(&p->tick);
	timer_stop(&p->catch_up);
	timer_stop(&p->flush_again);
	loop_task_cancel(&p->flush);
	neighbours_done(&p->neighbours);
	lookup_close(p->lookup);
	slots_done(&p->slots);
	free(p);
}
