/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread's half of the short cut. An interface is a small state machine: CLOSED,
 * OPENING (the queue may be busy for a moment), TELLING the workers, OPEN, and CLOSING, while
 * workers let go of what is to be freed. News about it that come while the workers are being told
 * wait until all have answered.
 */
#include "daemon/datapath/shortcut.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <linux/ethtool.h>
#include <linux/sockios.h>

#include "daemon/base/gather.h"
#include "daemon/base/mainloop.h"
#include "daemon/datapath/obstacle.h"
#include "daemon/datapath/promote.h"
#include "daemon/net/bpf.h"
#include "daemon/net/xsk.h"
#include "netlink/change.h"
#include "util/cleanup.h"

enum {
	STOCK = 2, /* sets of sockets: the one in use, and one for when the interface comes back */
	QUEUES_UNKNOWN = 1, /* of an interface that isn't there yet */
	VERIFIER_LOG = 4096,
};
#define BUSY_GAP  (50 * NSEC_PER_MSEC)
#define BUSY_TIME NSEC_PER_SEC

enum way_state : uint8_t {
	WAY_STATE_CLOSED,
	WAY_STATE_OPENING, /* its sockets aren't bound yet */
	WAY_STATE_TELLING, /* the workers hear of it */
	WAY_STATE_OPEN,
	WAY_STATE_CLOSING, /* the workers let go of it */
};

struct port {
	struct shortcut *shortcut;
	unsigned int index;
	char name[IF_NAMESIZE];
	enum way_state state;
	bool is_stale; /* there are news that wait */
	struct bpf_flow *flows;
	int *stock;
	unsigned int stock_count;
	unsigned int queues;
	struct xsk_area *spare; /* made while memory could be locked without a limit */
	struct promote_way way; /* what the workers are told */
	nsec_t busy_until;
	struct mainloop_timer retry;
	const char *said; /* why it isn't open, as it was last logged */
};

struct watch {
	struct mainloop_io io;
	struct shortcut *shortcut;
};

struct shortcut {
	struct shortcut_params p;
	struct port ports[PROMOTE_WAYS_MAX];
	unsigned int count;
	struct lookup *lookup;
	struct change *change;
	struct promoter *promoters[FLOW_SOCKET_WORKERS];
	struct worker_set *workers;
	struct mainloop *loop;
	struct watch watches[CHANGE_FDS];
};

static void look_at(struct port *port);

/* ---- what the operator reads ---- */

static void say_closed(struct port *port, const char *why)
{
	if (port->said == why)
		return;
	port->said = why;
	log_warning(port->shortcut->p.log, "datapath", "no short cut on this interface",
		    KV_STR("interface", port->name), KV_STR("reason", why));
}

static void say_open(struct port *port)
{
	port->said = NULL;
	log_notice(port->shortcut->p.log, "datapath", "the short cut is open",
		   KV_STR("interface", port->name), KV_U64("queues", port->way.queues));
}

/* Receive queues, as its driver says. */
static unsigned int count_queues(const char *name)
{
	struct ethtool_channels channels = { .cmd = ETHTOOL_GCHANNELS };
	struct ifreq request = { .ifr_data = (void *)&channels };
	_cleanup_(fd_closep) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request) < 0)
		return 1;
	unsigned int n = channels.rx_count + channels.combined_count;
	return MIN(MAX(n, 1U), (unsigned int)FLOW_SOCKET_QUEUES);
}

/* ---- opening ---- */

static void set_closed(struct port *port)
{
	mainloop_timer_stop(&port->retry);
	bpf_flow_detach(port->flows);
	xsk_area_free(port->way.area);
	port->way = (struct promote_way){};
	port->state = WAY_STATE_CLOSED;
}

static void fail(struct port *port, const char *why)
{
	set_closed(port);
	say_closed(port, why);
}

static int make_area(struct port *port, unsigned int queues, struct xsk_area **ret)
{
	struct shortcut *s = port->shortcut;
	unsigned int need = s->p.workers * queues;
	if (port->stock_count < need)
		return -EMFILE;
	port->stock_count -= need;
	const struct xsk_params params = {
		.workers = s->p.workers,
		.queues = queues,
		.fds = port->stock + port->stock_count,
	};
	return xsk_area_new(&params, ret);
}

/* The one that was made at the start serves first, if the interface has kept its queues. */
static int get_area(struct port *port)
{
	struct xsk_area *spare = TAKE_PTR(port->spare);
	if (spare && port->way.queues == port->queues) {
		port->way.area = spare;
		return 0;
	}
	xsk_area_free(spare);
	return make_area(port, port->way.queues, &port->way.area);
}

