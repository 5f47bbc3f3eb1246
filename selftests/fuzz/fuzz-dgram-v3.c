/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Session datagrams of version 3: what is read can be written and reads the same.
 */
#include "selftests/lib/dgram_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)exercise_dgram3(span_of(data, size));
	return 0;
}
