/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which transports an index may use, and which goes first (spec §6). Percentages of the vendor's
 * record decide the order and never exclude.
 */
#ifndef DAEMON_ADITD_TRANSPORT_H
#define DAEMON_ADITD_TRANSPORT_H

#include "daemon/conf/conf.h"
#include "daemon/link/link.h"

struct transport_choice {
	enum link_protocol first;
	bool has_other; /* the other one may be used, too */
};

/* The vendor's record: percent of the accounts that each transport is for; 0 where it says none. */
struct transport_percent {
	int quic, http2;
};

/* 0–99: an account belongs to those of a percentage above it. */
unsigned int transport_threshold(struct span account_tag);
/* percent: NULL without a record. */
struct transport_choice transport_choose(enum conf_protocol protocol,
					 const struct transport_percent *percent,
					 unsigned int threshold);

#endif
