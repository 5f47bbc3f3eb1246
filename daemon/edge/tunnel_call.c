/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ConnectRequest and its answer. Nothing is read behind the answer but what came in one piece
 * with it.
 */
#include "daemon/edge/tunnel_call.h"

#include <errno.h>

#include "daemon/edge/origin_tunnel.h"
#include "daemon/flow/frame.h"
#include "daemon/wire/capnp.h"
#include "util/cleanup.h"

enum { READ_CHUNK = 16 * 1024 };

void tunnel_call_init(struct tunnel_call *c, struct slab *slab)
{
	*c = (struct tunnel_call){};
	bufq_init(&c->out, slab);
	bufq_init(&c->in, slab);
}

int tunnel_call_open(struct tunnel_call *c, const struct front_params *p,
		     const struct edge_tunnel *tunnel, const struct edge_link *avoid)
{
	for (;;) {
		struct edge_link *el = tunnel ? directory_pick(p->directory, tunnel, avoid) : NULL;
		if (!el || (el == avoid && c->tries >= TUNNEL_CALL_TRIES))
			return -ENOENT;
		int r = origin_tunnel_open(p->worker, el, p->bridge_metrics, &c->tunnel);
		if (r == -EPROTO) { /* it ends: the directory is about to hear that */
			atomic_store_explicit(&el->is_usable, false, memory_order_release);
			continue;
		}
		c->tries++;
		if (r == 0) {
			c->el = edge_link_ref(el);
			return 0;
		}
		/* No stream credit: perhaps another one. */
		if (c->tries >= TUNNEL_CALL_TRIES)
			return -EAGAIN;
		avoid = el;
	}
}

bool tunnel_call_flush(struct tunnel_call *c)
{
	while (!bufq_is_empty(&c->out)) {
		ssize_t n = stream_write(c->tunnel, &c->out, c->out.len);
		if (n == -EAGAIN)
			return false;
		if (n < 0)
			bufq_clear(&c->out);
	}
	return true;
}

static int look(struct tunnel_call *c, size_t *ret_len)
{
	if (c->preamble.kind == PREAMBLE_KIND_NONE) {
		int r = frame_preamble(&c->in, &c->preamble);
		if (r < 0)
			return r;
	}
	if (c->preamble.kind != PREAMBLE_KIND_DATA)
		return -EBADMSG;
	return frame_next(&c->in, CAPNP_CONNECT_MAX, ret_len);
}

int tunnel_call_read(struct tunnel_call *c, size_t *ret_len)
{
	for (;;) {
		ssize_t n = stream_read(c->tunnel, &c->in, READ_CHUNK);
		if (n == -EAGAIN || n == -ENOBUFS)
			return -EAGAIN;
		if (n <= 0)
			return -ECONNRESET;
		int r = look(c, ret_len);
		if (r != -EAGAIN)
			return r;
	}
}

void tunnel_call_abort(struct tunnel_call *c)
{
	if (!c->tunnel)
		return;
	stream_reset(c->tunnel, STREAM_CODE_NONE);
	stream_stop(c->tunnel, STREAM_CODE_NONE);
}

void tunnel_call_drop(struct tunnel_call *c)
{
	bufq_clear(&c->out);
	bufq_clear(&c->in);
	c->preamble = (struct preamble_reader){};
	stream_close(TAKE_PTR(c->tunnel));
	if (c->el)
		origin_tunnel_closed(c->el);
	edge_link_unref(TAKE_PTR(c->el));
}
