/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A link's datagrams as a pipe (flow/datagram.h), for parts that don't know links.
 */
#ifndef DAEMON_LINK_LINK_PIPE_H
#define DAEMON_LINK_LINK_PIPE_H

#include "daemon/flow/datagram.h"
#include "daemon/link/link.h"

/* Embedded in whoever owns the link. */
struct link_pipe {
	struct datagram_pipe pipe;
	struct link *link;
};

void link_pipe_init(struct link_pipe *pipe, struct link *link);

#endif
