/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders to refuse. All of an order but its count never changes, so workers read it without asking.
 */
#include "daemon/edge/refuse.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/edge/enroll.h"
#include "util/macro.h"
#include "util/time.h"

struct kind {
	const char *name;
	enum refuse_manner manner;
	/* With MANNER_ANSWER: one of the edge's own refusals, or what is said instead. */
	enum enroll_refusal like;
	const char *cause;
	bool should_retry;
	unsigned int retry_after_sec;
};

/* clang-format off */
static const struct kind kinds[] = {
	{ .name = "unauthorized", .like = ENROLL_REFUSAL_UNKNOWN },
	{ .name = "too-many",     .like = ENROLL_REFUSAL_TOO_MANY },
	{ .name = "draining",     .like = ENROLL_REFUSAL_DRAINING },
	{ .name = "duplicate",    .cause = "EDUPCONN", .should_retry = true },
	{ .name = "retry",        .cause = "try again later", .should_retry = true, .retry_after_sec = 5 },
	{ .name = "permanent",    .cause = "refused for good" },
	{ .name = "exception",    .manner = REFUSE_MANNER_EXCEPTION },
	{ .name = "silent",       .manner = REFUSE_MANNER_SILENT },
	{ .name = "close",        .manner = REFUSE_MANNER_CLOSE },
};
/* clang-format on */

struct refuse {
	_Atomic unsigned int refs;
	_Atomic uint64_t left; /* UINT64_MAX: without end */
	const struct kind *kind;
	struct uuid tunnel;
	bool is_for_all;
	int64_t retry_after_ns; /* negative: the kind's */
};

static const struct kind *find_kind(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	return NULL;
}

int refuse_new(const struct refuse_params *params, struct refuse **ret)
{
	const struct kind *kind = find_kind(params->kind);
	if (!kind)
		return -EINVAL;
	struct refuse *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	atomic_init(&r->refs, 1);
	atomic_init(&r->left, params->count ? params->count : UINT64_MAX);
	r->kind = kind;
	r->is_for_all = !params->tunnel;
	if (params->tunnel)
		r->tunnel = *params->tunnel;
	r->retry_after_ns = params->retry_after_ns;
	*ret = r;
	return 0;
}

struct refuse *refuse_ref(struct refuse *r)
{
	if (r)
		atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
	return r;
}

void refuse_unref(struct refuse *r)
{
	if (r && atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
		free(r);
}

bool refuse_take(struct refuse *r, const struct uuid *tunnel)
{
	if (!r || (!r->is_for_all && !uuid_eq(&r->tunnel, tunnel)))
		return false;
	uint64_t left = atomic_load_explicit(&r->left, memory_order_relaxed);
	while (left > 0)
		if (left == UINT64_MAX ||
		    atomic_compare_exchange_weak_explicit(
			    &r->left, &left, left - 1, memory_order_relaxed, memory_order_relaxed))
			return true;
	return false;
}

enum refuse_manner refuse_answer(const struct refuse *r, struct tunnel_registered *ret)
{
	const struct kind *kind = r->kind;
	if (kind->manner != REFUSE_MANNER_ANSWER)
		return kind->manner;
	if (kind->like != ENROLL_REFUSAL_NONE) {
		enroll_refuse(kind->like, ret);
	} else {
		ret->verdict = TUNNEL_VERDICT_ERROR;
		ret->cause = span_str(kind->cause);
		ret->should_retry = kind->should_retry;
		ret->retry_after_ns = kind->retry_after_sec * (int64_t)NSEC_PER_SEC;
	}
	if (r->retry_after_ns >= 0)
		ret->retry_after_ns = r->retry_after_ns;
	return kind->manner;
}

const char *refuse_kind(const struct refuse *r)
{
	return r && atomic_load_explicit(&r->left, memory_order_relaxed) > 0 ? r->kind->name : NULL;
}
