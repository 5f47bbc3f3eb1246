/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clients' datagrams on their way to another worker. A message is allocated for a batch, not for a
 * datagram, and there is a limit of them.
 */
#include "daemon/edge/udp_forward.h"

#include <stdlib.h>

#include "daemon/edge/udp_clients.h"
#include "util/cleanup.h"

enum {
	BATCH_DATAGRAMS = 32,
	BATCH_BYTES = 48 * 1024,
	UNDER_WAY_MAX = 64, /* messages of a worker */
};

struct udp_batch_message {
	struct message message;
	struct udp_forward *from;
	struct udp_clients *to;
	struct worker *to_worker;
	unsigned int count;
	size_t used;
	struct {
		struct udp_arrival arrival; /* its bytes are below */
		struct edge_link *el;       /* referenced */
	} items[BATCH_DATAGRAMS];
	uint8_t bytes[BATCH_BYTES];
};

static void forget_links(struct udp_batch_message *m)
{
	for (unsigned int i = 0; i < m->count; i++)
		edge_link_unref(TAKE_PTR(m->items[i].el));
	m->count = 0;
}

static void discard(struct message *message)
{
	struct udp_batch_message *m = CONTAINER_OF(message, struct udp_batch_message, message);
	forget_links(m);
	free(m);
}

static void on_return(struct message *message, void *owner)
{
	(void)owner;
	struct udp_batch_message *m = CONTAINER_OF(message, struct udp_batch_message, message);
	m->from->under_way--;
	free(m);
}

static void on_arrival(struct message *message, void *owner)
{
	(void)owner;
	struct udp_batch_message *m = CONTAINER_OF(message, struct udp_batch_message, message);
	for (unsigned int i = 0; i < m->count; i++)
		udp_clients_take_forwarded(m->to, &m->items[i].arrival, m->items[i].el);
	forget_links(m);
	m->message.on_deliver = on_return;
	mailbox_post(m->from->clients->p.worker->mailbox, &m->message);
}

static void post(struct udp_forward *u, unsigned int to)
{
	struct udp_batch_message *m = TAKE_PTR(u->building[to]);
	mailbox_post(m->to_worker->mailbox, &m->message);
}

static void on_flush(struct loop_task *task)
{
	struct udp_forward *u = CONTAINER_OF(task, struct udp_forward, flush);
	for (unsigned int i = 0; i < worker_set_count(u->clients->p.worker->set); i++)
		if (u->building[i])
			post(u, i);
}

static struct udp_batch_message *message_for(struct udp_forward *u, unsigned int to, size_t len)
{
	struct udp_batch_message *m = u->building[to];
	if (m && (m->count == BATCH_DATAGRAMS || len > BATCH_BYTES - m->used)) {
		post(u, to);
		m = NULL;
	}
	if (m || u->under_way >= UNDER_WAY_MAX)
		return m;
	m = malloc(sizeof(*m));
	if (!m)
		return NULL;
	m->message = (struct message){ .on_deliver = on_arrival, .on_discard = discard };
	m->from = u;
	m->to = u->clients->p.peers[to];
	m->to_worker = worker_set_get(u->clients->p.worker->set, to);
	m->count = 0;
	m->used = 0;
	u->under_way++;
	u->building[to] = m;
	loop_task_post(u->clients->p.worker->loop, &u->flush, LOOP_PHASE_FLUSH);
	return m;
}

void udp_forward_init(struct udp_forward *u, struct udp_clients *clients)
{
	*u = (struct udp_forward){ .clients = clients, .flush.run = on_flush };
}

void udp_forward_done(struct udp_forward *u)
{
	loop_task_cancel(&u->flush);
	for (unsigned int i = 0; i < WORKER_MAX; i++)
		if (u->building[i])
			discard(&TAKE_PTR(u->building[i])->message);
}

bool udp_forward_add(struct udp_forward *u, const struct udp_arrival *a, struct edge_link *el)
{
	struct udp_batch_message *m = a->bytes.len <= BATCH_BYTES
					      ? message_for(u, el->worker->index, a->bytes.len)
					      : NULL;
	if (!m)
		return false;
	uint8_t *at = m->bytes + m->used;
	if (a->bytes.len > 0)
		memcpy(at, a->bytes.ptr, a->bytes.len);
	m->items[m->count].arrival = *a;
	m->items[m->count].arrival.bytes = span_of(at, a->bytes.len);
	m->items[m->count].el = edge_link_ref(el);
	m->used += a->bytes.len;
	m->count++;
	return true;
}
