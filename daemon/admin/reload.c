/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A changed configuration in a running program. Loading and applying happen in one go on the
 * control thread, so two reloads never mix; only the last step, hearing from the workers that they
 * have swapped, is waited for.
 */
#include "daemon/admin/reload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/gather.h"
#include "daemon/base/mainloop.h"
#include "daemon/base/notify.h"
#include "daemon/base/watch.h"
#include "util/cleanup.h"

enum { FAULTS_LOGGED = 20 }; /* of one configuration; the rest is counted */

struct reload {
	struct reload_params p;
	struct conf_common *current; /* in force: the program's reference */
	struct conf_names need_restart;
	struct watch *watch;
	unsigned int version;
	unsigned int pending; /* runs that the workers have not all seen */
	metric_id version_series;
	int errors_family;
	metric_id errors[RELOAD_SOURCE_MAX_];
};

/* A reload on its way through the workers. */
struct run {
	struct reload *reload;
	enum reload_source source;
	struct reload_waiter *waiter;
	struct conf_changes changes;
};

static const struct metric_family version_family = {
	.name = "adit_config_version",
	.help = "Configuration that is in force: 1 is that of the start.",
	.type = METRIC_TYPE_GAUGE,
};

static const struct metric_family errors_family = {
	.name = "adit_config_errors_total",
	.help = "Configurations that were not taken, by where they came from.",
	.type = METRIC_TYPE_COUNTER,
	.labels = { "source" },
};

static const char *const source_names[RELOAD_SOURCE_MAX_] = { [RELOAD_SOURCE_FILE] = "file" };

/* ---- telling ---- */

static void log_report(const struct reload *r, const struct conf_report *report)
{
	char line[2048];
	unsigned int faults = 0;
	for (size_t i = 0; i < report->count; i++) {
		const struct conf_message *m = &report->messages[i];
		(void)conf_message_print(m, line, sizeof(line));
		if (m->severity == CONF_SEVERITY_WARNING)
			log_warning(r->p.log, "config", line);
		else if (faults++ < FAULTS_LOGGED)
			log_error(r->p.log, "config", line);
	}
}

static void refuse(const struct reload *r, enum reload_source source, int error,
		   const struct conf_report *report)
{
	metric_add(r->p.shard, r->errors[source], 1);
	log_report(r, report);
	log_error(r->p.log, "config", "new configuration refused, the old one stays in force",
		  KV_U64("faults", report->errors), KV_U64("version", r->version), KV_ERR(error));
}

/* "a, b, c", cut. */
static const char *join(const struct conf_names *names, char *buf, size_t size)
{
	size_t len = 0;
	buf[0] = '\0';
	for (size_t i = 0; i < names->count && len < size; i++) {
		int n = snprintf(buf + len, size - len, "%s%s", i ? ", " : "", names->items[i]);
		len += n > 0 ? (size_t)n : 0;
	}
	return buf;
}

static void log_success(const struct reload *r, const char *why, const struct conf_changes *changes)
{
	char changed[512], waiting[512];
	log_notice(r->p.log, "config", "new configuration in force", KV_STR("why", why),
		   KV_U64("version", r->version),
		   KV_STR("changed", join(&changes->changed, changed, sizeof(changed))),
		   KV_STR("need_restart", join(&changes->need_restart, waiting, sizeof(waiting))));
}

/* ---- one run ---- */

static void run_free(struct run *run)
{
	conf_changes_done(&run->changes);
	free(run);
}

/* Ends a run and says so: to the service manager when it was the last one. */
static void run_end(struct run *run, int error, const struct conf_report *report)
{
	struct reload *r = run->reload;
	if (--r->pending == 0 && r->p.ops->is_announced(r->p.user))
		r->p.ops->announce(r->p.user);
	if (run->waiter)
		run->waiter->on_done(run->waiter, error, &run->changes, report);
	run_free(run);
}

static void on_visit(struct worker *worker, void *arg)
{
	(void)worker; /* its mail was delivered in order: the new configuration came before us */
	(void)arg;
}

static void on_visited(void *arg)
{
	run_end(arg, 0, &(const struct conf_report){});
}

/* The program ends; what the run belonged to may be gone already. */
static void on_cancel(void *arg)
{
	struct run *run = arg;
	if (run->waiter)
		run->waiter->on_done(run->waiter, -ESHUTDOWN, &run->changes,
				     &(const struct conf_report){});
	run_free(run);
}

static const struct gather_ops gather_ops = {
	.visit = on_visit,
	.on_done = on_visited,
	.on_cancel = on_cancel,
};

static struct run *run_new(struct reload *r, enum reload_source source,
			   struct reload_waiter *waiter)
{
	struct run *run = calloc(1, sizeof(*run));
	if (!run)
		return NULL;
	run->reload = r;
	run->source = source;
	run->waiter = waiter;
	if (r->pending++ == 0 && r->p.ops->is_announced(r->p.user))
		notify_reloading();
	return run;
}

/* ---- in force ---- */

static void on_file_change(void *arg)
{
	reload_file(arg, "file changed", NULL);
}

