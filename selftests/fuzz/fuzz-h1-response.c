/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An origin's HTTP/1.1 connection: answers, lenient, to HEAD and to everything else.
 */
#include "selftests/lib/h1_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	exercise_cuts(H1_KIND_RESPONSE, false, span_of(data, size));
	exercise_cuts(H1_KIND_RESPONSE, true, span_of(data, size));
	return 0;
}
