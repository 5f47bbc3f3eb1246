/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copies one direction from one stream to another, by reference and by credit. A pump has no
 * callbacks of its own: its owner calls pump_run() when the source is readable or the sink is
 * writable.
 */
#ifndef DAEMON_FLOW_PUMP_H
#define DAEMON_FLOW_PUMP_H

#include "daemon/flow/stream.h"

enum pump_state : uint8_t {
	PUMP_STATE_RUNNING,
	PUMP_STATE_DONE,          /* the source's end was passed on (or limit bytes were) */
	PUMP_STATE_SOURCE_FAILED, /* p->error from stream_read() */
	PUMP_STATE_SINK_FAILED,   /* p->error from stream_write() */
};

struct pump {
	struct stream *from; /* borrowed */
	struct stream *to;   /* borrowed */
	struct bufq pending; /* read but not yet taken by the sink; at most PUMP_CHUNK bytes */
	uint64_t moved;      /* bytes that the sink has taken */
	uint64_t limit;      /* stop after so many bytes; UINT64_MAX: until the end */
	bool finish_sink;    /* call stream_finish(to) at the end */
	enum pump_state state;
	int error;
	uint64_t code; /* the failed stream's, as it was told */
};

enum {
	PUMP_CHUNK = 64 * 1024,   /* bytes held between the two */
	PUMP_BUDGET = 256 * 1024, /* bytes a run moves before it yields (style L2) */
};

void pump_init(struct pump *p, struct stream *from, struct stream *to);
/* Drops what is pending. */
void pump_done(struct pump *p);

/*
 * Moves what can be moved now. Returns true when the budget was used up and there may be more: the
 * owner runs it again in the next turn.
 */
bool pump_run(struct pump *p);

#endif
