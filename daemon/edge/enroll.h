/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may register a connection: account, tunnel id and secret against the tunnels of the snapshot
 * in force, and how many connections a tunnel may have (spec §3).
 */
#ifndef DAEMON_EDGE_ENROLL_H
#define DAEMON_EDGE_ENROLL_H

#include "daemon/edge/roster.h"
#include "daemon/wire/rpc_tunnel.h"

enum enroll_refusal : uint8_t {
	ENROLL_REFUSAL_NONE,
	ENROLL_REFUSAL_UNKNOWN, /* wrong secret, account or id: one answer for all, no oracle */
	ENROLL_REFUSAL_TOO_MANY,
	ENROLL_REFUSAL_DRAINING,
	ENROLL_REFUSAL_ORDERED, /* edge/refuse.h says how */
	ENROLL_REFUSAL_MAX_,
};

/*
 * Decides; on success the connection is counted until enroll_release(). Any worker's thread.
 * Returns the refusal and, for NONE, *ret_tunnel with a reference.
 */
enum enroll_refusal enroll_check(const struct roster *roster, bool is_draining,
				 const struct tunnel_register *reg,
				 struct edge_tunnel **ret_tunnel);
/* The count only; the reference is the caller's. */
void enroll_release(struct edge_tunnel *tunnel);

/* Fills in the answer to a registration that was refused, but not by order (spec §3). */
void enroll_refuse(enum enroll_refusal refusal, struct tunnel_registered *ret);

#endif
