/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread of adit-edge. Start-up is a table; whatever needs privileges (ports, keys)
 * comes before they are dropped, threads come after.
 */
#include "daemon/edge/app.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "daemon/admin/reload.h"
#include "daemon/base/drop_priv.h"
#include "daemon/base/exit.h"
#include "daemon/base/file.h"
#include "daemon/base/notify.h"
#include "daemon/base/process.h"
#include "daemon/base/secret.h"
#include "daemon/base/version.h"
#include "daemon/base/watchdog.h"
#include "daemon/edge/config.h"
#include "daemon/edge/init.h"
#include "daemon/edge/status.h"
#include "daemon/edge/wiring.h"
#include "daemon/edge/wiring_net.h"
#include "daemon/edge/wiring_tunnels.h"
#include "daemon/net/ca.h"
#include "daemon/net/tlsctx.h"
#include "util/cleanup.h"

enum {
	EDGE_IDLE_SEC = 60,
	METRIC_SERIES_ALL = 32768,
	UDP_BUFFER = 4 * 1024 * 1024,
	GRACE_SEC = 30,
	STOP_MARGIN_SEC = 5, /* what the service manager allows beyond that */
	RENEW_CHECK_SEC = 6 * 3600,
};
#define AUTO_MEMORY (UINT64_C(64) << 20) /* of each worker */

static int fail(struct edge *e, const char *what, int error)
{
	log_error(e->log, "start", what, KV_ERR(error));
	return EXIT_FAILED;
}

static int start_log(struct edge *e)
{
	if (conf_log_open(&e->params.conf->common.log, "adit-edge", &e->log) < 0)
		return EXIT_FAILED;
	log_notice(e->log, "start", "adit-edge", KV_STR("version", adit_version),
		   KV_STR("config",
			  e->params.conf->common.file ? e->params.conf->common.file : "none"));
	return EXIT_OK;
}

static void stop_log(struct edge *e)
{
	log_free(e->log);
}

