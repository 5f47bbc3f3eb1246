/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A changed configuration in a running program (design §6, spec §2, §11): how it comes in, what
 * becomes of it, who is told. Both daemons; they say how one is loaded and how one is put in force.
 * Control thread.
 *
 * The way, the same for every source:
 *
 *	SIGHUP, Varlink Reload, the watched file ---> load: parsed and checked whole
 *	                                                 |
 *	(an edge's push, a controller's: later) ---------+---> reload_apply
 *	                                                          |  conf_diff: what changed, what
 *waits |  ops->apply: a snapshot is made of it and |  posted to every worker, or nothing is
 *	                                                          v
 *	            every worker swaps at the top of a turn; when the last one has: READY=1, answers
 *
 * Whatever fails before the posting leaves the old configuration in force, is logged with file and
 * line, and is the answer to whoever asked. What runs ends with the snapshot it began with. The
 * configuration of the start stays in memory: options that need a restart are compared with it, and
 * keep its values (conf/diff.h).
 */
#ifndef DAEMON_ADMIN_RELOAD_H
#define DAEMON_ADMIN_RELOAD_H

#include "daemon/base/metric.h"
#include "daemon/conf/diff.h"
#include "daemon/conf/report.h"

struct log;
struct mainloop;
struct reload;
struct worker_set;

/* Where a configuration came from: the label of adit_config_errors_total. */
enum reload_source : uint8_t {
	RELOAD_SOURCE_FILE = 1,
	RELOAD_SOURCE_MAX_,
};

struct reload_ops {
	/*
	 * Reads what the program was started with once more: file, environment, command line. 0
	 * with a reference, -EINVAL with errors in the report, -ENOMEM.
	 */
	int (*load)(struct conf_report *report, struct conf_common **ret, void *user);
	/*
	 * Makes now the one in force: takes the reference on success. changes is what the texts
	 * tell; more may be added. 0, or a negative errno with nothing changed; an error in the
	 * report says why if it is the configuration's fault.
	 */
	int (*apply)(struct conf_common *now, struct conf_report *report,
		     struct conf_changes *changes, void *user);
	void (*unref)(struct conf_common *conf);
	/* Tells the service manager READY=1 and how things are; only when it has been told before.
	 */
	void (*announce)(void *user);
	bool (*is_announced)(void *user);
	/* Then there is no reload any more. */
	bool (*is_stopping)(void *user);
};

struct reload_params {
	struct mainloop *loop;
	struct worker_set *workers;
	struct log *log;
	struct metric_registry *registry;
	struct metric_shard *shard; /* the control thread's */
	struct conf_common *conf;   /* of the start; outlives the reload */
	const struct reload_ops *ops;
	void *user;
};

/* Begins to watch the file if that is configured. Before the threads start. 0 or a negative errno.
 */
[[nodiscard]] int reload_new(const struct reload_params *params, struct reload **ret);
/* After the workers have ended. Accepts NULL. */
void reload_free(struct reload *r);

/* The counter of configurations from a source that were not taken; "file" is counted here. */
metric_id reload_errors(const struct reload *r, const char *source);
/* How many configurations have been in force, the one of the start included. */
unsigned int reload_version(const struct reload *r);
/* What the one in force would have changed besides, after a restart. Borrowed until the next one.
 */
const struct conf_names *reload_need_restart(const struct reload *r);

/*
 * How it went: once, at once for a failure, else when every worker has the new configuration. error
 * is 0, -EINVAL (refused: the report says why), -ESHUTDOWN (the program ends) or another negative
 * errno. changes and report are borrowed.
 */
struct reload_waiter {
	void (*on_done)(struct reload_waiter *waiter, int error, const struct conf_changes *changes,
			const struct conf_report *report);
};

/* From the file, as SIGHUP does. waiter may be NULL; why is for the log. */
void reload_file(struct reload *r, const char *why, struct reload_waiter *waiter);
/* The one entry of every source: a configuration that has been parsed and checked. Takes it. */
void reload_apply(struct reload *r, enum reload_source source, struct conf_common *now_take,
		  struct reload_waiter *waiter);

#endif
