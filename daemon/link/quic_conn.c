/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ngtcp2 connection of a QUIC link. Its end has one way: whatever the cause, the close packet
 * is sent if the peer should know, streams learn of it, everything that the kernel or a library
 * owns is given back at once, and the sink hears CLOSED from the loop.
 */
#include "daemon/link/quic_conn.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/link/close.h"
#include "daemon/link/quic_accept.h"
#include "daemon/link/quic_callbacks.h"
#include "daemon/link/quic_dgram.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_path.h"
#include "daemon/link/quic_sock.h"
#include "daemon/link/quic_stream.h"
#include "daemon/link/quic_tls.h"
#include "daemon/link/quic_window.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	ACTIVE_CIDS =
		4, /* spare ids that the peer may give us: for migration; the reference's value */
	/* Packets that repeat what we have: lossy paths make them, too. */
	GLITCH_BURST = 16384,
	GLITCH_RATE = 1024,
	CLOSE_COPIES = 3,    /* of a client's last packet */
	ECN_PROBES = 10,     /* packets that the library marks before it waits for the answer */
	ECN_GAP_FAILED = 64, /* unmarked ones since: the path clears the bits */
	BURST_PACKETS = 3,   /* less room in the window than this is none */
};

/* ---- beginning ----------------------------------------------------------------------------- */

static void release(struct loop_garbage *garbage)
{
	struct quic_link *link = CONTAINER_OF(garbage, struct quic_link, garbage);
	free(link->interface);
	free(link);
}

struct quic_link *quic_conn_new_link(struct quic_worker *qw, enum link_role role)
{
	struct quic_link *link = calloc(1, sizeof(*link));
	if (!link)
		return NULL;
	link->base.worker = qw->worker;
	link->base.role = role;
	link->base.state = LINK_STATE_CONNECTING;
	link->qw = qw;
	link->qlog_fd = -EBADF;
	link->flush.run = quic_io_on_flush;
	link->events.run = quic_conn_on_events;
	link->timer.on_expire = quic_io_on_timer;
	link->tickle.on_expire = quic_path_on_tickle;
	link->silence_timer.on_expire = quic_path_on_silence;
	link->garbage.release = release;
	list_init(&link->streams);
	list_init(&link->arrivals);
	list_init(&link->ready);
	quic_dgram_init(link);
	list_append(&qw->links, &link->node);
	qw->link_count++;
	return link;
}

/* A debugging aid: without it the link goes on. The first failure of a worker stands for all. */
static void tell_of_qlog(struct quic_link *link, int error)
{
	struct quic_worker *qw = link->qw;
	if (!qw->has_told_of_qlog)
		log_warning(qw->worker->log, "link", "qlog can't be written",
			    KV_STR("folder", qw->settings->qlog_dir), KV_ERR(error));
	qw->has_told_of_qlog = true;
}

static void write_qlog(void *user, uint32_t flags, const void *data, size_t len)
{
	(void)flags;
	struct quic_link *link = user;
	if (link->qlog_fd < 0 || write(link->qlog_fd, data, len) >= 0)
		return;
	tell_of_qlog(link, -errno);
	link->qlog_fd = fd_close(link->qlog_fd);
}

