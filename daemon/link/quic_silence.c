/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a peer may be silent. Only time since our first unanswered packet counts: an idle link
 * is silent, too.
 */
#include "daemon/link/quic_silence.h"

#include <errno.h>

#include "util/macro.h"

enum { PTOS = 3 };

bool quic_silence_sent(struct quic_silence *s, nsec_t now)
{
	if (s->since)
		return false;
	s->since = now;
	return true;
}

bool quic_silence_heard(struct quic_silence *s)
{
	bool was_suspect = s->why != LINK_SUSPICION_NONE;
	*s = (struct quic_silence){ .patience = s->patience };
	return was_suspect;
}

void quic_silence_refused(struct quic_silence *s, int error)
{
	if (error == -ECONNREFUSED)
		s->is_refused = true;
	if (s->why == LINK_SUSPICION_NONE)
		s->why = LINK_SUSPICION_REFUSED;
}

nsec_t quic_silence_due(const struct quic_silence *s, nsec_t pto)
{
	if (!s->since || (s->why == LINK_SUSPICION_SILENT && !s->is_refused))
		return NSEC_NEVER;
	nsec_t wait = MAX(PTOS * pto, QUIC_SILENCE_MIN);
	return nsec_add(s->since, s->is_refused ? MAX(wait, s->patience) : wait);
}

enum quic_silence_verdict quic_silence_check(struct quic_silence *s, nsec_t now, nsec_t pto)
{
	if (now >= quic_silence_due(s, pto)) {
		if (s->is_refused)
			return QUIC_SILENCE_GONE;
		s->why = LINK_SUSPICION_SILENT;
	}
	return s->why == LINK_SUSPICION_NONE ? QUIC_SILENCE_FINE : QUIC_SILENCE_SUSPECT;
}
