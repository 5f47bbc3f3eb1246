/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Hexadecimal digits (RFC 4648 §8): written in lower case, read in either.
 */
#ifndef DAEMON_WIRE_HEX_H
#define DAEMON_WIRE_HEX_H

#include "util/packer.h"

void hex_encode(struct packer *p, struct span bytes);
/* Value of a digit, or -EBADMSG. */
int hex_digit(uint8_t c);
/* Appends the bytes to p. 0, -EBADMSG (odd length, other characters), -ENOBUFS; p changes on 0. */
[[nodiscard]] int hex_decode(struct span text, struct packer *p);

#endif
