/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private networks, per worker: a queue of the TUN device, and listeners for what TPROXY sends
 * here.
 */
#include "daemon/edge/wiring_net.h"

#include <stdlib.h>

#include "daemon/base/exit.h"
#include "daemon/edge/app.h"
#include "daemon/edge/front_net.h"
#include "daemon/edge/net_host.h"
#include "util/cleanup.h"

static int fail(struct edge *e, int error)
{
	log_error(e->log, "start", "cannot prepare private networks", KV_ERR(error));
	return EXIT_FAILED;
}

static int open_worker(struct edge *e, struct edge_worker *ew)
{
	struct front_net **front = &e->net_fronts[ew->worker->index];
	struct front_net_params params = {
		.worker = ew->worker,
		.roster = edge_worker_roster(ew),
		.directory = e->directories[ew->worker->index],
		.flows = &ew->flows,
		.peers = e->net_peers,
		.fd = net_host_take_queue(e->net, ew->worker->index),
		.has_bursts = net_host_has_bursts(e->net),
		.steer = net_host_steer(e->net),
	};
	net_host_take_listeners(e->net, ew->worker->index, ew->net_fds);
	int r = front_net_new(&params, front);
	if (r < 0) {
		(void)fd_close(params.fd);
		return fail(e, r);
	}
	e->net_peers[ew->worker->index] = front_net_clients(*front);
	return EXIT_OK;
}

int edge_networks_open(struct edge *e)
{
	const struct net_host_params params = {
		.conf = e->params.conf,
		.paths = &e->params.paths,
		.log = e->log,
		.worker_count = e->worker_count,
	};
	int code = net_host_open(&params, &e->net);
	if (code != EXIT_OK || !e->net)
		return code;
	e->net_fronts = calloc(e->worker_count, sizeof(struct front_net *));
	e->net_peers = calloc(e->worker_count, sizeof(struct udp_clients *));
	if (!e->net_fronts || !e->net_peers)
		return fail(e, -ENOMEM);
	for (unsigned int i = 0; i < e->worker_count && code == EXIT_OK; i++)
		code = open_worker(e, &e->edge_workers[i]);
	return code;
}

void edge_networks_close(struct edge *e)
{
	for (unsigned int i = 0; e->net_fronts && i < e->worker_count; i++)
		front_net_free(TAKE_PTR(e->net_fronts[i]));
	free(TAKE_PTR(e->net_fronts));
	free(TAKE_PTR(e->net_peers));
	net_host_close(TAKE_PTR(e->net));
}

static struct front_net *front_of(const struct edge_worker *ew)
{
	return ew->edge->net_fronts ? ew->edge->net_fronts[ew->worker->index] : NULL;
}

void edge_networks_use_roster(struct edge_worker *ew)
{
	if (front_of(ew))
		front_net_use_roster(front_of(ew), edge_worker_roster(ew));
}

void edge_networks_start(struct edge_worker *ew)
{
	edge_networks_use_roster(ew);
	int r = front_of(ew) ? front_net_start(front_of(ew)) : 0;
	if (r < 0)
		log_error(ew->edge->log, "start", "the private networks don't start", KV_ERR(r));
}

void edge_networks_stop(struct edge_worker *ew)
{
	if (front_of(ew))
		front_net_stop(front_of(ew));
}
