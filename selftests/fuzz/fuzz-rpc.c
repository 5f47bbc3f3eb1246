/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC sessions, both roles: the first byte chooses, the rest is a stream of frames.
 */
#include <errno.h>

#include "selftests/lib/rpc_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct exercise_rpc x;
	struct span in = span_of(data + 1, size - 1);
	exercise_session_start(&x, data[0] & 1);
	for (;;) {
		size_t need = 0;
		if (capnp_frame_need(in, CAPNP_RPC_MAX, &need) < 0 || need > in.len)
			break;
		if (data[0] & 2)
			(void)rpc_session_cancel(&x.session, 9); /* no such call */
		int r = rpc_session_input(&x.session, span_first(in, need));
		EXERCISE_CHECK((r < 0) == !x.session.is_open);
		if (r < 0)
			break;
		in = span_skip(in, need);
	}
	exercise_session_end(&x);
	return 0;
}
