/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Public hostnames of adit-edge. Unlike rules they have no order: the exact name wins, then the
 * longest wildcard.
 */
#include "daemon/route/hosts.h"

#include <errno.h>

#include "daemon/route/host_index.h"
#include "daemon/wire/endpoint.h"
#include "daemon/wire/uri.h"

struct hosts {
	struct host_index exact;
	struct host_index suffix;
};

int hosts_new(const struct hosts_entry *entries, size_t count, struct hosts **ret)
{
	_cleanup_(hosts_freep) struct hosts *h = calloc(1, sizeof(*h));
	struct host_index_entry *exact = calloc(2 * count + 1, sizeof(*exact));
	struct host_index_entry *suffix = calloc(count + 1, sizeof(*suffix));
	if (!h || !exact || !suffix) {
		free(exact);
		free(suffix);
		return -ENOMEM;
	}
	size_t exact_count = 0;
	size_t suffix_count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct host_pattern *p = entries[i].host;
		struct host_index_entry e = { .key = p->text, .value = entries[i].value };
		if (p->kind == HOST_KIND_SUFFIX)
			suffix[suffix_count++] = e;
		else if (p->kind == HOST_KIND_EXACT)
			exact[exact_count++] = e;
		e.key = p->ascii;
		if (p->ascii.len)
			exact[exact_count++] = e;
	}
	int r = host_index_init(&h->exact, exact, exact_count);
	int r2 = host_index_init(&h->suffix, suffix, suffix_count);
	if (r < 0 || r2 < 0)
		return -ENOMEM;
	*ret = TAKE_PTR(h);
	return 0;
}

void hosts_free(struct hosts *h)
{
	if (!h)
		return;
	host_index_done(&h->exact);
	host_index_done(&h->suffix);
	free(h);
}

int hosts_find(const struct hosts *h, struct span host, uint32_t *ret_value)
{
	uint8_t name[ENDPOINT_HOST_MAX + 1];
	struct packer p = packer_over(name, sizeof(name));
	if (uri_host_normalize(host, &p) < 0 || p.len == 0)
		return -ESTALE;

	size_t n;
	struct span key = packer_span(&p);
	const struct host_index_entry *e = host_index_find(&h->exact, key, &n);
	/* From the left: the longest suffix first. */
	for (size_t i = 0; !e && i < key.len; i++)
		if (key.ptr[i] == '.')
			e = host_index_find(&h->suffix, span_skip(key, i), &n);
	if (!e)
		return -ESTALE;
	*ret_value = e->value;
	return 0;
}
