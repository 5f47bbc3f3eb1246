/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread of aditd. Start-up is a table: each step has its undo, and a step that fails
 * unwinds those before it.
 */
#include "daemon/aditd/app.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <linux/capability.h>

#include "daemon/aditd/config.h"
#include "daemon/aditd/discovery.h"
#include "daemon/aditd/netwatch.h"
#include "daemon/aditd/status.h"
#include "daemon/aditd/supervisor.h"
#include "daemon/aditd/tun_host.h"
#include "daemon/aditd/wiring.h"
#include "daemon/admin/reload.h"
#include "daemon/base/drop_priv.h"
#include "daemon/base/exit.h"
#include "daemon/base/mainloop.h"
#include "daemon/base/notify.h"
#include "daemon/base/process.h"
#include "daemon/base/random.h"
#include "daemon/base/version.h"
#include "daemon/base/watchdog.h"
#include "daemon/datapath/shortcut.h"
#include "daemon/wire/token.h"
#include "util/cleanup.h"

enum {
	READY_AT_THE_LATEST_SEC = 10,
	STOP_MARGIN_SEC = 5, /* what the service manager allows beyond the grace period */
	CONNECTIONS_VENDOR = 4,
	VENDOR_IDLE_SEC = 5,
	ADIT_IDLE_SEC = 60,
	METRIC_SERIES_ALL = 16384,
	UDP_BUFFER = 4 * 1024 * 1024,
};
#define AUTO_MEMORY (UINT64_C(64) << 20) /* of each worker */

static const char *const server_names[LINK_PROTOCOL_MAX_] = {
	[LINK_PROTOCOL_QUIC] = "quic.cftunnel.com",
	[LINK_PROTOCOL_HTTP2] = "h2.cftunnel.com",
};

static int fail(struct app *a, const char *what, int error)
{
	log_error(a->log, "start", what, KV_ERR(error));
	return EXIT_FAILED;
}

static int start_log(struct app *a)
{
	if (conf_log_open(&a->params.conf->common.log, "aditd", &a->log) < 0)
		return EXIT_FAILED;
	log_notice(a->log, "start", "aditd", KV_STR("version", adit_version),
		   KV_STR("instance", a->params.instance),
		   KV_STR("config",
			  a->params.conf->common.file ? a->params.conf->common.file : "none"));
	return EXIT_OK;
}

static void stop_log(struct app *a)
{
	log_free(a->log);
}

static int start_process(struct app *a)
{
	const char *reason = "", *folder = "";
	int r = process_prepare(&a->params.paths, &reason, &folder);
	if (r < 0) {
		log_error(a->log, "start", reason, KV_STR("folder", folder), KV_ERR(r));
		return EXIT_FAILED;
	}
	conf_cut_to_descriptors(&a->params.conf->common.limits.streams, "streams", a->log);
	conf_cut_to_descriptors(&a->params.conf->common.limits.flows, "flows", a->log);
	return EXIT_OK;
}

static int start_metrics(struct app *a)
{
	int r = metric_registry_new(METRIC_SERIES_ALL, &a->metrics);
	if (r == 0)
		r = proxy_metrics_init(&a->shared.proxy_metrics, a->metrics);
	if (r == 0)
		r = rpc_metrics_init(&a->shared.rpc_metrics, a->metrics);
	if (r == 0)
		a->shard = metric_shard_new(a->metrics);
	return r < 0 || !a->shard ? fail(a, "no memory for metrics", r < 0 ? r : -ENOMEM) : EXIT_OK;
}

static void stop_metrics(struct app *a)
{
	metric_registry_free(a->metrics);
}

static int start_mainloop(struct app *a)
{
	int r = mainloop_new(a, &a->loop);
	return r < 0 ? fail(a, "cannot make the control loop", r) : EXIT_OK;
}

static void stop_mainloop(struct app *a)
{
	mainloop_timer_stop(&a->ready_timer);
	mainloop_free(a->loop);
}

static unsigned int worker_count(const struct app *a)
{
	return a->params.conf->common.process.workers ? a->params.conf->common.process.workers
						      : worker_default_count();
}

static int start_workers(struct app *a)
{
	a->worker_count = worker_count(a);
	uint64_t memory = a->params.conf->common.process.memory;
	struct worker_params params = {
		.count = a->worker_count,
		.memory = memory ? memory / a->worker_count : AUTO_MEMORY,
		.log = a->log,
		.metrics = a->metrics,
	};
	int r = worker_set_new(&params, &a->workers);
	return r < 0 ? fail(a, "cannot make workers", r) : EXIT_OK;
}