static int enter_sockets(struct port *port)
{
	const struct promote_way *w = &port->way;
	int r = 0;
	for (unsigned int i = 0; i < port->shortcut->p.workers && r == 0; i++)
		for (unsigned int q = 0; q < w->queues && r == 0; q++)
			r = bpf_flow_set_socket(port->flows, i, q, xsk_fd(w->area, i, q));
	return r;
}

static void visit_open(struct worker *worker, void *arg)
{
	const struct port *port = arg;
	if (promoter_open_way(port->shortcut->promoters[worker->index], port->index, &port->way) <
	    0)
		log_warning(worker->log, "datapath", "no memory for the short cut");
}

static void on_opened(void *arg)
{
	struct port *port = arg;
	port->state = WAY_STATE_OPEN;
	say_open(port);
	if (port->is_stale)
		look_at(port);
}

static void on_cancel(void *arg)
{
	(void)arg; /* shortcut_free() is near */
}

static void bind_area(struct port *port)
{
	static const struct gather_ops ops = {
		.visit = visit_open,
		.on_done = on_opened,
		.on_cancel = on_cancel,
	};
	struct shortcut *s = port->shortcut;
	nsec_t now = nsec_clock(CLOCK_MONOTONIC);
	int r = xsk_area_bind(port->way.area, port->way.ifindex);
	if (r == -EBUSY && now < port->busy_until &&
	    mainloop_timer_start(s->loop, &port->retry, nsec_add(now, BUSY_GAP)) == 0)
		return;
	if (r == 0)
		r = enter_sockets(port);
	if (r < 0) {
		fail(port,
		     r == -EBUSY ? "another program has its queues" : "its queues can't be had");
		return;
	}
	port->state = WAY_STATE_TELLING;
	if (gather_start(s->workers, mainloop_mailbox(s->loop), &ops, port) < 0)
		fail(port, "no memory");
}

static void on_retry(struct mainloop_timer *timer)
{
	bind_area(CONTAINER_OF(timer, struct port, retry));
}

/* The program goes first: where another one is, no socket has been spent. */
static void open_port(struct port *port, const struct lookup_link *link)
{
	const char *why = NULL;
	if (bpf_flow_attach(port->flows, link->ifindex, &why) < 0) {
		fail(port, why);
		return;
	}
	port->way = (struct promote_way){
		.ifindex = link->ifindex,
		.mtu = link->mtu,
		.queues = MIN(count_queues(link->name), port->queues),
		.flows = port->flows,
	};
	memcpy(port->way.mac, link->mac, sizeof(port->way.mac));
	int r = get_area(port);
	if (r < 0) {
		fail(port, r == -EMFILE    ? "no socket is left for it until a restart"
			   : r == -ENOBUFS ? "the limit of locked memory is too low"
					   : "no memory");
		return;
	}
	port->state = WAY_STATE_OPENING;
	port->busy_until = nsec_add(nsec_clock(CLOCK_MONOTONIC), BUSY_TIME);
	bind_area(port);
}

/* ---- closing ---- */

static void visit_close(struct worker *worker, void *arg)
{
	const struct port *port = arg;
	promoter_close_way(port->shortcut->promoters[worker->index], port->index);
}

static void on_closed(void *arg)
{
	struct port *port = arg;
	set_closed(port);
	look_at(port);
}

static void close_port(struct port *port)
{
	static const struct gather_ops ops = {
		.visit = visit_close,
		.on_done = on_closed,
		.on_cancel = on_cancel,
	};
	struct shortcut *s = port->shortcut;
	port->state = WAY_STATE_CLOSING;
	if (gather_start(s->workers, mainloop_mailbox(s->loop), &ops, port) < 0)
		port->state = WAY_STATE_OPEN; /* the next news try again */
}

/* ---- what has become of an interface? ---- */

static bool is_the_same(const struct port *port, const struct lookup_link *link)
{
	return link->ifindex == port->way.ifindex && link->mtu == port->way.mtu &&
	       memcmp(link->mac, port->way.mac, sizeof(link->mac)) == 0 &&
	       bpf_flow_ifindex(port->flows) == link->ifindex && xsk_area_is_bound(port->way.area);
}

static void look_at(struct port *port)
{
	struct shortcut *s = port->shortcut;
	struct lookup_link link;
	port->is_stale = port->state == WAY_STATE_TELLING || port->state == WAY_STATE_CLOSING;
	if (port->is_stale)
		return;
	const char *why = lookup_link(s->lookup, port->name, &link) < 0
				  ? "there is no such interface"
				  : obstacle_find(s->lookup, &link);
	bool is_same = !why && is_the_same(port, &link);
	if (port->state == WAY_STATE_OPENING && !is_same)
		set_closed(port);
	if (port->state == WAY_STATE_OPEN && !is_same)
		close_port(port);
	if (port->state != WAY_STATE_CLOSED)
		return;
	if (why)
		say_closed(port, why);
	else if (!link.is_up)
		say_closed(port, "it is down");
	else
		open_port(port, &link);
}

