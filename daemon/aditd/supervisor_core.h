/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every decision about connections (spec §6, docs/supervisor.md): when and where each index dials,
 * who registers, what is closed. Pure: it is told what happens and what time it is, and acts
 * through a table of operations. What it doesn't know by its serial it ignores.
 */
#ifndef DAEMON_ADITD_SUPERVISOR_CORE_H
#define DAEMON_ADITD_SUPERVISOR_CORE_H

#include "daemon/aditd/edge_addrs.h"
#include "daemon/aditd/supervisor_fsm.h"
#include "daemon/aditd/transport.h"
#include "daemon/link/control.h"

/* One connection to be made. It must not register before it is told to. */
struct core_dial {
	unsigned int index;
	uint64_t serial; /* its name in everything that follows; never 0 */
	enum link_protocol protocol;
	struct ip_port peer;
	bool is_probe; /* of QUIC while the index is up on HTTP/2 */
	bool is_only;  /* the index has no other connection, so its last port is free */
};

/* None of these may call the core. */
struct core_ops {
	/* A negative errno: there was no memory. */
	int (*dial)(const struct core_dial *dial, void *user);
	/* attempts: how many failed before it, 0–255. */
	void (*register_now)(unsigned int index, uint64_t serial, unsigned int attempts,
			     void *user);
	void (*close)(unsigned int index, uint64_t serial, const char *why, void *user);
	/* Running requests go on; it is closed when the last has ended. */
	void (*drain)(unsigned int index, uint64_t serial, void *user);
	/* A sign of life is wanted from every connection that was silent for a second, but not that
	 * of this index (EDGE_INDEXES_MAX: of all). */
	void (*probe_all_but)(unsigned int index, void *user);
	/* The addresses may be old. Often called. */
	void (*refresh_addresses)(void *user);
	/* This is how long the index will wait. */
	void (*on_wait)(unsigned int index, nsec_t wait, void *user);
	void (*on_step)(unsigned int index, enum index_state from, enum index_event event,
			enum index_state to, void *user);
	/* supervisor_core_timer() is wanted at this time; replaces the last one. NSEC_NEVER: not.
	 */
	void (*arm)(nsec_t at, void *user);
};

struct core_params {
	unsigned int connections; /* 1–64 */
	struct transport_choice transport;
	uint8_t ip_version; /* 0 both, 4, 6 */
	uint64_t (*random_below)(uint64_t bound);
	const struct core_ops *ops;
	void *user;
};

/* A registered connection. */
struct core_link {
	uint64_t serial; /* 0: none */
	enum link_protocol protocol;
	struct ip_port peer;
	nsec_t since;
	bool is_returned; /* made by a return to QUIC */
};

struct supervisor_core;

/* p's ops outlive the core. NULL: no memory. */
struct supervisor_core *supervisor_core_new(const struct core_params *p, nsec_t now);
/* Accepts NULL. */
void supervisor_core_free(struct supervisor_core *c);

/* The edge's addresses as known now. */
void supervisor_core_set_addresses(struct supervisor_core *c, const struct edge_addr *set,
				   size_t count, nsec_t now);
/* Which transport goes first from now on. */
void supervisor_core_set_transport(struct supervisor_core *c, struct transport_choice choice);
/* Dials index 0, as soon as there is an address; the others follow when it is up, 1 s apart. */
void supervisor_core_start(struct supervisor_core *c, nsec_t now);
/* Nothing is dialled any more. What runs is the caller's to end. */
void supervisor_core_stop(struct supervisor_core *c);

/* ---- what happened to a connection: index and serial name it. CLOSED ends every one. ---- */

void supervisor_core_connected(struct supervisor_core *c, unsigned int index, uint64_t serial,
			       nsec_t now);
void supervisor_core_registered(struct supervisor_core *c, unsigned int index, uint64_t serial,
				nsec_t now);
/* It won't be registered; cause isn't NONE. */
void supervisor_core_refused(struct supervisor_core *c, unsigned int index, uint64_t serial,
			     const struct control_result *result, nsec_t now);
void supervisor_core_away(struct supervisor_core *c, unsigned int index, uint64_t serial,
			  nsec_t now);
void supervisor_core_suspect(struct supervisor_core *c, unsigned int index, uint64_t serial,
			     nsec_t now);
void supervisor_core_heard(struct supervisor_core *c, unsigned int index, uint64_t serial,
			   nsec_t now);
void supervisor_core_closed(struct supervisor_core *c, unsigned int index, uint64_t serial,
			    const struct link_close_info *info, nsec_t now);

/* ---- others ---- */

void supervisor_core_timer(struct supervisor_core *c, nsec_t now);
/* A link, an address or a route has changed, or the machine has slept. */
void supervisor_core_network_changed(struct supervisor_core *c, nsec_t now);
/* The operator wants a new connection: of one index, or of all (negative). */
void supervisor_core_reconnect(struct supervisor_core *c, int index, nsec_t now);

enum index_state supervisor_core_state(const struct supervisor_core *c, unsigned int index);
/* The connection of an index; serial is 0 when there is none. */
const struct core_link *supervisor_core_link(const struct supervisor_core *c, unsigned int index);
/* This is the index's connection or an attempt of it. */
bool supervisor_core_knows(const struct supervisor_core *c, unsigned int index, uint64_t serial);
/* Indexes that are UP: registered and not suspect. */
unsigned int supervisor_core_up_count(const struct supervisor_core *c);

#endif
