/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One link of the edge as flows see it.
 */
#include "daemon/session/call_port.h"

#include <errno.h>

#include "daemon/wire/dgram_v2.h"
#include "daemon/wire/dgram_v3.h"
#include "util/macro.h"

void call_port_open(struct call_port *port, struct datagram_pipe *pipe, bool is_ours)
{
	*port = (struct call_port){ .pipe = pipe, .is_ours = is_ours };
	list_init(&port->calls);
}

/* The byte that says what it is stands before or behind the packet. */
enum { TYPE_LEN = 1 };
static_assert((int)TYPE_LEN == (int)DGRAM3_ICMP_HEAD);

static size_t version_max(const struct call_port *port)
{
	return port->v2 ? dgram2_content_max(DGRAM2_TYPE_PACKET) : DGRAM3_PACKET_MAX;
}

size_t call_port_packet_max(const struct call_port *port)
{
	size_t room = datagram_max(port->pipe);
	return room > TYPE_LEN ? MIN(version_max(port), room - TYPE_LEN) : 0;
}

int call_port_send_packet(const struct call_port *port, struct span packet)
{
	uint8_t buf[DGRAM2_PACKET_MAX];
	static_assert(sizeof(buf) >= DGRAM3_ICMP_HEAD + DGRAM3_PACKET_MAX);
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram2 d = { .type = DGRAM2_TYPE_PACKET, .content = packet };
	if (packet.len > version_max(port))
		return -EMSGSIZE;
	int r = port->v2 ? dgram2_write(&p, &d) : dgram3_icmp_write(&p, packet);
	return r < 0 ? r : datagram_send(port->pipe, DATAGRAM_KIND_PACKET, packer_span(&p));
}
