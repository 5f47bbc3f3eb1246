/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream to a daemon. On the link's own worker it is the QUIC stream itself; from another worker
 * a bridge stands before it, and a relay on the link's worker joins the two.
 */
#include "daemon/edge/origin_tunnel.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/flow/relay.h"
#include "util/cleanup.h"

/* The far half of a bridge on its way to the link's worker. */
struct request {
	struct message message;
	struct edge_link *link;
	struct stream *half;
};

static void request_free(struct request *q)
{
	edge_link_unref(q->link);
	free(q);
}

static void request_discard(struct message *message)
{
	/* The worker has stopped; what the ring holds must come back to its slab all the same. */
	struct request *q = CONTAINER_OF(message, struct request, message);
	stream_close(q->half);
	request_free(q);
}

static void request_deliver(struct message *message, void *owner)
{
	(void)owner;
	struct request *q = CONTAINER_OF(message, struct request, message);
	struct stream *stream = NULL;
	struct relay *relay = NULL;
	int r = q->link->link ? link_open_stream(q->link->link, &stream) : -EPROTO;
	if (r == -EPROTO) /* it ends: the directories are about to hear that */
		atomic_store_explicit(&q->link->is_usable, false, memory_order_release);
	if (r < 0) {
		stream_reset(q->half, STREAM_CODE_NONE);
		stream_close(q->half);
	} else {
		(void)relay_new(&(struct relay_params){ .a = q->half, .b = stream }, &relay);
	}
	request_free(q);
}

static int open_far(struct worker *worker, struct edge_link *el,
		    const struct bridge_metrics *metrics, struct stream **ret)
{
	struct request *q = calloc(1, sizeof(*q));
	struct stream *near = NULL;
	if (!q)
		return -ENOMEM;
	int r = bridge_new(worker, el->worker, metrics, &near, &q->half);
	if (r < 0) {
		free(q);
		return r;
	}
	q->message.on_deliver = request_deliver;
	q->message.on_discard = request_discard;
	q->link = edge_link_ref(el);
	mailbox_post(el->worker->mailbox, &q->message);
	*ret = near;
	return 0;
}

int origin_tunnel_open(struct worker *worker, struct edge_link *el,
		       const struct bridge_metrics *metrics, struct stream **ret)
{
	int r = -EPROTO;
	if (el->worker != worker)
		r = open_far(worker, el, metrics, ret);
	else if (el->link)
		r = link_open_stream(el->link, ret);
	if (r == 0)
		atomic_fetch_add_explicit(&el->streams, 1, memory_order_relaxed);
	return r;
}

void origin_tunnel_closed(struct edge_link *el)
{
	atomic_fetch_sub_explicit(&el->streams, 1, memory_order_relaxed);
}
