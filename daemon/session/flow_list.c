/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's flows as rows.
 */
#include "daemon/session/flow_list.h"

#include "daemon/session/udp_session.h"

static void fill(struct flow_row *row, const struct udp_session *s, nsec_t now)
{
	*row = (struct flow_row){
		.id = s->key.id,
		.local = *flow_path_local(&s->path),
		.remote = s->path.remote,
		.path = flow_path_kind(&s->path),
		.why = s->path.why,
		.since = s->path.since,
		.idle = now > s->active ? now - s->active : 0,
		.index = s->index,
		.is_bound = s->port != NULL,
		.is_v2 = s->key.scope != 0,
		.rx = s->rx,
		.tx = s->tx,
	};
}

size_t flow_table_list(const struct flow_table *t, struct flow_row *rows, size_t max)
{
	nsec_t now = loop_now(t->p.worker->loop);
	size_t count = 0;
	for (struct map_node *node = map_first(&t->flows); node && count < max;
	     node = map_next(&t->flows, node))
		fill(&rows[count++], MAP_ENTRY(node, struct udp_session, node), now);
	return count;
}
