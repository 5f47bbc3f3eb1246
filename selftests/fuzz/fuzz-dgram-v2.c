/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams of version 2 and texts of traces: what is read can be written and reads the
 * same.
 */
#include "selftests/lib/dgram_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)exercise_dgram2(span_of(data, size));
	(void)exercise_trace(span_of(data, size));
	return 0;
}
