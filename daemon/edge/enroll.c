/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may register. The digest of a secret is compared in constant time, also when the tunnel isn't
 * known, so that neither text nor time tells which part was wrong.
 */
#include "daemon/edge/enroll.h"

#include "daemon/base/secret.h"
#include "daemon/net/digest.h"

/* Takes a place if there is one. */
static bool take_place(struct edge_tunnel *t, unsigned int max)
{
	unsigned int n = atomic_load_explicit(&t->connections, memory_order_relaxed);
	while (n < max)
		if (atomic_compare_exchange_weak_explicit(
			    &t->connections, &n, n + 1, memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

enum enroll_refusal enroll_check(const struct roster *roster, bool is_draining,
				 const struct tunnel_register *reg, struct edge_tunnel **ret_tunnel)
{
	static const uint8_t nobody[EDGE_TUNNEL_SECRET_LEN];
	struct uuid id;
	uint8_t digest[EDGE_TUNNEL_SECRET_LEN];
	if (uuid_from_span(reg->tunnel_id, &id) < 0 || digest_sha256(reg->secret, digest) < 0)
		return ENROLL_REFUSAL_UNKNOWN;
	const struct roster_tunnel *t = roster_find(roster, &id);
	bool is_same = secret_eq(span_of(digest, sizeof(digest)),
				 span_of(t ? t->shared->secret_sha256 : nobody, sizeof(digest)));
	bool is_known = t && span_eq_str(reg->account_tag, t->shared->account);
	if (!is_same || !is_known)
		return ENROLL_REFUSAL_UNKNOWN;
	if (is_draining)
		return ENROLL_REFUSAL_DRAINING;
	if (!take_place(t->shared, t->conf->max_connections))
		return ENROLL_REFUSAL_TOO_MANY;
	*ret_tunnel = edge_tunnel_ref(t->shared);
	return ENROLL_REFUSAL_NONE;
}

void enroll_release(struct edge_tunnel *tunnel)
{
	atomic_fetch_sub_explicit(&tunnel->connections, 1, memory_order_relaxed);
}

void enroll_refuse(enum enroll_refusal refusal, struct tunnel_registered *ret)
{
	static const struct {
		const char *cause;
		bool should_retry;
		int64_t retry_after_sec;
	} answers[ENROLL_REFUSAL_MAX_] = {
		[ENROLL_REFUSAL_UNKNOWN] = { "Unauthorized: tunnel or secret not known", false, 0 },
		[ENROLL_REFUSAL_TOO_MANY] = { "too many connections", true, 30 },
		[ENROLL_REFUSAL_DRAINING] = { "edge is draining", true, 1 },
	};
	ret->verdict = TUNNEL_VERDICT_ERROR;
	ret->cause = span_str(answers[refusal].cause);
	ret->should_retry = answers[refusal].should_retry;
	ret->retry_after_ns = answers[refusal].retry_after_sec * (int64_t)NSEC_PER_SEC;
}
