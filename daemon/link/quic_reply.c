/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers that need no connection: Version Negotiation, Retry and stateless reset. Each is smaller
 * than what it answers, or nearly so, and rare: a stranger can't make us work for him.
 */
#include <openssl/rand.h>
#include <string.h>

#include "daemon/link/quic_accept.h"
#include "daemon/net/sockaddr.h"
#include "util/macro.h"

enum {
	RETRIES_PER_SEC = 4000, /* of all workers */
	RESETS_PER_SEC = 2000,
	VERSIONS_PER_SEC = 200,
	INITIAL_MIN = 1200, /* what a client's first datagram must have (RFC 9000 §14.1) */
	RESET_MIN = 21,     /* RFC 9000 §10.3 */
	RESET_MAX = 43,
};
#define TOKEN_LIFETIME (10 * NSEC_PER_SEC)

bool quic_rate_pass(struct quic_rate *rate, nsec_t now, unsigned int limit)
{
	if (nsec_sub(now, rate->since) >= NSEC_PER_SEC)
		*rate = (struct quic_rate){ .since = now };
	if (rate->count >= limit)
		return false;
	rate->count++;
	return true;
}

static bool may_send(const struct quic_accept *a, struct quic_rate *rate, unsigned int per_sec)
{
	return quic_rate_pass(rate, loop_now(a->qw->worker->loop),
			      MAX(per_sec / a->server->worker_count, 1U));
}

static void reply(struct quic_accept *a, const struct quic_packet *to, struct span packet)
{
	struct ip_port local, remote;
	const ngtcp2_path *path = to->path;
	if (sockaddr_to_ip_port(path->local.addr, path->local.addrlen, &local) < 0 ||
	    sockaddr_to_ip_port(path->remote.addr, path->remote.addrlen, &remote) < 0)
		return;
	struct udp_send send = {
		.data = packet,
		.segment_len = packet.len,
		.peer = &remote,
		.local = &local.ip,
	};
	size_t sent = 0;
	/* Not sent is as good as lost. */
	(void)udp_send(&to->sock->udp, &send, &a->qw->udp, &sent);
}

void quic_reply_version(struct quic_accept *a, const struct quic_packet *to,
			const ngtcp2_version_cid *vc)
{
	static const uint32_t versions[] = { NGTCP2_PROTO_VER_V1, NGTCP2_PROTO_VER_V2 };
	if (!may_send(a, &a->versions, VERSIONS_PER_SEC))
		return;
	uint8_t packet[QUIC_MTU_BASE];
	uint8_t random = 0;
	(void)RAND_bytes(&random, 1);
	ngtcp2_ssize n = ngtcp2_pkt_write_version_negotiation(
		packet, sizeof(packet), random, vc->scid, vc->scidlen, vc->dcid, vc->dcidlen,
		versions, ARRAY_SIZE(versions));
	if (n <= 0)
		return;
	reply(a, to, span_of(packet, (size_t)n));
	quic_count(&a->counters.versions_sent, 1);
}

void quic_reply_retry(struct quic_accept *a, const struct quic_packet *to, const ngtcp2_pkt_hd *hd)
{
	if (!may_send(a, &a->retries, RETRIES_PER_SEC))
		return;
	ngtcp2_cid scid;
	quic_accept_make_cid(a, &scid);
	uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN2];
	ngtcp2_ssize len = ngtcp2_crypto_generate_retry_token2(
		token, a->server->token_key, QUIC_KEY_LEN, hd->version, to->path->remote.addr,
		to->path->remote.addrlen, &scid, &hd->dcid, loop_now(a->qw->worker->loop));
	if (len <= 0)
		return;
	uint8_t packet[256];
	ngtcp2_ssize n = ngtcp2_crypto_write_retry(packet, sizeof(packet), hd->version, &hd->scid,
						   &scid, &hd->dcid, token, (size_t)len);
	if (n <= 0)
		return;
	reply(a, to, span_of(packet, (size_t)n));
	quic_count(&a->counters.retries_sent, 1);
}

/* A stateless reset of len bytes for an id of ours. 0 when there is no randomness. */
static size_t make_reset(const struct quic_accept *a, struct span dcid, size_t len,
			 uint8_t packet[RESET_MAX])
{
	ngtcp2_cid cid;
	ngtcp2_cid_init(&cid, dcid.ptr, dcid.len);
	ngtcp2_stateless_reset_token token;
	uint8_t random[RESET_MAX];
	if (ngtcp2_crypto_generate_stateless_reset_token(token.data, a->server->reset_key,
							 QUIC_KEY_LEN, &cid) != 0 ||
	    RAND_bytes(random, sizeof(random)) != 1)
		return 0;
	ngtcp2_ssize n = ngtcp2_pkt_write_stateless_reset2(packet, len, &token, random,
							   len - NGTCP2_STATELESS_RESET_TOKENLEN);
	return n > 0 ? (size_t)n : 0;
}

void quic_reply_reset(struct quic_accept *a, const struct quic_packet *to, struct span dcid)
{
	/* Shorter than its cause, so that two who forgot each other don't go on for ever. */
	size_t len = MIN(to->bytes.len - 1, (size_t)RESET_MAX);
	if (to->bytes.len <= RESET_MIN || !may_send(a, &a->resets, RESETS_PER_SEC))
		return;
	uint8_t packet[RESET_MAX];
	len = make_reset(a, dcid, len, packet);
	if (len == 0)
		return;
	reply(a, to, span_of(packet, len));
	quic_count(&a->counters.resets_sent, 1);
}

void quic_reply_farewell(const struct quic_ledger_entry *entry, void *arg)
{
	struct quic_accept *a = arg;
	struct ip_port peer = { .ip = { .family = (enum ip_family)entry->family },
				.port = entry->port };
	uint8_t packet[RESET_MAX];
	size_t len = make_reset(a, span_of(entry->cid, entry->cid_len), RESET_MAX, packet);
	bool is_address = peer.ip.family == IP_FAMILY_V4 || peer.ip.family == IP_FAMILY_V6;
	if (len == 0 || !is_address || entry->listen >= a->server->listen_count)
		return;
	memcpy(peer.ip.bytes, entry->ip, ip_family_len(peer.ip.family));
	struct udp_send send = { .data = span_of(packet, len), .segment_len = len, .peer = &peer };
	size_t sent = 0;
	(void)udp_send(&a->socks[entry->listen]->udp, &send, &a->qw->udp, &sent);
	quic_count(&a->counters.resets_sent, 1);
}

bool quic_reply_token_is_good(const struct quic_accept *a, const ngtcp2_path *path,
			      const ngtcp2_pkt_hd *hd, ngtcp2_cid *ret_odcid)
{
	if (hd->tokenlen == 0 || hd->token[0] != NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY2)
		return false;
	return ngtcp2_crypto_verify_retry_token2(
		       ret_odcid, hd->token, hd->tokenlen, a->server->token_key, QUIC_KEY_LEN,
		       hd->version, path->remote.addr, path->remote.addrlen, &hd->dcid,
		       TOKEN_LIFETIME, loop_now(a->qw->worker->loop)) == 0;
}
