/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ingress rules, compiled. The order of the file decides, so a host gives several ascending lists
 * of rules (its name, each suffix that a wildcard has, rules for any host) which are merged by
 * walking them side by side; the first rule whose path fits as well is the answer.
 */
#include "daemon/route/match_ingress.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/route/host_index.h"
#include "daemon/route/route.h"
#include "daemon/wire/uri.h"

/* Lists of one lookup: the name, a suffix for each byte of it at most, and rules for any host. */
constexpr size_t LISTS_MAX = ROUTE_HOST_MAX + 2;

struct match_ingress {
	const struct conf_rule *rules; /* borrowed */
	struct host_index exact;
	struct host_index suffix;
	struct host_index_entry *any; /* ascending; the keys are empty */
	size_t any_count;
};

/* A list that is being walked. */
struct walk {
	const struct host_index_entry *at;
	const struct host_index_entry *end;
};

/* ---- building ---- */

struct builder {
	struct host_index_entry *exact;
	struct host_index_entry *suffix;
	size_t exact_count;
	size_t suffix_count;
};

static void rule_add(struct match_ingress *m, struct builder *b, const struct host_pattern *h,
		     uint32_t index)
{
	switch (h->kind) {
	case HOST_KIND_ANY:
		m->any[m->any_count++] = (struct host_index_entry){ .value = index };
		return;
	case HOST_KIND_EXACT:
		b->exact[b->exact_count++] =
			(struct host_index_entry){ .key = h->text, .value = index };
		if (h->ascii.len)
			b->exact[b->exact_count++] =
				(struct host_index_entry){ .key = h->ascii, .value = index };
		return;
	case HOST_KIND_SUFFIX:
		b->suffix[b->suffix_count++] =
			(struct host_index_entry){ .key = h->text, .value = index };
		return;
	}
}

int match_ingress_new(const struct conf_rule *rules, size_t count, struct match_ingress **ret)
{
	_cleanup_(match_ingress_freep) struct match_ingress *m = calloc(1, sizeof(*m));
	struct builder b = {
		.exact = calloc(2 * count + 1, sizeof(*b.exact)),
		.suffix = calloc(count + 1, sizeof(*b.suffix)),
	};
	if (m)
		m->any = calloc(count + 1, sizeof(*m->any));
	if (!m || !m->any || !b.exact || !b.suffix) {
		free(b.exact);
		free(b.suffix);
		return -ENOMEM;
	}
	m->rules = rules;
	for (size_t i = 0; i < count; i++)
		rule_add(m, &b, &rules[i].host, (uint32_t)i);

	int r = host_index_init(&m->exact, b.exact, b.exact_count);
	int r2 = host_index_init(&m->suffix, b.suffix, b.suffix_count);
	if (r < 0 || r2 < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(m);
	return 0;
}

void match_ingress_free(struct match_ingress *m)
{
	if (!m)
		return;
	host_index_done(&m->exact);
	host_index_done(&m->suffix);
	free(m->any);
	free(m);
}

/* ---- finding ---- */

static void walk_add(struct walk *walks, size_t *count, const struct host_index_entry *entries,
		     size_t n)
{
	if (n)
		walks[(*count)++] = (struct walk){ .at = entries, .end = entries + n };
}

/* All lists of rules for a normalised host. */
static size_t walks_begin(const struct match_ingress *m, struct span host,
			  struct walk walks[LISTS_MAX])
{
	size_t count = 0;
	size_t n;
	walk_add(walks, &count, m->any, m->any_count);
	if (host.len == 0 || host.len > ROUTE_HOST_MAX)
		return count;
	const struct host_index_entry *e = host_index_find(&m->exact, host, &n);
	walk_add(walks, &count, e, n);
	if (!m->suffix.count)
		return count;
	for (size_t i = 0; i < host.len; i++) {
		if (host.ptr[i] != '.')
			continue;
		e = host_index_find(&m->suffix, span_skip(host, i), &n);
		walk_add(walks, &count, e, n);
	}
	return count;
}

/* Takes the smallest index off the lists; false when all are empty. */
static bool walks_next(struct walk *walks, size_t count, size_t *ret_index)
{
	struct walk *best = NULL;
	for (size_t i = 0; i < count; i++)
		if (walks[i].at < walks[i].end && (!best || walks[i].at->value < best->at->value))
			best = &walks[i];
	if (!best)
		return false;
	*ret_index = best->at->value;
	best->at++;
	return true;
}

int match_ingress_find(const struct match_ingress *m, struct pattern_scratch *s, struct span host,
		       struct span path, size_t *ret_index)
{
	struct walk walks[LISTS_MAX];
	uint8_t name[ROUTE_HOST_MAX];
	struct packer p = packer_over(name, sizeof(name));
	/* What is too long for any name can still be for any host. */
	if (uri_host_normalize(host, &p) < 0)
		p.len = 0;

	size_t count = walks_begin(m, packer_span(&p), walks);
	size_t index;
	while (walks_next(walks, count, &index)) {
		const struct pattern *pattern = m->rules[index].pattern;
		int r = pattern ? pattern_match(pattern, s, path) : 1;
		if (r == 0)
			continue;
		*ret_index = index;
		return r > 0 ? 0 : -E2BIG;
	}
	return -ESTALE;
}
