/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keeps N connections up (design §5; the simple form: one transport, static edges). Control thread.
 * Decides when and where each index dials; the workers do it.
 */
#ifndef DAEMON_ADITD_SUPERVISOR_H
#define DAEMON_ADITD_SUPERVISOR_H

#include "daemon/aditd/supervisor_fsm.h"
#include "daemon/aditd/tunnel.h"

struct mainloop;
struct supervisor;

enum { SUPERVISOR_INDEX_MAX = 64 };

/* One index as status shows it. Texts are borrowed until the next report. */
struct supervisor_index {
	enum index_state state;
	unsigned int worker;
	uint64_t serial;
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
	/* After supervisor_stop(): every connection has ended. */
	void (*on_stopped)(struct supervisor *s, void *user);
};

struct supervisor_params {
	struct mainloop *loop;
	struct conf *conf;
	struct tunnel_env *envs; /* one per worker, in order */
	unsigned int worker_count;
	unsigned int connections;
	const struct log *log;
	struct metric_shard *metrics; /* the control thread's */
	struct metric_registry *registry;
	const struct supervisor_events *events;
	void *user;
};

[[nodiscard]] int supervisor_new(const struct supervisor_params *params, struct supervisor **ret);
void supervisor_free(struct supervisor *s);

/* Starts index 0; the others follow when it has registered, 1 s apart. */
void supervisor_start(struct supervisor *s);
/* Drains everything within grace; a second call cuts. on_stopped follows. */
void supervisor_stop(struct supervisor *s, nsec_t grace);
/* Closes the connection of one index (or all: index < 0); it is dialled anew at once. -ESTALE: no
 * such. */
[[nodiscard]] int supervisor_reconnect(struct supervisor *s, int index);

unsigned int supervisor_count(const struct supervisor *s);
unsigned int supervisor_up_count(const struct supervisor *s);
const struct supervisor_index *supervisor_get(const struct supervisor *s, unsigned int index);
/* The most recent cause of a failure while nothing is up, "" when there is none. */
const char *supervisor_last_error(const struct supervisor *s);

#endif
