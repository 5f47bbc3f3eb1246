/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/2 transport of a link (docs/protocol.md §15): TLS over TCP, and HTTP/2 with the roles
 * reversed: who dialled is its server. What it carries looks to the rest of the program as on QUIC
 * (link/h2call.h).
 */
#ifndef DAEMON_LINK_H2LINK_H
#define DAEMON_LINK_H2LINK_H

#include <openssl/types.h>

#include "daemon/http/h2.h"
#include "daemon/link/link.h"
#include "daemon/net/tlsctx.h"

struct outproxy_params;

/* Of both roles; borrowed by links, so they live as long as the worker. */
struct h2link_settings {
	struct h2_settings h2;
	nsec_t connect_timeout;   /* 4 s */
	nsec_t handshake_timeout; /* TLS: 5 s */
	nsec_t open_timeout;      /* from TLS up to the control stream: 5 s */
	nsec_t keep_alive;        /* silence after which a PING asks: 15 s */
	nsec_t pong_timeout;      /* its answer must come: 10 s */
};

/* What spec §13 says; a base for settings that differ. */
extern const struct h2link_settings h2link_settings_default;

struct h2link_dial {
	const struct h2link_settings *settings;
	struct ip_port peer;
	const char *bind_interface; /* NULL: none; borrowed until UP or CLOSED */
	uint32_t fwmark;
	const struct outproxy_params *proxy; /* NULL: none; borrowed until UP or CLOSED */
	/* Borrowed for the call; the connection keeps a reference of tls. */
	SSL_CTX *tls;
	const struct tls_trust *trust;
	const char *server_name; /* h2.cftunnel.com */
	bool is_ours;            /* an adit edge: it understands our own fields */
};
/* Starts a connection; on_state(UP) (the edge has opened the control stream) or on_state(CLOSED)
 * follows. 0, or a negative errno from the socket. */
[[nodiscard]] int h2link_dial(struct worker *worker, const struct h2link_dial *dial,
			      const struct link_sink *sink, void *user, struct link **ret);

struct h2link_accept {
	const struct h2link_settings *settings;
	int fd;       /* taken, also on failure; non-blocking */
	SSL_CTX *tls; /* borrowed for the call */
	struct ip_port peer;
	nsec_t register_timeout; /* from now to link_set_registered(): 5 s */
};
/*
 * Serves an accepted connection. The control stream is opened by us and given to on_stream with id
 * 0, as if the daemon had opened it. link->user may be set until this turn ends. 0 or a negative
 * errno.
 */
[[nodiscard]] int h2link_accept(struct worker *worker, const struct h2link_accept *accept,
				const struct link_sink *sink, void *user, struct link **ret);

#endif