static void stop_workers(struct app *a)
{
	worker_set_free(a->workers);
}

/* Everything the workers share, from the configuration. */
static int start_shared(struct app *a)
{
	struct wiring_shared *sh = &a->shared;
	const struct conf *c = a->params.conf;
	bool is_adit = c->edge.kind == CONF_EDGE_KIND_ADIT;
	sh->worker_count = a->worker_count;
	sh->main = mainloop_mailbox(a->loop);
	for (unsigned int i = 0; i < LINK_PROTOCOL_MAX_; i++)
		sh->server_names[i] = c->edge.server_name ? c->edge.server_name : server_names[i];
	random_bytes(sh->connector_id.bytes, UUID_LEN);
	uuid_make_v4(&sh->connector_id);
	uuid_format(&sh->connector_id, sh->connector_text);
	sh->quic = (struct quic_settings){
		.idle_timeout = (is_adit ? ADIT_IDLE_SEC : VENDOR_IDLE_SEC) * NSEC_PER_SEC,
		.handshake_timeout = 5 * NSEC_PER_SEC,
		.use_bbr = c->tunnel.congestion == CONF_CONGESTION_BBR,
		.use_ecn = c->tunnel.ecn,
		.keylog_fd = -EBADF,
		.qlog_dir = c->common.debug.qlog,
		.rcvbuf = UDP_BUFFER,
		.sndbuf = UDP_BUFFER,
	};
	if (conf_key_log_open(&c->common.debug, a->log, &sh->quic.keylog_fd) < 0)
		return EXIT_FAILED;
	return EXIT_OK;
}

static void stop_shared(struct app *a)
{
	(void)fd_close(a->shared.quic.keylog_fd);
}

/* The configuration of the start as the workers use it, and what brings in a later one. */
static int start_config(struct app *a)
{
	struct conf_report report = {};
	char line[2048] = "";
	int r = config_new(a, a->params.conf, &report, &a->config);
	if (report.count > 0)
		(void)conf_message_print(&report.messages[0], line, sizeof(line));
	conf_report_done(&report);
	if (r < 0) {
		log_error(a->log, "start", "the configuration can't be used",
			  KV_STR("reason", line), KV_ERR(r));
		return r == -EINVAL ? EXIT_CONFIG : EXIT_FAILED;
	}
	a->shared.config = a->config;
	struct reload_params params = {
		.loop = a->loop,
		.workers = a->workers,
		.log = a->log,
		.registry = a->metrics,
		.shard = a->shard,
		.conf = &a->params.conf->common,
		.ops = &config_reload_ops,
		.user = a,
	};
	r = reload_new(&params, &a->reload);
	return r < 0 ? fail(a, "cannot prepare for a reload", r) : EXIT_OK;
}

static void stop_config(struct app *a)
{
	reload_free(TAKE_PTR(a->reload));
	config_unref(TAKE_PTR(a->config));
}

/* What of it needs privileges. Without them, and without interfaces, flows go by sockets. */
static int start_shortcut(struct app *a)
{
	const struct conf_datapath *d = &a->params.conf->datapath;
	if (d->mode == CONF_DATAPATH_SOCKETS || d->interface_count == 0)
		return EXIT_OK;
	const struct shortcut_params params = {
		.interfaces = d->interfaces,
		.count = d->interface_count,
		.workers = a->worker_count,
		.max_flows = d->max_flows,
		.rate = d->promote,
		.log = a->log,
	};
	int r = shortcut_new(&params, &a->shared.shortcut);
	return r < 0 ? fail(a, "no memory for the short cut", r) : EXIT_OK;
}

static void stop_shortcut(struct app *a)
{
	shortcut_free(TAKE_PTR(a->shared.shortcut));
}

static int start_tun(struct app *a)
{
	const struct conf *c = a->params.conf;
	if (!c->datapath.tun)
		return EXIT_OK;
	const struct tun_host_params params = {
		.conf = &c->datapath,
		.log = a->log,
		.worker_count = a->worker_count,
		.max_flows = c->common.limits.flows,
	};
	return tun_host_open(&params, &a->shared.tun);
}

static void stop_tun(struct app *a)
{
	tun_host_close(TAKE_PTR(a->shared.tun));
}

