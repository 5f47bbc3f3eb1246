/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The headers of a flow's datagrams as they leave on an Ethernet, made once; each datagram changes
 * its lengths and sums in them. The checksum of UDP is left to the device.
 */
#ifndef DAEMON_DATAPATH_TEMPLATE_H
#define DAEMON_DATAPATH_TEMPLATE_H

#include <stddef.h>
#include <stdint.h>

#include "util/addr.h"

enum {
	TEMPLATE_MAC_LEN = 6,
	TEMPLATE_MAX = 14 + 40 + 8, /* Ethernet, IPv6, UDP */
	TEMPLATE_CSUM_OFFSET = 6,   /* of the checksum in UDP's header */
};

struct frame_template {
	uint8_t len;         /* of all three headers: where the payload begins */
	uint8_t udp;         /* where UDP's begins */
	uint16_t mtu;        /* of what follows Ethernet's header */
	uint16_t ip_sum;     /* IPv4: of the header without length and checksum */
	uint16_t pseudo_sum; /* without the length */
	uint8_t bytes[TEMPLATE_MAX];
};

struct template_params {
	struct ip_port local, remote; /* of one family */
	uint8_t local_mac[TEMPLATE_MAC_LEN], next_mac[TEMPLATE_MAC_LEN];
	unsigned int mtu;
};

void template_make(struct frame_template *t, const struct template_params *params);
/* Payload that fits without being cut into fragments. */
size_t template_room(const struct frame_template *t);
/* Writes the headers, t->len bytes, for a payload of len bytes (at most template_room()). */
void template_write(const struct frame_template *t, size_t len, uint8_t *ret);

#endif
