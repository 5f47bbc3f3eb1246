/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A struct stream over a TCP or unix socket, in clear or under TLS (net/iostream).
 *
 * A socket has less to say than the interface: a reset of either direction ends both (TCP's RST),
 * a stop can't be told to the peer, whose bytes are read and dropped, and its reset has no code.
 * After stream_finish() and stream_close() the socket lingers for the peer's end, a few seconds at
 * most: to close it with bytes unread would destroy what is still on its way to the peer.
 */
#ifndef DAEMON_FLOW_STREAM_IO_H
#define DAEMON_FLOW_STREAM_IO_H

#include "daemon/flow/stream.h"
#include "util/addr.h"

struct ssl_st; /* OpenSSL's SSL */

/*
 * Takes fd (non-blocking, connected or still connecting) and ssl (NULL: clear text; else a fresh
 * one in connect or accept state), also on failure. Reading and writing say -EAGAIN until connect
 * and handshake are done, -ECONNRESET when they failed. Returns 0, -ENOMEM or what epoll said.
 */
[[nodiscard]] int stream_io_new(struct loop *loop, struct slab *slab, int fd, struct ssl_st *ssl,
				struct stream **ret);

/* The functions below take a stream from stream_io_new() only. */

/*
 * on_open comes once from the loop: error 0 when connect and handshake are done, else why not (as
 * stream_io_error()). It may close the stream. The stream's user is told as well.
 */
void stream_io_on_open(struct stream *s, void (*on_open)(struct stream *s, int error, void *user),
		       void *user);
bool stream_io_is_open(const struct stream *s);
/* 0, or the negative errno of what went wrong first: connect, handshake (iostream_error()), socket.
 */
int stream_io_error(const struct stream *s);
/* OpenSSL's words for a failed handshake, "" when there are none. Static. */
const char *stream_io_tls_error(const struct stream *s);
/* For ALPN and certificates; borrowed, NULL in clear text. */
struct ssl_st *stream_io_ssl(const struct stream *s);
/* The other end of a TCP connection; -ENOTCONN, or -EAFNOSUPPORT for unix sockets. */
[[nodiscard]] int stream_io_peer(const struct stream *s, struct ip_port *ret);

#endif
