/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies one direction from one stream to another. It reads no more than the sink says it would
 * take, because what is read counts as taken and brings more. A sink without credit is still
 * offered a little, for only a refused write makes it tell when it has room again. A source that
 * broke is noticed while the sink takes nothing, too: bytes of a broken body hold no memory.
 */
#include "daemon/flow/pump.h"

#include <errno.h>

#include "util/macro.h"

enum { READ_LEAST = 2 * 1024 };

void pump_init(struct pump *p, struct stream *from, struct stream *to)
{
	*p = (struct pump){ .from = from, .to = to, .limit = UINT64_MAX };
	bufq_init(&p->pending, from->slab);
}

void pump_done(struct pump *p)
{
	bufq_clear(&p->pending);
}

static void end(struct pump *p, enum pump_state state, ssize_t error)
{
	p->state = state;
	p->error = (int)error;
	p->code = state == PUMP_STATE_SINK_FAILED ? p->to->error_code : p->from->error_code;
	bufq_clear(&p->pending);
	if (state == PUMP_STATE_DONE && p->finish_sink)
		stream_finish(p->to);
}

/* Returns true when there is something to write. */
static bool fill(struct pump *p)
{
	if (!bufq_is_empty(&p->pending))
		return true;
	if (p->moved >= p->limit) {
		end(p, PUMP_STATE_DONE, 0);
		return false;
	}
	size_t want = MAX(stream_credit(p->to), (size_t)READ_LEAST);
	want = MIN(want, (size_t)PUMP_CHUNK);
	ssize_t n = stream_read(p->from, &p->pending, MIN(want, p->limit - p->moved));
	if (n == 0)
		end(p, PUMP_STATE_DONE, 0);
	else if (n < 0 && n != -EAGAIN && n != -ENOBUFS)
		end(p, PUMP_STATE_SOURCE_FAILED, n);
	else if (n < 0 && stream_write_error(p->to) < 0)
		end(p, PUMP_STATE_SINK_FAILED,
		    stream_write_error(p->to)); /* an idle sink can fail, too */
	return n > 0;
}

bool pump_run(struct pump *p)
{
	uint64_t stop = p->moved + PUMP_BUDGET;

	while (p->state == PUMP_STATE_RUNNING && fill(p)) {
		ssize_t n = stream_write(p->to, &p->pending, p->pending.len);
		int broken = n == -EAGAIN ? stream_read_error(p->from) : 0;
		if (broken < 0)
			end(p, PUMP_STATE_SOURCE_FAILED, broken);
		if (n == -EAGAIN || n == 0)
			return false;
		if (n < 0) {
			end(p, PUMP_STATE_SINK_FAILED, n);
			return false;
		}
		p->moved += (uint64_t)n;
		if (p->moved >= stop)
			return true;
	}
	return false;
}