/* Whoever named interfaces, or a device of ours, gave us capabilities for them; they have served.
 * Packet marks need one for each new socket. */
static int start_privileges(struct app *a)
{
	if (!a->shared.shortcut && !a->shared.tun)
		return EXIT_OK;
	const struct drop_priv params = {
		.uid = (uid_t)-1,
		.gid = (gid_t)-1,
		.keep = a->params.conf->edge.fwmark ? UINT64_C(1) << CAP_NET_ADMIN : 0,
	};
	int r = drop_priv(&params);
	return r < 0 ? fail(a, "cannot give up privileges", r) : EXIT_OK;
}

static int start_wiring(struct app *a)
{
	a->wirings = calloc(a->worker_count, sizeof(*a->wirings));
	a->tunnels = calloc(a->worker_count, sizeof(*a->tunnels));
	int r = a->wirings && a->tunnels ? 0 : -ENOMEM;
	if (r == 0 && a->worker_count > 1)
		r = owners_new(a->config->conf->common.limits.flows, &a->shared.flow_owners);
	if (r == 0 && a->worker_count > 1 && a->shared.tun)
		r = owners_new(2 * (size_t)a->config->conf->common.limits.flows,
			       &a->shared.tun_owners);
	if (r < 0)
		return fail(a, "no memory", r);
	for (unsigned int i = 0; i < a->worker_count; i++) {
		r = wiring_init(&a->wirings[i], &a->shared, worker_set_get(a->workers, i),
				&a->tunnels[i]);
		if (r < 0)
			return fail(a, "cannot prepare a worker", r);
	}
	return EXIT_OK;
}

static void stop_wiring(struct app *a)
{
	for (unsigned int i = 0; a->wirings && i < a->worker_count; i++)
		wiring_done(&a->wirings[i]);
	free(a->wirings);
	free(a->tunnels);
	owners_free(a->shared.flow_owners);
	owners_free(a->shared.tun_owners);
}

enum { STATUS_LEN = 256 };

/* One line for systemctl status. */
static void print_status(const struct app *a, char text[STATUS_LEN])
{
	unsigned int up = supervisor_up_count(a->supervisor);
	const char *cause = supervisor_last_error(a->supervisor);
	if (up > 0)
		(void)snprintf(text, STATUS_LEN, "connected: %u of %u", up,
			       supervisor_count(a->supervisor));
	else
		(void)snprintf(text, STATUS_LEN, "not connected: %s", cause[0] ? cause : "dialing");
}

void app_announce_ready(struct app *a)
{
	char text[STATUS_LEN];
	print_status(a, text);
	notify_ready(text);
}

/* The line, from the start on, and READY when it is time. */
static void announce(struct app *a)
{
	char text[STATUS_LEN];
	unsigned int up = supervisor_up_count(a->supervisor);
	atomic_store_explicit(&a->up, up, memory_order_relaxed);
	if (a->is_stopping)
		return; /* the status is that of STOPPING */
	print_status(a, text);
	if (a->is_ready || up == 0) {
		notify_status(text);
	} else {
		a->is_ready = true;
		mainloop_timer_stop(&a->ready_timer);
		notify_ready(text);
	}
}

static void on_ready_late(struct mainloop_timer *timer)
{
	struct app *a = CONTAINER_OF(timer, struct app, ready_timer);
	char text[256];
	const char *cause = supervisor_last_error(a->supervisor);
	(void)snprintf(text, sizeof(text), "not connected: %s",
		       cause[0] ? cause : "no answer from the edge yet");
	a->is_ready = true;
	notify_ready(text);
	log_warning(a->log, "start", "not connected yet, going on",
		    KV_STR("cause", cause[0] ? cause : "no answer"));
}

static void on_change(struct supervisor *s, void *user)
{
	(void)s;
	announce(user);
}

static void on_stopped(struct supervisor *s, void *user)
{
	(void)s;
	struct app *a = user;
	mainloop_quit(a->loop, EXIT_OK);
}

static void on_refresh(struct supervisor *s, void *user)
{
	(void)s;
	struct app *a = user;
	if (a->discovery)
		discovery_refresh(a->discovery);
}

static const struct supervisor_events supervisor_events = {
	.on_change = on_change,
	.on_refresh = on_refresh,
	.on_stopped = on_stopped,
};

