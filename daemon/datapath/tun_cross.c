/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of the TUN device on their way to another worker. A message is allocated for a batch, one
 * that has come back is used again, and there is a limit of them.
 */
#include "daemon/datapath/tun_cross.h"

#include <stdlib.h>

#include "util/cleanup.h"

enum {
	BATCH_PACKETS = 64,
	BATCH_BYTES = 72 * 1024, /* the largest burst fits */
	UNDER_WAY_MAX = 32,      /* messages of a worker */
};

struct tun_batch {
	struct message message;
	struct tun_cross *from;
	struct worker *home;
	void *to;
	unsigned int count;
	size_t used;
	struct {
		size_t at, len, segment_len;
	} items[BATCH_PACKETS];
	uint8_t bytes[BATCH_BYTES];
};

static void discard(struct message *message)
{
	free(CONTAINER_OF(message, struct tun_batch, message));
}

static void on_return(struct message *message, void *owner)
{
	(void)owner;
	struct tun_batch *b = CONTAINER_OF(message, struct tun_batch, message);
	struct tun_cross *x = b->from;
	x->under_way--;
	if (x->spare || x->is_done)
		free(b);
	else
		x->spare = b;
}

static void on_arrival(struct message *message, void *owner)
{
	(void)owner;
	struct tun_batch *b = CONTAINER_OF(message, struct tun_batch, message);
	for (unsigned int i = 0; i < b->count; i++)
		b->from->take(b->to, b->bytes + b->items[i].at, b->items[i].len,
			      b->items[i].segment_len);
	b->message.on_deliver = on_return;
	mailbox_post(b->home->mailbox, &b->message);
}

static void post(struct tun_cross *x, unsigned int to)
{
	struct tun_batch *b = TAKE_PTR(x->building[to]);
	mailbox_post(worker_set_get(x->worker->set, to)->mailbox, &b->message);
}

static void on_flush(struct loop_task *task)
{
	struct tun_cross *x = CONTAINER_OF(task, struct tun_cross, flush);
	for (unsigned int i = 0; i < worker_set_count(x->worker->set); i++)
		if (x->building[i])
			post(x, i);
}

static struct tun_batch *batch_for(struct tun_cross *x, unsigned int to, size_t len)
{
	struct tun_batch *b = x->building[to];
	if (b && (b->count == BATCH_PACKETS || TUN_CROSS_ROOM + len > BATCH_BYTES - b->used)) {
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
	b->home = x->worker;
	b->to = x->users[to];
	b->count = 0;
	b->used = 0;
	x->under_way++;
	x->building[to] = b;
	loop_task_post(x->worker->loop, &x->flush, LOOP_PHASE_FLUSH);
	return b;
}

void tun_cross_init(struct tun_cross *x, struct worker *worker, tun_cross_fn take,
		    void *const *users)
{
	*x = (struct tun_cross){
		.worker = worker, .take = take, .users = users, .flush.run = on_flush
	};
}

void tun_cross_done(struct tun_cross *x)
{
	loop_task_cancel(&x->flush);
	for (unsigned int i = 0; i < WORKER_MAX; i++)
		free(TAKE_PTR(x->building[i]));
	free(TAKE_PTR(x->spare));
	x->is_done = true;
}

bool tun_cross_add(struct tun_cross *x, unsigned int to, struct span packet, size_t segment_len)
{
	if (x->is_done || TUN_CROSS_ROOM + packet.len > BATCH_BYTES)
		return false;
	struct tun_batch *b = batch_for(x, to, packet.len);
	if (!b)
		return false;
	size_t at = b->used + TUN_CROSS_ROOM;
	memcpy(b->bytes + at, packet.ptr, packet.len);
	b->items[b->count].at = at;
	b->items[b->count].len = packet.len;
	b->items[b->count++].segment_len = segment_len;
	b->used = at + packet.len;
	return true;
}