static int start_process(struct edge *e)
{
	const char *reason = "", *folder = "";
	int r = process_prepare(&e->params.paths, &reason, &folder);
	if (r < 0) {
		log_error(e->log, "start", reason, KV_STR("folder", folder), KV_ERR(r));
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

static int start_metrics(struct edge *e)
{
	int r = metric_registry_new(METRIC_SERIES_ALL, &e->metrics);
	if (r == 0)
		r = front_families_define(&e->front_families, e->metrics);
	if (r == 0)
		r = tunnel_families_define(&e->tunnel_families, e->metrics);
	if (r == 0)
		e->shard = metric_shard_new(e->metrics);
	return r < 0 || !e->shard ? fail(e, "no memory for metrics", r < 0 ? r : -ENOMEM) : EXIT_OK;
}

static void stop_metrics(struct edge *e)
{
	metric_registry_free(e->metrics);
}

static int start_mainloop(struct edge *e)
{
	int r = mainloop_new(e, &e->loop);
	return r < 0 ? fail(e, "cannot make the control loop", r) : EXIT_OK;
}

static void stop_mainloop(struct edge *e)
{
	mainloop_timer_stop(&e->renew_timer);
	mainloop_timer_stop(&e->grace_timer);
	mainloop_timer_stop(&e->round_timer);
	mainloop_free(e->loop);
}

static int start_workers(struct edge *e)
{
	unsigned int n = e->params.conf->common.process.workers;
	uint64_t memory = e->params.conf->common.process.memory;
	e->worker_count = n ? n : worker_default_count();
	struct worker_params params = {
		.count = e->worker_count,
		.memory = memory ? memory / e->worker_count : AUTO_MEMORY,
		.log = e->log,
		.metrics = e->metrics,
	};
	int r = worker_set_new(&params, &e->workers);
	if (r == 0)
		r = bridge_metrics_init(&e->bridge_metrics, e->metrics, e->worker_count);
	return r < 0 ? fail(e, "cannot make workers", r) : EXIT_OK;
}

static void stop_workers(struct edge *e)
{
	bridge_metrics_done(&e->bridge_metrics);
	worker_set_free(e->workers);
}

/* Reads what `init` has made. */
static int start_keys(struct edge *e)
{
	char path[PATHS_LEN + 16];
	(void)snprintf(path, sizeof(path), "%s/quic-key", e->params.paths.state);
	char *text = NULL;
	size_t len = 0;
	int r = file_read(path, sizeof(e->quic_key), &text, &len);
	if (r == 0 && len == sizeof(e->quic_key))
		memcpy(e->quic_key, text, len);
	else if (r == 0)
		r = -EBADMSG;
	if (text)
		secret_wipe(text, len);
	free(text);
	if (r < 0) {
		log_error(e->log, "start", "no usable key; run: adit-edge init",
			  KV_STR("file", path), KV_ERR(r));
		return EXIT_CONFIG;
	}
	return EXIT_OK;
}

static int load_tls(struct edge *e, SSL_CTX **ret)
{
	char chain[PATHS_LEN + 16], key[PATHS_LEN + 16];
	const char *reason = "";
	(void)snprintf(chain, sizeof(chain), "%s/" LEAF_FILE, e->params.paths.state);
	(void)snprintf(key, sizeof(key), "%s/" LEAF_KEY_FILE, e->params.paths.state);
	int r = tlsctx_new_tunnel_server(chain, key, ret, &reason);
	if (r < 0)
		log_error(e->log, "tls", "no usable certificate; run: adit-edge init",
			  KV_STR("file", chain), KV_STR("reason", reason), KV_ERR(r));
	return r;
}

/* Links that exist keep their certificate; new ones get the one on disk. */
static void use_renewed(struct edge *e)
{
	SSL_CTX *tls = NULL, *h2_tls = NULL;
	int r = load_tls(e, &tls);
	if (r == 0)
		r = quic_server_set_tls(e->server, tls);
	if (r == 0)
		r = load_tls(e, &h2_tls); /* without ALPN */
	if (r == 0)
		r = edge_tunnels_use_tls(e, h2_tls);
	if (r < 0)
		log_error(e->log, "tls", "the renewed certificate is not used", KV_ERR(r));
	tlsctx_free(tls);
}

/*
 * Renews the certificate of the tunnel listener when its end is near, or its name new (spec §3).
 * True when there is a new one.
 */
static bool renew(struct edge *e)
{
	int days = 0;
	int r = ca_leaf_days(e->params.paths.state, &days);
	if (r == 0 && days > LEAF_RENEW_DAYS &&
	    ca_leaf_has_name(e->params.paths.state, e->params.conf->edge.server_name))
		return false;
	r = ca_issue(e->params.paths.state, e->params.conf->edge.server_name);
	if (r < 0)
		log_error(e->log, "tls", "cannot renew the tunnel certificate",
			  KV_I64("days_left", days), KV_ERR(r));
	else
		log_notice(e->log, "tls", "tunnel certificate renewed");
	return r == 0;
}

static void on_renew(struct mainloop_timer *timer)
{
	struct edge *e = CONTAINER_OF(timer, struct edge, renew_timer);
	if (renew(e))
		use_renewed(e);
	(void)mainloop_timer_start(e->loop, timer,
				   nsec_clock(CLOCK_MONOTONIC) + RENEW_CHECK_SEC * NSEC_PER_SEC);
}

static int start_tls(struct edge *e)
{
	const char *name = e->params.conf->edge.server_name;
	if (name && !ca_permits(e->params.paths.state, name)) {
		log_error(
			e->log, "start",
			"server-name lies outside what the CA may certify: daemons would refuse every "
			"name of the certificate",
			KV_STR("server_name", name));
		return EXIT_CONFIG;
	}
	(void)renew(e);
	if (load_tls(e, &e->tls) < 0 || load_tls(e, &e->h2_tls) < 0)
		return EXIT_CONFIG;
	e->renew_timer.on_expire = on_renew;
	(void)mainloop_timer_start(e->loop, &e->renew_timer,
				   nsec_clock(CLOCK_MONOTONIC) + RENEW_CHECK_SEC * NSEC_PER_SEC);
	return EXIT_OK;
}

static void stop_tls(struct edge *e)
{
	tlsctx_free(e->tls);
	tlsctx_free(e->h2_tls);
	secret_wipe(e->quic_key, sizeof(e->quic_key));
}

/* What the service user renews: init, run by root, has made it for root alone. */
static int give_files(struct edge *e, uid_t uid, gid_t gid)
{
	static const char *const files[] = { CA_FILE, CA_KEY_FILE, LEAF_FILE, LEAF_KEY_FILE };
	char path[PATHS_LEN + 16];
	for (unsigned int i = 0; i < ARRAY_SIZE(files); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", e->params.paths.state, files[i]);
		if (lchown(path, uid, gid) < 0 && errno != ENOENT)
			return -errno;
	}
	return 0;
}

static int find_user(struct edge *e, uid_t *uid, gid_t *gid)
{
	*uid = (uid_t)-1;
	*gid = (gid_t)-1;
	if (geteuid() != 0)
		return 0;
	int r = drop_priv_find_user(e->params.user ? e->params.user : EDGE_SERVICE_USER, uid, gid);
	return r == -ENOENT && !e->params.user ? 0 : r;
}

static int start_sockets(struct edge *e)
{
	uid_t uid;
	gid_t gid;
	int r = find_user(e, &uid, &gid);
	if (r < 0)
		return fail(e, "no such user", r);
	e->quic_settings = (struct quic_settings){
		.idle_timeout = EDGE_IDLE_SEC * NSEC_PER_SEC,
		.handshake_timeout = 5 * NSEC_PER_SEC,
		.keep_alive = e->params.conf->edge.keep_alive,
		.use_ecn = e->params.conf->edge.ecn,
		.keylog_fd = -EBADF,
		.qlog_dir = e->params.conf->common.debug.qlog,
		.rcvbuf = UDP_BUFFER,
		.sndbuf = UDP_BUFFER,
	};
	if (conf_key_log_open(&e->params.conf->common.debug, e->log, &e->quic_settings.keylog_fd) <
	    0)
		return EXIT_FAILED;
	return edge_wiring_open(e, uid, gid);
}

static void stop_sockets(struct edge *e)
{
	edge_wiring_close(e);
	(void)fd_close(e->quic_settings.keylog_fd);
}

static int start_status(struct edge *e)
{
	return edge_status_start(e);
}

static void stop_status(struct edge *e)
{
	edge_status_stop(e);
}

/* Started as an ordinary user: capabilities that a unit has given for the start go all the same. */
static int drop_rights(struct edge *e)
{
	if (geteuid() == 0)
		return EXIT_OK;
	int r = drop_priv(&(struct drop_priv){ .uid = (uid_t)-1, .gid = (gid_t)-1 });
	return r < 0 ? fail(e, "cannot drop privileges", r) : EXIT_OK;
}

/* From here on nothing can be done that our user can't do. */
static int start_drop(struct edge *e)
{
	uid_t uid;
	gid_t gid;
	int r = find_user(e, &uid, &gid);
	if (r < 0)
		return fail(e, "no such user", r);
	if (uid == (uid_t)-1 && geteuid() == 0)
		log_warning(e->log, "start",
			    "running as root: there is no user " EDGE_SERVICE_USER);
	if (uid == (uid_t)-1)
		return drop_rights(e);
	const char *const own[] = { e->params.paths.run, e->params.paths.state,
				    e->params.paths.control };
	for (unsigned int i = 0; i < ARRAY_SIZE(own); i++)
		if (chown(own[i], uid, gid) < 0)
			return fail(e, "cannot give a directory to the service user", -errno);
	r = give_files(e, uid, gid);
	if (r < 0)
		return fail(e, "cannot give the certificates to the service user", r);
	r = drop_priv(&(struct drop_priv){ .uid = uid, .gid = gid });
	if (r < 0)
		return fail(e, "cannot drop privileges", r);
	log_info(e->log, "start", "privileges dropped", KV_U64("uid", uid));
	if (e->params.source.path && access(e->params.source.path, R_OK) < 0)
		log_warning(e->log, "start",
			    "the service user can't read the configuration: no reload",
			    KV_STR("file", e->params.source.path), KV_ERR(-errno));
	return EXIT_OK;
}

static void on_signal(int signo, void *arg)
{
	struct edge *e = arg;
	log_notice(e->log, "stop", e->is_draining ? "second signal: cutting" : "draining",
		   KV_I64("signal", signo));
	edge_stop(e);
}

static void on_hangup(int signo, void *arg)
{
	(void)signo;
	struct edge *e = arg;
	reload_file(e->reload, "signal", NULL);
}

static int start_signals(struct edge *e)
{
	int r = mainloop_on_signal(e->loop, SIGTERM, on_signal, e);
	if (r == 0)
		r = mainloop_on_signal(e->loop, SIGINT, on_signal, e);
	if (r == 0)
		r = mainloop_on_signal(e->loop, SIGHUP, on_hangup, e);
	return r < 0 ? fail(e, "cannot watch signals", r) : EXIT_OK;
}

static int start_threads(struct edge *e)
{
	int r = worker_set_start(e->workers, edge_wiring_start, edge_wiring_stop);
	return r < 0 ? fail(e, "cannot start workers", r) : EXIT_OK;
}

static void stop_threads(struct edge *e)
{
	worker_set_stop(e->workers);
}

static int start_watchdog(struct edge *e)
{
	const struct watchdog_params params = {
		.loop = e->loop,
		.workers = e->workers,
		.log = e->log,
	};
	int r = watchdog_start(&params, &e->watchdog);
	return r < 0 ? fail(e, "cannot serve the service manager's watchdog", r) : EXIT_OK;
}

static void stop_watchdog(struct edge *e)
{
	watchdog_stop(TAKE_PTR(e->watchdog));
}

static void on_grace_over(struct mainloop_timer *timer)
{
	struct edge *e = CONTAINER_OF(timer, struct edge, grace_timer);
	log_notice(e->log, "stop", "grace period over");
	mainloop_quit(e->loop, EXIT_OK);
}

void edge_stop(struct edge *e)
{
	if (e->is_draining) {
		mainloop_quit(e->loop, EXIT_OK);
		return;
	}
	e->is_draining = true;
	notify_stopping("draining");
	notify_extend_timeout((GRACE_SEC + STOP_MARGIN_SEC) * NSEC_PER_SEC);
	e->grace_timer.on_expire = on_grace_over;
	(void)mainloop_timer_start(e->loop, &e->grace_timer,
				   nsec_clock(CLOCK_MONOTONIC) + GRACE_SEC * NSEC_PER_SEC);
	edge_wiring_drain(e);
}

static const struct {
	int (*start)(struct edge *e);
	void (*stop)(struct edge *e); /* also after its own start has failed half-way */
} steps[] = {
	{ start_log, stop_log },
	{ start_process, NULL },
	{ start_metrics, stop_metrics },
	{ start_mainloop, stop_mainloop },
	{ start_workers, stop_workers },
	{ edge_config_start, edge_config_stop },
	{ start_keys, NULL },
	{ start_tls, stop_tls },
	{ start_sockets, stop_sockets },
	{ edge_networks_open, edge_networks_close }, /* a second edge of the same ports has ended */
	{ start_status, stop_status },
	{ start_drop, NULL },
	{ start_signals, NULL },
	{ start_threads, stop_threads },
	{ start_watchdog, stop_watchdog },
};

int edge_run(const struct edge_params *params)
{
	struct edge *e = calloc(1, sizeof(*e));
	if (!e)
		return EXIT_FAILED;
	e->params = *params;
	e->quic_settings.keylog_fd = -EBADF;
	e->started = nsec_clock(CLOCK_REALTIME);
	int code = EXIT_OK;
	unsigned int done = 0;
	while (done < ARRAY_SIZE(steps) && code == EXIT_OK)
		code = steps[done++].start(e);
	if (code == EXIT_OK) {
		notify_ready("listening");
		log_notice(e->log, "start", "listening",
			   KV_U64("tunnels", e->params.conf->tunnel_count));
		int r = mainloop_run(e->loop);
		code = r < 0 ? EXIT_FAILED : r;
		log_notice(e->log, "stop", "done");
	}
	while (done-- > 0)
		if (steps[done].stop)
			steps[done].stop(e);
	edge_conf_unref(e->params.conf);
	free(e);
	return code;
}