/* What the vendor says of transports is heeded for its own edge alone. */
static struct transport_choice transport_of(const struct app *a,
					    const struct transport_percent *percent)
{
	const struct conf *c = a->params.conf;
	/* A proxy carries TCP only. */
	enum conf_protocol protocol = c->tunnel.protocol;
	if (c->edge.proxy && protocol == CONF_PROTOCOL_AUTO)
		protocol = CONF_PROTOCOL_HTTP2;
	struct span account = tunnel_credential_account(c->credential);
	return transport_choose(protocol, percent, transport_threshold(account));
}

static int start_supervisor(struct app *a)
{
	unsigned int n = a->params.conf->tunnel.connections;
	if (n == 0)
		n = a->params.conf->edge.kind == CONF_EDGE_KIND_ADIT
			    ? MAX(a->worker_count, (unsigned int)CONNECTIONS_VENDOR)
			    : CONNECTIONS_VENDOR;
	struct supervisor_params params = {
		.loop = a->loop,
		.ip_version = a->params.conf->edge.ip_version,
		.envs = a->tunnels,
		.worker_count = a->worker_count,
		.connections = n,
		.transport = transport_of(a, NULL),
		.log = a->log,
		.metrics = a->shard,
		.registry = a->metrics,
		.events = &supervisor_events,
		.user = a,
	};
	int r = supervisor_new(&params, &a->supervisor);
	return r < 0 ? fail(a, "cannot make the supervisor", r) : EXIT_OK;
}

static void stop_supervisor(struct app *a)
{
	supervisor_free(a->supervisor);
}

static void on_addresses(const struct edge_addr *addrs, unsigned int count,
			 enum discovery_source source, void *user)
{
	(void)source;
	struct app *a = user;
	supervisor_set_addresses(a->supervisor, addrs, count);
}

static void on_records(const struct discovery_records *records, void *user)
{
	struct app *a = user;
	const struct transport_percent percent = { .quic = records->quic_percent,
						   .http2 = records->http2_percent };
	supervisor_set_transport(a->supervisor,
				 transport_of(a, records->has_protocols ? &percent : NULL));
	struct span account = tunnel_credential_account(a->params.conf->credential);
	supervisor_set_dns_v3(a->supervisor,
			      records->has_features &&
				      records->dv3_2_percent > transport_threshold(account));
}

static void on_no_addresses(const char *text, void *user)
{
	struct app *a = user;
	supervisor_set_error(a->supervisor, text);
	announce(a);
}

static const struct discovery_events discovery_events = {
	.on_set = on_addresses,
	.on_records = on_records,
	.on_error = on_no_addresses,
};

static int start_discovery(struct app *a)
{
	const struct discovery_params params = {
		.loop = a->loop,
		.worker = worker_set_get(a->workers, 0),
		.conf = a->params.conf,
		.state_dir = a->params.paths.state,
		.log = a->log,
		.events = &discovery_events,
		.user = a,
	};
	int r = discovery_new(&params, &a->discovery);
	return r < 0 ? fail(a, "cannot look for the edge", r) : EXIT_OK;
}

static void stop_discovery(struct app *a)
{
	discovery_free(TAKE_PTR(a->discovery));
}

static void follow_network(struct worker *worker, void *arg)
{
	(void)arg;
	const struct wiring *w = worker->app;
	tunnel_network_changed(w->tunnels);
}

static void on_network_change(void *user)
{
	struct app *a = user;
	for (unsigned int i = 0; i < a->worker_count; i++)
		if (worker_call(worker_set_get(a->workers, i), follow_network, NULL) < 0)
			log_warning(a->log, "network", "no memory to follow a change");
	supervisor_network_changed(a->supervisor);
}

static int start_netwatch(struct app *a)
{
	struct netwatch_params params = {
		.loop = a->loop,
		.log = a->log,
		.registry = a->metrics,
		.metrics = a->shard,
		.on_change = on_network_change,
		.user = a,
	};
	int r = netwatch_start(&params, &a->netwatch);
	return r < 0 ? fail(a, "cannot prepare to watch the network", r) : EXIT_OK;
}

static void stop_netwatch(struct app *a)
{
	netwatch_stop(TAKE_PTR(a->netwatch));
}

