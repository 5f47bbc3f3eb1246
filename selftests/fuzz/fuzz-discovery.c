/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What discovery reads besides DNS itself: the file of addresses, and JSON of TXT records.
 */
#include <stdlib.h>

#include "daemon/aditd/discovery_record.h"
#include "daemon/aditd/discovery_set.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool claim)
{
	if (!claim)
		abort();
}

/* What is accepted is printed and read the same. */
static void run_set(struct span in)
{
	static uint8_t text[DISCOVERY_CACHE_MAX];
	struct edge_set set, back;
	if (edge_set_parse(in, SPAN_LIT("x"), &set) < 0)
		return;
	check(set.count > 0 && set.count <= EDGE_ADDRS_MAX);
	struct packer p = packer_over(text, sizeof(text));
	edge_set_print(&set, SPAN_LIT("x"), &p);
	check(packer_finish(&p) == 0);
	check(edge_set_parse(packer_span(&p), SPAN_LIT("x"), &back) == 0);
	check(edge_set_eq(&set, &back));
}

static void run_records(struct span in)
{
	struct discovery_records r = {};
	int protocols = discovery_read_protocols(in, &r);
	int features = discovery_read_features(in, &r);
	check(r.has_protocols == (protocols == 0) && r.has_features == (features == 0));
	check(protocols < 0 || features < 0); /* an array or an object */
	check(r.quic_percent <= 100 && r.http2_percent <= 100 && r.dv3_2_percent <= 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	run_set(in);
	run_records(in);
	return 0;
}
