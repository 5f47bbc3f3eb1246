/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A visitor's HTTP/1.1 connection: requests and bodies, however they are cut.
 */
#include "selftests/lib/h1_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	exercise_cuts(H1_KIND_REQUEST, false, span_of(data, size));
	return 0;
}
