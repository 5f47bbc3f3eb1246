/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon's connection at the edge, from accept to close: serves the control stream, decides the
 * registration, tells all workers (spec §3, docs/protocol.md §7).
 */
#ifndef DAEMON_EDGE_EDGE_CONN_H
#define DAEMON_EDGE_EDGE_CONN_H

#include "daemon/edge/directory.h"
#include "daemon/edge/enroll.h"
#include "daemon/edge/refuse.h"
#include "daemon/link/link.h"
#include "daemon/link/strangers.h"
#include "daemon/session/flow_caller.h"

/* What the connections of one worker share; owned by the wiring. */
struct edge_conn_env {
	struct worker *worker;
	struct worker_set *set;
	struct directory *const *directories; /* one per worker, in order */
	struct roster *roster;                /* in force; the wiring's reference */
	const _Atomic bool *is_draining;      /* of the process */
	struct refuse *refuse;                /* an order in force; NULL: none */
	struct list conns;
	unsigned int registered; /* on this worker */
	uint64_t registrations;
	uint64_t refusals[ENROLL_REFUSAL_MAX_];
	struct flow_caller *flows; /* UDP flows through the links of this worker; NULL: none */
	uint64_t datagrams;        /* of links that haven't registered */
	uint64_t rpc_timeouts;     /* streams on which no message became whole in time */
	uint64_t rpc_refused;      /* streams besides as many as there may be */
	uint64_t trailers_raw;     /* bodies of daemons whose trailers had no place */
	uint64_t suspicions;       /* times a registered link became suspect */
	struct strangers
		*strangers; /* of the worker; NULL: transports count them all by themselves */
	uint64_t handshake_failed;  /* of edge_conn_accept_stranger()'s: no control stream came */
	uint64_t register_timeouts; /* of those: ended without a registration in register_timeout */
	nsec_t register_timeout;
	struct log_limit log_limit;
	_Atomic uint64_t *next_serial; /* of the process */
	nsec_t grace;                  /* for a connection that is replaced or drained */
	nsec_t rpc_timeout;            /* for a message on an RPC stream, and between two */
	nsec_t control_timeout;        /* for one on the control stream that has begun */
};

void edge_conn_env_init(struct edge_conn_env *env);
/* Closes all connections and frees them. */
void edge_conn_env_done(struct edge_conn_env *env);

/* The sink of accepted links, and what makes their user (arg: the env). */
extern const struct link_sink edge_conn_sink;
void *edge_conn_accept(struct link *link, void *arg);
/*
 * The same for a link of a transport that doesn't count who is a stranger: it counts from now until
 * it has registered or ends. ip: whose it is.
 */
void *edge_conn_accept_stranger(struct link *link, struct edge_conn_env *env,
				const struct ip_addr *ip);

/* Where the UDP flows of a link go: on its worker's thread; NULL: it has ended, or carries none. */
struct call_port *edge_conn_flow_port(struct edge_link *el);
/* Whose link it is: of an open one of edge_conn_flow_port(). */
const struct edge_tunnel *edge_conn_tunnel_of_port(struct call_port *port);

/* A registered connection, for status. */
struct edge_conn_row {
	const struct roster_tunnel *at; /* NULL: the tunnel is no longer in force */
	const char *name;               /* of the tunnel; borrowed */
	unsigned int index;
	unsigned int worker;
	const char *protocol; /* static */
	struct link_stats stats;
};
void edge_conn_walk(struct edge_conn_env *env,
		    void (*on_row)(const struct edge_conn_row *row, void *arg), void *arg);

/* Adds what happened to the connections since the last call to their counters. */
void edge_conn_count(struct edge_conn_env *env);

/*
 * Between two links of the reference that one of so many workers sends away: all workers together
 * one a second (spec §4), or as fast as it takes to tell the last at half of the grace period.
 */
nsec_t edge_conn_drain_step(unsigned int links, unsigned int workers, nsec_t grace);
/*
 * Another configuration is in force: connections whose tunnel is no longer in it, or has another
 * account or secret, are sent away as below, and may come back if they can show the new one.
 */
void edge_conn_use_roster(struct edge_conn_env *env, struct roster *roster);

/* From now on registrations fall under this order, of which a reference is taken; NULL: none. */
void edge_conn_use_refuse(struct edge_conn_env *env, struct refuse *refuse);

/* Sends every daemon away: FIN on control streams, no new requests; closes links as they run empty.
 */
void edge_conn_drain_all(struct edge_conn_env *env);

#endif
