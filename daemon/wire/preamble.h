/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first bytes of a stream: six of signature that tell its kind and, for a data stream, two of
 * version (docs/protocol.md §3). The control stream has none.
 */
#ifndef DAEMON_WIRE_PREAMBLE_H
#define DAEMON_WIRE_PREAMBLE_H

#include "util/packer.h"

#define PREAMBLE_SIGNATURE_LEN 6
#define PREAMBLE_VERSION_LEN   2
#define PREAMBLE_MAX           (PREAMBLE_SIGNATURE_LEN + PREAMBLE_VERSION_LEN)

enum preamble_kind : uint8_t {
	PREAMBLE_KIND_NONE, /* not known yet */
	PREAMBLE_KIND_DATA,
	PREAMBLE_KIND_RPC,
};

/* Zero is the start. */
struct preamble_reader {
	uint8_t bytes[PREAMBLE_MAX];
	uint8_t len;
	enum preamble_kind kind; /* set with the return of 0 */
};

/*
 * Takes what belongs to the preamble from the front of *in, in pieces of any size; the version's
 * value is ignored. *in is moved past what was taken.
 *
 * Returns 0 when complete (r->kind says what), -EAGAIN when more bytes are needed, -EBADMSG for an
 * unknown signature.
 */
[[nodiscard]] int preamble_read(struct preamble_reader *r, struct span *in);
/* Writes the preamble of this kind: 8 bytes for data, 6 for RPC. */
void preamble_write(struct packer *p, enum preamble_kind kind);

#endif