/* ---- news for the workers ---- */

struct notice {
	struct message message;
	struct promoter *promoter;
	struct change_event event;
};

static void on_notice(struct message *message, void *owner)
{
	(void)owner;
	struct notice *n = CONTAINER_OF(message, struct notice, message);
	const struct change_event *e = &n->event;
	if (e->kind == CHANGE_KIND_NEIGHBOUR)
		promoter_neighbour_changed(n->promoter, e->ifindex, &e->addr,
					   e->is_known ? e->mac : NULL);
	else if (e->kind == CHANGE_KIND_POLICY)
		promoter_bar(n->promoter, e->is_known);
	else
		promoter_way_changed(n->promoter);
	free(n);
}

static void on_notice_discard(struct message *message)
{
	free(CONTAINER_OF(message, struct notice, message));
}

static int tell_worker(const struct shortcut *s, unsigned int worker,
		       const struct change_event *event)
{
	struct notice *n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	*n = (struct notice){
		.message = { .on_deliver = on_notice, .on_discard = on_notice_discard },
		.promoter = s->promoters[worker],
		.event = *event,
	};
	mailbox_post(worker_set_get(s->workers, worker)->mailbox, &n->message);
	return 0;
}

static void tell_workers(const struct shortcut *s, const struct change_event *event)
{
	int r = 0;
	for (unsigned int i = 0; i < s->p.workers && r == 0; i++)
		r = tell_worker(s, i, event);
	if (r < 0)
		log_warning(s->p.log, "network", "no memory to follow a change");
}

static bool is_ours(const struct shortcut *s, unsigned int ifindex)
{
	for (unsigned int i = 0; i < s->count; i++)
		if (s->ports[i].way.ifindex == ifindex)
			return true;
	return false;
}

static void on_change(void *user, const struct change_event *event)
{
	struct shortcut *s = user;
	if (event->kind == CHANGE_KIND_NEIGHBOUR && !is_ours(s, event->ifindex))
		return;
	tell_workers(s, event);
	for (unsigned int i = 0; event->kind == CHANGE_KIND_LINK && i < s->count; i++)
		look_at(&s->ports[i]);
}

static void on_readable(struct mainloop_io *io, uint32_t revents UNUSED)
{
	struct shortcut *s = CONTAINER_OF(io, struct watch, io)->shortcut;
	change_read(s->change, on_change, s);
}

/* ---- start and stop ---- */

int shortcut_start(struct shortcut *s, struct mainloop *loop, struct worker_set *workers)
{
	s->loop = loop;
	s->workers = workers;
	for (unsigned int i = 0; i < CHANGE_FDS; i++) {
		struct watch *w = &s->watches[i];
		*w = (struct watch){ .io.on_ready = on_readable, .shortcut = s };
		int fd = change_fd(s->change, i);
		int r = fd < 0 ? 0 : mainloop_io_start(loop, &w->io, fd, EPOLLIN);
		if (r < 0)
			return r;
	}
	for (unsigned int i = 0; i < s->count; i++)
		look_at(&s->ports[i]);
	return 0;
}

void shortcut_stop(struct shortcut *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < CHANGE_FDS; i++)
		mainloop_io_stop(&s->watches[i].io);
	for (unsigned int i = 0; i < s->count; i++)
		mainloop_timer_stop(&s->ports[i].retry);
}

int shortcut_join(struct shortcut *s, struct worker *worker, struct datapath_stats *stats,
		  struct promoter **ret)
{
	uint32_t share = s->p.max_flows / s->p.workers;
	const struct promote_params params = {
		.worker = worker,
		.stats = stats,
		.first_slot = worker->index * share,
		.slots = share,
		.rate = s->p.rate,
	};
	int r = promoter_new(&params, ret);
	if (r < 0)
		return r;
	promoter_bar(*ret, change_has_policies(s->change));
	s->promoters[worker->index] = *ret;
	return 0;
}

void shortcut_verdicts(const struct shortcut *s, uint64_t ret[FLOW_VERDICTS])
{
	memset(ret, 0, FLOW_VERDICTS * sizeof(*ret));
	for (unsigned int i = 0; i < s->count; i++) {
		uint64_t verdicts[FLOW_VERDICTS];
		if (bpf_flow_verdicts(s->ports[i].flows, verdicts) < 0)
			continue;
		for (unsigned int v = 0; v < FLOW_VERDICTS; v++)
			ret[v] += verdicts[v];
	}
}

/* ---- while there are privileges ---- */

