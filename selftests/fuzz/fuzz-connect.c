/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ConnectRequest and ConnectResponse behind their preamble: what decodes is built again and must
 * read the same.
 */
#include <errno.h>

#include "selftests/lib/connect_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_skip(span_of(data, size), PREAMBLE_MAX);
	size_t need = 0;
	if (capnp_frame_need(in, CAPNP_CONNECT_MAX, &need) < 0 || need > in.len)
		return 0;
	struct span frame = span_first(in, need);
	int request = exercise_request(frame);
	int response = exercise_response(frame);
	(void)request;
	(void)response;
	return 0;
}
