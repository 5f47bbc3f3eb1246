/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Discovery's hands on a worker: runs searches there as the control thread asks for them, and
 * reports by mailbox. Between the two threads only messages go.
 */
#ifndef DAEMON_ADITD_DISCOVERY_AGENT_H
#define DAEMON_ADITD_DISCOVERY_AGENT_H

#include "daemon/aditd/discovery_round.h"
#include "daemon/base/mailbox.h"

struct discovery_agent;
struct worker;

/* Who is asked. */
enum discovery_path : uint8_t {
	DISCOVERY_PATH_SYSTEM, /* the system's resolver */
	DISCOVERY_PATH_TLS,    /* a server by DNS over TLS */
	DISCOVERY_PATH_MAX_,
};

/* To the control thread. */
struct discovery_report {
	struct message message;
	/* Takes the report; also of one that was discarded with its mailbox. */
	void (*on_report)(struct discovery_report *report, bool is_discarded);
	void *owner;
	enum round_kind kind;
	enum discovery_path path;
	uint64_t serial;
	bool is_gone; /* the last of all: the agent has ended */
	struct round_result result;
};

struct discovery_agent_params {
	struct worker *worker;
	struct mailbox *main; /* where reports go */
	const struct round_names *names;
	const struct resolver_params *resolver; /* NULL: the system's */
	SSL_CTX *tls;                           /* NULL: no path over TLS. All borrowed */
	const struct dot_server *server;
	void (*on_report)(struct discovery_report *report, bool is_discarded);
	void *owner;
};

/* All of these are for the control thread. Returns 0 or -ENOMEM. */
[[nodiscard]] int discovery_agent_new(const struct discovery_agent_params *params,
				      struct discovery_agent **ret);
/*
 * Begins a search; one of the same kind and path that is still running ends without a report.
 * Reports with this serial follow: perhaps an early one, then the last. Returns 0 or -ENOMEM.
 */
[[nodiscard]] int discovery_agent_ask(struct discovery_agent *agent, enum round_kind kind,
				      enum discovery_path path, uint64_t serial, bool wants_early);
/* Ends a search without a report; one may be on its way. */
void discovery_agent_cancel(struct discovery_agent *agent, enum round_kind kind,
			    enum discovery_path path);
/* Ends all; the report that is_gone follows. The agent isn't to be used any more. */
void discovery_agent_end(struct discovery_agent *agent);

#endif
