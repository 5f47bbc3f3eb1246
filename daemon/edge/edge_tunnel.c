/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tunnel as its links know it. Only the digest of its secret is kept (32 random bytes need no
 * slow hash), and wiped.
 */
#include "daemon/edge/edge_tunnel.h"

#include <stdlib.h>

#include "daemon/base/secret.h"

struct edge_tunnel *edge_tunnel_new(void)
{
	struct edge_tunnel *t = calloc(1, sizeof(*t));
	if (t)
		atomic_init(&t->refs, 1);
	return t;
}

struct edge_tunnel *edge_tunnel_ref(struct edge_tunnel *t)
{
	atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
	return t;
}

void edge_tunnel_unref(struct edge_tunnel *t)
{
	/* Release what we did with it, acquire what the others did before it is freed. */
	if (!t || atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) != 1)
		return;
	secret_wipe(t->secret_sha256, sizeof(t->secret_sha256));
	free(t);
}
