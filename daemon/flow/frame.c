/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cuts Cap'n Proto frames out of queued bytes. The segment table says how long a frame is; it is at
 * most a few kilobytes and is looked at on the stack, so nothing is collected before its bound is
 * known.
 */
#include "daemon/flow/frame.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/wire/capnp.h"
#include "util/macro.h"

int frame_preamble(struct bufq *in, struct preamble_reader *r)
{
	int done = -EAGAIN;
	while (done == -EAGAIN && !bufq_is_empty(in)) {
		struct span left = bufq_peek(in);
		size_t before = left.len;
		done = preamble_read(r, &left);
		bufq_consume(in, before - left.len);
	}
	return done;
}

int frame_next(const struct bufq *in, size_t limit, size_t *ret_len)
{
	if (bufq_is_empty(in))
		return -EAGAIN;
	uint8_t table[(CAPNP_SEGMENTS_MAX + 3) * 4];
	struct span head = bufq_peek(in);
	size_t need = 0;
	int r = capnp_frame_need(head, limit, &need);
	if (r == 0 && need > head.len && head.len < MIN(in->len, sizeof(table))) {
		size_t n = bufq_copy_out(in, table, MIN(sizeof(table), in->len));
		r = capnp_frame_need(span_of(table, n), limit, &need);
	}
	if (r < 0)
		return r;
	if (need > in->len)
		return -EAGAIN;
	*ret_len = need;
	return 0;
}

int frame_view(const struct bufq *in, size_t len, struct span *ret, uint8_t **ret_copy)
{
	struct span head = bufq_peek(in);
	*ret_copy = NULL;
	if (head.len >= len) {
		*ret = span_first(head, len);
		return 0;
	}
	uint8_t *copy = malloc(len);
	if (!copy)
		return -ENOMEM;
	(void)bufq_copy_out(in, copy, len);
	*ret_copy = copy;
	*ret = span_of(copy, len);
	return 0;
}
