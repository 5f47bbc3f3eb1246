/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches of datagrams between workers. Each comes back empty to the worker that it left, so that
 * worker alone knows how many are under way, without a lock.
 */
#include "daemon/base/ferry.h"

#include <stdlib.h>

#include "util/cleanup.h"

enum { DATAGRAMS = 64 }; /* of a batch */

struct ferry_batch {
	struct message message;
	const struct ferry_kind *kind;
	struct ferry *from;
	unsigned int count;
	size_t used;
	struct {
		size_t at, len;
	} datagrams[DATAGRAMS];
	alignas(max_align_t) uint8_t bytes[]; /* the heads, then the datagrams */
};

static const uint8_t *head_of(const struct ferry_batch *b, unsigned int i)
{
	return b->bytes + i * b->kind->head_len;
}

static void forget_heads(const struct ferry_batch *b)
{
	for (unsigned int i = 0; b->kind->forget && i < b->count; i++)
		b->kind->forget(head_of(b, i));
}

static void discard(struct message *message)
{
	struct ferry_batch *b = CONTAINER_OF(message, struct ferry_batch, message);
	forget_heads(b);
	free(b);
}

static void on_return(struct message *message, void *owner)
{
	(void)owner;
	struct ferry_batch *b = CONTAINER_OF(message, struct ferry_batch, message);
	struct ferry *f = b->from;
	f->under_way--;
	if (f->spare || f->is_done)
		free(b);
	else
		f->spare = b;
}

static void on_arrival(struct message *message, void *owner)
{
	struct ferry_batch *b = CONTAINER_OF(message, struct ferry_batch, message);
	const struct ferry *f = b->from;
	for (unsigned int i = 0; i < b->count; i++)
		b->kind->take(f->from, owner, head_of(b, i), b->bytes + b->datagrams[i].at,
			      b->datagrams[i].len);
	forget_heads(b);
	b->count = 0;
	b->message.on_deliver = on_return;
	mailbox_post(f->worker->mailbox, &b->message);
}

static void post(struct ferry *f, unsigned int to)
{
	struct ferry_batch *b = TAKE_PTR(f->building[to]);
	mailbox_post(worker_set_get(f->worker->set, to)->mailbox, &b->message);
}

static void on_flush(struct loop_task *task)
{
	struct ferry *f = CONTAINER_OF(task, struct ferry, flush);
	for (unsigned int i = 0; i < worker_set_count(f->worker->set); i++)
		if (f->building[i])
			post(f, i);
}

static struct ferry_batch *batch_for(struct ferry *f, unsigned int to, size_t len)
{
	size_t heads = DATAGRAMS * f->kind->head_len;
	struct ferry_batch *b = f->building[to];
	if (b && (b->count == DATAGRAMS || len > heads + f->kind->bytes - b->used)) {
		post(f, to);
		b = NULL;
	}
	if (b || f->under_way >= f->kind->batches)
		return b;
	b = f->spare ? TAKE_PTR(f->spare) : malloc(sizeof(*b) + heads + f->kind->bytes);
	if (!b)
		return NULL;
	b->message = (struct message){ .on_deliver = on_arrival, .on_discard = discard };
	b->kind = f->kind;
	b->from = f;
	b->count = 0;
	b->used = heads;
	f->under_way++;
	f->building[to] = b;
	loop_task_post(f->worker->loop, &f->flush, LOOP_PHASE_FLUSH);
	return b;
}

void ferry_init(struct ferry *f, const struct ferry_kind *kind, struct worker *worker,
		const void *from)
{
	*f = (struct ferry){ .kind = kind, .worker = worker, .from = from, .flush.run = on_flush };
}

void ferry_done(struct ferry *f)
{
	loop_task_cancel(&f->flush);
	for (unsigned int i = 0; i < WORKER_MAX; i++)
		if (f->building[i])
			discard(&TAKE_PTR(f->building[i])->message);
	free(TAKE_PTR(f->spare));
	f->is_done = true;
}

bool ferry_add(struct ferry *f, unsigned int to, const void *head, struct span datagram)
{
	const struct ferry_kind *kind = f->kind;
	if (f->is_done || datagram.len > kind->bytes - kind->room)
		return false;
	size_t len = kind->room + datagram.len;
	struct ferry_batch *b = batch_for(f, to, len);
	if (!b)
		return false;
	size_t at = b->used + kind->room;
	memcpy(b->bytes + b->count * kind->head_len, head, kind->head_len);
	if (datagram.len > 0)
		memcpy(b->bytes + at, datagram.ptr, datagram.len);
	b->datagrams[b->count].at = at;
	b->datagrams[b->count++].len = datagram.len;
	b->used += len;
	return true;
}
