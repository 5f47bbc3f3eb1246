/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Codes that a link puts on the wire, and what those of the other side mean to us
 * (docs/protocol.md §12; style E3).
 */
#ifndef DAEMON_LINK_CLOSE_H
#define DAEMON_LINK_CLOSE_H

#include "daemon/link/link.h"

/* Application codes. The reference knows only 0 and interprets nothing. */
enum link_code : uint32_t {
	LINK_CODE_NONE = 0,         /* an ordinary end, and every reset without a reason */
	LINK_CODE_ORIGIN_RESET = 9, /* proxy_reason origin-reset: a body broke off */
	LINK_CODE_REFUSED = 256,    /* the peer has not looked at it: it may be asked elsewhere */
	LINK_CODE_OVERLOADED = 10,  /* proxy_reason overloaded: our memory is short */
};

/* CRYPTO_ERROR: a TLS alert as a transport code (RFC 9001 §4.8). */
bool link_code_is_tls(uint64_t transport_code);

/* Codes of streams on HTTP/2 (RFC 9113 §7) and ours; what has no counterpart is NONE, and NONE is
 * what a role sends for an abnormal end. */
uint32_t h2_code_of_link(uint64_t code);
uint64_t link_code_of_h2(uint64_t code);

/* Names the end of a link that the peer closed with this code during or after the handshake. */
enum link_end link_end_of_peer(uint64_t code, bool is_transport_code, bool was_up);
/* Names the end of a link that a socket error stopped. error is a negative errno. */
enum link_end link_end_of_error(int error);

/* Copies words from outside for logs: printable ASCII, '?' for everything else, cut to fit. */
void link_reason_copy(char *to, size_t cap, struct span words);

#endif