static void open_qlog(struct quic_link *link, const ngtcp2_cid *odcid)
{
	char hex[2 * NGTCP2_MAX_CIDLEN + 1] = "";
	for (size_t i = 0; i < odcid->datalen; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", odcid->data[i]);
	_cleanup_(freep) char *path = NULL;
	if (asprintf(&path, "%s/%s_%s.sqlog", link->qw->settings->qlog_dir, hex,
		     link->base.role == LINK_ROLE_CLIENT ? "client" : "server") < 0) {
		path = NULL;
		return;
	}
	link->qlog_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (link->qlog_fd < 0)
		tell_of_qlog(link, -errno);
}

static void fill_settings(struct quic_link *link, const ngtcp2_cid *odcid, ngtcp2_settings *ret)
{
	/* In this order. What UDP flows need comes first: a payload of 1280 bytes fits from 1333 to
	 * 1341 on, and 1352 go through both families' 1400-byte paths. */
	static const uint16_t probes[] = { 1352, 1232, 1252, 1272, 1392, 1452, 1472 };
	const struct quic_settings *s = link->qw->settings;

	ngtcp2_settings_default(ret);
	ret->initial_ts = loop_now(link->qw->worker->loop);
	ret->cc_algo = s->use_bbr ? NGTCP2_CC_ALGO_BBR : NGTCP2_CC_ALGO_CUBIC;
	ret->max_tx_udp_payload_size = QUIC_MTU_MAX;
	ret->ack_thresh = 1; /* when is decided by quic_io */
	ret->pmtud_probes = probes;
	ret->pmtud_probeslen = ARRAY_SIZE(probes);
	ret->handshake_timeout = s->handshake_timeout;
	ret->glitch_ratelim_burst = GLITCH_BURST;
	ret->glitch_ratelim_rate = GLITCH_RATE;
	if (s->qlog_dir) {
		open_qlog(link, odcid);
		if (link->qlog_fd >= 0)
			ret->qlog_write = write_qlog;
	}
}

static void fill_params(struct quic_link *link, ngtcp2_transport_params *ret)
{
	const struct quic_settings *s = link->qw->settings;
	uint64_t window = quic_window_start(link->qw);

	ngtcp2_transport_params_default(ret);
	ret->initial_max_stream_data_bidi_local = s->stream_window;
	ret->initial_max_stream_data_bidi_remote = s->stream_window;
	ret->initial_max_data = window;
	ret->initial_max_streams_bidi = s->max_streams;
	ret->max_idle_timeout = s->idle_timeout;
	ret->active_connection_id_limit = ACTIVE_CIDS;
	ret->max_datagram_frame_size = QUIC_DGRAM_FRAME_MAX;
	link->stream_window = s->stream_window; /* settings may change meanwhile */
	quic_window_open(link, window);
}

int quic_conn_start_client(struct quic_link *link, const struct quic_dial *dial)
{
	ngtcp2_cid dcid = { .datalen = STEER_CID_LEN };
	quic_callbacks_rand(dcid.data, dcid.datalen, NULL);
	ngtcp2_cid scid = { .datalen = QUIC_CID_LEN_CLIENT };
	quic_callbacks_rand(scid.data, scid.datalen, NULL);

	ngtcp2_settings settings;
	fill_settings(link, &dcid, &settings);
	ngtcp2_transport_params params;
	fill_params(link, &params);
	struct quic_path path;
	quic_path_make(&link->sock->local, &dial->peer, &path);

	if (ngtcp2_conn_client_new(&link->conn, &dcid, &scid, &path.path, NGTCP2_PROTO_VER_V1,
				   quic_callbacks(LINK_ROLE_CLIENT), &settings, &params, NULL,
				   link) != 0)
		return -ENOMEM;
	int r = quic_tls_start_client(link, dial);
	if (r == 0)
		quic_io_mark_dirty(link);
	return r;
}

int quic_conn_start_server(struct quic_link *link, const struct quic_first *first)
{
	const ngtcp2_pkt_hd *hd = first->hd;
	ngtcp2_settings settings;
	fill_settings(link, &hd->dcid, &settings);
	ngtcp2_transport_params params;
	fill_params(link, &params);

	ngtcp2_cid scid;
	int r = quic_callbacks_new_cid(link, &scid, params.stateless_reset_token);
	if (r < 0)
		return r;
	params.stateless_reset_token_present = 1;
	params.original_dcid = first->original_dcid ? *first->original_dcid : hd->dcid;
	params.original_dcid_present = 1;
	if (first->original_dcid) {
		params.retry_scid = hd->dcid;
		params.retry_scid_present = 1;
		settings.token = hd->token;
		settings.tokenlen = hd->tokenlen;
		settings.token_type = NGTCP2_TOKEN_TYPE_RETRY;
	}
	/* On failure the id goes with the link; so that it can, it must be known. */
	link->first_cid = scid;
	r = quic_cid_add(&link->qw->cids, &hd->dcid, link);
	if (r < 0)
		return r;
	link->client_dcid = hd->dcid;
	if (ngtcp2_conn_server_new(&link->conn, &hd->scid, &scid, first->path, hd->version,
				   quic_callbacks(LINK_ROLE_SERVER), &settings, &params, NULL,
				   link) != 0)
		return -ENOMEM;
	return quic_tls_start_server(link, first->tls);
}

void quic_conn_udp_params(const struct quic_link *link, struct udp_params *ret)
{
	const struct quic_settings *s = link->qw->settings;
	*ret = (struct udp_params){
		.local = { .ip = { .family = link->dial.peer.ip.family } },
		.peer = &link->dial.peer,
		.want_gro = true,
		.fwmark = link->dial.fwmark,
		.bind_interface = link->interface,
		.rcvbuf = s->rcvbuf,
		.sndbuf = s->sndbuf,
	};
	if (link->local.family != IP_FAMILY_NONE)
		ret->local.ip = link->local;
	ret->local.port = link->dial.local_port;
}

/* ---- end ----------------------------------------------------------------------------------- */

static void forget_cids(struct quic_link *link)
{
	struct quic_cid_table *cids = &link->qw->cids;
	if (link->base.role != LINK_ROLE_SERVER)
		return;
	if (link->client_dcid.datalen)
		quic_cid_remove(cids, &link->client_dcid);
	if (!link->conn) {
		quic_cid_remove(cids, &link->first_cid);
		return;
	}
	ngtcp2_cid ids[64];
	size_t count = ngtcp2_conn_get_scid(link->conn, NULL);
	assert(count <= ARRAY_SIZE(ids)); /* the peer's limit, which the library bounds to 8 */
	count = ngtcp2_conn_get_scid(link->conn, ids);
	for (size_t i = 0; i < count; i++)
		quic_cid_remove(cids, &ids[i]);
}

/* Gives everything back but the link's own memory. */
static void tear_down(struct quic_link *link)
{
	if (!list_is_linked(&link->node))
		return;
	if (link->conn)
		quic_conn_get_stats(link, &link->stats);
	timer_stop(&link->timer);
	timer_stop(&link->tickle);
	timer_stop(&link->silence_timer);
	loop_task_cancel(&link->flush);
	quic_stream_lose_all(link);
	quic_dgram_clear(link);
	quic_window_close(link);
	forget_cids(link);
	if (link->base.role == LINK_ROLE_SERVER)
		quic_accept_forget(link);
	quic_tls_free_conn(link);
	quic_sock_drop_held(link);
	quic_sock_close(link->old_sock);
	quic_sock_close(link->sock);
	link->sock = link->old_sock = NULL;
	link->qlog_fd = fd_close(link->qlog_fd);
	list_remove(&link->node);
	link->qw->link_count--;
}

static void end(struct quic_link *link, enum link_end why, const char *reason)
{
	if (!link->conn)
		return;
	struct link_close_info *info = &link->base.close_info;
	info->end = why;
	if (reason)
		link_reason_copy(info->reason, sizeof(info->reason), span_str(reason));
	/* An edge hears of it before the streams' users, who may ask again, and not on this link.
	 * To who has dialled it matters more what was being asked: its control stream is lost
	 * first. */
	struct loop *loop = link->qw->worker->loop;
	link->has_event_end = true;
	if (link->base.role == LINK_ROLE_SERVER)
		loop_task_post(loop, &link->events, LOOP_PHASE_WORK);
	tear_down(link);
	loop_task_post(loop, &link->events, LOOP_PHASE_WORK);
}

static void send_close(struct quic_link *link, const ngtcp2_ccerr *ccerr)
{
	uint8_t packet[QUIC_MTU_BASE];
	ngtcp2_path_storage path;
	ngtcp2_path_storage_zero(&path);
	ngtcp2_pkt_info info = {};
	nsec_t now = loop_now(link->qw->worker->loop);
	ngtcp2_ssize n = ngtcp2_conn_write_connection_close(link->conn, &path.path, &info, packet,
							    sizeof(packet), ccerr, now);
	if (n <= 0)
		return;
	quic_sock_drop_held(link);
	link->is_closing = true; /* an error of this send changes nothing any more */
	/*
	 * Who dialled is gone after this, often the whole process: nobody repeats a close that was
	 * lost. Who accepted answers with stateless resets.
	 */
	unsigned int copies = link->base.role == LINK_ROLE_CLIENT ? CLOSE_COPIES : 1;
	for (unsigned int i = 0; i < copies; i++)
		quic_io_send_now(link, &path.path, (enum udp_ecn)info.ecn,
				 span_of(packet, (size_t)n));
}

static void end_by_peer(struct quic_link *link)
{
	if (link->has_peer_reset) {
		end(link, LINK_END_RESET, "stateless reset");
		return;
	}
	const ngtcp2_ccerr *e = ngtcp2_conn_get_ccerr(link->conn);
	struct link_close_info *info = &link->base.close_info;
	info->code = e->error_code;
	info->is_transport_code = e->type != NGTCP2_CCERR_TYPE_APPLICATION;
	link_reason_copy(info->reason, sizeof(info->reason), span_of(e->reason, e->reasonlen));
	end(link, link_end_of_peer(info->code, info->is_transport_code, link->is_handshake_done),
	    NULL);
}

static void end_by_tls(struct quic_link *link)
{
	uint8_t alert = ngtcp2_conn_get_tls_alert(link->conn);
	ngtcp2_ccerr ccerr;
	ngtcp2_ccerr_set_tls_alert(&ccerr, alert, NULL, 0);
	send_close(link, &ccerr);
	link->base.close_info.code = ccerr.error_code;
	link->base.close_info.is_transport_code = true;
	const char *certificate = quic_tls_certificate_error(link);
	if (certificate)
		end(link, LINK_END_CERTIFICATE, certificate);
	else
		end(link, LINK_END_HANDSHAKE, SSL_alert_desc_string_long(alert));
}

void quic_conn_fail(struct quic_link *link, int liberr)
{
	ngtcp2_ccerr ccerr;
	if (!link->conn)
		return;
	switch (liberr) {
	case NGTCP2_ERR_DRAINING:
		end_by_peer(link);
		return;
	case NGTCP2_ERR_IDLE_CLOSE:
		end(link, LINK_END_IDLE, "nothing heard");
		return;
	case NGTCP2_ERR_CRYPTO:
		end_by_tls(link);
		return;
	case NGTCP2_ERR_DROP_CONN:
	case NGTCP2_ERR_RETRY:
	case NGTCP2_ERR_RECV_VERSION_NEGOTIATION:
		end(link, LINK_END_HANDSHAKE, ngtcp2_strerror(liberr));
		return;
	case NGTCP2_ERR_HANDSHAKE_TIMEOUT:
		link->base.close_info.error = -ETIMEDOUT;
		end(link, LINK_END_HANDSHAKE, "no answer in time");
		return;
	default:
		ngtcp2_ccerr_set_liberr(&ccerr, liberr, NULL, 0);
		send_close(link, &ccerr);
		link->base.close_info.code = ccerr.error_code;
		link->base.close_info.is_transport_code = true;
		end(link, LINK_END_PROTOCOL, ngtcp2_strerror(liberr));
	}
}

void quic_conn_fail_error(struct quic_link *link, int error)
{
	link->base.close_info.error = error;
	end(link, link_end_of_error(error), NULL);
}

void quic_conn_close(struct quic_link *link, uint64_t code, const char *reason)
{
	if (!link->conn || link->is_closing)
		return;
	link->is_closing = true;
	link->close_code = code;
	link_reason_copy(link->close_reason, sizeof(link->close_reason), span_str(reason));
	quic_io_mark_dirty(link);
}

void quic_conn_finish(struct quic_link *link)
{
	struct span reason = span_str(link->close_reason);
	ngtcp2_ccerr ccerr;
	ngtcp2_ccerr_set_application_error(&ccerr, link->close_code, reason.ptr, reason.len);
	send_close(link, &ccerr);
	link->base.close_info.code = link->close_code;
	end(link, LINK_END_LOCAL, link->close_reason);
}

void quic_conn_check_drained(struct quic_link *link)
{
	if (link->is_draining && link->stream_count == 0)
		quic_conn_close(link, LINK_CODE_NONE, "drained");
}

void quic_conn_dispose(struct quic_link *link)
{
	if (link->conn) {
		ngtcp2_ccerr ccerr;
		ngtcp2_ccerr_set_application_error(&ccerr, LINK_CODE_NONE, NULL, 0);
		send_close(link, &ccerr);
	}
	tear_down(link);
	loop_task_cancel(&link->events);
	loop_defer_free(link->qw->worker->loop, &link->garbage);
}

/* ---- telling the sink ---------------------------------------------------------------------- */

static void tell_up(struct quic_link *link)
{
	link->has_event_up = false;
	if (link->has_event_end)
		return;
	link->stats.since = loop_now(link->qw->worker->loop);
	if (link->base.role == LINK_ROLE_SERVER)
		quic_accept_announce(link);
	if (!link->is_freed)
		(void)link_step(&link->base, LINK_EVENT_HANDSHAKE_DONE);
}

static void tell_end(struct quic_link *link)
{
	link->has_event_end = false;
	if (link->base.role == LINK_ROLE_SERVER && !link->is_announced) {
		/* A stranger: nobody has ever heard of it. */
		quic_conn_dispose(link);
		return;
	}
	(void)link_step(&link->base, LINK_EVENT_END);
}

static void tell_drain(struct quic_link *link)
{
	link->has_event_drain = false;
	if (link_is_up(&link->base))
		(void)link_step(&link->base, LINK_EVENT_DRAIN);
}

/* A suspicion that came and went within the turn isn't mentioned. */
static void tell_suspicion(struct quic_link *link)
{
	struct link *base = &link->base;
	bool was_suspect = base->suspicion != LINK_SUSPICION_NONE;
	base->suspicion = link->silence.why;
	bool is_suspect = base->suspicion != LINK_SUSPICION_NONE;
	bool is_news = (base->state == LINK_STATE_UP && is_suspect) ||
		       (base->state == LINK_STATE_SUSPECT && !is_suspect) ||
		       (base->state == LINK_STATE_DRAINING && is_suspect != was_suspect);
	if (!is_news)
		return;
	link->stats.suspicions += is_suspect;
	(void)link_step(base, is_suspect ? LINK_EVENT_SUSPECT : LINK_EVENT_HEARD);
}

static void react_to_shrunk(struct quic_link *link)
{
	link->is_shrunk = false;
	if (link->base.role == LINK_ROLE_CLIENT && quic_path_migrate(link) == 0)
		return;
	link_drain(&link->base);
}

void quic_conn_on_events(struct loop_task *task)
{
	struct quic_link *link = CONTAINER_OF(task, struct quic_link, events);
	if (link->has_event_up)
		tell_up(link);
	if (link->is_peer_gone && link->conn)
		quic_conn_fail_error(link, -ECONNREFUSED);
	if (link->is_shrunk && link->conn)
		react_to_shrunk(link);
	if (!link->is_freed && link->conn)
		quic_stream_announce(link);
	if (!link->is_freed && link->conn)
		tell_suspicion(link);
	if (!link->is_freed && link->has_event_drain)
		tell_drain(link);
	if (!link->is_freed && link->has_event_end)
		tell_end(link);
}

/* ---- statistics ---------------------------------------------------------------------------- */

static int8_t ecn_state(const struct quic_link *link)
{
	if (!link->qw->settings->use_ecn)
		return 0;
	if (link->ecn_gap > ECN_GAP_FAILED)
		return -1;
	return link->ecn_sent > ECN_PROBES ? 1 : 0;
}

/* The reference's numbers. That a loss is being recovered from (3) the library doesn't say. */
enum {
	CONGESTION_UNKNOWN = -1,
	CONGESTION_SLOW_START = 0,
	CONGESTION_AVOIDANCE = 1,
	CONGESTION_APPLICATION = 2,
};

/* As the reference sees it: who leaves room for more than a burst isn't held by the window. */
static int8_t congestion_state(const struct quic_link *link, const ngtcp2_conn_info *info,
			       unsigned int mtu)
{
	if (link->qw->settings->use_bbr)
		return CONGESTION_UNKNOWN;
	bool is_slow_start = info->cwnd < info->ssthresh;
	bool is_half_used = info->bytes_in_flight > info->cwnd / 2;
	if (info->bytes_in_flight + (uint64_t)BURST_PACKETS * mtu < info->cwnd &&
	    !(is_slow_start && is_half_used))
		return CONGESTION_APPLICATION;
	return is_slow_start ? CONGESTION_SLOW_START : CONGESTION_AVOIDANCE;
}

void quic_conn_get_stats(const struct quic_link *link, struct link_stats *ret)
{
	struct link_stats s = link->stats;
	s.congestion = CONGESTION_UNKNOWN;
	if (link->conn) {
		ngtcp2_conn_info info;
		ngtcp2_conn_get_conn_info(link->conn, &info);
		s.rtt_nsec = info.smoothed_rtt;
		s.min_rtt_nsec = info.min_rtt;
		s.latest_rtt_nsec = info.latest_rtt;
		s.cwnd = info.cwnd;
		s.bytes_in_flight = info.bytes_in_flight;
		s.rx_packets = info.pkt_recv;
		s.tx_packets = info.pkt_sent;
		s.lost_packets = info.pkt_lost;
		s.rx_bytes = info.bytes_recv;
		s.tx_bytes = info.bytes_sent;
		s.mtu = (unsigned int)ngtcp2_conn_get_path_max_tx_udp_payload_size(link->conn);
		if (link->mtu.is_capped)
			s.mtu = QUIC_MTU_BASE;
		s.ecn = ecn_state(link);
		s.congestion = congestion_state(link, &info, s.mtu);
		const ngtcp2_path *path = ngtcp2_conn_get_path(link->conn);
		(void)sockaddr_to_ip_port(path->local.addr, path->local.addrlen, &s.local);
		(void)sockaddr_to_ip_port(path->remote.addr, path->remote.addrlen, &s.peer);
	}
	s.streams = link->stream_count;
	s.running = quic_stream_running(link);
	s.streams_total = link->streams_total;
	*ret = s;
}
