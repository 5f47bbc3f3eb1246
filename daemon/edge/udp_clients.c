/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients of UDP. One is known by its address, by the way it came in and by where it sent to. On
 * the worker that reads its datagrams it says which link they take; on the worker of that link it
 * has the flow. Often these are one.
 */
#include "daemon/edge/udp_clients.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/base/random.h"
#include "daemon/edge/edge_conn.h"
#include "util/cleanup.h"

enum {
	TELL_AGAIN = 32,  /* datagrams handed on */
	BATCHES_MAX = 64, /* under way to other workers */
	BATCH_BYTES = 48 * 1024,
};

static struct udp_route route_of(const struct udp_clients *u, unsigned int way)
{
	return u->p.ops->route(u->p.user, way);
}

static void client_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct udp_client, garbage));
}

static void close_call(struct udp_client *c)
{
	c->clients->flows -= c->call.caller ? 1 : 0;
	flow_call_close(&c->call);
}

static void client_end(struct udp_client *c)
{
	struct udp_clients *u = c->clients;
	if (u->p.ops->ended && c->el && c->el->worker == u->p.worker)
		u->p.ops->ended(u->p.user, c);
	close_call(c);
	timer_stop(&c->timer);
	map_remove(&u->map, &c->node);
	edge_link_unref(TAKE_PTR(c->el));
	loop_defer_free(u->p.worker->loop, &c->garbage);
}

static void on_route_timer(struct timer *timer)
{
	struct udp_client *c = CONTAINER_OF(timer, struct udp_client, timer);
	struct loop *loop = c->clients->p.worker->loop;
	nsec_t due = nsec_add(c->active, route_of(c->clients, c->way).idle);
	if (loop_now(loop) < due)
		timer_start(loop, &c->timer, due);
	else
		client_end(c);
}

/* ---- from the tunnel ---- */

static void on_payload(struct flow_call *call, struct span payload)
{
	struct udp_client *c = CONTAINER_OF(call, struct udp_client, call);
	c->clients->p.ops->answer(c->clients->p.user, c, payload);
}

static void on_idle(struct flow_call *call)
{
	client_end(CONTAINER_OF(call, struct udp_client, call));
}

/* A link that is good for flows of a way; NULL: there is none. */
static struct edge_link *pick(const struct udp_clients *u, unsigned int way)
{
	const struct edge_tunnel *tunnel = route_of(u, way).tunnel;
	return tunnel ? directory_pick_flows(u->p.directory, tunnel) : NULL;
}

static void use_link(struct udp_client *c, struct edge_link *el)
{
	if (c->el == el)
		return;
	c->has_moved |= c->el != NULL;
	c->crossed = 0;
	edge_link_unref(c->el);
	c->el = edge_link_ref(el);
}

static void on_lost(struct flow_call *call);

static void on_refused(struct flow_call *call)
{
	struct udp_client *c = CONTAINER_OF(call, struct udp_client, call);
	if (c->clients->p.ops->refused)
		c->clients->p.ops->refused(c->clients->p.user, c);
}

static const struct flow_call_user call_user = {
	.on_payload = on_payload,
	.on_idle = on_idle,
	.on_lost = on_lost,
	.on_refused = on_refused,
};

/* ---- the table ---- */

static void put_ip_port(struct packer *p, const struct ip_port *addr)
{
	packer_be16(p, addr->port);
	packer_u8(p, addr->ip.family);
	packer_bytes(p, span_of(addr->ip.bytes, sizeof(addr->ip.bytes)));
}

static void make_key(const struct udp_arrival *a, uint8_t ret[UDP_CLIENT_KEY_LEN])
{
	struct packer p = packer_over(ret, UDP_CLIENT_KEY_LEN);
	packer_be16(&p, (uint16_t)a->way);
	packer_u8(&p, a->is_packet);
	put_ip_port(&p, &a->client);
	put_ip_port(&p, &a->local);
}

