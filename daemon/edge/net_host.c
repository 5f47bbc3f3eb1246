/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private networks on this host. Packets go to the TUN device, whose routes end with it. But TCP is
 * marked where it arrives (prerouting, TPROXY) and where a process here sends it (output); marked
 * packets go by a table of routes of ours that delivers everything here. The nft table belongs to
 * our socket and ends with it. Rules and routes don't, so they are written down first. What is read
 * back must be marked as ours: the file lies in a folder of the service user, and what undoes it
 * has all rights.
 */
#include "daemon/edge/net_host.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "daemon/base/exit.h"
#include "daemon/base/file.h"
#include "daemon/base/process.h"
#include "daemon/edge/net_report.h"
#include "daemon/net/tun.h"
#include "daemon/net/tun_steer.h"
#include "daemon/wire/endpoint.h"
#include "netlink/nft.h"
#include "netlink/nl.h"
#include "netlink/plan.h"
#include "util/cleanup.h"

enum {
	BACKLOG = 4096,
	STATE_MAX = 4096,      /* bytes of RUN/state */
	BATCH_MAX = 64 * 1024, /* of nft messages */
	BATCH_RULES = 64,      /* in one batch: under 512 bytes each */
	PRIORITY_MANGLE = -150,
	FAMILIES = FRONT_NETWORK_FDS,
};

static const enum ip_family families[FAMILIES] = { IP_FAMILY_V4, IP_FAMILY_V6 };

struct net_host {
	struct net_host_params p;
	char state[PATHS_LEN + 8];
	struct nl *route;
	struct nl *nft; /* owns the table */
	struct plan plan;
	struct ip_port listen[FAMILIES]; /* port 0: no network of this family */
	int *fds;                        /* [worker_count * FAMILIES] */
	int *queues;                     /* [worker_count] */
	struct tun_device tun;
	struct tun_steer *steer; /* NULL: none */
};

DEFINE_CLEANUP(struct net_host *, net_host_close)

/* why: the kernel's own words, or empty. */
static int fail(struct net_host *h, const char *what, const char *why, int error)
{
	if (why[0])
		log_error(h->p.log, "network", what, KV_STR("kernel", why), KV_ERR(error));
	else
		log_error(h->p.log, "network", what, KV_ERR(error));
	if (error == -EPERM)
		log_error(h->p.log, "network",
			  "a private network needs CAP_NET_ADMIN at the start");
	return EXIT_FAILED;
}

static void state_path(const struct paths *paths, char ret[PATHS_LEN + 8])
{
	(void)snprintf(ret, PATHS_LEN + 8, "%s/state", paths->run);
}

/* ---- what was left ---- */

static bool is_ours(const struct netlink_object *o)
{
	bool is_rule = o->kind == NETLINK_OBJECT_RULE;
	return o->table == NET_HOST_ROUTES &&
	       (!is_rule || (o->mark == NET_HOST_MARK && o->priority == NET_HOST_PRIORITY));
}

