/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions of datagram version 2 at the daemon (docs/protocol.md §11.3, §11.4): calls of the edge
 * make and end them, each belongs to the link on which it was made, and their ends are told
 * (struct flow_port_user). They are in the same table as the flows of version 3, under the same
 * limits.
 */
#ifndef DAEMON_SESSION_V2_H
#define DAEMON_SESSION_V2_H

#include "daemon/session/flow_table.h"
#include "daemon/wire/dgram_v2_call.h"

/*
 * The edge asks for a session on a link of version 2. One of the same id ends first, so that what
 * is answered is true of the id afterwards. NULL: there is one now; else the text of the refusal,
 * static.
 */
[[nodiscard]] const char *v2_register(struct flow_port *port, const struct dgram2_register *reg);
/* The edge ends a session; harmless where there is none. */
void v2_unregister(struct flow_port *port, const struct dgram_id *id);
/* Takes a datagram of an edge that speaks version 2, borrowed for the call. */
void v2_datagram(struct flow_port *port, struct span datagram);

#endif
