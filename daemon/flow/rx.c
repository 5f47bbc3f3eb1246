/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the receiving sides of multiplexed streams share. Pure but for the buffers: the transport
 * says what time it is and sends the grants.
 */
#include "daemon/flow/rx.h"

#include <errno.h>
#include <string.h>

#include "util/macro.h"

enum {
	LARGE_FROM = 4 * 1024, /* queued bytes from which large buffers are used */
	COPY_MAX = 256,        /* so few are copied behind what the reader has */
};

void rx_window_init(struct rx_window *w, uint64_t size, nsec_t now)
{
	*w = (struct rx_window){ .size = size, .epoch_start = now };
}

uint64_t rx_window_advance(struct rx_window *w, uint64_t n, uint64_t max, nsec_t now, nsec_t rtt)
{
	w->epoch_bytes += n;
	if (w->epoch_bytes < w->size)
		return 0;
	nsec_t spent = nsec_sub(now, w->epoch_start);
	w->epoch_bytes = 0;
	w->epoch_start = now;
	if (spent >= 2 * rtt || w->size >= max)
		return 0;
	uint64_t more = MIN(w->size, max - w->size);
	w->size += more;
	return more;
}

int rx_store(struct bufq *q, struct span data)
{
	while (data.len) {
		size_t want = q->len >= LARGE_FROM ? SLAB_LARGE_LEN : data.len;
		size_t room = 0;
		uint8_t *at = bufq_room(q, want, &room);
		if (!at)
			return -ENOBUFS;
		size_t n = MIN(room, data.len);
		memcpy(at, data.ptr, n);
		bufq_commit(q, n);
		data = span_skip(data, n);
	}
	return 0;
}

size_t rx_take(struct bufq *to, struct bufq *rx, size_t max)
{
	uint8_t bytes[COPY_MAX];
	size_t n = MIN(max, rx->len);
	if (bufq_is_empty(to) || n > sizeof(bytes))
		return bufq_move(to, rx, max);
	n = bufq_copy_out(rx, bytes, n);
	if (bufq_append_copy(to, span_of(bytes, n)) < 0)
		return bufq_move(to, rx, max);
	bufq_consume(rx, n);
	return n;
}
