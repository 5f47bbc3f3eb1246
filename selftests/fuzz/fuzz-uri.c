/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URIs, hosts, HTTP fields.
 */
#include <stdlib.h>

#include "daemon/wire/http_field.h"
#include "daemon/wire/uri.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t first[8192];
static uint8_t second[8192];

static void check(bool claim)
{
	if (!claim)
		abort();
}

static bool is_inside(struct span part, struct span whole)
{
	return !part.ptr || (part.ptr >= whole.ptr && part.len <= whole.len &&
			     part.ptr <= whole.ptr + whole.len - part.len);
}

static void run_uri(struct span in)
{
	struct uri u;
	if (uri_parse(in, &u) < 0)
		return;
	check(is_inside(u.scheme, in) && is_inside(u.authority, in) && is_inside(u.path, in));
	check(is_inside(u.host, u.authority) && is_inside(u.port, u.authority));
	check(u.target.len == u.path.len + (u.query.ptr ? u.query.len + 1 : 0));
	struct packer p = packer_over(first, sizeof(first));
	int r = uri_path_decode(u.path, &p);
	check(r == 0 || r == -ENOBUFS);
	check(p.len <= u.path.len);
}

static void run_host(struct span in)
{
	struct packer p = packer_over(first, sizeof(first));
	check(is_inside(uri_host_strip_port(in), in));
	if (uri_host_normalize(in, &p) < 0)
		return;
	check(p.len <= in.len);
}

static void run_field(struct span in)
{
	struct packer p = packer_over(first, sizeof(first));
	struct packer q = packer_over(second, sizeof(second));
	struct span item;
	struct span list = in;
	uint64_t length = 0;

	http_name_canonical(&p, in);
	http_name_canonical(&q, packer_span(&p));
	if (packer_finish(&p) == 0) {
		check(span_eq_nocase(packer_span(&p), in));
		check(span_eq(packer_span(&p), packer_span(&q)));
	}
	while (http_list_next(&list, &item))
		check(item.len > 0 && http_connection_lists(in, item));
	(void)http_field_is_hop_by_hop(in);
	(void)http_value_is_valid(in);
	if (http_length_parse(in, &length) == 0)
		check(length <= INT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 2048)
		return 0; /* the list check is quadratic */
	struct span in = span_of(data, size);
	run_uri(in);
	run_host(in);
	run_field(in);
	return 0;
}
