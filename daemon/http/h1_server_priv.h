/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the two halves of the HTTP/1.1 server share: h1_server.c has the connection between
 * exchanges, h1_exchange.c the exchange that runs.
 */
#ifndef DAEMON_HTTP_H1_SERVER_PRIV_H
#define DAEMON_HTTP_H1_SERVER_PRIV_H

#include "daemon/http/conn_fsm.h"
#include "daemon/http/h1_priv.h"

struct http_conn {
	struct stream *s; /* owned; NULL once closed */
	struct http_conn_params params;
	enum conn_state state;
	struct arena arena; /* of the exchange; reset between two */
	struct h1_rx rx;
	struct h1_tx tx;
	struct http_exchange x;
	struct stream body; /* x.body */

	struct timer timer;     /* what for depends on the state */
	struct loop_task step;  /* WORK: whatever the state asks for */
	struct loop_task flush; /* FLUSH: the turn's output in one write */
	struct loop_garbage garbage;
	nsec_t progress_at; /* last byte that went either way in this exchange */
	size_t lingered;    /* bytes dropped in LINGER */

	bool has_served;       /* not the first request any more */
	bool is_draining;      /* no request after this one */
	bool close_after;      /* the running exchange is the last */
	bool peer_ended;       /* its FIN was read */
	bool is_reject;        /* the exchange came by on_reject */
	bool is_aborted;       /* by our side: the stream was reset */
	bool is_stopped;       /* the handler wants no more of the request */
	bool expects_continue; /* and hasn't been told yet */
	bool wants_read;       /* the handler waits for the visitor */
	bool wants_write;      /* the handler waits for room */
	int read_error;        /* -ETIMEDOUT */
};

/* ---- h1_server.c ---- */

/* The only writer of conn->state. */
void conn_step_to(struct http_conn *conn, enum conn_event event);
/* Reads from the connection into rx.raw: as stream_read(), 0 again after the end. */
[[nodiscard]] ssize_t conn_read(struct http_conn *conn);
/* Writes what is in out. False when the connection is lost. */
bool conn_flush(struct http_conn *conn);
void conn_post_flush(struct http_conn *conn);
void conn_post_step(struct http_conn *conn);
/* Starts the clock of body_timeout if it doesn't run. */
void conn_watch_progress(struct http_conn *conn);
/* The visitor is gone or we have given up: told to the handler, or the end at once without one. */
void conn_lost(struct http_conn *conn);
/* Resets the connection. */
void conn_abort(struct http_conn *conn);

/* ---- h1_exchange.c ---- */

void exchange_init_body(struct http_conn *conn);
/* rx.head is a request. */
void exchange_start(struct http_conn *conn);
/* What came is refused with this status. */
void exchange_reject(struct http_conn *conn, unsigned int status);

#endif
