/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The accepting side on one worker. A packet is read by its connection id, whatever socket it came
 * from. Nothing is remembered of an Initial that isn't accepted, and an Initial is accepted by one
 * worker only, so a ClientHello in two packets never makes two connections.
 */
#include "daemon/link/quic_accept.h"

#include <errno.h>

#include "daemon/link/close.h"
#include "daemon/link/quic_conn.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_sock.h"
#include "daemon/net/sockaddr.h"
#include "util/macro.h"

enum {
	INITIAL_DATAGRAM_MIN = 1200, /* RFC 9000 §14.1 */
};

const uint8_t *quic_accept_reset_key(const struct quic_accept *a)
{
	return a->server->reset_key;
}

void quic_accept_make_cid(const struct quic_accept *a, ngtcp2_cid *ret)
{
	quic_cid_make(a->index, a->server->generation, ret);
}

/* ---- new connections ----------------------------------------------------------------------- */

static bool wants_retry(struct quic_accept *a, const struct ip_addr *ip)
{
	const struct quic_server *s = a->server;
	nsec_t now = loop_now(a->qw->worker->loop);
	bool is_busy = !quic_rate_pass(&a->initials, now, s->initials_from);
	return s->retry == QUIC_RETRY_ALWAYS || is_busy ||
	       strangers_count(&a->strangers) >= s->retry_from ||
	       strangers_of(&a->strangers, ip, false) >= a->strangers.max_per_addr;
}

static void on_register_timeout(struct timer *timer)
{
	struct quic_link *link = CONTAINER_OF(timer, struct quic_link, register_timer);
	quic_count(&link->qw->accept->counters.register_timeouts, 1);
	quic_conn_close(link, LINK_CODE_NONE, "no registration in time");
}

static void accept_link(struct quic_accept *a, const struct quic_sock *sock,
			const struct quic_first *first, const struct ip_port *peer)
{
	struct loop *loop = a->qw->worker->loop;
	struct quic_link *link = quic_conn_new_link(a->qw, LINK_ROLE_SERVER);
	if (!link)
		return;
	link->base.ops = quic_link_ops();
	link->listener = a->socks[sock->listen];
	link->ledger_slot = -1;
	link->dial.peer = *peer;
	link->stranger.is_validated = first->original_dcid != NULL;
	strangers_add(&a->strangers, &link->stranger, &peer->ip);
	quic_count(&a->counters.connections, 1);
	quic_count(&a->counters.accepted, 1);
	link->register_timer.on_expire = on_register_timeout;
	timer_start(loop, &link->register_timer, loop_now(loop) + a->server->register_timeout);
	if (quic_conn_start_server(link, first) < 0)
		quic_conn_dispose(link);
}

/* Policy for an Initial that belongs to no connection. True when a link was made for it. */
static bool on_initial(struct quic_accept *a, const struct quic_packet *p, const ngtcp2_pkt_hd *hd)
{
	struct quic_server *s = a->server;
	struct ip_port peer;
	if (a->refuses_new ||
	    sockaddr_to_ip_port(p->path->remote.addr, p->path->remote.addrlen, &peer) < 0)
		return false;

	ngtcp2_cid odcid;
	bool is_validated = quic_reply_token_is_good(a, p->path, hd, &odcid);
	if (!is_validated && wants_retry(a, &peer.ip)) {
		quic_reply_retry(a, p, hd);
		return false;
	}
	if (strangers_are_full(&a->strangers)) {
		quic_count(&a->counters.refused_limit, 1);
		return false;
	}
	if (is_validated &&
	    strangers_of(&a->strangers, &peer.ip, true) >= a->strangers.max_per_addr) {
		quic_count(&a->counters.refused_addr, 1);
		return false;
	}
	accept_link(a, p->sock,
		    &(struct quic_first){
			    .hd = hd,
			    .path = p->path,
			    .original_dcid = is_validated ? &odcid : NULL,
			    .tls = atomic_load_explicit(&s->tls, memory_order_acquire),
		    },
		    &peer);
	return true;
}

/* A long header that no link of ours knows. */
static void on_unknown_long(struct quic_accept *a, const struct quic_packet *p)
{
	struct span bytes = p->bytes;
	ngtcp2_version_cid vc;
	int r = ngtcp2_pkt_decode_version_cid(&vc, bytes.ptr, bytes.len, STEER_CID_LEN);
	if (r == NGTCP2_ERR_VERSION_NEGOTIATION) {
		if (bytes.len >= INITIAL_DATAGRAM_MIN)
			quic_reply_version(a, p, &vc);
		return;
	}
	ngtcp2_pkt_hd hd;
	if (r != 0 || bytes.len < INITIAL_DATAGRAM_MIN ||
	    ngtcp2_accept(&hd, bytes.ptr, bytes.len) != 0) {
		quic_count(&a->counters.dropped_unknown, 1);
		return;
	}
	if (!on_initial(a, p, &hd))
		return;
	struct quic_link *link =
		quic_cid_find(&a->qw->cids, span_of(hd.dcid.data, hd.dcid.datalen));
	if (link)
		quic_io_feed(link, p->path, bytes, p->ecn);
}

