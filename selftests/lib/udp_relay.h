/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bent path between two UDP ends in the same thread: what a NAT, a narrow link or a careless
 * router would do.
 */
#ifndef SELFTESTS_LIB_UDP_RELAY_H
#define SELFTESTS_LIB_UDP_RELAY_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>

#include "util/addr.h"

struct udp_relay {
	int front, back;           /* clients' side, server's side */
	struct sockaddr_in client; /* who spoke last */
	size_t max_len;            /* longer datagrams are lost; 0: none */
	unsigned int lose_one_in;  /* 0: none */
	bool is_cut;               /* everything is lost */
	unsigned int count, dropped;
	size_t longest; /* datagram seen from the client */
};

/* Opens a relay in front of server; ret_addr is where clients send to. Aborts when it can't. */
void udp_relay_init(struct udp_relay *r, const struct ip_port *server, struct ip_port *ret_addr);
void udp_relay_done(struct udp_relay *r);
/* Moves everything that waits. */
void udp_relay_run(struct udp_relay *r);
/* From now on the server sees another address (a NAT that has forgotten). */
void udp_relay_rebind(struct udp_relay *r);

#endif
