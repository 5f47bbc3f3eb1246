/* SPDX-License-Identifier: Apache-2.0 */
/*
 * IP packets with ICMP and UDP in them: read, changed in place, answered.
 */
#include "selftests/lib/ip_exercise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	(void)exercise_ip(span_of(data, size));
	return 0;
}
