/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices that the path no longer carries packets over 1 200 bytes. Two pictures mean it: small
 * packets are acknowledged while large ones are not for three probe timeouts; or nothing at all is,
 * and twice in a row answers came as soon as packets were made small. Once could be an outage that
 * ended by itself.
 */
#include "daemon/link/quic_mtu.h"

enum {
	PTO_UNTIL_CAP = 2,    /* silent probe timeouts before packets become small */
	PTO_UNTIL_SHRUNK = 3, /* with answers to small packets in between */
	STRIKES = 2,
};

void quic_mtu_reset(struct quic_mtu *m)
{
	*m = (struct quic_mtu){};
}

void quic_mtu_sent(struct quic_mtu *m, nsec_t now)
{
	if (!m->is_capped && !m->large_since)
		m->large_since = now;
}

void quic_mtu_sample(struct quic_mtu *m, int64_t stream, uint64_t end, nsec_t now)
{
	if (m->is_capped || m->count == QUIC_MTU_SAMPLES)
		return;
	if (m->count == 0)
		m->sampled_at = now;
	m->samples[m->count].stream = stream;
	m->samples[m->count].end = end;
	m->count++;
}

static bool answers_sample(const struct quic_mtu *m, int64_t stream, uint64_t end)
{
	for (unsigned int i = 0; i < m->count; i++) {
		if (m->samples[i].stream != stream)
			continue;
		if (stream == QUIC_MTU_STREAM_NONE ? m->samples[i].end == end
						   : m->samples[i].end <= end)
			return true;
	}
	return false;
}

void quic_mtu_forget(struct quic_mtu *m, int64_t stream)
{
	for (unsigned int i = 0; i < m->count; i++) {
		if (m->samples[i].stream == stream) {
			quic_mtu_reset(m);
			return;
		}
	}
}

static enum quic_mtu_verdict shrunk(struct quic_mtu *m)
{
	quic_mtu_reset(m);
	m->is_capped = true;
	m->strikes = STRIKES; /* said */
	return QUIC_MTU_SHRUNK;
}

/* An answer to packets that were made small: what is acknowledged now went in those. */
static enum quic_mtu_verdict on_small_answer(struct quic_mtu *m)
{
	if (m->strikes >= STRIKES)
		return QUIC_MTU_FINE;
	if (++m->strikes >= STRIKES)
		return shrunk(m);
	m->is_capped = false;
	return QUIC_MTU_FINE;
}

enum quic_mtu_verdict quic_mtu_acked(struct quic_mtu *m, int64_t stream, uint64_t end, nsec_t now,
				     nsec_t pto)
{
	if (m->is_capped)
		return on_small_answer(m);
	m->large_since = 0;
	if (m->count == 0)
		return QUIC_MTU_FINE;
	if (answers_sample(m, stream, end)) {
		quic_mtu_reset(m);
		return QUIC_MTU_FINE;
	}
	return nsec_sub(now, m->sampled_at) >= PTO_UNTIL_SHRUNK * pto ? shrunk(m) : QUIC_MTU_FINE;
}

void quic_mtu_check(struct quic_mtu *m, nsec_t now, nsec_t pto)
{
	if (m->is_capped || !m->large_since || nsec_sub(now, m->large_since) < PTO_UNTIL_CAP * pto)
		return;
	m->is_capped = true;
	m->large_since = 0;
	m->count = 0;
}
