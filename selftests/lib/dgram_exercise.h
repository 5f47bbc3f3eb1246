/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams under any bytes: what is read can be written, and reads the same again
 * (selftests/lib/wire_exercise.h).
 */
#ifndef SELFTESTS_LIB_DGRAM_EXERCISE_H
#define SELFTESTS_LIB_DGRAM_EXERCISE_H

#include <errno.h>

#include "daemon/wire/dgram_v2.h"
#include "daemon/wire/dgram_v3.h"
#include "selftests/lib/wire_exercise.h"

static inline int exercise_dgram3_register(struct span in)
{
	uint8_t room[DGRAM3_REGISTER_MAX];
	struct packer p = packer_over(room, sizeof(room));
	struct dgram3_register a, b;
	int r = dgram3_register_read(in, &a);
	if (r < 0)
		return r;
	exercise_touch(a.payload);
	r = dgram3_register_write(&p, &a);
	EXERCISE_CHECK(r == (a.payload.len > dgram3_bundle_max(a.dest.ip.family) ? -EMSGSIZE : 0));
	if (r < 0)
		return 0;
	EXERCISE_CHECK(dgram3_register_read(packer_span(&p), &b) == 0);
	EXERCISE_CHECK(dgram_id_eq(&a.id, &b.id) && ip_port_eq(&a.dest, &b.dest));
	EXERCISE_CHECK(a.idle_sec == b.idle_sec && a.is_traced == b.is_traced);
	EXERCISE_CHECK(span_eq(a.payload, b.payload));
	return 0;
}

static inline int exercise_dgram3_payload(struct span in)
{
	uint8_t room[DGRAM3_MAX];
	uint8_t head[DGRAM3_PAYLOAD_HEAD];
	struct packer p = packer_over(room, sizeof(room));
	struct dgram3_payload d;
	int r = dgram3_payload_read(in, DGRAM_PAYLOAD_MAX_ADIT, &d);
	if (r < 0)
		return r;
	exercise_touch(d.payload);
	EXERCISE_CHECK(dgram3_payload_write(&p, &d, DGRAM_PAYLOAD_MAX_ADIT) == 0);
	EXERCISE_CHECK(span_eq(packer_span(&p), in));
	dgram3_payload_head(&d.id, head);
	EXERCISE_CHECK(span_starts_with(in, span_of(head, sizeof(head))));
	return 0;
}

static inline int exercise_dgram3_icmp(struct span in)
{
	uint8_t room[DGRAM3_ICMP_HEAD + DGRAM3_PACKET_MAX];
	struct packer p = packer_over(room, sizeof(room));
	struct span packet;
	int r = dgram3_icmp_read(in, &packet);
	if (r < 0)
		return r;
	exercise_touch(packet);
	EXERCISE_CHECK(dgram3_icmp_write(&p, packet) == 0);
	EXERCISE_CHECK(span_eq(packer_span(&p), in));
	return 0;
}

static inline int exercise_dgram3_response(struct span in)
{
	uint8_t room[DGRAM3_RESPONSE_HEAD + DGRAM3_TEXT_MAX];
	struct packer p = packer_over(room, sizeof(room));
	struct dgram3_response a;
	int r = dgram3_response_read(in, &a);
	if (r < 0)
		return r;
	exercise_touch(a.text);
	EXERCISE_CHECK(dgram3_response_write(&p, &a) == 0);
	EXERCISE_CHECK(span_starts_with(in, packer_span(&p)));
	EXERCISE_CHECK(p.len == DGRAM3_RESPONSE_HEAD + a.text.len);
	return 0;
}

/* Reads it as what its type says. 0, or the reader's error. */
static inline int exercise_dgram3(struct span in)
{
	enum dgram3_type type;
	int r = dgram3_type(in, &type);
	if (r < 0)
		return r;
	switch (type) {
	case DGRAM3_TYPE_REGISTER:
		EXERCISE_CHECK(exercise_dgram3_payload(in) == -EBADMSG);
		return exercise_dgram3_register(in);
	case DGRAM3_TYPE_PAYLOAD:
		EXERCISE_CHECK(exercise_dgram3_icmp(in) == -EBADMSG);
		return exercise_dgram3_payload(in);
	case DGRAM3_TYPE_ICMP:
		EXERCISE_CHECK(exercise_dgram3_response(in) == -EBADMSG);
		return exercise_dgram3_icmp(in);
	case DGRAM3_TYPE_RESPONSE:
		EXERCISE_CHECK(exercise_dgram3_register(in) == -EBADMSG);
		return exercise_dgram3_response(in);
	}
	abort();
}

static inline int exercise_dgram2(struct span in)
{
	uint8_t room[DGRAM_PAYLOAD_MAX + DGRAM2_PACKET_MAX];
	struct packer p = packer_over(room, sizeof(room));
	struct dgram2 d;
	int r = dgram2_read(in, &d);
	if (r < 0)
		return r;
	exercise_touch(d.content);
	r = dgram2_write(&p, &d);
	EXERCISE_CHECK(r == (d.content.len > dgram2_content_max(d.type) ? -EMSGSIZE : 0));
	EXERCISE_CHECK(r < 0 || span_eq(packer_span(&p), in));
	return 0;
}

static inline int exercise_trace(struct span in)
{
	uint8_t text[TRACE_TEXT_MAX];
	struct packer p = packer_over(text, sizeof(text));
	struct trace t, u;
	int r = trace_parse(in, &t);
	if (r < 0)
		return r;
	trace_print(&p, &t);
	EXERCISE_CHECK(packer_finish(&p) == 0);
	EXERCISE_CHECK(trace_parse(packer_span(&p), &u) == 0);
	EXERCISE_CHECK(memcmp(&t, &u, sizeof(t)) == 0);
	return 0;
}

#endif
