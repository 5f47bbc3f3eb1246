/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network for the supervisor's core: addresses that answer, drop, refuse or forbid, per
 * transport, and a clock that jumps from event to event. It fails the test where an index has two
 * registrations in flight or more than two dials, dials after the stop, or doesn't let time pass.
 */
#ifndef SELFTESTS_LIB_CORE_WORLD_H
#define SELFTESTS_LIB_CORE_WORLD_H

#include "daemon/aditd/supervisor_core.h"

enum {
	WORLD_ADDRS = 8,
	WORLD_CONNS = 16384,
	WORLD_EVENTS = 1024,
};

#define WORLD_START (100000 * NSEC_PER_SEC)

/* What happens to a dial: asked again at each of its steps. */
enum world_path : uint8_t {
	WORLD_OPEN,   /* handshake 20 ms, registration 10 ms */
	WORLD_SLOW,   /* handshake 300 ms */
	WORLD_DROP,   /* no answer: QUIC gives up after 5 s, TCP after 4 s */
	WORLD_REFUSE, /* nobody listens */
	WORLD_EPERM,  /* our own packet filter */
	WORLD_UNREACHABLE,
	WORLD_BAD_CERTIFICATE,
	WORLD_MUTE, /* the handshake goes well, the registration is never answered */
	WORLD_SAYS, /* the registration is answered with world.answer */
};

enum world_state : uint8_t {
	WORLD_STATE_DIALING,
	WORLD_STATE_CONNECTED,
	WORLD_STATE_REGISTERING,
	WORLD_STATE_UP,
	WORLD_STATE_DRAINING,
	WORLD_STATE_CLOSED,
};

struct world_conn {
	unsigned int index;
	enum link_protocol protocol;
	unsigned int addr; /* number of the address */
	enum world_state state;
	bool is_probe;
	bool is_suspect;
	unsigned int attempts; /* that the edge was told of */
	nsec_t dialled;
	nsec_t up;
	const char *why; /* it was closed by us */
};

struct world_event {
	nsec_t at; /* 0: free */
	uint64_t serial;
	uint8_t kind;
};

struct world {
	struct supervisor_core *core;
	nsec_t now;
	nsec_t armed;
	enum world_path path[LINK_PROTOCOL_MAX_][WORLD_ADDRS];
	struct control_result answer;
	struct world_event events[WORLD_EVENTS];
	struct world_conn conns[WORLD_CONNS]; /* by serial */
	uint64_t conn_count;
	unsigned int connections;
	bool is_stopped;
	bool has_no_memory; /* for dials */
	unsigned int turns; /* in which no time has passed */
	unsigned int probes_all, refreshes;
	unsigned int probed_but;
	nsec_t waits[64]; /* the last one that was drawn, by index */
};

/* auto, quic or http2 with so many connections, to addresses 0 … addrs-1 (even and odd regions). */
struct world *world_new(enum conf_protocol protocol, unsigned int connections, unsigned int addrs);
void world_free(struct world *w);
/* These addresses from now on, as bits. */
void world_set_addresses(struct world *w, unsigned int bits);
/* All addresses of a transport, or of both. */
void world_set_path(struct world *w, enum link_protocol protocol, enum world_path path);
void world_set_both(struct world *w, enum world_path path);
void world_run(struct world *w, nsec_t time);
/* Runs until so many indexes are UP or the time is over. Returns how long it took, or
 * NSEC_NEVER. */
nsec_t world_run_until_up(struct world *w, unsigned int count, nsec_t most);
void world_stop(struct world *w);

/* The connection of an index, or NULL. */
struct world_conn *world_link(struct world *w, unsigned int index);
unsigned int world_links(const struct world *w, enum link_protocol protocol);
/* Dials since a time, of one index or all (negative). */
unsigned int world_dials(const struct world *w, int index, nsec_t since);
/* What the transports of live connections say. */
void world_suspect(struct world *w, unsigned int index);
void world_heard(struct world *w, unsigned int index);
void world_close(struct world *w, unsigned int index, enum link_end end);
void world_away(struct world *w, unsigned int index);
/* Drops the packets of a transport everywhere, or lets them pass: its connections become suspect
 * after 2 s, and are heard 100 ms after. */
void world_cut(struct world *w, enum link_protocol protocol, bool is_cut);

#endif
