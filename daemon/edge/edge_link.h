/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A registered connection as all workers of the edge see it: a small counted object. Its link
 * belongs to one worker; the others know it by reference, its load and whether it may be used.
 */
#ifndef DAEMON_EDGE_EDGE_LINK_H
#define DAEMON_EDGE_EDGE_LINK_H

#include <stdatomic.h>

#include "daemon/base/worker.h"
#include "daemon/edge/edge_tunnel.h"
#include "daemon/link/link.h"
#include "daemon/wire/uuid.h"

struct edge_link {
	_Atomic unsigned int refs;
	_Atomic unsigned int streams; /* open ones, from all workers: the load */
	_Atomic bool is_usable;       /* new requests may go here */
	_Atomic uint8_t suspicion;    /* enum link_suspicion: not while there is another */
	struct worker *worker;        /* owner of link */
	struct link *link;            /* owner's thread only; NULL once closed */
	void *owner;                  /* owner's thread only: the struct edge_conn */
	struct edge_tunnel *tunnel;   /* referenced */
	uint8_t index;                /* connIndex */
	bool is_adit;                 /* announced adit_1 */
	bool has_flows;               /* carries datagrams, so it is on QUIC */
	struct uuid connector_id;
	struct uuid connection_id;
	struct ip_port peer;
	uint64_t serial; /* larger is newer */
};

/* tunnel: a reference is taken. NULL when out of memory. */
[[nodiscard]] struct edge_link *edge_link_new(struct edge_tunnel *tunnel);
struct edge_link *edge_link_ref(struct edge_link *el);
/* Any thread. Accepts NULL. */
void edge_link_unref(struct edge_link *el);

static inline bool edge_link_is_usable(const struct edge_link *el)
{
	return atomic_load_explicit(&el->is_usable, memory_order_acquire);
}

static inline enum link_suspicion edge_link_suspicion(const struct edge_link *el)
{
	return (enum link_suspicion)atomic_load_explicit(&el->suspicion, memory_order_relaxed);
}

static inline unsigned int edge_link_load(const struct edge_link *el)
{
	return atomic_load_explicit(&el->streams, memory_order_relaxed);
}

#endif
