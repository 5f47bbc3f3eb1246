/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices that the peer may be gone (spec §6): it doesn't answer, or the kernel says that nobody
 * listens. The kernel's word can be forged, or be that of a NAT that has forgotten, until the peer
 * speaks again. When its keep-alive is overdue, too, it is gone. Pure state: told what happens.
 */
#ifndef DAEMON_LINK_QUIC_SILENCE_H
#define DAEMON_LINK_QUIC_SILENCE_H

#include "daemon/link/link.h"

#define QUIC_SILENCE_MIN (2 * NSEC_PER_SEC)

enum quic_silence_verdict : uint8_t {
	QUIC_SILENCE_FINE,
	QUIC_SILENCE_SUSPECT,
	QUIC_SILENCE_GONE,
};

struct quic_silence {
	nsec_t since; /* a packet that asks for an answer left then, nothing came since; 0: none */
	nsec_t patience; /* with a peer that is refused: its keep-alive and a little */
	bool is_refused; /* nobody listens there */
	bool is_probed;  /* a sign of life was asked for */
	enum link_suspicion why;
};

/* A packet left while some are unanswered. True when the wait has begun with it. */
bool quic_silence_sent(struct quic_silence *s, nsec_t now);
/* A packet came. True when that ends a suspicion. */
bool quic_silence_heard(struct quic_silence *s);
/* The kernel's word: -ECONNREFUSED or -EHOSTUNREACH. */
void quic_silence_refused(struct quic_silence *s, int error);
/* When to look again, or NSEC_NEVER. pto: probe timeout now. */
nsec_t quic_silence_due(const struct quic_silence *s, nsec_t pto);
enum quic_silence_verdict quic_silence_check(struct quic_silence *s, nsec_t now, nsec_t pto);

#endif
