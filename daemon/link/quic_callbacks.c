/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ngtcp2 calls. Nothing here calls a user except on_datagram: all else is remembered and told
 * from a task, because most of the library must not be entered from its own callbacks.
 */
#include "daemon/link/quic_callbacks.h"

#include <errno.h>
#include <openssl/rand.h>

#include "daemon/link/close.h"
#include "daemon/link/quic_accept.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_path.h"
#include "daemon/link/quic_stream.h"
#include "daemon/link/quic_tls.h"
#include "daemon/link/quic_window.h"
#include "util/macro.h"

#define KEEP_ALIVE_MIN  (1 * NSEC_PER_SEC)
#define KEEP_ALIVE_MAX  (15 * NSEC_PER_SEC)
#define EDGE_IDLE_LONG  (30 * NSEC_PER_SEC) /* the edge's own keep-alive only from here on */
#define KEEP_ALIVE_PART 3                   /* of the effective idle timeout */

static void post_events(struct quic_link *link)
{
	loop_task_post(link->qw->worker->loop, &link->events, LOOP_PHASE_WORK);
}

void quic_callbacks_rand(uint8_t *dest, size_t len, const ngtcp2_rand_ctx *ctx)
{
	(void)ctx;
	(void)RAND_bytes(dest, (int)len);
}

/* ---- connection ---------------------------------------------------------------------------- */

int quic_callbacks_new_cid(struct quic_link *link, ngtcp2_cid *ret_cid, uint8_t *ret_token)
{
	const uint8_t *secret = link->qw->client_secret;
	if (link->base.role == LINK_ROLE_SERVER) {
		secret = quic_accept_reset_key(link->qw->accept);
		quic_accept_make_cid(link->qw->accept, ret_cid);
		int r = quic_cid_add(&link->qw->cids, ret_cid, link);
		if (r < 0)
			return r;
	} else {
		*ret_cid = (ngtcp2_cid){ .datalen = QUIC_CID_LEN_CLIENT };
		quic_callbacks_rand(ret_cid->data, ret_cid->datalen, NULL);
	}
	return ngtcp2_crypto_generate_stateless_reset_token(ret_token, secret, QUIC_KEY_LEN,
							    ret_cid) == 0
		       ? 0
		       : -EIO;
}

