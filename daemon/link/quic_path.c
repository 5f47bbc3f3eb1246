/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Paths of QUIC links: addresses that change at either end, and a peer that may have died.
 */
#include "daemon/link/quic_path.h"

#include <errno.h>
#include <openssl/rand.h>
#include <string.h>

#include "daemon/link/quic_conn.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_sock.h"
#include "daemon/net/sockaddr.h"

enum {
	TICKLES = 120, /* probes for a stateless reset: half a minute */
	TICKLE_LEN = 43,
	SILENT_PTOS = 3, /* probe timeouts without a word from the peer */
};
#define TICKLE_EVERY (250 * NSEC_PER_MSEC)

void quic_path_make(const struct ip_port *local, const struct ip_port *remote,
		    struct quic_path *ret)
{
	struct sockaddr_storage sa;
	ret->path = (ngtcp2_path){};
	ret->path.local.addrlen = sockaddr_from_ip_port(local, &sa);
	memcpy(&ret->local, &sa, sizeof(ret->local));
	ret->path.local.addr = &ret->local.sa;
	ret->path.remote.addrlen = sockaddr_from_ip_port(remote, &sa);
	memcpy(&ret->remote, &sa, sizeof(ret->remote));
	ret->path.remote.addr = &ret->remote.sa;
}

int quic_path_migrate(struct quic_link *link)
{
	struct quic_worker *qw = link->qw;
	struct loop *loop = qw->worker->loop;
	if (!link->conn || !link->is_handshake_done || link->is_closing)
		return -EPROTO;

	struct udp_params params;
	quic_conn_udp_params(link, &params);
	params.local.port = 0;
	struct quic_sock *sock = NULL;
	int r = quic_sock_open(qw, &params, &sock);
	if (r < 0)
		return r;
	struct quic_path path;
	quic_path_make(&sock->local, &link->dial.peer, &path);
	nsec_t now = loop_now(loop);
	r = ngtcp2_conn_initiate_immediate_migration(link->conn, &path.path, now);
	if (r != 0) {
		quic_sock_close(sock);
		return r == NGTCP2_ERR_NOMEM ? -ENOMEM : -EAGAIN;
	}

	quic_sock_drop_held(link);
	quic_sock_close(link->old_sock);
	link->old_sock = link->sock;
	timer_start(loop, &link->old_sock->linger, now + 3 * ngtcp2_conn_get_pto(link->conn));
	sock->link = link;
	link->sock = sock;
	link->stats.is_migrated = true;
	quic_mtu_reset(&link->mtu);
	quic_io_mark_dirty(link);
	return 0;
}

void quic_path_follow_peer(struct quic_link *link)
{
	const ngtcp2_path *path = ngtcp2_conn_get_path(link->conn);
	struct ip_port remote;
	if (sockaddr_to_ip_port(path->remote.addr, path->remote.addrlen, &remote) < 0)
		return;
	link->stats.is_migrated = true;
	quic_mtu_reset(&link->mtu);
	if (!link->sock || ip_port_eq(&link->sock->peer, &remote))
		return;
	if (udp_connect(&link->sock->udp, &remote) == 0)
		link->sock->peer = remote;
}

void quic_path_on_shrunk(struct quic_link *link)
{
	link->stats.blackholes++;
	log_notice(link->qw->worker->log, "link", "path mtu has shrunk",
		   KV_U64("was", ngtcp2_conn_get_path_max_tx_udp_payload_size(link->conn)));
	link->is_shrunk = true;
	loop_task_post(link->qw->worker->loop, &link->events, LOOP_PHASE_WORK);
}