static void on_signal(int signo, void *arg)
{
	struct app *a = arg;
	log_notice(a->log, "stop", a->is_stopping ? "second signal: cutting" : "draining",
		   KV_I64("signal", signo));
	nsec_t grace = a->config->conf->tunnel.grace_period;
	if (!a->is_stopping) {
		notify_stopping("draining");
		notify_extend_timeout(grace + STOP_MARGIN_SEC * NSEC_PER_SEC);
	}
	a->is_stopping = true;
	stop_discovery(a);
	supervisor_stop(a->supervisor, grace);
}

static void on_hangup(int signo, void *arg)
{
	(void)signo;
	struct app *a = arg;
	reload_file(a->reload, "signal", NULL);
}

static int start_signals(struct app *a)
{
	int r = mainloop_on_signal(a->loop, SIGTERM, on_signal, a);
	if (r == 0)
		r = mainloop_on_signal(a->loop, SIGINT, on_signal, a);
	if (r == 0)
		r = mainloop_on_signal(a->loop, SIGHUP, on_hangup, a);
	return r < 0 ? fail(a, "cannot watch signals", r) : EXIT_OK;
}

static int start_admin(struct app *a)
{
	return status_start(a);
}

static void stop_admin(struct app *a)
{
	status_stop(a);
}

static int start_following(struct app *a)
{
	if (!a->shared.shortcut)
		return EXIT_OK;
	int r = shortcut_start(a->shared.shortcut, a->loop, a->workers);
	return r < 0 ? fail(a, "cannot follow the network for the short cut", r) : EXIT_OK;
}

static void stop_following(struct app *a)
{
	shortcut_stop(a->shared.shortcut);
}

static void on_worker_stop(struct worker *worker)
{
	wiring_stop(worker->app);
}

static int start_threads(struct app *a)
{
	int r = worker_set_start(a->workers, NULL, on_worker_stop);
	return r < 0 ? fail(a, "cannot start workers", r) : EXIT_OK;
}

static void stop_threads(struct app *a)
{
	worker_set_stop(a->workers);
}

static int start_watchdog(struct app *a)
{
	const struct watchdog_params params = {
		.loop = a->loop,
		.workers = a->workers,
		.log = a->log,
	};
	int r = watchdog_start(&params, &a->watchdog);
	return r < 0 ? fail(a, "cannot serve the service manager's watchdog", r) : EXIT_OK;
}

static void stop_watchdog(struct app *a)
{
	watchdog_stop(TAKE_PTR(a->watchdog));
}

static const struct {
	int (*start)(struct app *a);
	void (*stop)(struct app *a); /* also after its own start has failed half-way */
} steps[] = {
	{ start_log, stop_log },
	{ start_process, NULL },
	{ start_metrics, stop_metrics },
	{ start_mainloop, stop_mainloop },
	{ start_workers, stop_workers },
	{ start_shared, stop_shared },
	{ start_config, stop_config },
	{ start_shortcut, stop_shortcut },
	{ start_tun, stop_tun },
	{ start_wiring, stop_wiring },
	{ start_supervisor, stop_supervisor },
	{ start_netwatch, stop_netwatch },
	{ start_signals, NULL },
	{ start_admin, stop_admin },
	{ start_privileges, NULL },
	{ start_threads, stop_threads },
	{ start_following, stop_following },
	{ start_discovery, stop_discovery },
	{ start_watchdog, stop_watchdog },
};

static int serve(struct app *a)
{
	a->ready_timer.on_expire = on_ready_late;
	nsec_t late = nsec_clock(CLOCK_MONOTONIC) + READY_AT_THE_LATEST_SEC * NSEC_PER_SEC;
	if (mainloop_timer_start(a->loop, &a->ready_timer, late) < 0)
		return EXIT_FAILED;
	supervisor_start(a->supervisor);
	int r = mainloop_run(a->loop);
	log_notice(a->log, "stop", "done");
	return r < 0 ? EXIT_FAILED : r;
}

int app_run(const struct app_params *params)
{
	struct app *a = calloc(1, sizeof(*a));
	if (!a)
		return EXIT_FAILED;
	a->params = *params;
	a->shared.quic.keylog_fd = -EBADF;
	int code = EXIT_OK;
	unsigned int done = 0;
	while (done < ARRAY_SIZE(steps) && code == EXIT_OK)
		code = steps[done++].start(a);
	if (code == EXIT_OK)
		code = serve(a);
	while (done-- > 0)
		if (steps[done].stop)
			steps[done].stop(a);
	conf_unref(a->params.conf);
	free(a);
	return code;
}
