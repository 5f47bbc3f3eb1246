/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ConnectRequest on its way to a daemon and the ConnectResponse that comes back: what visits of
 * every kind have in common. Its owner is the user of the stream.
 */
#ifndef DAEMON_EDGE_TUNNEL_CALL_H
#define DAEMON_EDGE_TUNNEL_CALL_H

#include "daemon/edge/front_http.h"
#include "daemon/wire/preamble.h"

enum { TUNNEL_CALL_TRIES = 2 };

struct tunnel_call {
	struct stream *tunnel; /* NULL: none, or given away */
	struct edge_link *el;  /* referenced; NULL before a link was chosen */
	struct bufq out;       /* of the request, not yet gone */
	struct bufq in;        /* of the answer, and what has come behind it */
	struct preamble_reader preamble;
	unsigned int tries;
};

void tunnel_call_init(struct tunnel_call *c, struct slab *slab);
/*
 * Chooses a link of the tunnel (NULL: there is none of this name) and opens a stream in it, which
 * counts as a try. avoid (may be NULL) is taken only if there is no other and a try is left.
 * Returns 0, -ENOENT (the tunnel has no link) or -EAGAIN (none has room for a stream).
 */
[[nodiscard]] int tunnel_call_open(struct tunnel_call *c, const struct front_params *p,
				   const struct edge_tunnel *tunnel, const struct edge_link *avoid);
/* Sends what is in out. True when it has all gone, or can't any more: reading tells why. */
bool tunnel_call_flush(struct tunnel_call *c);
/*
 * Reads the answer. Returns 0 when the first *ret_len bytes of in are it, -EAGAIN, -ECONNRESET (the
 * stream has ended before), -EBADMSG or -EMSGSIZE.
 */
[[nodiscard]] int tunnel_call_read(struct tunnel_call *c, size_t *ret_len);
/* Tells the daemon that nobody waits any more. */
void tunnel_call_abort(struct tunnel_call *c);
/* Lets go of everything, also of the load of the link. May be opened again. */
void tunnel_call_drop(struct tunnel_call *c);

#endif
