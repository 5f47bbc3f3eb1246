/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tunnel as its links know it: what a registration was checked against and how many connections
 * there are. A small counted object that outlives snapshots of the configuration.
 */
#ifndef DAEMON_EDGE_EDGE_TUNNEL_H
#define DAEMON_EDGE_EDGE_TUNNEL_H

#include <stdatomic.h>

#include "daemon/wire/uuid.h"

enum { EDGE_TUNNEL_NAME_MAX = 33, EDGE_TUNNEL_ACCOUNT_MAX = 65, EDGE_TUNNEL_SECRET_LEN = 32 };

struct edge_tunnel {
	_Atomic unsigned int refs;
	_Atomic unsigned int connections;
	struct uuid id;
	char name[EDGE_TUNNEL_NAME_MAX]; /* when it was made */
	char account[EDGE_TUNNEL_ACCOUNT_MAX];
	uint8_t secret_sha256[EDGE_TUNNEL_SECRET_LEN];
};

/* One reference, without connections; id, name and so on are the caller's to fill in. NULL when out
 * of memory. */
[[nodiscard]] struct edge_tunnel *edge_tunnel_new(void);
/* Any thread. */
struct edge_tunnel *edge_tunnel_ref(struct edge_tunnel *t);
/* Any thread. Accepts NULL. */
void edge_tunnel_unref(struct edge_tunnel *t);

#endif
