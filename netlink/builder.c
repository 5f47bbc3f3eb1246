/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Netlink messages over a buffer. libmnl writes them; its checks of room are asked each time,
 * because it has no memory of what failed.
 */
#include "netlink/builder.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include <libmnl/libmnl.h>

void nl_builder_init(struct nl_builder *b, void *buf, size_t size)
{
	*b = (struct nl_builder){ .buf = buf, .size = size };
}

static void end_message(struct nl_builder *b)
{
	if (b->message && !b->is_full)
		b->used += MNL_ALIGN(b->message->nlmsg_len);
	b->message = NULL;
}

void nl_begin(struct nl_builder *b, uint16_t type, uint16_t flags, struct span fixed)
{
	end_message(b);
	size_t need = MNL_NLMSG_HDRLEN + MNL_ALIGN(fixed.len);
	if (b->is_full || b->size - b->used < need) {
		b->is_full = true;
		return;
	}
	b->message = mnl_nlmsg_put_header(b->buf + b->used);
	b->message->nlmsg_type = type;
	b->message->nlmsg_flags = flags;
	if (fixed.len > 0)
		memcpy(mnl_nlmsg_put_extra_header(b->message, fixed.len), fixed.ptr, fixed.len);
}

void nl_put(struct nl_builder *b, uint16_t type, struct span value)
{
	if (!b->message || b->is_full)
		return;
	if (!mnl_attr_put_check(b->message, b->size - b->used, type, value.len, value.ptr))
		b->is_full = true;
}

void nl_put_u32(struct nl_builder *b, uint16_t type, uint32_t value)
{
	nl_put(b, type, span_of(&value, sizeof(value)));
}

void nl_put_be32(struct nl_builder *b, uint16_t type, uint32_t value)
{
	nl_put_u32(b, type, htonl(value));
}

void nl_put_str(struct nl_builder *b, uint16_t type, const char *text)
{
	nl_put(b, type, span_of(text, strlen(text) + 1));
}

struct nlattr *nl_nest(struct nl_builder *b, uint16_t type)
{
	if (!b->message || b->is_full)
		return NULL;
	struct nlattr *nest = mnl_attr_nest_start_check(b->message, b->size - b->used, type);
	b->is_full = !nest;
	return nest;
}

void nl_nest_end(struct nl_builder *b, struct nlattr *nest)
{
	if (nest && b->message && !b->is_full)
		mnl_attr_nest_end(b->message, nest);
}

int nl_builder_finish(struct nl_builder *b, struct span *ret)
{
	end_message(b);
	if (b->is_full)
		return -ENOBUFS;
	*ret = span_of(b->buf, b->used);
	return 0;
}