static void update_watch(struct reload *r)
{
	bool wants = r->current->process.watch_config && r->current->file;
	if (!wants) {
		watch_free(TAKE_PTR(r->watch));
		return;
	}
	int e = r->watch ? 0 : watch_new(r->p.loop, r->current->file, on_file_change, r, &r->watch);
	if (e < 0)
		log_warning(r->p.log, "config", "cannot watch the configuration file",
			    KV_STR("file", r->current->file), KV_ERR(e));
}

/* What a later question is answered with. */
static int keep_names(struct reload *r, const struct conf_changes *changes)
{
	struct conf_changes kept = {};
	int e = 0;
	for (size_t i = 0; e == 0 && i < changes->need_restart.count; i++)
		e = conf_names_add(&kept.need_restart, "%s", changes->need_restart.items[i]);
	if (e < 0) {
		conf_changes_done(&kept);
		return e;
	}
	struct conf_changes old = { .need_restart = r->need_restart };
	conf_changes_done(&old);
	r->need_restart = kept.need_restart;
	return 0;
}

/* Puts now in force, or nothing has changed. */
static int put_in_force(struct reload *r, struct conf_common *now, struct conf_report *report,
			struct conf_changes *changes)
{
	int e = conf_diff(r->p.conf, r->current, now, changes);
	if (e == 0)
		e = r->p.ops->apply(now, report, changes, r->p.user);
	if (e < 0)
		return e;
	r->current = now;
	r->version++;
	metric_set(r->p.shard, r->version_series, r->version);
	(void)log_set_levels(r->p.log, now->log.level, now->log.areas); /* checked by the loader */
	(void)keep_names(r, changes); /* without memory the last ones stay */
	return 0;
}

static void run_apply(struct run *run, struct conf_common *now_take, const char *why,
		      struct conf_report *report)
{
	struct reload *r = run->reload;
	int e = put_in_force(r, now_take, report, &run->changes);
	if (e < 0) {
		r->p.ops->unref(now_take);
		refuse(r, run->source, e, report);
		run_end(run, e, report);
		return;
	}
	log_report(r, report); /* warnings */
	log_success(r, why, &run->changes);
	/* Last: the watch that has called us may go. */
	update_watch(r);
	if (gather_start(r->p.workers, mainloop_mailbox(r->p.loop), &gather_ops, run) < 0)
		run_end(run, 0, report); /* the workers will swap all the same */
}

/* ---- ways in ---- */

/* A run, or NULL when there can't be one and the waiter has been told. */
static struct run *run_begin(struct reload *r, enum reload_source source, const char *why,
			     struct reload_waiter *waiter)
{
	bool is_late = r->p.ops->is_stopping(r->p.user);
	struct run *run = is_late ? NULL : run_new(r, source, waiter);
	if (run)
		return run;
	log_warning(r->p.log, "config", "no reload", KV_STR("why", why),
		    KV_ERR(is_late ? -ESHUTDOWN : -ENOMEM));
	if (waiter)
		waiter->on_done(waiter, is_late ? -ESHUTDOWN : -ENOMEM,
				&(const struct conf_changes){}, &(const struct conf_report){});
	return NULL;
}

void reload_file(struct reload *r, const char *why, struct reload_waiter *waiter)
{
	struct run *run = run_begin(r, RELOAD_SOURCE_FILE, why, waiter);
	if (!run)
		return;
	struct conf_report report = {};
	struct conf_common *now = NULL;
	int e = r->p.ops->load(&report, &now, r->p.user);
	if (e < 0) {
		refuse(r, RELOAD_SOURCE_FILE, e, &report);
		run_end(run, e, &report);
	} else {
		run_apply(run, now, why, &report);
	}
	conf_report_done(&report);
}

void reload_apply(struct reload *r, enum reload_source source, struct conf_common *now_take,
		  struct reload_waiter *waiter)
{
	struct run *run = run_begin(r, source, source_names[source], waiter);
	if (!run) {
		r->p.ops->unref(now_take);
		return;
	}
	struct conf_report report = {};
	run_apply(run, now_take, source_names[source], &report);
	conf_report_done(&report);
}

/* ---- life ---- */

int reload_new(const struct reload_params *params, struct reload **ret)
{
	int family = metric_define(params->registry, &version_family);
	int errors = metric_define(params->registry, &errors_family);
	if (family < 0 || errors < 0)
		return MIN(family, errors);
	struct reload *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->p = *params;
	r->current = params->conf;
	r->version = 1;
	r->version_series = metric_series(params->registry, family, NULL);
	metric_set(params->shard, r->version_series, r->version);
	r->errors_family = errors;
	for (unsigned int i = 1; i < RELOAD_SOURCE_MAX_; i++)
		r->errors[i] = reload_errors(r, source_names[i]);
	update_watch(r);
	*ret = r;
	return 0;
}

void reload_free(struct reload *r)
{
	if (!r)
		return;
	watch_free(r->watch);
	struct conf_changes names = { .need_restart = r->need_restart };
	conf_changes_done(&names);
	free(r);
}

metric_id reload_errors(const struct reload *r, const char *source)
{
	return metric_series(r->p.registry, r->errors_family, &source);
}

unsigned int reload_version(const struct reload *r)
{
	return r->version;
}

const struct conf_names *reload_need_restart(const struct reload *r)
{
	return &r->need_restart;
}
