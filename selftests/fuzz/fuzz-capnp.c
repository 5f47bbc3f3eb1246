/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cap'n Proto: framing in pieces, every pointer of a message by deep copy, every struct of ours.
 */
#include <errno.h>

#include "selftests/lib/rpc_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_of(data, size);
	size_t need = 0;
	int whole = capnp_frame_need(in, CAPNP_CONNECT_MAX, &need);

	/* What is asked for grows with what is there, and never goes back. */
	size_t last = 0;
	for (size_t len = 0; len <= size && len <= 64; len++) {
		size_t partial = 0;
		if (capnp_frame_need(span_first(in, len), CAPNP_CONNECT_MAX, &partial) < 0)
			break;
		EXERCISE_CHECK(partial >= last);
		last = partial;
	}
	if (whole < 0 || need > size)
		return 0;

	struct span frame = span_first(in, need);
	struct capnp_msg m;
	(void)exercise_copy(frame);
	EXERCISE_CHECK(capnp_msg_open(frame, &m) == 0);
	struct capnp_struct root = capnp_root(&m);
	exercise_structs(&root);
	return 0;
}
