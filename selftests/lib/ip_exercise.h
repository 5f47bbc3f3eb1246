/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets under any bytes: what must hold of what was read, of changes in place, and of the answers
 * made from it (selftests/lib/wire_exercise.h).
 */
#ifndef SELFTESTS_LIB_IP_EXERCISE_H
#define SELFTESTS_LIB_IP_EXERCISE_H

#include <errno.h>

#include "daemon/wire/icmp.h"
#include "daemon/wire/ip_udp.h"
#include "selftests/lib/wire_exercise.h"
#include "util/macro.h"

#define EXERCISE_PACKET_MAX 2048

/* What is right stays right, and what is wrong stays wrong. */
static inline void exercise_same_checksums(const struct ip_packet *a, const struct ip_packet *b)
{
	EXERCISE_CHECK(ip_checksum_ok(a) == ip_checksum_ok(b));
	if (a->src.family == IP_FAMILY_V6 && a->protocol == IP_PROTOCOL_ICMP6 && a->payload.len > 3)
		EXERCISE_CHECK(icmp_checksum_ok(a) == icmp_checksum_ok(b));
	if (a->protocol == IP_PROTOCOL_UDP)
		EXERCISE_CHECK(ip_udp_checksum_ok(a) == ip_udp_checksum_ok(b));
}

static inline void exercise_changes(const struct ip_packet *p)
{
	uint8_t copy[EXERCISE_PACKET_MAX];
	struct ip_packet q;
	size_t len = p->whole.len;
	if (len > sizeof(copy))
		return;
	memcpy(copy, p->whole.ptr, len);
	if (p->ttl > 0) {
		ip_decrement_ttl(copy);
		EXERCISE_CHECK(ip_read(span_of(copy, len), &q) == 0);
		EXERCISE_CHECK(q.ttl == p->ttl - 1);
		exercise_same_checksums(p, &q);
		memcpy(copy, p->whole.ptr, len);
	}
	struct ip_addr to = { .family = p->src.family };
	memset(to.bytes, 0x5a, ip_family_len(to.family));
	if (ip_readdress(copy, len, &to, NULL) < 0)
		return;
	EXERCISE_CHECK(ip_readdress(copy, len, NULL, &to) == 0);
	EXERCISE_CHECK(ip_read(span_of(copy, len), &q) == 0);
	EXERCISE_CHECK(ip_addr_eq(&q.src, &to) && ip_addr_eq(&q.dst, &to));
	exercise_same_checksums(p, &q);
	EXERCISE_CHECK(ip_readdress(copy, len, &p->src, &p->dst) == 0);
	EXERCISE_CHECK(ip_read(span_of(copy, len), &q) == 0);
	exercise_same_checksums(p, &q);
}

/* Errors about it, whether they should be sent or not. */
static inline void exercise_errors(const struct ip_packet *p)
{
	uint8_t room[ICMP_ERROR_MAX];
	for (unsigned int k = ICMP_KIND_OTHER; k <= ICMP_KIND_BAD_PARAMETER; k++) {
		struct packer out = packer_over(room, sizeof(room));
		struct icmp_error e = { .src = p->dst,
					.dst = p->src,
					.kind = (enum icmp_kind)k,
					.mtu = 1300,
					.quote = p->whole };
		struct ip_packet q;
		struct icmp_message m;
		int r = icmp_error_write(&out, &e);
		EXERCISE_CHECK(r == (icmp_kind_is_error(e.kind) ? 0 : -EINVAL));
		if (r < 0)
			continue;
		EXERCISE_CHECK(ip_read(packer_span(&out), &q) == 0 && ip_checksum_ok(&q));
		EXERCISE_CHECK(icmp_read(&q, &m) == 0 && icmp_checksum_ok(&q));
		EXERCISE_CHECK(m.kind == e.kind && span_starts_with(p->whole, m.data));
		EXERCISE_CHECK(m.mtu == (m.kind == ICMP_KIND_TOO_BIG ? 1300 : 0));
		EXERCISE_CHECK(!ip_may_report(&q, true));
	}
}

static inline void exercise_echo(const struct ip_packet *p, const struct icmp_message *m)
{
	uint8_t room[EXERCISE_PACKET_MAX + IP_HEAD_MAX];
	struct packer out = packer_over(room, sizeof(room));
	struct icmp_echo e = { .src = p->src,
			       .dst = p->dst,
			       .ttl = p->ttl,
			       .is_reply = m->kind == ICMP_KIND_ECHO_REPLY,
			       .code = m->code,
			       .id = m->id,
			       .seq = m->seq,
			       .data = m->data };
	struct ip_packet q;
	struct icmp_message n;
	if (m->data.len > EXERCISE_PACKET_MAX - ICMP_HEAD_LEN)
		return;
	EXERCISE_CHECK(icmp_echo_write(&out, &e) == 0);
	EXERCISE_CHECK(ip_read(packer_span(&out), &q) == 0 && icmp_read(&q, &n) == 0);
	EXERCISE_CHECK(ip_checksum_ok(&q) && icmp_checksum_ok(&q));
	EXERCISE_CHECK(n.kind == m->kind && n.code == m->code && n.id == m->id);
	EXERCISE_CHECK(n.seq == m->seq && span_eq(n.data, m->data));
}

/* Other addresses and back again: it is as it was, and never more than it was. */
static inline void exercise_readdress(const struct ip_packet *p)
{
	uint8_t copy[EXERCISE_PACKET_MAX];
	struct ip_addr other = p->src;
	size_t len = p->header.len + p->payload.len;
	other.bytes[1] ^= 0x55;
	if (len > sizeof(copy))
		return;
	memcpy(copy, p->whole.ptr, len);
	struct ip_packet q;
	if (icmp_readdress(copy, len, &other, NULL) < 0)
		return;
	EXERCISE_CHECK(ip_read(span_of(copy, len), &q) == 0 && ip_addr_eq(&q.src, &other));
	EXERCISE_CHECK(icmp_readdress(copy, len, NULL, &other) == 0);
}

/* 0, or the error of ip_read(). */
static inline int exercise_ip(struct span in)
{
	struct ip_packet p;
	struct icmp_message m;
	struct ip_udp u;
	int r = ip_read(in, &p);
	if (r < 0)
		return r;
	exercise_touch(p.header);
	exercise_touch(p.payload);
	EXERCISE_CHECK(p.header.len + p.payload.len <= in.len);
	EXERCISE_CHECK(ip_checksum_ok(&p) || p.src.family == IP_FAMILY_V4);
	(void)ip_may_report(&p, in.len & 1);
	exercise_changes(&p);
	exercise_errors(&p);
	if (ip_udp_read(&p, &u) == 0)
		exercise_touch(u.payload);
	if (icmp_read(&p, &m) < 0)
		return 0;
	exercise_touch(m.data);
	exercise_readdress(&p);
	if (m.kind == ICMP_KIND_ECHO_REQUEST || m.kind == ICMP_KIND_ECHO_REPLY)
		exercise_echo(&p, &m);
	else if (icmp_kind_is_error(m.kind) && ip_read(m.data, &p) == 0)
		exercise_touch(p.payload);
	return 0;
}

#endif
