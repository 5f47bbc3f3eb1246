/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives decoders of daemon/wire with any bytes and checks what must hold whatever they are: used
 * by the mutation tests and by the fuzzers, which is why it is all in headers. This one: Cap'n
 * Proto and what the others share.
 */
#ifndef SELFTESTS_LIB_WIRE_EXERCISE_H
#define SELFTESTS_LIB_WIRE_EXERCISE_H

#include <stdlib.h>

#include "daemon/wire/capnp_build.h"

static uint8_t exercise_buf[CAPNP_CONNECT_MAX];
static volatile uint8_t exercise_sink;

/* Stops the program where a debugger or libFuzzer sees it. */
#define EXERCISE_CHECK(claim)    \
	do {                     \
		if (!(claim))    \
			abort(); \
	} while (0)

/* Touches every byte, so that a sanitizer sees a span that reaches too far. */
static inline void exercise_touch(struct span s)
{
	uint8_t x = 0;
	for (size_t i = 0; i < s.len; i++)
		x ^= s.ptr[i];
	exercise_sink = x;
}

/* Copies the whole message, which follows every pointer in it. */
static inline int exercise_copy(struct span frame)
{
	struct capnp_msg m;
	struct capnp_builder b;
	struct span copy;
	int r = capnp_msg_open(frame, &m);
	if (r < 0)
		return r;
	struct capnp_struct root = capnp_root(&m);
	capnp_build_init(&b, exercise_buf, sizeof(exercise_buf));
	capnp_put_copy(&b, (struct capnp_ref){ .at = 8, .ptr_count = 1 }, 0, &root);
	r = capnp_msg_finish(&m);
	if (r < 0 || capnp_build_finish(&b, &copy) < 0)
		return r;

	struct capnp_msg again;
	EXERCISE_CHECK(capnp_msg_open(copy, &again) == 0);
	root = capnp_root(&again);
	EXERCISE_CHECK(capnp_msg_finish(&again) == 0);
	return 0;
}

#endif
