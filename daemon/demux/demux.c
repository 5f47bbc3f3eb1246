/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is this? A stream is held here until its preamble and first message are whole; nothing is
 * collected beyond the bound of that message, because reading stops there and credit ends.
 */
#include "daemon/demux/demux.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/demux/demux_config.h"
#include "daemon/demux/demux_rpc.h"
#include "daemon/flow/frame.h"
#include "daemon/proxy/proxy_tcp.h"
#include "daemon/wire/preamble.h"
#include "util/cleanup.h"

enum { READ_CHUNK = 16 * 1024 };

struct undecided {
	struct demux *demux;
	struct stream *stream;
	bool may_frame;
	uint64_t port;
	struct preamble_reader preamble;
	struct bufq in;
	struct list node;
	struct loop_garbage garbage;
};

static void undecided_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct undecided, garbage));
}

/* Lets go of everything but the stream, which the caller has taken or closed. */
static void undecided_done(struct undecided *u)
{
	bufq_clear(&u->in);
	list_remove(&u->node);
	loop_defer_free(u->demux->proxy->worker->loop, &u->garbage);
}

/* RESET_STREAM(0), and STOP_SENDING(0) unless the edge's end was seen (docs/protocol.md §13.1). */
static void undecided_reject(struct undecided *u)
{
	stream_reset(u->stream, STREAM_CODE_NONE);
	stream_stop(u->stream, STREAM_CODE_NONE);
	stream_close(TAKE_PTR(u->stream));
	undecided_done(u);
}

/* A whole ConnectRequest of len bytes is there. The stream goes to whoever serves its type. */
static int take_request(struct undecided *u, size_t len)
{
	struct span frame = {};
	struct connect_request req;
	_cleanup_(freep) uint8_t *copy = NULL;
	int r = frame_view(&u->in, len, &frame, &copy);
	if (r == 0)
		r = connect_request_decode(frame, &req);
	if (r < 0)
		return r;

	if (!u->may_frame)
		req.is_framed = false;
	/* The message's buffers are kept until the request has been read out of them. */
	struct proxy_env *env = u->demux->proxy;
	struct bufq message, rest;
	bufq_init(&message, u->in.slab);
	bufq_init(&rest, u->in.slab);
	size_t moved = bufq_move(&message, &u->in, len);
	if (moved < len) { /* no slice for the piece up to its end: what is left isn't a body */
		bufq_clear(&message);
		return -ENOBUFS;
	}
	(void)bufq_move(&rest, &u->in, u->in.len);
	switch (req.type) {
	case CONNECT_TYPE_HTTP:
	case CONNECT_TYPE_WEBSOCKET:
		proxy_http_start(env, TAKE_PTR(u->stream), &rest, &req);
		break;
	case CONNECT_TYPE_TCP:
		proxy_tcp_start(env, TAKE_PTR(u->stream), &rest, &req);
		break;
	default:
		proxy_refuse(env, TAKE_PTR(u->stream), PROXY_REASON_BAD_REQUEST,
			     "unknown kind of request");
	}
	bufq_clear(&message);
	bufq_clear(&rest);
	undecided_done(u);
	return 0;
}

/* Decides with what is there: 0 when the stream has found its place, -EAGAIN, or what is wrong. */
static int decide(struct undecided *u)
{
	if (u->preamble.kind == PREAMBLE_KIND_NONE) {
		int r = frame_preamble(&u->in, &u->preamble);
		if (r < 0)
			return r;
	}
	if (u->preamble.kind == PREAMBLE_KIND_RPC) {
		demux_rpc_start(u->demux, TAKE_PTR(u->stream), &u->in, u->port);
		undecided_done(u);
		return 0;
	}
	size_t len = 0;
	int r = frame_next(&u->in, CAPNP_CONNECT_MAX, &len);
	return r < 0 ? r : take_request(u, len);
}

static void on_readable(struct stream *s, void *user)
{
	struct undecided *u = user;
	struct demux_stats *stats = &u->demux->stats;
	for (;;) {
		ssize_t n = stream_read(s, &u->in, READ_CHUNK);
		if (n == -EAGAIN || n == -ENOBUFS)
			return;
		if (n <= 0) {
			stats->cut_short++;
			undecided_reject(u);
			return;
		}
		int r = decide(u);
		if (r == 0)
			return;
		if (r != -EAGAIN) {
			stats->malformed++;
			undecided_reject(u);
			return;
		}
	}
}

static void on_writable(struct stream *s, void *user)
{
	(void)s;
	(void)user;
}

static const struct stream_user stream_ops = {
	.on_readable = on_readable,
	.on_writable = on_writable,
};

void demux_init(struct demux *d, struct proxy_env *proxy)
{
	*d = (struct demux){ .proxy = proxy };
	list_init(&d->undecided);
	list_init(&d->rpc);
	list_init(&d->configs);
}

void demux_done(struct demux *d)
{
	LIST_FOREACH(node, &d->undecided)
	undecided_reject(LIST_ENTRY(node, struct undecided, node));
	demux_rpc_done(d);
	demux_config_done(d);
}

void demux_stream(struct demux *d, struct stream *stream, bool may_frame, uint64_t port)
{
	struct undecided *u = calloc(1, sizeof(*u));
	if (!u) {
		stream_close(stream);
		return;
	}
	u->demux = d;
	u->stream = stream;
	u->may_frame = may_frame;
	u->port = port;
	u->garbage.release = undecided_release;
	bufq_init(&u->in, d->proxy->worker->slab);
	list_append(&d->undecided, &u->node);
	stream_set_user(stream, &stream_ops, u);
}
