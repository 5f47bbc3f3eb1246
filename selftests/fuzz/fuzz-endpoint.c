/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints: what is read prints, and what was printed reads the same. Addresses against libc.
 */
#include <arpa/inet.h>
#include <stdlib.h>

#include "daemon/wire/endpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool claim)
{
	if (!claim)
		abort();
}

static void run_endpoint(struct span in)
{
	uint8_t text[ENDPOINT_TEXT_MAX];
	struct packer p = packer_over(text, sizeof(text));
	struct endpoint e;
	struct endpoint again;
	const char *reason = NULL;
	if (endpoint_parse(in, &e, &reason) < 0) {
		check(reason != NULL);
		return;
	}
	endpoint_print(&p, &e);
	check(packer_finish(&p) == 0);
	check(endpoint_parse(packer_span(&p), &again, &reason) == 0);
	check(again.kind == e.kind && ip_port_eq(&again.addr, &e.addr));
	check(span_eq(again.name, e.name));
}

static void run_address(struct span in)
{
	char text[64];
	uint8_t want[16] = {};
	struct ip_addr a;
	if (ip_addr_parse(in, &a) < 0)
		return;
	/* Whatever we read libc reads too, to the same bytes. */
	check(in.len < sizeof(text));
	memcpy(text, in.ptr, in.len);
	text[in.len] = '\0';
	check(inet_pton(a.family == IP_FAMILY_V6 ? AF_INET6 : AF_INET, text, want) == 1);
	check(memcmp(want, a.bytes, sizeof(want)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	struct span list = in;
	struct span item;
	struct ip_port a;
	run_endpoint(in);
	run_address(in);
	(void)ip_port_parse(in, &a);
	while (endpoint_list_next(&list, &item))
		run_endpoint(item);
	return 0;
}
