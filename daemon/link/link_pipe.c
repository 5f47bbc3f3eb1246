/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link's datagrams as a pipe.
 */
#include "daemon/link/link_pipe.h"

#include "util/macro.h"

static int pipe_send(struct datagram_pipe *pipe, enum datagram_kind kind, struct span datagram)
{
	return link_send_datagram(CONTAINER_OF(pipe, struct link_pipe, pipe)->link, kind, datagram);
}

static size_t pipe_max(struct datagram_pipe *pipe)
{
	return link_max_datagram(CONTAINER_OF(pipe, struct link_pipe, pipe)->link);
}

void link_pipe_init(struct link_pipe *pipe, struct link *link)
{
	static const struct datagram_ops ops = { .send = pipe_send, .max = pipe_max };
	*pipe = (struct link_pipe){ .pipe.ops = &ops, .link = link };
}
