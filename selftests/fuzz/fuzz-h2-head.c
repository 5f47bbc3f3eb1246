/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed heads and the meta field of the HTTP/2 transport: what decodes is built again and must
 * read the same.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/wire/h2_head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Packs a pair alone and reads it back. */
static void check_pair(const struct http_field *f)
{
	size_t room = h2_pair_len(f);
	uint8_t *text = malloc(room);
	uint8_t *bytes = malloc(room);
	if (!text || !bytes)
		abort();
	struct packer p = packer_over(text, room);
	h2_pair_add(&p, f);
	if (packer_finish(&p) < 0)
		abort();

	struct span list = packer_span(&p);
	struct packer q = packer_over(bytes, room);
	struct http_field again = {};
	if (h2_pair_next(&list, &q, &again) != 1 || !span_eq(f->name, again.name) ||
	    !span_eq(f->value, again.value) || list.len != 0)
		abort();
	free(bytes);
	free(text);
}

static void check_list(struct span list)
{
	uint8_t *bytes = malloc(list.len + 1);
	if (!bytes)
		abort();
	/* Less room than characters is enough. */
	struct packer p = packer_over(bytes, list.len);
	struct http_field f = {};
	int r = h2_pair_next(&list, &p, &f);
	while (r == 1) {
		check_pair(&f);
		(void)h2_place_of(f.name);
		(void)h2_class_of_fields(&f, 1);
		r = h2_pair_next(&list, &p, &f);
	}
	if (r == -ENOBUFS)
		abort();
	free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	enum h2_meta meta = H2_META_NONE, again = H2_META_NONE;
	check_list(in);
	if (h2_meta_decode(in, &meta) == 0 && meta != H2_META_NONE &&
	    (h2_meta_decode(h2_meta_text(meta), &again) < 0 || again != meta))
		abort();
	return 0;
}