struct udp_client *udp_clients_find(const struct udp_clients *u, const struct udp_arrival *a)
{
	uint8_t key[UDP_CLIENT_KEY_LEN];
	make_key(a, key);
	struct map_node *node = map_find(&u->map, span_of(key, sizeof(key)));
	return node ? MAP_ENTRY(node, struct udp_client, node) : NULL;
}

static struct udp_client *client_new(struct udp_clients *u, const struct udp_arrival *a)
{
	struct udp_client *c = u->map.count < u->map.limit ? calloc(1, sizeof(*c)) : NULL;
	if (!c) {
		u->stats.too_many++;
		return NULL;
	}
	c->clients = u;
	c->way = a->way;
	c->is_packet = a->is_packet;
	c->addr = a->client;
	c->local = a->local;
	c->id = a->id;
	c->has_moved = a->has_moved;
	c->timer.on_expire = on_route_timer;
	c->garbage.release = client_release;
	make_key(a, c->key);
	if (map_insert(&u->map, &c->node, span_of(c->key, sizeof(c->key))) < 0) {
		u->stats.too_many++;
		free(c);
		return NULL;
	}
	return c;
}

/* ---- to the tunnel ---- */

/* It has no flow here that would look after its idle time. */
static void note_active(struct udp_client *c)
{
	struct loop *loop = c->clients->p.worker->loop;
	c->active = loop_now(loop);
	if (!timer_is_armed(&c->timer))
		timer_start(loop, &c->timer,
			    nsec_add(c->active, route_of(c->clients, c->way).idle));
}

static void send_packet(struct udp_client *c, struct span packet)
{
	struct call_port *port = edge_conn_flow_port(c->el);
	note_active(c);
	if (port)
		c->clients->p.ops->packet(c->clients->p.user, c, port, packet);
	else
		c->clients->stats.no_link++; /* it ended while the packet was on its way here */
}

static int open_call(struct udp_client *c)
{
	struct udp_route route = route_of(c->clients, c->way);
	if (c->call.caller)
		return 0;
	const struct flow_call_params params = {
		.user = &call_user,
		.dest = route.dest ? route.dest : &c->local,
		.id = &c->id,
		.was_up = c->has_moved,
		.idle = route.idle,
	};
	int r = flow_call_open(c->clients->p.flows, &c->call, &params);
	c->clients->flows += r == 0;
	return r;
}

/* The link is this worker's. */
static void send_here(struct udp_client *c, const struct udp_arrival *a)
{
	struct udp_clients *u = c->clients;
	if (c->is_packet) {
		send_packet(c, a->bytes);
		return;
	}
	timer_stop(&c->timer);
	if (open_call(c) < 0) {
		u->stats.too_many++;
		client_end(c);
		return;
	}
	struct call_port *port = edge_conn_flow_port(c->el);
	if (port)
		flow_call_bind(&c->call, port);
	if (a->is_claim) {
		flow_call_claim(&c->call);
		return;
	}
	size_t max = u->p.ops->too_big ? flow_call_payload_max(&c->call) : SIZE_MAX;
	if (a->bytes.len > max)
		u->p.ops->too_big(u->p.user, c, a, max);
	else
		flow_call_send(&c->call, a->bytes);
}

/* ---- to another worker ---- */

/* It has read this, and its link, one of that worker, was chosen for it. */
struct crossing {
	struct udp_arrival arrival;
	struct edge_link *el; /* referenced */
};

static void on_crossed(const void *from, const struct worker *here, const void *head,
		       uint8_t *bytes, size_t len)
{
	const struct udp_clients *sender = from;
	const struct crossing *crossing = head;
	struct udp_clients *u = sender->p.peers[here->index];
	struct udp_arrival a = crossing->arrival;
	a.bytes = span_of(bytes, len);
	if (!u->is_running)
		return;
	struct udp_client *c = udp_clients_find(u, &a);
	if (!c)
		c = client_new(u, &a);
	if (!c)
		return;
	use_link(c, crossing->el);
	send_here(c, &a);
}

static void forget_crossing(const void *head)
{
	edge_link_unref(((const struct crossing *)head)->el);
}

