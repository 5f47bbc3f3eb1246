/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps N connections up (design §5). Control thread. supervisor_core decides, the workers dial;
 * this is what joins them: messages, one timer, metrics, log.
 */
#ifndef DAEMON_ADITD_SUPERVISOR_H
#define DAEMON_ADITD_SUPERVISOR_H

#include "daemon/aditd/supervisor_core.h"
#include "daemon/aditd/tunnel.h"

struct log;
struct mainloop;
struct supervisor;

enum { SUPERVISOR_INDEX_MAX = EDGE_INDEXES_MAX };

/* One index as status shows it. Texts are borrowed until the next report. */
struct supervisor_index {
	enum index_state state;
	unsigned int worker;
	enum link_protocol protocol; /* of the connection, or of the last that was made */
	struct ip_port edge;
	struct ip_port local;
	char location[CONTROL_LOCATION_MAX];
	char last_error[160];
	struct uuid connection_id;
	nsec_t since; /* CLOCK_REALTIME of the last change of state */
};

struct supervisor_events {
	/* An index came up or went down, or a first failure has a cause to show. */
	void (*on_change)(struct supervisor *s, void *user);
	/* The edge's addresses may be old. Often. */
	void (*on_refresh)(struct supervisor *s, void *user);
	/* After supervisor_stop(): every connection has ended. */
	void (*on_stopped)(struct supervisor *s, void *user);
};

struct supervisor_params {
	struct mainloop *loop;
	uint8_t ip_version;      /* 0 both, 4, 6 */
	struct tunnel_env *envs; /* one per worker, in order */
	unsigned int worker_count;
	unsigned int connections;
	struct transport_choice transport;
	const struct log *log;
	struct metric_shard *metrics; /* the control thread's */
	struct metric_registry *registry;
	const struct supervisor_events *events;
	void *user;
};

[[nodiscard]] int supervisor_new(const struct supervisor_params *params, struct supervisor **ret);
void supervisor_free(struct supervisor *s);

/* The edge's addresses as known now; nothing is dialled before there are some. */
void supervisor_set_addresses(struct supervisor *s, const struct edge_addr *set, size_t count);
/* Which transport goes first from now on. */
void supervisor_set_transport(struct supervisor *s, struct transport_choice choice);
/* Whether the vendor's record gives this account datagram version 3: for dials from now on. */
void supervisor_set_dns_v3(struct supervisor *s, bool is_v3);
/* Why nothing can be dialled (cut to fit), until something registers; "" takes it back. */
void supervisor_set_error(struct supervisor *s, const char *text);
/* Starts index 0; the others follow when it has registered, 1 s apart. */
void supervisor_start(struct supervisor *s);
/* Drains everything within grace; a second call cuts. on_stopped follows. */
void supervisor_stop(struct supervisor *s, nsec_t grace);
/* Closes the connection of one index (or all: index < 0); it is dialled anew at once. -ESTALE: no
 * such. */
[[nodiscard]] int supervisor_reconnect(struct supervisor *s, int index);

/* A link, an address or a route has changed, or the machine has slept. */
void supervisor_network_changed(struct supervisor *s);

unsigned int supervisor_count(const struct supervisor *s);
/* Connections that are registered and whose edge answers. */
unsigned int supervisor_up_count(const struct supervisor *s);
const struct supervisor_index *supervisor_get(const struct supervisor *s, unsigned int index);
/* The most recent cause of a failure while nothing is up, "" when there is none. */
const char *supervisor_last_error(const struct supervisor *s);

#endif
