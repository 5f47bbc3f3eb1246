/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preambles: whole and byte by byte must agree.
 */
#include <errno.h>

#include "selftests/lib/connect_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)exercise_preamble(span_of(data, size));
	return 0;
}
