/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What aditd says of itself. What only workers know is asked of them when somebody wants to see it.
 */
#include "daemon/aditd/status.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/aditd/icmp_metrics.h"
#include "daemon/aditd/service.h"
#include "daemon/aditd/shortcut_metrics.h"
#include "daemon/aditd/tun_metrics.h"
#include "daemon/admin/page.h"
#include "daemon/admin/reload.h"
#include "daemon/admin/worker_metrics.h"
#include "daemon/base/exit.h"
#include "util/cleanup.h"

enum {
	FIRST_PORT = 20241,
	PORTS = 5,
};

struct status {
	struct worker_metrics workers;
	struct link_metrics links;
	struct flow_metrics flows;
	struct icmp_metrics icmp;
	struct shortcut_metrics shortcut;
	struct tun_metrics tun;
};

static unsigned int ready_count(void *arg)
{
	struct app *a = arg;
	return atomic_load_explicit(&a->up, memory_order_relaxed);
}

void status_refresh(struct worker *worker, struct app *a)
{
	struct wiring *w = worker->app;
	worker_metrics_refresh(&a->status->workers, worker, quic_worker_udp_stats(w->quic));
	link_metrics_refresh(&a->status->links, w);
	flow_metrics_refresh(&a->status->flows, w);
	icmp_metrics_refresh(&a->status->icmp, w);
	shortcut_metrics_refresh(&a->status->shortcut, w);
	tun_metrics_refresh(&a->status->tun, w);
}

static void refresh(struct worker *worker, void *arg)
{
	status_refresh(worker, arg);
}

static int start_page(struct app *a)
{
	const struct conf_metrics *m = &a->params.conf->common.metrics;
	struct ip_port candidates[PORTS];
	char file[PATHS_LEN + 16];
	if (m->listen == CONF_SWITCH_OFF)
		return EXIT_OK;
	for (unsigned int i = 0; i < PORTS; i++)
		candidates[i] = (struct ip_port){ .ip = { IP_FAMILY_V4, { 127, 0, 0, 1 } },
						  .port = (uint16_t)(FIRST_PORT + i) };
	bool is_fixed = m->listen == CONF_SWITCH_ON;
	if (is_fixed)
		candidates[0] = m->address.addr;
	struct page_params params = {
		.workers = a->workers,
		.metrics = a->metrics,
		.candidates = candidates,
		.candidate_count = is_fixed ? 1 : PORTS,
		.any_port = !is_fixed,
		.connector_id = a->shared.connector_text,
		.ready_count = ready_count,
		.refresh = refresh,
		.arg = a,
	};
	int r = page_new(&params, &a->page);
	if (r < 0) {
		log_error(a->log, "start", "cannot serve metrics",
			  KV_ADDR("address", &candidates[0]), KV_ERR(r));
		return EXIT_FAILED;
	}
	a->shared.page = a->page;
	(void)snprintf(file, sizeof(file), "%s/metrics", a->params.paths.run);
	r = page_publish(a->page, file);
	if (r < 0) {
		log_error(a->log, "start", "cannot write the metrics address down",
			  KV_STR("file", file), KV_ERR(r));
		return EXIT_FAILED;
	}
	log_info(a->log, "start", "metrics", KV_ADDR("address", page_address(a->page)));
	return EXIT_OK;
}

int status_start(struct app *a)
{
	a->status = calloc(1, sizeof(*a->status));
	int r = a->status ? worker_metrics_init(&a->status->workers, a->metrics, a->worker_count)
			  : -ENOMEM;
	if (r == 0)
		r = link_metrics_init(&a->status->links, a->metrics,
				      supervisor_count(a->supervisor));
	if (r == 0)
		r = flow_metrics_init(&a->status->flows, a->metrics, &a->status->links);
	if (r == 0)
		r = icmp_metrics_init(&a->status->icmp, a->metrics, &a->status->links,
				      &a->status->flows);
	if (r == 0)
		r = shortcut_metrics_init(&a->status->shortcut, a->metrics, &a->status->links);
	if (r == 0)
		r = tun_metrics_init(&a->status->tun, a->metrics, &a->status->links,
				     &a->status->flows);
	if (r == 0)
		a->status->links.config_errors = reload_errors(a->reload, "edge");
	if (r < 0) {
		log_error(a->log, "start", "no memory for metrics", KV_ERR(r));
		return EXIT_FAILED;
	}
	int code = start_page(a);
	if (code)
		return code;
	r = service_start(a);
	if (r < 0) {
		log_error(a->log, "start", "cannot serve the control interface",
			  KV_STR("socket", a->params.paths.control), KV_ERR(r));
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

void status_stop(struct app *a)
{
	service_stop(a);
	a->shared.page = NULL;
	page_free(TAKE_PTR(a->page));
	free(TAKE_PTR(a->status));
}
