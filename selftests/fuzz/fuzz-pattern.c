/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path expressions: the first line is the expression, the rest a path.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/conf/pattern.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool claim)
{
	if (!claim)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct pattern_scratch *scratch;
	if (!scratch)
		scratch = pattern_scratch_new();
	struct span in = span_of(data, size);
	size_t end = span_find(in, '\n');
	struct pattern *p = NULL;
	struct pattern_error error = {};
	int r = pattern_new(span_first(in, end), &p, &error);
	check(r == 0 || (r == -EINVAL && error.reason && error.offset <= end));
	if (r < 0)
		return 0;
	r = pattern_match(p, scratch, span_skip(in, end + 1));
	check(r == 0 || r == 1 || r == -E2BIG);
	pattern_free(p);
	return 0;
}