/* A packet that only a peer without memory of us answers: its stateless reset ends the link. */
void quic_path_on_tickle(struct timer *timer)
{
	struct quic_link *link = CONTAINER_OF(timer, struct quic_link, tickle);
	if (!link->conn || link->is_closing || link->tickles_left == 0)
		return;
	link->tickles_left--;

	uint8_t packet[TICKLE_LEN + NGTCP2_MAX_CIDLEN];
	const ngtcp2_cid *dcid = ngtcp2_conn_get_dcid(link->conn);
	if (RAND_bytes(packet, sizeof(packet)) != 1)
		return;
	packet[0] = (uint8_t)((packet[0] & 0x3f) | 0x40); /* short header, fixed bit */
	memcpy(packet + 1, dcid->data, dcid->datalen);
	struct loop *loop = link->qw->worker->loop;
	timer_start(loop, &link->tickle, loop_now(loop) + TICKLE_EVERY);
	quic_io_send_now(link, ngtcp2_conn_get_path(link->conn), UDP_ECN_NOT_ECT,
			 span_of(packet, TICKLE_LEN + dcid->datalen));
}

/* ---- a peer that may be gone ---------------------------------------------------------------- */

static void tell(struct quic_link *link)
{
	loop_task_post(link->qw->worker->loop, &link->events, LOOP_PHASE_WORK);
}

void quic_path_probe(struct quic_link *link)
{
	if (!link->conn || !link->is_handshake_done || link->silence.is_probed)
		return;
	link->silence.is_probed = true;
	link->wants_ping = true;
	quic_io_mark_dirty(link);
}

static void judge(struct quic_link *link)
{
	nsec_t now = loop_now(link->qw->worker->loop);
	switch (quic_silence_check(&link->silence, now, ngtcp2_conn_get_pto(link->conn))) {
	case QUIC_SILENCE_FINE:
		return;
	case QUIC_SILENCE_GONE:
		/* Who dialled knows better ways than to give up. */
		link->is_peer_gone = link->base.role == LINK_ROLE_SERVER;
		break;
	case QUIC_SILENCE_SUSPECT:
		break;
	}
	tell(link);
}

/* The timer isn't moved by what comes and goes: it looks what there is when it is its time. */
static void look_again(struct quic_link *link)
{
	struct loop *loop = link->qw->worker->loop;
	nsec_t due = quic_silence_due(&link->silence, ngtcp2_conn_get_pto(link->conn));
	if (due != NSEC_NEVER && due > loop_now(loop))
		timer_start(loop, &link->silence_timer, due);
}

void quic_path_heard(struct quic_link *link)
{
	timer_stop(&link->tickle);
	link->tickles_left = 0;
	if (quic_silence_heard(&link->silence))
		tell(link);
}

void quic_path_sent(struct quic_link *link, nsec_t now)
{
	if (!link->is_handshake_done || !link->stats.bytes_in_flight)
		return;
	if (quic_silence_sent(&link->silence, now) && !timer_is_armed(&link->silence_timer))
		look_again(link);
}

void quic_path_on_silence(struct timer *timer)
{
	struct quic_link *link = CONTAINER_OF(timer, struct quic_link, silence_timer);
	if (!link->conn || link->is_closing)
		return;
	judge(link);
	look_again(link);
}

static void start_tickling(struct quic_link *link)
{
	struct loop *loop = link->qw->worker->loop;
	if (link->base.role != LINK_ROLE_CLIENT || timer_is_armed(&link->tickle))
		return;
	if (link->tickles_left == 0)
		link->tickles_left = TICKLES;
	timer_start(loop, &link->tickle, loop_now(loop) + TICKLE_EVERY);
}

void quic_path_refused(struct quic_link *link, int error)
{
	nsec_t silence = nsec_sub(loop_now(link->qw->worker->loop), link->stats.heard);
	/* Anybody can say that a port is closed, but not make a living peer silent. */
	if (link->is_draining && silence > SILENT_PTOS * ngtcp2_conn_get_pto(link->conn)) {
		link->is_peer_gone = true;
		tell(link);
		return;
	}
	quic_silence_refused(&link->silence, error);
	judge(link);
	look_again(link);
	quic_path_probe(link);
	start_tickling(link);
}
