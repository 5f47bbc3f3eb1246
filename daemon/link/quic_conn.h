/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ngtcp2 connection of a QUIC link: how it is made, what the library reports, how it ends.
 * Private to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_CONN_H
#define DAEMON_LINK_QUIC_CONN_H

#include "daemon/link/quic_priv.h"

/* A link without a connection, on the worker's list. NULL when out of memory. */
struct quic_link *quic_conn_new_link(struct quic_worker *qw, enum link_role role);

/* Starts the handshake on link->sock. */
[[nodiscard]] int quic_conn_start_client(struct quic_link *link, const struct quic_dial *dial);
/* What the accepting side has learned from the first packet. */
struct quic_first {
	const ngtcp2_pkt_hd *hd;
	const ngtcp2_path *path;
	const ngtcp2_cid *original_dcid; /* from a Retry token; NULL without one */
	SSL_CTX *tls;
};
[[nodiscard]] int quic_conn_start_server(struct quic_link *link, const struct quic_first *first);

/* The operations of every QUIC link. */
const struct link_ops *quic_link_ops(void);

/* The socket that a dialled link uses: fills in what udp_open() wants (borrowed from the link). */
void quic_conn_udp_params(const struct quic_link *link, struct udp_params *ret);

/* Ends the connection because the library said so (a negative NGTCP2_ERR_…), or the kernel. */
void quic_conn_fail(struct quic_link *link, int liberr);
void quic_conn_fail_error(struct quic_link *link, int error);
/* Ends it because we want to: at the end of the turn. */
void quic_conn_close(struct quic_link *link, uint64_t code, const char *reason);
/* The end of the turn after quic_conn_close(). */
void quic_conn_finish(struct quic_link *link);
/* A draining link without streams closes. */
void quic_conn_check_drained(struct quic_link *link);
/* Gives the link's memory back at the end of the turn; the connection ends if it still lives. */
void quic_conn_dispose(struct quic_link *link);
/* Task: tells the sink what has happened. */
void quic_conn_on_events(struct loop_task *task);

void quic_conn_get_stats(const struct quic_link *link, struct link_stats *ret);

#endif