static const struct ferry_kind crossings = {
	.batches = BATCHES_MAX,
	.bytes = BATCH_BYTES,
	.head_len = sizeof(struct crossing),
	.take = on_crossed,
	.forget = forget_crossing,
};

static void send_there(struct udp_client *c, const struct udp_arrival *a)
{
	struct udp_clients *u = c->clients;
	close_call(c);
	note_active(c);
	if (u->p.ops->elsewhere && c->crossed++ % TELL_AGAIN == 0)
		u->p.ops->elsewhere(u->p.user, c, c->el->worker);
	struct crossing crossing = { .arrival = *a, .el = edge_link_ref(c->el) };
	crossing.arrival.id = c->id;
	crossing.arrival.has_moved = c->has_moved;
	if (ferry_add(&u->ferry, c->el->worker->index, &crossing, a->bytes)) {
		u->stats.forwarded++;
	} else {
		u->stats.forward_full++;
		edge_link_unref(crossing.el);
	}
}

/* Another link of this worker takes what waits; where nothing does, another worker's as well. */
static void on_lost(struct flow_call *call)
{
	struct udp_client *c = CONTAINER_OF(call, struct udp_client, call);
	struct edge_link *el = pick(c->clients, c->way);
	if (!el)
		return;
	struct call_port *port =
		el->worker == c->clients->p.worker ? edge_conn_flow_port(el) : NULL;
	if (port) {
		use_link(c, el);
		flow_call_bind(call, port);
	} else if (el->worker != c->clients->p.worker && call->held_count == 0) {
		use_link(c, el);
		send_there(c, &(struct udp_arrival){ .way = c->way,
						     .client = c->addr,
						     .local = c->local,
						     .is_claim = true });
	}
}

/* The link that a client's datagrams take: the one of before while it is good, or the only one;
 * NULL: there is none. now: NULL for a new client. */
static struct edge_link *choose(const struct udp_clients *u, struct edge_link *now,
				unsigned int way)
{
	bool is_usable = now && edge_link_is_usable(now);
	if (is_usable && !edge_link_suspicion(now))
		return now;
	struct edge_link *el = pick(u, way);
	return is_usable && (!el || edge_link_suspicion(el)) ? now : el;
}

int udp_clients_take(struct udp_clients *u, const struct udp_arrival *a)
{
	struct udp_client *c = udp_clients_find(u, a);
	struct edge_link *el = choose(u, c ? c->el : NULL, a->way);
	if (!el) {
		u->stats.no_link++;
		return -ENETUNREACH;
	}
	if (!c && !ratelimit_take(&u->rate, loop_now(u->p.worker->loop), 1)) {
		u->stats.rate++;
		return 0;
	}
	if (!c) {
		struct udp_arrival first = *a;
		random_bytes(first.id.bytes, sizeof(first.id.bytes));
		c = client_new(u, &first);
	}
	if (!c)
		return 0;
	use_link(c, el);
	if (el->worker == u->p.worker)
		send_here(c, a);
	else
		send_there(c, a);
	return 0;
}

/* ---- life ---- */

void udp_clients_use_limits(struct udp_clients *u, const struct conf_limits *l)
{
	unsigned int workers = worker_set_count(u->p.worker->set);
	u->map.limit = MAX(l->flows / workers, 1U);
	ratelimit_set_rate(&u->rate, MAX(l->flow_registrations / workers, 1U));
	u->p.flows->held_max = l->flow_queue;
}

void udp_clients_init(struct udp_clients *u, const struct udp_clients_params *params)
{
	*u = (struct udp_clients){ .p = *params };
	map_init(&u->map, 0);
	ferry_init(&u->ferry, &crossings, params->worker, u);
}

void udp_clients_done(struct udp_clients *u)
{
	map_done(&u->map);
}

void udp_clients_start(struct udp_clients *u)
{
	u->is_running = true;
}

void udp_clients_stop(struct udp_clients *u)
{
	u->is_running = false;
	MAP_FOREACH(node, &u->map)
	client_end(MAP_ENTRY(node, struct udp_client, node));
	ferry_done(&u->ferry);
}