static int on_new_cid(ngtcp2_conn *conn, ngtcp2_cid *cid, ngtcp2_stateless_reset_token *token,
		      size_t len, void *user)
{
	(void)conn;
	(void)len;
	return quic_callbacks_new_cid(user, cid, token->data) < 0 ? NGTCP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_remove_cid(ngtcp2_conn *conn, const ngtcp2_cid *cid, void *user)
{
	(void)conn;
	struct quic_link *link = user;
	if (link->base.role == LINK_ROLE_SERVER)
		quic_cid_remove(&link->qw->cids, cid);
	return 0;
}

/* spec §4, longer idle. */
static void start_keep_alive(struct quic_link *link)
{
	nsec_t idle = link->qw->settings->idle_timeout;
	const ngtcp2_transport_params *peer = ngtcp2_conn_get_remote_transport_params(link->conn);
	if (peer && peer->max_idle_timeout)
		idle = idle ? MIN(idle, peer->max_idle_timeout) : peer->max_idle_timeout;

	nsec_t every = link->qw->settings->keep_alive;
	if (!every)
		every = MAX(KEEP_ALIVE_MIN, MIN(KEEP_ALIVE_MAX, idle / KEEP_ALIVE_PART));
	link->silence.patience = every + QUIC_SILENCE_MIN; /* the peer's is the same */
	if (link->base.role != LINK_ROLE_CLIENT && idle < EDGE_IDLE_LONG)
		return;
	link->keep_alive = every;
	ngtcp2_conn_set_keep_alive_timeout(link->conn, every);
}

static int on_handshake_completed(ngtcp2_conn *conn, void *user)
{
	(void)conn;
	struct quic_link *link = user;
	link->is_handshake_done = true;
	quic_tls_describe(link);
	start_keep_alive(link);
	if (link->base.role == LINK_ROLE_SERVER) {
		link->has_event_up = true;
		post_events(link);
	}
	return 0;
}

static int on_handshake_confirmed(ngtcp2_conn *conn, void *user)
{
	(void)conn;
	struct quic_link *link = user;
	link->has_event_up = true;
	post_events(link);
	return 0;
}

static int on_stateless_reset(ngtcp2_conn *conn, const ngtcp2_pkt_stateless_reset2 *sr, void *user)
{
	(void)conn;
	(void)sr;
	((struct quic_link *)user)->has_peer_reset = true;
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the library's signature */
static int on_path_validation(ngtcp2_conn *conn, uint32_t flags, const ngtcp2_path *path,
			      const ngtcp2_path *fallback, ngtcp2_path_validation_result result,
			      void *user)
{
	(void)conn;
	(void)flags;
	(void)path;
	(void)fallback;
	struct quic_link *link = user;
	if (result == NGTCP2_PATH_VALIDATION_RESULT_SUCCESS && link->base.role == LINK_ROLE_SERVER)
		link->is_path_new = true;
	return 0;
}

/* ---- streams ------------------------------------------------------------------------------- */

static int on_stream_open(ngtcp2_conn *conn, int64_t id, void *user)
{
	struct quic_link *link = user;
	struct quic_stream *qs = quic_stream_new(link, id);
	if (!qs) {
		link->qw->overloads++;
		(void)ngtcp2_conn_shutdown_stream(conn, 0, id, LINK_CODE_OVERLOADED);
		return 0;
	}
	(void)ngtcp2_conn_set_stream_user_data(conn, id, qs);
	list_append(&link->arrivals, &qs->arrival);
	post_events(link);
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the library's signature */
static int on_stream_data(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t offset,
			  const uint8_t *data, size_t len, void *user, void *stream_user)
{
	(void)conn;
	(void)id;
	(void)offset;
	struct quic_link *link = user;
	link->has_payload = true;
	if (stream_user) {
		quic_stream_on_data(stream_user, span_of(data, len),
				    flags & NGTCP2_STREAM_DATA_FLAG_FIN);
	} else {
		quic_window_received(link, len);
		quic_window_taken(link, len);
	}
	return 0;
}

static void on_answer(struct quic_link *link, int64_t stream, uint64_t end)
{
	nsec_t now = loop_now(link->qw->worker->loop);
	if (quic_mtu_acked(&link->mtu, stream, end, now, ngtcp2_conn_get_pto(link->conn)) ==
	    QUIC_MTU_SHRUNK)
		quic_path_on_shrunk(link);
}

/* NOLINTNEXTLINE(readability-function-size): the library's signature */
static int on_stream_acked(ngtcp2_conn *conn, int64_t id, uint64_t offset, uint64_t len, void *user,
			   void *stream_user)
{
	(void)conn;
	if (stream_user)
		quic_stream_on_acked(stream_user, offset, len);
	if (len)
		on_answer(user, id, offset + len);
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the library's signature */
static int on_stream_reset(ngtcp2_conn *conn, int64_t id, uint64_t final_size, uint64_t code,
			   void *user, void *stream_user)
{
	(void)conn;
	(void)id;
	(void)final_size;
	(void)user;
	if (stream_user)
		quic_stream_on_reset(stream_user, code);
	return 0;
}

static int on_stream_credit(ngtcp2_conn *conn, int64_t id, uint64_t max, void *user,
			    void *stream_user)
{
	(void)conn;
	(void)id;
	(void)max;
	(void)user;
	if (stream_user)
		quic_stream_on_credit(stream_user);
	return 0;
}

/* NOLINTNEXTLINE(readability-function-size): the library's signature */
static int on_stream_over(ngtcp2_conn *conn, uint32_t flags, int64_t id, uint64_t code, void *user,
			  void *stream_user)
{
	struct quic_link *link = user;
	if (!ngtcp2_conn_is_local_stream(conn, id) && !link->is_draining)
		ngtcp2_conn_extend_max_streams_bidi(conn, 1);
	if (stream_user)
		quic_stream_on_over(stream_user,
				    flags & NGTCP2_STREAM_CLOSE_FLAG_APP_ERROR_CODE_SET ? code : 0);
	return 0;
}

/* ---- datagrams ----------------------------------------------------------------------------- */

static int on_datagram(ngtcp2_conn *conn, uint32_t flags, const uint8_t *data, size_t len,
		       void *user)
{
	(void)conn;
	(void)flags;
	struct quic_link *link = user;
	link->has_dgram = true;
	if (!link->base.sink || link->is_freed || link->base.state < LINK_STATE_UP) {
		link->stats.dropped_datagrams++;
		return 0;
	}
	link->stats.rx_datagrams++;
	link->base.sink->on_datagram(&link->base, span_of(data, len), link->base.user);
	return 0;
}

static int on_datagram_acked(ngtcp2_conn *conn, uint64_t id, void *user)
{
	(void)conn;
	on_answer(user, QUIC_MTU_STREAM_NONE, id);
	return 0;
}

#define CALLBACKS_OF_BOTH                                                                   \
	.recv_crypto_data = ngtcp2_crypto_recv_crypto_data_cb,                              \
	.handshake_completed = on_handshake_completed, .encrypt = ngtcp2_crypto_encrypt_cb, \
	.decrypt = ngtcp2_crypto_decrypt_cb, .hp_mask = ngtcp2_crypto_hp_mask_cb,           \
	.recv_stream_data = on_stream_data, .acked_stream_data_offset = on_stream_acked,    \
	.stream_open = on_stream_open, .stream_close = on_stream_over,                      \
	.rand = quic_callbacks_rand, .remove_connection_id = on_remove_cid,                 \
	.update_key = ngtcp2_crypto_update_key_cb, .path_validation = on_path_validation,   \
	.stream_reset = on_stream_reset, .extend_max_stream_data = on_stream_credit,        \
	.delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb,                  \
	.delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb,              \
	.recv_datagram = on_datagram, .ack_datagram = on_datagram_acked,                    \
	.version_negotiation = ngtcp2_crypto_version_negotiation_cb,                        \
	.recv_stateless_reset2 = on_stateless_reset, .get_new_connection_id2 = on_new_cid,  \
	.get_path_challenge_data2 = ngtcp2_crypto_get_path_challenge_data2_cb

const ngtcp2_callbacks *quic_callbacks(enum link_role role)
{
	static const ngtcp2_callbacks client = {
		CALLBACKS_OF_BOTH,
		.client_initial = ngtcp2_crypto_client_initial_cb,
		.recv_retry = ngtcp2_crypto_recv_retry_cb,
		.handshake_confirmed = on_handshake_confirmed,
	};
	static const ngtcp2_callbacks server = {
		CALLBACKS_OF_BOTH,
		.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb,
	};
	return role == LINK_ROLE_CLIENT ? &client : &server;
}
