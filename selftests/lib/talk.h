/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Users of streams for tests: an echo, and somebody who sends a pattern and wants it back.
 */
#ifndef SELFTESTS_LIB_TALK_H
#define SELFTESTS_LIB_TALK_H

#include "daemon/flow/stream.h"

/* Echoes a stream (taken) under its credit, ends it when the peer does, and frees itself. */
void talk_echo(struct stream *stream);

struct talk {
	struct stream *stream; /* the test's to close */
	size_t total, sent, got;
	bool is_finishing; /* FIN after the last byte */
	bool is_done;      /* the peer has ended after total bytes */
	ssize_t error;     /* what read or write said, if anything */
};

/* Sends total bytes of a pattern and expects them back; aborts on a wrong byte. */
void talk_start(struct talk *t, struct stream *stream, size_t total);
bool talk_is_done(void *talk);

/* Reads and writes by copy. Return what stream_read() and stream_write() say. */
ssize_t talk_read(struct stream *s, void *to, size_t max);
ssize_t talk_write(struct stream *s, const void *from, size_t len);

#endif
