/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes on a connected stream socket (TCP or unix), in clear or under TLS, as reads into and writes
 * from slices. flow/stream_io makes a struct stream of it. Edge-triggered; no queue of its own in
 * clear, at most one TLS record under TLS.
 */
#ifndef DAEMON_NET_IOSTREAM_H
#define DAEMON_NET_IOSTREAM_H

#include <openssl/types.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/base/bufq.h"
#include "daemon/base/loop.h"

struct iostream;

struct iostream_events {
	/* Reading or writing may get on, or has an error to report; also the end of the TLS
	 * handshake. */
	void (*on_ready)(struct iostream *io, bool readable, bool writable, void *user);
};

/*
 * Takes fd (connected or still connecting, non-blocking). ssl is NULL for clear text, else taken: a
 * fresh SSL in connect or accept state (net/tlsctx.h); the handshake then runs by itself.
 * Returns 0, -ENOMEM or what epoll said; on failure fd and ssl are released.
 */
[[nodiscard]] int iostream_new(struct loop *loop, struct slab *slab, int fd, SSL *ssl,
			       struct iostream **ret);
/* To be called in the turn of iostream_new(): events that nobody takes are not repeated. */
void iostream_set_events(struct iostream *io, const struct iostream_events *events, void *user);
/* Closes without a farewell; with_reset sends RST instead of FIN. Accepts NULL. */
void iostream_free(struct iostream *io, bool with_reset);

/*
 * As stream_read() and stream_write() of flow/stream.h; before connect or handshake has ended:
 * -EAGAIN. What was lost and why is iostream_error(). A TLS peer that ends without close_notify has
 * cut its data short: -ECONNRESET.
 */
[[nodiscard]] ssize_t iostream_read(struct iostream *io, struct bufq *to, size_t max);
[[nodiscard]] ssize_t iostream_write(struct iostream *io, struct bufq *from, size_t max);
/* Sends our FIN (close_notify first under TLS) when everything written has left. */
void iostream_shutdown(struct iostream *io);
/* Bytes that were taken, or a shutdown, have not reached the kernel yet. */
bool iostream_has_unsent(const struct iostream *io);

/*
 * 0 while fine or still connecting; the negative errno of a failed connect or socket; of a
 * handshake -EPERM when the peer's certificate was refused here, else -EPROTO or -ECONNRESET.
 */
int iostream_error(const struct iostream *io);
/* 1: the peer's FIN has come, -ECONNRESET: its reset, else 0. Bytes before it may be unread. Told
 * as readable. */
int iostream_peer_end(const struct iostream *io);
bool iostream_is_ready(const struct iostream *io); /* connected, handshake done */
/* OpenSSL's words for a failed handshake or verification, "" when there are none. Borrowed. */
const char *iostream_tls_error(const struct iostream *io);
SSL *iostream_ssl(const struct iostream *io); /* borrowed; NULL in clear */
int iostream_fd(const struct iostream *io);

#endif