static int fill_stock(struct port *port)
{
	unsigned int want = STOCK * port->shortcut->p.workers * port->queues;
	port->stock = calloc(want, sizeof(*port->stock));
	if (!port->stock)
		return -ENOMEM;
	for (; port->stock_count < want; port->stock_count++) {
		int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		port->stock[port->stock_count] = fd;
	}
	return 0;
}

/* The port stays half made when it fails; shortcut_free() knows. */
static int prepare_port(struct shortcut *s, const char *name)
{
	struct port *port = &s->ports[s->count];
	struct lookup_link link;
	char verifier[VERIFIER_LOG] = "";
	*port = (struct port){ .shortcut = s, .index = s->count, .retry.on_expire = on_retry };
	(void)snprintf(port->name, sizeof(port->name), "%s", name);
	s->count++;
	bool is_there = lookup_link(s->lookup, name, &link) == 0;
	port->queues = is_there ? count_queues(name) : QUEUES_UNKNOWN;
	const struct bpf_flow_params params = {
		.max_flows = s->p.max_flows,
		.share = port->index > 0 ? s->ports[0].flows : NULL,
		.log = verifier,
		.log_len = sizeof(verifier),
	};
	const char *why = "opening AF_XDP sockets needs CAP_NET_RAW";
	int r = bpf_flow_load(&params, &port->flows, &why);
	if (r == 0)
		r = fill_stock(port);
	/* Where memory is short now, it may be enough when it is needed. */
	if (r == 0 && is_there)
		(void)make_area(port, port->queues, &port->spare);
	if (r == 0)
		return 0;
	log_warning(s->p.log, "datapath", "no short cut: all flows go by sockets",
		    KV_STR("reason", why), KV_ERR(r));
	if (verifier[0])
		log_info(s->p.log, "datapath", "the verifier", KV_STR("text", verifier));
	return r;
}

struct choice {
	struct shortcut *shortcut;
	struct lookup_link links[PROMOTE_WAYS_MAX];
	unsigned int count;
};

static void choose_link(void *user, const struct lookup_link *link)
{
	struct choice *c = user;
	bool is_device = !link->kind[0] || strcmp(link->kind, "veth") == 0;
	if (link->is_ethernet && is_device && c->count < PROMOTE_WAYS_MAX)
		c->links[c->count++] = *link;
}

static void unchoose_default(void *user, unsigned int ifindex)
{
	struct choice *c = user;
	for (unsigned int i = 0; i < c->count; i++)
		if (c->links[i].ifindex == ifindex)
			c->links[i].ifindex = 0;
}

static int prepare_auto(struct shortcut *s)
{
	struct choice c = { .shortcut = s };
	int r = lookup_links(s->lookup, choose_link, &c);
	if (r == 0)
		r = lookup_defaults(s->lookup, unchoose_default, &c);
	for (unsigned int i = 0; i < c.count && r == 0 && s->count < PROMOTE_WAYS_MAX; i++)
		if (c.links[i].ifindex)
			r = prepare_port(s, c.links[i].name);
	return r;
}

static int prepare(struct shortcut *s)
{
	int r = lookup_open(&s->lookup);
	if (r == 0)
		r = change_open(&s->change);
	if (r < 0) {
		log_warning(s->p.log, "datapath", "no short cut: all flows go by sockets",
			    KV_STR("reason", "watching rulesets and policies needs CAP_NET_ADMIN"),
			    KV_ERR(r));
		return r;
	}
	for (size_t i = 0; i < s->p.count && r == 0 && s->count < PROMOTE_WAYS_MAX; i++)
		r = strcmp(s->p.interfaces[i], "auto") == 0 ? prepare_auto(s)
							    : prepare_port(s, s->p.interfaces[i]);
	return r;
}

/* The memory of sockets counts as locked. */
static void raise_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_MEMLOCK, &limit);
}

int shortcut_new(const struct shortcut_params *params, struct shortcut **ret)
{
	struct shortcut *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->p = *params;
	raise_limit();
	bool has_place = params->workers <= FLOW_SOCKET_WORKERS;
	if (!has_place)
		log_warning(s->p.log, "datapath", "no short cut: too many workers");
	if (!has_place || prepare(s) < 0 || s->count == 0) {
		shortcut_free(s);
		s = NULL;
	}
	*ret = s;
	return 0;
}

void shortcut_free(struct shortcut *s)
{
	if (!s)
		return;
	/* The first one's maps are everybody's. */
	for (unsigned int i = s->count; i-- > 0;) {
		struct port *port = &s->ports[i];
		xsk_area_free(port->way.area);
		xsk_area_free(port->spare);
		bpf_flow_free(port->flows);
		while (port->stock_count > 0)
			(void)fd_close(port->stock[--port->stock_count]);
		free(port->stock);
	}
	change_close(s->change);
	lookup_close(s->lookup);
	free(s);
}
