/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may register a connection: account, tunnel id and secret against the declared tunnels, and
 * how many connections a tunnel may have (spec §3).
 */
#ifndef DAEMON_EDGE_ENROLL_H
#define DAEMON_EDGE_ENROLL_H

#include <stdatomic.h>

#include "daemon/conf/edge_conf.h"
#include "daemon/wire/rpc_tunnel.h"

struct enroll_tunnel {
	uint8_t secret_sha256[32];
	_Atomic unsigned int connections;
};

/* Shared by all workers; the counts are atomic, the rest doesn't change. */
struct enroll {
	struct edge_conf *conf;        /* referenced */
	struct enroll_tunnel *tunnels; /* [conf->tunnel_count] */
	_Atomic bool is_draining;
};

enum enroll_refusal : uint8_t {
	ENROLL_REFUSAL_NONE,
	ENROLL_REFUSAL_UNKNOWN, /* wrong secret, account or id: one answer for all, no oracle */
	ENROLL_REFUSAL_TOO_MANY,
	ENROLL_REFUSAL_DRAINING,
	ENROLL_REFUSAL_MAX_,
};

/*
 * Prepares from a snapshot (takes a reference); reads secret files. Returns 0, -ENOMEM, or the
 * error of a secret file with *ret_reason (static).
 */
[[nodiscard]] int enroll_init(struct enroll *e, struct edge_conf *conf, const char **ret_reason);
void enroll_done(struct enroll *e);

/*
 * Decides; on success the connection is counted until enroll_release(). Any worker's thread.
 * Returns the refusal and, for NONE, *ret_tunnel.
 */
enum enroll_refusal enroll_check(struct enroll *e, const struct tunnel_register *reg,
				 uint32_t *ret_tunnel);
void enroll_release(struct enroll *e, uint32_t tunnel);

/* Fills in the answer to a refused registration (spec §3). */
void enroll_refuse(enum enroll_refusal refusal, struct tunnel_registered *ret);

#endif
