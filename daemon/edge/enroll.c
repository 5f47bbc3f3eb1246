/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may register. Only the digest of a secret is kept (32 random bytes need no slow hash); it is
 * compared in constant time, also when the tunnel isn't known, so that neither text nor time tells
 * which part was wrong.
 */
#include "daemon/edge/enroll.h"

#include <stdlib.h>

#include "daemon/base/secret.h"
#include "daemon/conf/credential.h"
#include "daemon/net/digest.h"

static int load_secret(const struct conf_edge_tunnel *t, uint8_t ret[32], const char **ret_reason)
{
	if (t->has_secret_sha256) {
		memcpy(ret, t->secret_sha256, 32);
		return 0;
	}
	uint8_t secret[TUNNEL_SECRET_MAX];
	int n = credential_read_secret(t->secret_file, secret, ret_reason);
	int r = n < 0 ? n : digest_sha256(span_of(secret, (size_t)n), ret);
	secret_wipe(secret, sizeof(secret));
	return r;
}

int enroll_init(struct enroll *e, struct edge_conf *conf, const char **ret_reason)
{
	*e = (struct enroll){ .conf = edge_conf_ref(conf) };
	e->tunnels = calloc(conf->tunnel_count + 1, sizeof(*e->tunnels));
	int r = e->tunnels ? 0 : -ENOMEM;
	for (size_t i = 0; i < conf->tunnel_count && r == 0; i++)
		r = load_secret(&conf->tunnels[i], e->tunnels[i].secret_sha256, ret_reason);
	if (r < 0)
		enroll_done(e);
	return r;
}

void enroll_done(struct enroll *e)
{
	if (e->tunnels)
		secret_wipe(e->tunnels, (e->conf->tunnel_count + 1) * sizeof(*e->tunnels));
	free(e->tunnels);
	edge_conf_unref(e->conf);
	*e = (struct enroll){};
}

/* Takes a place if there is one. */
static bool take_place(struct enroll_tunnel *t, unsigned int max)
{
	unsigned int n = atomic_load_explicit(&t->connections, memory_order_relaxed);
	while (n < max)
		if (atomic_compare_exchange_weak_explicit(
			    &t->connections, &n, n + 1, memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

enum enroll_refusal enroll_check(struct enroll *e, const struct tunnel_register *reg,
				 uint32_t *ret_tunnel)
{
	const struct edge_conf *conf = e->conf;
	struct uuid id;
	uint8_t digest[32];
	if (uuid_from_span(reg->tunnel_id, &id) < 0 || digest_sha256(reg->secret, digest) < 0)
		return ENROLL_REFUSAL_UNKNOWN;
	const struct conf_edge_tunnel *t = edge_conf_find_tunnel(conf, &id);
	size_t i = t ? (size_t)(t - conf->tunnels)
		     : conf->tunnel_count; /* the spare entry is all zero */
	bool same = secret_eq(span_of(digest, sizeof(digest)),
			      span_of(e->tunnels[i].secret_sha256, sizeof(digest)));
	bool known = t && span_eq_str(reg->account_tag, t->account);
	if (!same || !known)
		return ENROLL_REFUSAL_UNKNOWN;
	if (atomic_load_explicit(&e->is_draining, memory_order_relaxed))
		return ENROLL_REFUSAL_DRAINING;
	if (!take_place(&e->tunnels[i], t->max_connections))
		return ENROLL_REFUSAL_TOO_MANY;
	*ret_tunnel = (uint32_t)i;
	return ENROLL_REFUSAL_NONE;
}

void enroll_release(struct enroll *e, uint32_t tunnel)
{
	atomic_fetch_sub_explicit(&e->tunnels[tunnel].connections, 1, memory_order_relaxed);
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
