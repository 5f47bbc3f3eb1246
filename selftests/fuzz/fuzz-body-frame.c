/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a body: what decodes is built again and must read the same.
 */
#include <stdlib.h>

#include "daemon/wire/body_frame.h"
#include "util/macro.h"

enum { FIELDS = 8, ROOM = 1 << 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_trailers(struct span payload)
{
	static uint8_t bytes[ROOM];
	struct http_field fields[FIELDS], again[FIELDS];
	unsigned int count = 0, count_again = 0;
	if (payload.len > ROOM || body_trailers_decode(payload, fields, FIELDS, &count) < 0)
		return;
	size_t len = body_trailers_len(fields, count);
	struct packer p = packer_over(bytes, ROOM);
	body_trailers_encode(&p, fields, count);
	if (p.len != len ||
	    body_trailers_decode(packer_span(&p), again, FIELDS, &count_again) < 0 ||
	    count != count_again)
		abort();
	for (unsigned int i = 0; i < count; i++)
		if (!span_eq(fields[i].name, again[i].name) ||
		    !span_eq(fields[i].value, again[i].value))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	while (in.len) {
		uint64_t type = 0, len = 0, reason = 0;
		int used = body_frame_head_decode(in, &type, &len);
		if (used <= 0)
			break;
		in = span_skip(in, (size_t)used);
		struct span payload = span_first(in, MIN((uint64_t)in.len, len));
		check_trailers(payload);
		if (body_abort_decode(payload, &reason) == 0 && payload.len > sizeof(reason))
			abort();
		in = span_skip(in, payload.len);
	}
	check_trailers(span_of(data, size));
	return 0;
}
