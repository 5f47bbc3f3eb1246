/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the HTTP/2 transport share; nobody else includes it.
 */
#ifndef DAEMON_LINK_H2LINK_PRIV_H
#define DAEMON_LINK_H2LINK_PRIV_H

#include "daemon/link/h2link.h"
#include "util/list.h"

struct h2call;
struct outproxy;

struct h2link {
	struct link base;
	const struct h2link_settings *settings;
	struct outproxy *proxy; /* while it is asked */
	SSL *ssl;               /* until there is a connection for it */
	struct stream *io;      /* TLS that opens; NULL once h2 has it */
	int fd;                 /* of the connection, which io or h2 owns */
	struct h2_conn *h2;
	bool is_ours; /* the other end is an adit program; at the edge: known after registration */
	bool is_registered;
	bool is_draining;
	bool is_closing; /* h2 is gone or going: CLOSED follows from the loop */
	bool is_away;    /* the peer will open no more streams */

	struct h2call *control; /* daemon: opened by the edge, not taken yet */
	bool has_control;
	struct list calls; /* that live and know this link */
	void *scratch;     /* while a head is translated */

	struct timer deadline; /* of the phase: connect, TLS, control stream, registration */
	struct timer watch;    /* liveness */
	nsec_t asked;          /* when a PING was sent that has no answer yet; 0: none */
	nsec_t stuck_since;    /* bytes of ours have not been acknowledged since; 0: none */
	uint64_t acked;        /* bytes that the peer's kernel had, when last looked */
	struct ip_port local, peer;
	nsec_t since;
	uint64_t suspicions;
	uint64_t dropped_trailers;
	char group[24];
	char cipher[32];
	struct loop_task closed;
	struct loop_garbage garbage;
};

/* The end of a link; the first one stands. CLOSED comes from the loop. */
void h2link_end(struct h2link *link, enum link_end end, int error, const char *reason);
/* Streams have begun or ended, or something was asked: looks at the connection soon. */
void h2link_watch(struct h2link *link);
/* The daemon's control stream is there: the link is up. */
void h2link_control_opened(struct h2link *link, struct h2call *call);

/* Room for a head in both forms, made at the first use; NULL without memory. */
void *h2link_scratch(struct h2link *link, size_t *ret_cap);

#endif
