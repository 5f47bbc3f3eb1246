/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/session/inbox.h"

#include <string.h>

#include "daemon/session/udp_session.h"

static_assert((int)INBOX_BYTES >= (int)DGRAM3_MAX);

static void on_task(struct loop_task *task)
{
	inbox_drain(CONTAINER_OF(task, struct inbox, task));
}

void inbox_init(struct inbox *b, struct flow_table *table)
{
	b->table = table;
	b->task = (struct loop_task){ .run = on_task };
	b->count = 0;
	b->used = 0;
}

void inbox_done(struct inbox *b)
{
	loop_task_cancel(&b->task);
	b->count = 0;
}

void inbox_add(struct inbox *b, struct flow_port *port, const struct dgram_id *id,
	       struct span datagram)
{
	if (b->count == INBOX_ITEMS || datagram.len > INBOX_BYTES - b->used)
		inbox_drain(b);
	struct inbox_item *item = &b->items[b->count++];
	*item = (struct inbox_item){
		.key = { .id = *id },
		.port = port,
		.datagram = span_of(b->bytes + b->used, datagram.len),
	};
	memcpy(b->bytes + b->used, datagram.ptr, datagram.len);
	b->used += datagram.len;
	item->hash = map_hash(session_key_span(&item->key));
	map_fetch_chain(&b->table->flows, item->hash);
	loop_task_post(b->table->p.worker->loop, &b->task, LOOP_PHASE_WORK);
}

void inbox_drain(struct inbox *b)
{
	struct udp_session *found[INBOX_ITEMS];
	const struct map *flows = &b->table->flows;
	unsigned int count = b->count;
	for (unsigned int i = 0; i < count; i++)
		map_fetch_first(flows, b->items[i].hash);
	for (unsigned int i = 0; i < count; i++) {
		const struct inbox_item *item = &b->items[i];
		struct map_node *node =
			map_find_hashed(flows, item->hash, session_key_span(&item->key));
		found[i] = node ? MAP_ENTRY(node, struct udp_session, node) : NULL;
		if (node)
			flow_path_fetch(&found[i]->path);
	}
	/* None of these ends a flow. */
	for (unsigned int i = 0; i < count; i++)
		flow_table_payload(b->table, b->items[i].port, found[i], b->items[i].datagram);
	b->count = 0;
	b->used = 0;
}
