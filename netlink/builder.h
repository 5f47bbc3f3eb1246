/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes netlink messages with nested attributes into a bounded buffer; what has no room is
 * remembered and asked for once, at the end. No I/O.
 */
#ifndef NETLINK_BUILDER_H
#define NETLINK_BUILDER_H

#include "util/span.h"

struct nlattr;
struct nlmsghdr;

struct nl_builder {
	uint8_t *buf; /* aligned to 4 bytes */
	size_t size;
	size_t used;              /* by messages that are whole */
	struct nlmsghdr *message; /* being written; NULL: none */
	bool is_full;             /* something had no room */
};

void nl_builder_init(struct nl_builder *b, void *buf, size_t size);
/* Begins a message, ending the one before; fixed: what stands between header and attributes. */
void nl_begin(struct nl_builder *b, uint16_t type, uint16_t flags, struct span fixed);
void nl_put(struct nl_builder *b, uint16_t type, struct span value);
void nl_put_u32(struct nl_builder *b, uint16_t type, uint32_t value);
/* In network order, as nfnetlink has its numbers. */
void nl_put_be32(struct nl_builder *b, uint16_t type, uint32_t value);
/* With its NUL. */
void nl_put_str(struct nl_builder *b, uint16_t type, const char *text);
/* What is put until nl_nest_end() is inside. NULL when there was no room. */
struct nlattr *nl_nest(struct nl_builder *b, uint16_t type);
void nl_nest_end(struct nl_builder *b, struct nlattr *nest);
/* Ends the last message. 0 with all of them, borrowed from the buffer; -ENOBUFS when not all had
 * room. */
[[nodiscard]] int nl_builder_finish(struct nl_builder *b, struct span *ret);

#endif
