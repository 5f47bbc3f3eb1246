/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One link of the edge as flows see it: the pipe, the version that its daemon speaks, and packets
 * that belong to no flow. Embedded in whoever owns the link.
 */
#ifndef DAEMON_SESSION_CALL_PORT_H
#define DAEMON_SESSION_CALL_PORT_H

#include "daemon/flow/datagram.h"
#include "daemon/wire/dgram.h"
#include "util/list.h"

struct call_port;
struct dgram2_register;

/* How sessions of version 2 are made and ended. */
struct call_port_user {
	/* 0, and flow_caller_answered() follows from the loop; a negative errno: it can't be asked
	 * now.
	 */
	int (*make_session)(struct call_port *port, const struct dgram2_register *reg);
	/* Also while it isn't answered yet: the answer isn't wanted then. */
	void (*end_session)(struct call_port *port, const struct dgram_id *id, const char *text);
};

struct call_port {
	struct datagram_pipe *pipe;      /* NULL: not open */
	const struct call_port_user *v2; /* NULL: the daemon speaks version 3 */
	bool is_ours;                    /* the daemon is one of ours */
	struct list calls;
};

/* It speaks version 3 unless v2 is set after. */
void call_port_open(struct call_port *port, struct datagram_pipe *pipe, bool is_ours);
/* Sends an IP packet of at most call_port_packet_max() bytes, which isn't looked at: 0, -EMSGSIZE,
 * -ENOBUFS, -EPROTO. */
[[nodiscard]] int call_port_send_packet(const struct call_port *port, struct span packet);
size_t call_port_packet_max(const struct call_port *port);

#endif
