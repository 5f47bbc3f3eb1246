/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A registered connection as all workers see it. The counts are atomic because a stream may end on
 * another worker than the one that opened it.
 */
#include "daemon/edge/edge_link.h"

#include <stdlib.h>

struct edge_link *edge_link_new(struct edge_tunnel *tunnel)
{
	struct edge_link *el = calloc(1, sizeof(*el));
	if (!el)
		return NULL;
	atomic_init(&el->refs, 1);
	el->tunnel = edge_tunnel_ref(tunnel);
	return el;
}

struct edge_link *edge_link_ref(struct edge_link *el)
{
	atomic_fetch_add_explicit(&el->refs, 1, memory_order_relaxed);
	return el;
}

void edge_link_unref(struct edge_link *el)
{
	if (!el || atomic_fetch_sub_explicit(&el->refs, 1, memory_order_acq_rel) != 1)
		return;
	edge_tunnel_unref(el->tunnel);
	free(el);
}
