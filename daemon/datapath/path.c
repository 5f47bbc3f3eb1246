/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a UDP flow reaches its origin. The source address is asked of the kernel once, when the path
 * is opened: an origin that can't be reached at all is refused there, before anything is sent.
 */
#include "daemon/datapath/path.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/datapath/anchor.h"

int datapath_new(struct worker *worker, struct datapath **ret)
{
	struct datapath *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->worker = worker;
	list_init(&d->groups);
	int r = udp_batch_new(&d->batch);
	if (r < 0) {
		free(d);
		return r;
	}
	*ret = d;
	return 0;
}

void datapath_free(struct datapath *d)
{
	if (!d)
		return;
	anchor_close_all(d);
	udp_batch_free(d->batch);
	free(d);
}

const struct datapath_stats *datapath_get_stats(const struct datapath *d)
{
	return &d->stats;
}

int flow_path_open(struct datapath *d, struct flow_path *path, const struct path_user *user,
		   const struct ip_port *remote)
{
	struct ip_addr local;
	int r = udp_find_source(remote, NULL, 0, &local);
	if (r < 0)
		return r;
	path->user = user;
	path->remote = *remote;
	return anchor_take(d, &local, path);
}

void flow_path_close(struct flow_path *path)
{
	if (path->anchor)
		anchor_give(path);
}
