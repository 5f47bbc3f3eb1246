/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The QUIC transport of a link: what a worker's links share, dialling, and the operations of
 * struct link.
 */
#include "daemon/link/quic.h"

#include <errno.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/link/quic_accept.h"
#include "daemon/link/quic_conn.h"
#include "daemon/link/quic_dgram.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_path.h"
#include "daemon/link/quic_sock.h"
#include "daemon/link/quic_stream.h"
#include "daemon/link/quic_window.h"
#include "util/cleanup.h"
#include "util/macro.h"

/* ---- worker -------------------------------------------------------------------------------- */

DEFINE_CLEANUP(struct quic_worker *, quic_worker_free)

int quic_worker_new(struct worker *worker, const struct quic_settings *settings,
		    struct quic_worker **ret)
{
	_cleanup_(quic_worker_freep) struct quic_worker *qw = calloc(1, sizeof(*qw));
	if (!qw)
		return -ENOMEM;
	qw->worker = worker;
	qw->settings = settings;
	qw->watch.on_expire = quic_window_on_watch;
	slab_on_short(worker->slab, quic_window_on_short, qw);
	list_init(&qw->links);
	qw->out = malloc(QUIC_OUT_LEN);
	if (!qw->out)
		return -ENOMEM;
	if (RAND_bytes(qw->client_secret, sizeof(qw->client_secret)) != 1)
		return -EIO;
	int r = udp_batch_new(&qw->batch);
	if (r == 0)
		r = quic_cid_table_init(&qw->cids);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(qw);
	return 0;
}

void quic_worker_free(struct quic_worker *qw)
{
	if (!qw)
		return;
	/* Only strangers can be left: everybody else's link is somebody's to free. */
	LIST_FOREACH(n, &qw->links)
	quic_conn_dispose(LIST_ENTRY(n, struct quic_link, node));
	slab_on_short(qw->worker->slab, NULL, NULL);
	timer_stop(&qw->watch);
	quic_cid_table_done(&qw->cids);
	udp_batch_free(qw->batch);
	free(qw->out);
	free(qw);
}

const struct udp_stats *quic_worker_udp_stats(const struct quic_worker *qw)
{
	return &qw->udp;
}

uint64_t quic_worker_overloads(const struct quic_worker *qw)
{
	return qw->overloads;
}

/* ---- operations ---------------------------------------------------------------------------- */

static struct quic_link *quic_of(struct link *link)
{
	return (struct quic_link *)link;
}

static int op_open_stream(struct link *base, struct stream **ret)
{
	struct quic_link *link = quic_of(base);
	if (!link->conn || link->is_draining || link->is_closing)
		return -EPROTO;
	int64_t id = 0;
	int r = ngtcp2_conn_open_bidi_stream(link->conn, &id, NULL);
	if (r == NGTCP2_ERR_STREAM_ID_BLOCKED)
		return -EAGAIN;
	if (r != 0)
		return -ENOMEM;
	struct quic_stream *qs = quic_stream_new(link, id);
	if (!qs) {
		(void)ngtcp2_conn_shutdown_stream(link->conn, 0, id, 0);
		return -ENOMEM;
	}
	(void)ngtcp2_conn_set_stream_user_data(link->conn, id, qs);
	*ret = &qs->base;
	return 0;
}

static int op_send_datagram(struct link *base, enum datagram_kind kind, struct span payload)
{
	return quic_dgram_send(quic_of(base), kind, payload);
}

static size_t op_max_datagram(const struct link *base)
{
	return quic_dgram_max((const struct quic_link *)base);
}

static void op_probe(struct link *base)
{
	quic_path_probe(quic_of(base));
}

static void op_drain(struct link *base)
{
	struct quic_link *link = quic_of(base);
	if (!link->conn || link->is_draining)
		return;
	link->is_draining = true;
	link->has_event_drain = true;
	loop_task_post(link->qw->worker->loop, &link->events, LOOP_PHASE_WORK);
	quic_io_mark_dirty(link); /* closes at once when nothing runs */
}

static void op_close(struct link *base, uint64_t code, const char *reason)
{
	quic_conn_close(quic_of(base), code, reason);
}

static int op_migrate(struct link *base)
{
	struct quic_link *link = quic_of(base);
	if (base->role != LINK_ROLE_CLIENT)
		return -EPROTO;
	/* Inside a callback the library must not be told; the next turn is soon enough. */
	return link->depth ? -EAGAIN : quic_path_migrate(link);
}

static void op_set_registered(struct link *base)
{
	if (base->role != LINK_ROLE_SERVER)
		return;
	quic_accept_set_registered(quic_of(base));
	quic_accept_write_down(quic_of(base));
}

static void op_get_stats(struct link *base, struct link_stats *ret)
{
	quic_conn_get_stats(quic_of(base), ret);
}

static void op_free(struct link *base)
{
	struct quic_link *link = quic_of(base);
	link->is_freed = true;
	base->sink = NULL;
	if (!link->depth)
		quic_conn_dispose(link);
}

static const struct link_ops ops = {
	.protocol = "quic",
	.open_stream = op_open_stream,
	.send_datagram = op_send_datagram,
	.max_datagram = op_max_datagram,
	.probe = op_probe,
	.drain = op_drain,
	.close = op_close,
	.migrate = op_migrate,
	.set_registered = op_set_registered,
	.get_stats = op_get_stats,
	.free = op_free,
};

const struct link_ops *quic_link_ops(void)
{
	return &ops;
}

int quic_update_key(struct link *link)
{
	struct quic_link *ql = quic_of(link);
	if (!ql->conn || !ql->is_handshake_done)
		return -EPROTO;
	nsec_t now = loop_now(ql->qw->worker->loop);
	if (ngtcp2_conn_initiate_key_update(ql->conn, now) != 0)
		return -EAGAIN;
	quic_io_mark_dirty(ql);
	return 0;
}

/* ---- dialling ------------------------------------------------------------------------------ */

/* A reconnecting daemon keeps its port where it can (docs/protocol.md §2.2). */
static int open_socket(struct quic_link *link)
{
	struct udp_params params;
	quic_conn_udp_params(link, &params);
	int r = quic_sock_open(link->qw, &params, &link->sock);
	if (r == -EADDRINUSE && params.local.port) {
		params.local.port = 0;
		r = quic_sock_open(link->qw, &params, &link->sock);
	}
	if (r == 0)
		link->sock->link = link;
	return r;
}

int quic_dial(struct quic_worker *qw, const struct quic_dial *dial, const struct link_sink *sink,
	      void *user, struct link **ret)
{
	struct quic_link *link = quic_conn_new_link(qw, LINK_ROLE_CLIENT);
	if (!link)
		return -ENOMEM;
	/* A debugging aid; workers that do it at the same time write the same. */
	if (qw->settings->keylog_fd >= 0 && !SSL_CTX_get_keylog_callback(dial->tls))
		tlsctx_set_keylog(dial->tls, qw->settings->keylog_fd);
	link->base.ops = &ops;
	link->dial = *dial;
	if (dial->local)
		link->local = *dial->local;
	int r = 0;
	if (dial->bind_interface) {
		link->interface = strdup(dial->bind_interface);
		r = link->interface ? 0 : -ENOMEM;
	}
	if (r == 0)
		r = open_socket(link);
	if (r == 0)
		r = quic_conn_start_client(link, dial);
	if (r < 0) {
		quic_conn_dispose(link);
		return r;
	}
	link->base.sink = sink;
	link->base.user = user;
	*ret = &link->base;
	return 0;
}
