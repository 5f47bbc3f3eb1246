/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whose trace something belongs to: 25 bytes in datagrams of version 2, text in calls
 * (docs/protocol.md §11.4). We carry it; we make no spans.
 */
#ifndef DAEMON_WIRE_TRACE_H
#define DAEMON_WIRE_TRACE_H

#include "util/packer.h"

#define TRACE_ID_LEN   16
#define TRACE_SPAN_LEN 8
#define TRACE_LEN      (TRACE_ID_LEN + TRACE_SPAN_LEN + 1)
#define TRACE_TEXT_MAX 54 /* longest print: 32 : 16 : 0 : 2 */

struct trace {
	uint8_t id[TRACE_ID_LEN];
	uint8_t span_id[TRACE_SPAN_LEN];
	uint8_t flags;
};

/* From exactly TRACE_LEN bytes; any will do. 0 or -EBADMSG. */
[[nodiscard]] int trace_read(struct span in, struct trace *ret);
void trace_write(struct packer *p, const struct trace *t);
/*
 * Reads "ID:SPAN:PARENT:FLAGS", hexadecimal digits of either case. A short id has zeros in front;
 * PARENT is not kept. 0, or -EBADMSG: other than four parts, no digits, a number too large.
 */
[[nodiscard]] int trace_parse(struct span text, struct trace *ret);
/* Prints it: the id in full, the others without leading zeros, 0 for the parent. */
void trace_print(struct packer *p, const struct trace *t);

#endif
