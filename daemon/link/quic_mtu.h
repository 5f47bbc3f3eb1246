/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices that the path no longer carries packets over 1 200 bytes (spec §6): path MTU discovery
 * only looks upwards, and its probes are not repeated. Pure state: told what was sent and
 * acknowledged.
 */
#ifndef DAEMON_LINK_QUIC_MTU_H
#define DAEMON_LINK_QUIC_MTU_H

#include <stddef.h>
#include <stdint.h>

#include "util/time.h"

enum {
	QUIC_MTU_BASE = 1200,  /* bytes that every path carries (RFC 9000 §14) */
	QUIC_MTU_SAMPLES = 16, /* large packets that are followed at once */
	QUIC_MTU_STREAM_NONE = -1,
};

enum quic_mtu_verdict : uint8_t {
	QUIC_MTU_FINE,
	QUIC_MTU_SHRUNK, /* small packets pass, large ones don't: said once */
};

struct quic_mtu {
	/* What a large packet carried: a stream's bytes up to end, or datagram number end. */
	struct {
		int64_t stream;
		uint64_t end;
	} samples[QUIC_MTU_SAMPLES];
	unsigned int count;
	nsec_t sampled_at;  /* the first of them was sent then */
	nsec_t large_since; /* a large packet left then, and nothing was answered since; 0: none */
	bool is_capped;     /* large packets are suspected: send nothing over QUIC_MTU_BASE */
	uint8_t strikes;    /* silent spells that ended when packets became small */
};

/* A packet of more than QUIC_MTU_BASE bytes left. */
void quic_mtu_sent(struct quic_mtu *m, nsec_t now);
/* It carried something new. stream is QUIC_MTU_STREAM_NONE for a datagram. */
void quic_mtu_sample(struct quic_mtu *m, int64_t stream, uint64_t end, nsec_t now);
/* The peer acknowledged a stream up to end, or datagram number end. pto: probe timeout now. */
enum quic_mtu_verdict quic_mtu_acked(struct quic_mtu *m, int64_t stream, uint64_t end, nsec_t now,
				     nsec_t pto);
/* Before packets are written: large ones that stay unanswered make the next ones small. */
void quic_mtu_check(struct quic_mtu *m, nsec_t now, nsec_t pto);
/* A stream was reset: its bytes will never be acknowledged, so they can't be missed. */
void quic_mtu_forget(struct quic_mtu *m, int64_t stream);
/* Forgets everything: the path is a new one. */
void quic_mtu_reset(struct quic_mtu *m);

#endif
