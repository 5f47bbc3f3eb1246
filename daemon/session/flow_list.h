/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A worker's flows as rows, for whoever asks what there is.
 */
#ifndef DAEMON_SESSION_FLOW_LIST_H
#define DAEMON_SESSION_FLOW_LIST_H

#include "daemon/session/flow_table.h"

struct flow_row {
	struct dgram_id id;
	struct ip_port local; /* its own address and port */
	struct ip_port remote;
	enum path_kind path;
	const char *why;    /* … it has that path; static */
	nsec_t since;       /* it has had it */
	nsec_t idle;        /* for which nothing has moved */
	unsigned int index; /* of its connection */
	bool is_bound;      /* that connection is there */
	bool is_v2;
	uint64_t rx, tx; /* datagrams from and to the origin */
};

/* At most max of them, in no particular order; returns how many. */
size_t flow_table_list(const struct flow_table *t, struct flow_row *rows, size_t max);

#endif
