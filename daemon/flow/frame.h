/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts preambles and Cap'n Proto frames out of queued bytes (docs/protocol.md §3, §4.1).
 */
#ifndef DAEMON_FLOW_FRAME_H
#define DAEMON_FLOW_FRAME_H

#include "daemon/base/bufq.h"
#include "daemon/wire/preamble.h"

/*
 * Takes the preamble of a stream off the queue as it comes. 0 when complete (r->kind), -EAGAIN,
 * -EBADMSG.
 */
[[nodiscard]] int frame_preamble(struct bufq *in, struct preamble_reader *r);

/*
 * Says whether a whole frame stands at the head of the queue: 0 with its length, -EAGAIN when bytes
 * are missing, -EBADMSG (bad framing) or -EMSGSIZE (longer than limit).
 */
[[nodiscard]] int frame_next(const struct bufq *in, size_t limit, size_t *ret_len);

/*
 * The first len bytes (at most in->len) in one piece: borrowed from the queue where they lie in one
 * buffer, else copied to *ret_copy, which the caller frees (NULL otherwise). They are not consumed.
 * Returns 0 or -ENOMEM.
 */
[[nodiscard]] int frame_view(const struct bufq *in, size_t len, struct span *ret,
			     uint8_t **ret_copy);

#endif
