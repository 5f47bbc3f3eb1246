/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Base64 with the standard alphabet (RFC 4648 §4): with padding, strict both ways, and without.
 */
#ifndef DAEMON_WIRE_BASE64_H
#define DAEMON_WIRE_BASE64_H

#include "util/packer.h"

/* Characters that len bytes become; at most the bytes that len characters hold. */
#define BASE64_ENCODED_LEN(len) (((len) + 2) / 3 * 4)
#define BASE64_DECODED_MAX(len) ((len) / 4 * 3)

void base64_encode(struct packer *p, struct span bytes);
/*
 * Appends the bytes to p. Refused: other characters (blanks and line ends too), missing or extra
 * padding, bits that are left over and not zero.
 *
 * Returns 0, -EBADMSG, -ENOBUFS; p is unchanged unless 0.
 */
[[nodiscard]] int base64_decode(struct span text, struct packer *p);

/* Characters that len bytes become without padding; at most the bytes that len characters hold. */
#define BASE64_RAW_LEN(len)         (((len) * 4 + 2) / 3)
#define BASE64_RAW_DECODED_MAX(len) ((len) / 4 * 3 + (len) % 4 * 3 / 4)

/* Without padding. */
void base64_raw_encode(struct packer *p, struct span bytes);
/*
 * As base64_decode(), but padding is refused, and bits that are left over may be anything
 * (docs/protocol.md §15.3).
 */
[[nodiscard]] int base64_raw_decode(struct span text, struct packer *p);

#endif
