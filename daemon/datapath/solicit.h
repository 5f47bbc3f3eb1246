/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A question to a neighbour, who it is: ARP, or neighbour discovery (RFC 826, RFC 4861). The answer
 * goes to the kernel, as if it had asked. No I/O.
 */
#ifndef DAEMON_DATAPATH_SOLICIT_H
#define DAEMON_DATAPATH_SOLICIT_H

#include <stddef.h>
#include <stdint.h>

#include "util/addr.h"

enum {
	SOLICIT_MAC_LEN = 6,
	SOLICIT_MAX = 14 + 40 + 32, /* Ethernet, IPv6, the question with our address */
};

struct solicit {
	struct ip_addr local, target; /* of one family */
	uint8_t local_mac[SOLICIT_MAC_LEN];
	uint8_t mac[SOLICIT_MAC_LEN]; /* who is thought to be the target */
	bool to_all;                  /* … but everybody is asked */
};

/* Writes the whole frame, at most SOLICIT_MAX bytes; its length. */
size_t solicit_write(const struct solicit *s, uint8_t *ret);

#endif