/* 0, also without a file; *ret_count: how many were undone. */
static int undo_written(const char *path, size_t *ret_count)
{
	_cleanup_(freep) char *text = NULL;
	_cleanup_(nl_closep) struct nl *n = NULL;
	size_t len = 0;
	int r = file_read(path, STATE_MAX, &text, &len);
	if (r == -ENOENT)
		return 0;
	struct plan plan = {};
	if (r == 0)
		r = plan_read(&plan, span_of(text, len));
	for (size_t i = 0; i < plan.count && r == 0; i++)
		r = is_ours(&plan.objects[i]) ? 0 : -EBADMSG;
	if (r == 0 && plan.count > 0)
		r = nl_open(NETLINK_ROUTE, &n);
	size_t count = plan.count;
	if (r == 0 && plan.count > 0)
		r = plan_undo(&plan, n);
	plan_done(&plan);
	if (r < 0)
		return r;
	*ret_count = count;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int net_host_clean_up(const struct paths *paths)
{
	char path[PATHS_LEN + 8];
	const char *reason = "", *folder = "";
	size_t count = 0;
	state_path(paths, path);
	if (access(path, F_OK) < 0 && errno == ENOENT)
		return EXIT_OK;
	int r = process_prepare(paths, &reason, &folder);
	if (r == 0) {
		reason = "cannot undo what an edge has left in the kernel's network";
		folder = path;
		r = undo_written(path, &count);
	}
	if (r < 0) {
		char text[64];
		(void)fprintf(stderr, "adit-edge: %s: %s: %s\n", folder, reason,
			      strerror_r(-r, text, sizeof(text)));
		return EXIT_FAILED;
	}
	return EXIT_OK;
}

/* ---- listeners ---- */

static bool has_family(const struct edge_conf *conf, enum ip_family family)
{
	for (size_t i = 0; i < conf->network_count; i++)
		for (size_t k = 0; k < conf->networks[i].prefix_count; k++)
			if (conf->networks[i].prefixes[k].ip.family == family)
				return true;
	return false;
}

/* On loopback: what the table sends there comes in whatever address it was for. */
static int open_listeners(struct net_host *h)
{
	static const struct ip_port loopback[FAMILIES] = {
		{ .ip = { IP_FAMILY_V4, { 127, 0, 0, 1 } } },
		{ .ip = { IP_FAMILY_V6, { [15] = 1 } } },
	};
	for (unsigned int f = 0; f < FAMILIES; f++) {
		struct ip_port at = loopback[f];
		if (!has_family(h->p.conf, families[f]))
			continue;
		for (unsigned int w = 0; w < h->p.worker_count; w++) {
			int fd = tcp_listen_transparent(&at, BACKLOG, &at);
			if (fd < 0)
				return fail(h, "cannot listen for private networks", "", fd);
			h->fds[w * FAMILIES + f] = fd;
		}
		h->listen[f] = at;
	}
	return EXIT_OK;
}

void net_host_take_listeners(struct net_host *h, unsigned int worker, int *ret_fds)
{
	for (unsigned int f = 0; f < FAMILIES; f++)
		ret_fds[f] = TAKE_FD(h->fds[worker * FAMILIES + f]);
}

/* ---- the device ---- */

/* It serves without, too: then some packets cross between workers. */
static void open_steer(struct net_host *h)
{
	const char *why = "";
	int r = tun_steer_new(h->p.conf->common.limits.flows, &h->steer, &why);
	if (r == 0) {
		r = tun_steer_attach(h->steer, h->queues[0]);
		why = "the device refuses the program";
	}
	if (r == 0)
		return;
	log_info(h->p.log, "network", "the kernel steers the device's queues by itself",
		 KV_STR("reason", why), KV_ERR(r));
	tun_steer_free(TAKE_PTR(h->steer));
}

static int open_device(struct net_host *h)
{
	int r = tun_open(NET_HOST_DEVICE, h->p.worker_count, h->queues, &h->tun);
	if (r < 0)
		return fail(h, "cannot make a TUN device for private networks", "", r);
	open_steer(h);
	return EXIT_OK;
}

const struct tun_steer *net_host_steer(const struct net_host *h)
{
	return h->steer;
}

int net_host_take_queue(struct net_host *h, unsigned int worker)
{
	return TAKE_FD(h->queues[worker]);
}

bool net_host_has_bursts(const struct net_host *h)
{
	return h->tun.has_bursts;
}

static int plan_device(struct net_host *h)
{
	const struct edge_conf *conf = h->p.conf;
	unsigned int ifindex = if_nametoindex(h->tun.name);
	int r = plan_add(&h->plan, &(struct netlink_object){ .kind = NETLINK_OBJECT_LINK_UP,
							     .ifindex = ifindex });
	for (size_t i = 0; i < conf->network_count; i++)
		for (size_t k = 0; k < conf->networks[i].prefix_count && r == 0; k++) {
			const struct conf_prefix *p = &conf->networks[i].prefixes[k];
			r = plan_add(&h->plan, &(struct netlink_object){
						       .kind = NETLINK_OBJECT_ROUTE,
						       .family = p->ip.family,
						       .ifindex = ifindex,
						       .addr = p->ip,
						       .prefix_len = p->bits,
					       });
		}
	return r;
}

/* ---- rules and routes ---- */

static int plan_delivery(struct net_host *h)
{
	int r = 0;
	for (unsigned int f = 0; f < FAMILIES && r == 0; f++) {
		if (!h->listen[f].port)
			continue;
		r = plan_add(&h->plan, &(struct netlink_object){
					       .kind = NETLINK_OBJECT_ROUTE,
					       .family = families[f],
					       .ifindex = if_nametoindex("lo"),
					       .is_local = true,
					       .table = NET_HOST_ROUTES,
				       });
		if (r == 0)
			r = plan_add(&h->plan, &(struct netlink_object){
						       .kind = NETLINK_OBJECT_RULE,
						       .family = families[f],
						       .priority = NET_HOST_PRIORITY,
						       .mark = NET_HOST_MARK,
						       .table = NET_HOST_ROUTES,
					       });
	}
	return r;
}

static int fail_object(struct net_host *h, const struct netlink_object *o, int error)
{
	static const char *const what[] = {
		[NETLINK_OBJECT_LINK_UP] = "cannot start the device of private networks",
		[NETLINK_OBJECT_ADDRESS] = "cannot give the device an address",
		[NETLINK_OBJECT_ROUTE] = "cannot make a route for private networks",
		[NETLINK_OBJECT_RULE] = "cannot make a rule for private networks",
	};
	char text[ADDR_TEXT_MAX] = "";
	struct packer p = packer_over(text, sizeof(text) - 1);
	ip_addr_print(&p, &o->addr);
	if (error == -EEXIST && netlink_object_outlives(o))
		log_error(
			h->p.log, "network",
			"is another edge running here? routing table and rules of this number exist",
			KV_U64("table", NET_HOST_ROUTES), KV_U64("priority", NET_HOST_PRIORITY));
	else if (error == -EEXIST)
		log_error(h->p.log, "network",
			  "this host has a route to the prefix that doesn't lead to a tunnel",
			  KV_STR("prefix", text), KV_U64("bits", o->prefix_len));
	return fail(h, what[o->kind], h->plan.text, error);
}

static int make_routes(struct net_host *h)
{
	uint8_t text[STATE_MAX];
	struct packer p = packer_over(text, sizeof(text));
	const struct netlink_object *failed = NULL;
	int r = nl_open(NETLINK_ROUTE, &h->route);
	if (r == 0)
		r = plan_device(h);
	if (r == 0)
		r = plan_delivery(h);
	if (r < 0)
		return fail(h, "cannot prepare rules and routes", "", r);
	plan_print(&p, &h->plan);
	r = packer_finish(&p);
	if (r == 0)
		r = file_replace_fast(h->state, packer_span(&p), 0600);
	if (r < 0)
		return fail(h, "cannot write down what is set up", "", r);
	r = plan_make(&h->plan, h->route, &failed);
	if (r == 0)
		return EXIT_OK;
	(void)unlink(h->state); /* nothing of it is left */
	return fail_object(h, failed, r);
}

/* ---- nft ---- */

static const struct nft_base base_pre = { NET_HOST_TABLE, "pre", "filter", NFT_HOOK_PREROUTING,
					  PRIORITY_MANGLE };
static const struct nft_base base_out = { NET_HOST_TABLE, "out", "route", NFT_HOOK_OUTPUT,
					  PRIORITY_MANGLE };

static void match_tcp(struct nft_rule *rule, const struct conf_prefix *p)
{
	nft_match_family(rule, p->ip.family);
	nft_match_protocol(rule, IPPROTO_TCP);
	nft_match_destination(rule, &p->ip, p->bits);
}

/* Marked only when the socket was found: else the packet isn't ours to keep. */
static void add_rules(const struct net_host *h, struct nl_builder *b, const struct conf_prefix *p)
{
	struct nft_rule rule;
	nft_rule_begin(&rule, b, NET_HOST_TABLE, base_pre.chain);
	match_tcp(&rule, p);
	nft_tproxy(&rule, &h->listen[p->ip.family == IP_FAMILY_V6]);
	nft_set_mark(&rule, NET_HOST_MARK);
	nft_accept(&rule);
	nft_rule_end(&rule);
	nft_rule_begin(&rule, b, NET_HOST_TABLE, base_out.chain);
	match_tcp(&rule, p);
	nft_set_mark(&rule, NET_HOST_MARK);
	nft_rule_end(&rule);
}

struct batches {
	struct net_host *h;
	struct nl_builder b;
	unsigned int rules;
	alignas(struct nlmsghdr) uint8_t buf[BATCH_MAX];
};

static void begin_batch(struct batches *s)
{
	nl_builder_init(&s->b, s->buf, sizeof(s->buf));
	nft_batch_begin(&s->b);
	s->rules = 0;
}

static int send_batch(struct batches *s)
{
	nft_batch_end(&s->b);
	return nl_request(s->h->nft, &s->b);
}

static int send_table(struct batches *s)
{
	const struct edge_conf *conf = s->h->p.conf;
	begin_batch(s);
	nft_table_make(&s->b, NET_HOST_TABLE);
	nft_chain_make(&s->b, &base_pre);
	nft_chain_make(&s->b, &base_out);
	int r = 0;
	for (size_t i = 0; i < conf->network_count; i++)
		for (size_t k = 0; k < conf->networks[i].prefix_count && r == 0; k++) {
			if (s->rules >= BATCH_RULES) {
				r = send_batch(s);
				begin_batch(s);
			}
			add_rules(s->h, &s->b, &conf->networks[i].prefixes[k]);
			s->rules += 2;
		}
	return r < 0 ? r : send_batch(s);
}

static int make_table(struct net_host *h)
{
	_cleanup_(freep) struct batches *s = malloc(sizeof(*s));
	if (!s)
		return fail(h, "cannot talk to nftables", "", -ENOMEM);
	int r = nl_open(NETLINK_NETFILTER, &h->nft);
	if (r < 0)
		return fail(h, "cannot talk to nftables", "", r);
	s->h = h;
	r = send_table(s);
	if (r == -EEXIST)
		log_error(h->p.log, "network", "is another edge running here? its nft table exists",
			  KV_STR("table", "inet " NET_HOST_TABLE));
	return r < 0 ? fail(h, "cannot make the nft table for private networks", nl_text(h->nft), r)
		     : EXIT_OK;
}

/* ---- life ---- */

static int leave_nothing_old(const struct net_host_params *p)
{
	char path[PATHS_LEN + 8];
	size_t count = 0;
	state_path(p->paths, path);
	int r = undo_written(path, &count);
	if (r < 0) {
		log_error(p->log, "network", "cannot undo what an edge has left here",
			  KV_STR("file", path), KV_ERR(r));
		return EXIT_FAILED;
	}
	if (count > 0)
		log_notice(p->log, "network", "what an edge has left here is undone",
			   KV_U64("objects", count));
	return EXIT_OK;
}

int net_host_open(const struct net_host_params *params, struct net_host **ret)
{
	*ret = NULL;
	int code = leave_nothing_old(params);
	if (code != EXIT_OK || params->conf->network_count == 0)
		return code;
	_cleanup_(net_host_closep) struct net_host *h = calloc(1, sizeof(*h));
	size_t count = (size_t)params->worker_count * FAMILIES;
	if (!h)
		return EXIT_FAILED;
	h->p = *params;
	state_path(params->paths, h->state);
	h->fds = malloc(count * sizeof(*h->fds));
	for (size_t i = 0; h->fds && i < count; i++)
		h->fds[i] = -EBADF;
	h->queues = malloc(params->worker_count * sizeof(*h->queues));
	for (unsigned int i = 0; h->queues && i < params->worker_count; i++)
		h->queues[i] = -EBADF;
	code = h->fds && h->queues ? open_listeners(h) : EXIT_FAILED;
	if (code == EXIT_OK)
		code = open_device(h);
	if (code == EXIT_OK)
		code = make_routes(h);
	if (code == EXIT_OK)
		code = make_table(h);
	if (code != EXIT_OK)
		return code;
	net_report(
		&(struct net_report){
			.log = params->log,
			.has_v4 = h->listen[0].port != 0,
			.has_v6 = h->listen[1].port != 0,
		},
		h->nft);
	log_info(params->log, "network", "private networks are set up",
		 KV_STR("device", h->tun.name), KV_U64("networks", params->conf->network_count),
		 KV_U64("prefixes", edge_conf_prefixes(params->conf)));
	*ret = TAKE_PTR(h);
	return EXIT_OK;
}

/* Without the rights of the start it only says so: nothing marks packets any more. */
static void undo(struct net_host *h)
{
	size_t count = h->plan.made;
	if (count == 0)
		return;
	int r = plan_undo(&h->plan, h->route);
	if (r == 0)
		(void)unlink(h->state);
	else
		log_info(h->p.log, "network",
			 "rules stay for `adit-edge --clean-up` or the next start",
			 KV_STR("file", h->state), KV_ERR(r));
}

void net_host_close(struct net_host *h)
{
	if (!h)
		return;
	nl_close(h->nft); /* and with it the table */
	undo(h);
	nl_close(h->route);
	plan_done(&h->plan);
	for (size_t i = 0; h->fds && i < (size_t)h->p.worker_count * FAMILIES; i++)
		(void)fd_close(h->fds[i]);
	for (unsigned int i = 0; h->queues && i < h->p.worker_count; i++)
		(void)fd_close(h->queues[i]);
	free(h->queues);
	tun_steer_free(h->steer);
	free(h->fds);
	free(h);
}
