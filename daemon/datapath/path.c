/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a UDP flow reaches its origin. The source address is asked of the kernel once, when the path
 * is opened: an origin that can't be reached at all is refused there, before anything is sent.
 */
#include "daemon/datapath/path.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "daemon/datapath/anchor.h"
#include "daemon/datapath/promote.h"
#include "daemon/datapath/shortcut.h"
#include "daemon/datapath/tun_path.h"
#include "daemon/datapath/tx.h"
#include "util/macro.h"

int datapath_new(struct worker *worker, struct datapath **ret)
{
	struct datapath *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	d->worker = worker;
	list_init(&d->groups);
	int r = udp_batch_new(&d->batch);
	if (r == 0)
		r = path_tx_new(d, &d->tx);
	if (r < 0) {
		datapath_free(d);
		return r;
	}
	*ret = d;
	return 0;
}

int datapath_use_shortcut(struct datapath *d, struct shortcut *shortcut)
{
	return shortcut_join(shortcut, d->worker, &d->stats, &d->promoter);
}

void datapath_use_tun(struct datapath *d, struct tun_ground *tun)
{
	d->tun = tun;
	tun_ground_join(tun, d);
}

void datapath_free(struct datapath *d)
{
	if (!d)
		return;
	promoter_free(d->promoter);
	path_tx_free(d->tx);
	anchor_close_all(d);
	udp_batch_free(d->batch);
	free(d);
}

const struct datapath_stats *datapath_get_stats(struct datapath *d)
{
	if (d->promoter)
		promoter_count_losses(d->promoter);
	return &d->stats;
}

const char *path_kind_name(enum path_kind kind)
{
	static const char *const names[PATH_KIND_MAX_] = {
		[PATH_KIND_ANCHOR] = "anchor",
		[PATH_KIND_CONNECTED] = "connected",
		[PATH_KIND_SHORT_CUT] = "xdp",
		[PATH_KIND_TUN] = "tun",
	};
	return kind < ARRAY_SIZE(names) ? names[kind] : "unknown";
}

const char *path_loss_name(enum path_loss loss)
{
	static const char *const names[PATH_LOSS_MAX_] = {
		[PATH_LOSS_RING_FULL] = "ring-full",
		[PATH_LOSS_NO_CHUNK] = "no-chunk",
		[PATH_LOSS_TOO_LONG] = "too-long",
		[PATH_LOSS_NOT_SENT] = "not-sent",
	};
	return loss < ARRAY_SIZE(names) ? names[loss] : "unknown";
}

enum path_kind path_sock_kind(const struct flow_path *path)
{
	if (path->tun)
		return PATH_KIND_TUN;
	return path->own ? PATH_KIND_CONNECTED : PATH_KIND_ANCHOR;
}

enum path_kind flow_path_kind(const struct flow_path *path)
{
	return promote_is_receiving(path) ? PATH_KIND_SHORT_CUT : path_sock_kind(path);
}

static void leave_shortcut(struct flow_path *path)
{
	if (path->datapath->promoter && !path->tun)
		promote_forget(path->datapath->promoter, path);
}

void flow_path_note(struct flow_path *path, const char *why)
{
	path->since = loop_now(path->datapath->worker->loop);
	path->why = why;
}

/* What goes to an own address comes from it. */
static bool is_other_host(const struct ip_addr *remote, const struct ip_addr *source)
{
	return !ip_addr_is_loopback(remote) && !ip_addr_eq(remote, source);
}

static const char *reason_for_socket(const struct datapath *d)
{
	if (d->promoter && d->stats.open == 0)
		return "no interface has a short cut now";
	return "it doesn't send in runs";
}

int flow_path_open(struct datapath *d, struct flow_path *path, const struct path_user *user,
		   const struct ip_port *remote)
{
	struct ip_addr local;
	int r = udp_find_source(remote, NULL, 0, &local, NULL);
	if (r < 0)
		return r;
	path->user = user;
	path->remote = *remote;
	bool is_routed = is_other_host(&remote->ip, &local) && d->tun &&
			 tun_ground_reaches(d->tun, &remote->ip);
	r = is_routed ? tun_path_open(d->tun, path) : anchor_take(d, &local, path);
	if (r < 0)
		return r;
	path->datapath = d;
	d->stats.paths[path_sock_kind(path)]++;
	flow_path_note(path, is_routed ? "routed mode" : reason_for_socket(d));
	return 0;
}

void flow_path_close(struct flow_path *path)
{
	if (!path->place && !path->tun)
		return;
	if (path->datapath) {
		path_tx_flush_path(path);
		leave_shortcut(path);
		path->datapath->stats.paths[flow_path_kind(path)]--;
	}
	if (path->own)
		path_own_close(path);
	if (path->tun)
		tun_path_close(path);
	else
		anchor_give(path);
	path->datapath = NULL;
}

/* ---- from worker to worker ---- */

int flow_path_detach(struct flow_path *path)
{
	struct datapath *d = path->datapath;
	path_tx_flush_path(path);
	if (path->tun) {
		tun_path_detach(d->tun, path);
		d->stats.paths[PATH_KIND_TUN]--;
		path->datapath = NULL;
		return 0;
	}
	if (!path->own) {
		int r = path_own_open(path);
		if (r < 0)
			return r;
		/* What came before is at the anchor, and what isn't its own is the anchor's,
		 * which stays here. */
		path_sock_read(&path->place->anchor->sock);
		path_sock_read(path->own);
	}
	leave_shortcut(path); /* which has taken note of what was read */
	loop_io_stop(&path->own->io);
	path->own->datapath = NULL;
	path->own->anchor = NULL;
	path->datapath = NULL;
	d->stats.connected--;
	d->stats.paths[PATH_KIND_CONNECTED]--;
	if (path->place->home == d->worker)
		path->place->path = NULL;
	return 0;
}

static int attach_tun(struct datapath *d, struct flow_path *path)
{
	int r = tun_path_attach(d->tun, path);
	if (r < 0)
		return r;
	path->datapath = d;
	d->stats.paths[PATH_KIND_TUN]++;
	return 0;
}

int flow_path_attach(struct datapath *d, struct flow_path *path)
{
	struct path_sock *s = path->own;
	if (path->tun)
		return attach_tun(d, path);
	int r = loop_io_start(d->worker->loop, &s->io, s->udp.fd, EPOLLIN);
	if (r < 0)
		return r;
	s->datapath = d;
	path->datapath = d;
	d->stats.connected++;
	d->stats.paths[PATH_KIND_CONNECTED]++;
	flow_path_note(path, "it came from another worker");
	if (path->place->home == d->worker) {
		path->place->path = path;
		s->anchor = path->place->anchor;
	}
	return 0;
}

const struct ip_port *flow_path_local(const struct flow_path *path)
{
	return path->tun ? &path->tun->local : &path_sock_of(path)->udp.local;
}