/* ---- packets ------------------------------------------------------------------------------- */

void quic_accept_forwarded(struct quic_accept *a, const struct quic_packet *packet)
{
	struct quic_cid_view view;
	if (quic_cid_of_packet(packet->bytes, &view) < 0) {
		quic_count(&a->counters.dropped_unknown, 1);
		return;
	}
	struct quic_link *link = quic_cid_find(&a->qw->cids, view.dcid);
	if (link)
		quic_io_feed(link, packet->path, packet->bytes, packet->ecn);
	else if (view.is_long)
		on_unknown_long(a, packet);
	else if (quic_cid_is_ours(view.dcid))
		quic_reply_reset(a, packet, view.dcid);
	else
		quic_count(&a->counters.dropped_unknown, 1);
}

void quic_accept_packet(struct quic_accept *a, const struct quic_packet *packet)
{
	struct quic_cid_view view;
	unsigned int owner = a->index;
	if (quic_cid_of_packet(packet->bytes, &view) == 0)
		owner = quic_cid_owner(&view, a->server->worker_count);
	if (owner != a->index)
		quic_forward_packet(a, owner, packet);
	else
		quic_accept_forwarded(a, packet);
}

void quic_accept_batch_done(struct quic_accept *a)
{
	quic_forward_flush(a);
}

/* ---- a link's stations --------------------------------------------------------------------- */

/* Cheaper to receive on; not for strangers, and not for too many (spec §5). */
static void connect_socket(struct quic_accept *a, struct quic_link *link)
{
	const struct quic_settings *settings = a->qw->settings;
	const ngtcp2_path *path = ngtcp2_conn_get_path(link->conn);
	struct ip_port local, peer;
	if (atomic_load_explicit(&a->counters.connected_sockets, memory_order_relaxed) >=
		    a->server->connected_max ||
	    sockaddr_to_ip_port(path->local.addr, path->local.addrlen, &local) < 0 ||
	    sockaddr_to_ip_port(path->remote.addr, path->remote.addrlen, &peer) < 0)
		return;
	const struct udp_params params = {
		.local = local,
		.peer = &peer,
		.reuse_port = true,
		.want_gro = true,
		.is_v6_only = local.ip.family == IP_FAMILY_V6,
		.rcvbuf = settings->rcvbuf,
		.sndbuf = settings->sndbuf,
	};
	/* Without one the listening socket serves as well. */
	if (quic_sock_open(a->qw, &params, &link->sock) < 0)
		return;
	link->sock->link = link;
	link->sock->accept = a;
	link->sock->listen = link->listener->listen;
	quic_count(&a->counters.connected_sockets, 1);
}

void quic_accept_announce(struct quic_link *link)
{
	struct quic_accept *a = link->qw->accept;
	/*
	 * Only who gets our packets there completes a handshake. Until now it counted among those
	 * taken on trust; meanwhile others of its address may have come with a token.
	 */
	if (!link->stranger.is_validated &&
	    strangers_of(&a->strangers, &link->stranger.ip, true) >= a->strangers.max_per_addr) {
		quic_count(&a->counters.refused_addr, 1);
		quic_conn_close(link, LINK_CODE_NONE, "too many connections of this address");
		return;
	}
	link->stranger.is_validated = true;
	link->is_announced = true;
	link->base.sink = a->sink;
	connect_socket(a, link);
	link->base.user = a->on_link(&link->base, a->arg);
	if (!link->base.user) { /* no memory: it stays a stranger */
		link->is_announced = false;
		link->base.sink = NULL;
		quic_conn_close(link, LINK_CODE_NONE, "no memory");
	}
}

void quic_accept_set_registered(struct quic_link *link)
{
	if (strangers_remove(&link->qw->accept->strangers, &link->stranger))
		timer_stop(&link->register_timer);
}

void quic_accept_write_down(struct quic_link *link)
{
	struct quic_accept *a = link->qw->accept;
	struct link_stats stats = {};
	quic_conn_get_stats(link, &stats);
	link->ledger_slot =
		quic_ledger_add(a->server->ledger, a->index, &stats.peer, link->listener->listen,
				span_of(link->first_cid.data, link->first_cid.datalen));
}

void quic_accept_forget(struct quic_link *link)
{
	struct quic_accept *a = link->qw->accept;
	quic_accept_set_registered(link);
	quic_ledger_remove(a->server->ledger, link->ledger_slot);
	link->ledger_slot = -1;
	if (!link->is_handshake_done)
		quic_count(&a->counters.handshake_failed, 1);
	if (link->sock)
		quic_count(&a->counters.connected_sockets, -1);
	quic_count(&a->counters.connections, -1);
}
