/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Datagrams of edges on their way to another worker. A message is allocated for a batch, not for a
 * datagram, one that has come back is used again, and there is a limit of them.
 */
#include "daemon/session/flow_cross.h"

#include <stdlib.h>

#include "daemon/session/flow_table.h"
#include "util/cleanup.h"

enum {
	BATCH_DATAGRAMS = 64,
	BATCH_BYTES = 48 * 1024,
	UNDER_WAY_MAX = 64, /* messages of a worker */
};

struct flow_batch {
	struct message message;
	struct flow_cross *from;
	struct flow_table *to;
	unsigned int count;
	size_t used;
	struct crossing items[BATCH_DATAGRAMS];
	uint8_t bytes[BATCH_BYTES];
};

static void discard(struct message *message)
{
	free(CONTAINER_OF(message, struct flow_batch, message));
}

static void on_return(struct message *message, void *owner)
{
	(void)owner;
	struct flow_batch *b = CONTAINER_OF(message, struct flow_batch, message);
	struct flow_cross *x = b->from;
	x->under_way--;
	if (x->spare || !x->table)
		free(b);
	else
		x->spare = b;
}

static void on_arrival(struct message *message, void *owner)
{
	(void)owner;
	struct flow_batch *b = CONTAINER_OF(message, struct flow_batch, message);
	for (unsigned int i = 0; i < b->count; i++)
		flow_table_crossed(b->to, &b->items[i]);
	b->message.on_deliver = on_return;
	mailbox_post(b->from->worker->mailbox, &b->message);
}

static void post(struct flow_cross *x, unsigned int to)
{
	struct flow_batch *b = TAKE_PTR(x->building[to]);
	mailbox_post(worker_set_get(x->worker->set, to)->mailbox, &b->message);
}

static void on_flush(struct loop_task *task)
{
	struct flow_cross *x = CONTAINER_OF(task, struct flow_cross, flush);
	for (unsigned int i = 0; i < worker_set_count(x->worker->set); i++)
		if (x->building[i])
			post(x, i);
}

static struct flow_batch *batch_for(struct flow_cross *x, unsigned int to, size_t len)
{
	struct flow_batch *b = x->building[to];
	if (b && (b->count == BATCH_DATAGRAMS || len > BATCH_BYTES - b->used)) {
		post(x, to);
		b = NULL;
	}
	if (b || x->under_way >= UNDER_WAY_MAX)
		return b;
	b = x->spare ? TAKE_PTR(x->spare) : malloc(sizeof(*b));
	if (!b)
		return NULL;
	b->message = (struct message){ .on_deliver = on_arrival, .on_discard = discard };
	b->from = x;
	b->to = x->tables[to];
	b->count = 0;
	b->used = 0;
	x->under_way++;
	x->building[to] = b;
	loop_task_post(x->worker->loop, &x->flush, LOOP_PHASE_FLUSH);
	return b;
}

void flow_cross_init(struct flow_cross *x, struct flow_table *table, struct worker *worker,
		     struct flow_table *const *tables)
{
	*x = (struct flow_cross){
		.table = table, .worker = worker, .tables = tables, .flush.run = on_flush
	};
}

void flow_cross_done(struct flow_cross *x)
{
	loop_task_cancel(&x->flush);
	for (unsigned int i = 0; i < WORKER_MAX; i++)
		free(TAKE_PTR(x->building[i]));
	free(TAKE_PTR(x->spare));
	x->table = NULL;
}

bool flow_cross_add(struct flow_cross *x, unsigned int to, const struct crossing *c)
{
	size_t len = c->datagram.len;
	struct flow_batch *b = x->table && len <= BATCH_BYTES ? batch_for(x, to, len) : NULL;
	if (!b)
		return false;
	uint8_t *at = b->bytes + b->used;
	memcpy(at, c->datagram.ptr, len);
	b->items[b->count] = *c;
	b->items[b->count++].datagram = span_of(at, len);
	b->used += len;
	return true;
}
