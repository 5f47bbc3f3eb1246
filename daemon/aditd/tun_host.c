/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routed mode on this host. The device isn't persistent and the table belongs to our socket, so
 * nothing has to be remembered for after a crash. Forwarding and chains of others are looked at and
 * not changed.
 */
#include "daemon/aditd/tun_host.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>

#include <linux/netlink.h>

#include "daemon/base/exit.h"
#include "daemon/net/tun.h"
#include "daemon/net/tun_steer.h"
#include "daemon/wire/endpoint.h"
#include "netlink/forward.h"
#include "netlink/nl.h"
#include "netlink/plan.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	BATCH_MAX = 4096,   /* bytes of the nft messages */
	PRIORITY_NAT = 100, /* of source addresses */
	CHAINS_MAX = 4,     /* that are told of */
	TABLE_LEN = TUN_NAME_MAX + 8,
	PREFIX_LEN = ADDR_TEXT_MAX + 4,
};

struct tun_host {
	struct tun_host_params p;
	struct tun_plan plan;
	struct tun_device device;
	int *queues;             /* [worker_count] */
	struct tun_steer *steer; /* NULL: none */
	struct nl *nft;          /* owns the table */
	unsigned int chain_count;
	char chains[CHAINS_MAX][TUN_LACK_MAX];
};

DEFINE_CLEANUP(struct tun_host *, tun_host_close)

static int fail(const struct tun_host *h, const char *what, const char *why, int error)
{
	if (why[0])
		log_error(h->p.log, "routed", what, KV_STR("device", h->p.conf->tun),
			  KV_STR("kernel", why), KV_ERR(error));
	else
		log_error(h->p.log, "routed", what, KV_STR("device", h->p.conf->tun),
			  KV_ERR(error));
	if (error == -EPERM)
		log_error(h->p.log, "routed", "the routed mode needs CAP_NET_ADMIN at the start");
	if (error == -EBUSY)
		log_error(h->p.log, "routed", "a device of this name is there already");
	return EXIT_FAILED;
}

static void print_prefix(const struct conf_prefix *p, char ret[PREFIX_LEN])
{
	char text[ADDR_TEXT_MAX] = "";
	struct packer packer = packer_over(text, sizeof(text) - 1);
	ip_addr_print(&packer, &p->ip);
	(void)snprintf(ret, PREFIX_LEN, "%s/%u", text, (unsigned int)p->bits);
}

/* ---- addresses ---- */

static int make_plan(struct tun_host *h)
{
	const struct conf_datapath *c = h->p.conf;
	h->plan = (struct tun_plan){
		.keeps_source = c->tun_source == CONF_TUN_SOURCE_KEEP,
		.workers = h->p.worker_count,
		.port_first = TUN_PLAN_PORT_FIRST,
		.ports = TUN_PLAN_PORTS,
	};
	for (size_t i = 0; i < c->tun_prefix_count; i++) {
		const struct conf_prefix *p = &c->tun_prefixes[i];
		const struct tun_prefix made = { .net = p->ip, .bits = p->bits };
		*(p->ip.family == IP_FAMILY_V6 ? &h->plan.v6 : &h->plan.v4) = made;
		if (tun_plan_count(&h->plan, p->ip.family) > 0)
			continue;
		char text[PREFIX_LEN];
		print_prefix(p, text);
		log_error(h->p.log, "routed",
			  "tun-prefix has too few addresses: each worker needs one",
			  KV_STR("prefix", text), KV_U64("workers", h->p.worker_count));
		return EXIT_CONFIG;
	}
	return EXIT_OK;
}

/* ---- the device ---- */

/* It serves without, too: then some packets cross between workers. */
static void open_steer(struct tun_host *h)
{
	const char *why = "";
	if (h->p.worker_count == 1)
		return;
	int r = tun_steer_new(h->p.max_flows, &h->steer, &why);
	if (r == 0) {
		r = tun_steer_attach(h->steer, h->queues[0]);
		why = "the device refuses the program";
	}
	if (r == 0)
		return;
	log_info(h->p.log, "routed", "the kernel steers the device's queues by itself",
		 KV_STR("reason", why), KV_ERR(r));
	tun_steer_free(TAKE_PTR(h->steer));
}

static int plan_device(const struct tun_host *h, struct plan *plan)
{
	unsigned int ifindex = if_nametoindex(h->device.name);
	int r = plan_add(plan, &(struct netlink_object){ .kind = NETLINK_OBJECT_LINK_UP,
							 .ifindex = ifindex });
	for (size_t i = 0; i < h->p.conf->tun_prefix_count && r == 0; i++) {
		const struct conf_prefix *p = &h->p.conf->tun_prefixes[i];
		r = plan_add(plan, &(struct netlink_object){
					   .kind = NETLINK_OBJECT_ADDRESS,
					   .ifindex = ifindex,
					   .addr = tun_plan_device(&h->plan, p->ip.family),
					   .prefix_len = p->bits,
				   });
	}
	return r;
}

static int make_device(struct tun_host *h)
{
	_cleanup_(nl_closep) struct nl *route = NULL;
	const struct netlink_object *failed = NULL;
	struct plan plan = {};
	int r = tun_open(h->p.conf->tun, h->p.worker_count, h->queues, &h->device);
	if (r < 0)
		return fail(h, "cannot make the TUN device", "", r);
	open_steer(h);
	r = nl_open(NETLINK_ROUTE, &route);
	if (r == 0)
		r = plan_device(h, &plan);
	if (r == 0)
		r = plan_make(&plan, route, &failed);
	int code =
		r < 0 ? fail(h, "cannot give the TUN device its addresses", plan.text, r) : EXIT_OK;
	plan_done(&plan);
	return code;
}

/* ---- nft ---- */

static void add_rule(const struct tun_host *h, struct nl_builder *b, const struct nft_base *base,
		     const struct conf_prefix *p)
{
	struct nft_rule rule;
	nft_rule_begin(&rule, b, base->table, base->chain);
	nft_match_family(&rule, p->ip.family);
	nft_match_source(&rule, &p->ip, p->bits);
	nft_match_output_but(&rule, h->device.name);
	nft_masquerade(&rule);
	nft_rule_end(&rule);
}

static int make_table(struct tun_host *h)
{
	alignas(struct nlmsghdr) uint8_t buf[BATCH_MAX];
	char table[TABLE_LEN];
	(void)snprintf(table, sizeof(table), "adit-%s", h->device.name);
	const struct nft_base base = { table, "post", "nat", NFT_HOOK_POSTROUTING, PRIORITY_NAT };
	struct nl_builder b;
	nl_builder_init(&b, buf, sizeof(buf));
	nft_batch_begin(&b);
	nft_table_make(&b, table);
	nft_chain_make(&b, &base);
	for (size_t i = 0; i < h->p.conf->tun_prefix_count; i++)
		add_rule(h, &b, &base, &h->p.conf->tun_prefixes[i]);
	nft_batch_end(&b);
	int r = nl_request(h->nft, &b);
	return r < 0 ? fail(h, "cannot make the nft table that masquerades", nl_text(h->nft), r)
		     : EXIT_OK;
}

/* ---- what is in the way ---- */

static bool serves(const struct tun_host *h, enum ip_family family)
{
	return tun_plan_prefix(&h->plan, family)->net.family != IP_FAMILY_NONE;
}

static void on_chain(void *user, const struct nft_chain *c)
{
	struct tun_host *h = user;
	if (c->hook != NFT_HOOK_FORWARD || h->chain_count == CHAINS_MAX ||
	    (c->family != IP_FAMILY_NONE && !serves(h, c->family)))
		return;
	const char *family = c->family == IP_FAMILY_V4   ? "ip"
			     : c->family == IP_FAMILY_V6 ? "ip6"
							 : "inet";
	(void)snprintf(h->chains[h->chain_count++], TUN_LACK_MAX, "accept:%s/%.*s/%.*s", family,
		       (int)MIN(c->table.len, (size_t)32), (const char *)c->table.ptr,
		       (int)MIN(c->name.len, (size_t)32), (const char *)c->name.ptr);
	log_warning(h->p.log, "routed",
		    "what a chain doesn't accept isn't forwarded: packets of the device have to be",
		    KV_STR("family", family), KV_SPAN("table", c->table),
		    KV_SPAN("chain", c->name));
}

static void report(struct tun_host *h)
{
	static const enum ip_family families[] = { IP_FAMILY_V4, IP_FAMILY_V6 };
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		if (serves(h, families[i]) && forward_is_off(families[i]))
			log_warning(h->p.log, "routed",
				    "forwarding is off: nothing of the device leaves this host",
				    KV_STR("sysctl", forward_sysctl(families[i])));
	int r = forward_dropping_chains(h->nft, on_chain, h);
	if (r < 0)
		log_info(h->p.log, "routed", "cannot list the chains of nftables", KV_ERR(r));
	for (size_t i = 0; !h->p.conf->masquerade && i < h->p.conf->tun_prefix_count; i++) {
		char text[PREFIX_LEN];
		print_prefix(&h->p.conf->tun_prefixes[i], text);
		log_notice(
			h->p.log, "routed",
			"the private network needs a route to this prefix by this host, or masquerade "
			"= yes",
			KV_STR("prefix", text));
	}
}

int tun_host_lacks(const struct tun_host *h, const struct tun_state *state, tun_lack_fn take,
		   void *user)
{
	int r = state->has_gone ? take(user, "device") : 0;
	if (r >= 0 && serves(h, IP_FAMILY_V4) && forward_is_off(IP_FAMILY_V4))
		r = take(user, "forwarding-v4");
	if (r >= 0 && serves(h, IP_FAMILY_V6) && forward_is_off(IP_FAMILY_V6))
		r = take(user, "forwarding-v6");
	for (unsigned int i = 0; r >= 0 && i < h->chain_count; i++)
		r = take(user, h->chains[i]);
	for (size_t i = 0; r >= 0 && !h->p.conf->masquerade && i < h->p.conf->tun_prefix_count;
	     i++) {
		const struct conf_prefix *p = &h->p.conf->tun_prefixes[i];
		char text[PREFIX_LEN], lack[TUN_LACK_MAX];
		if (state->has_answers[p->ip.family == IP_FAMILY_V6])
			continue;
		print_prefix(p, text);
		(void)snprintf(lack, sizeof(lack), "route-back:%s", text);
		r = take(user, lack);
	}
	return r < 0 ? r : 0;
}

/* ---- life ---- */

int tun_host_open(const struct tun_host_params *params, struct tun_host **ret)
{
	_cleanup_(tun_host_closep) struct tun_host *h = calloc(1, sizeof(*h));
	if (!h)
		return EXIT_FAILED;
	h->p = *params;
	h->queues = malloc(params->worker_count * sizeof(*h->queues));
	if (!h->queues)
		return fail(h, "no memory", "", -ENOMEM);
	for (unsigned int i = 0; i < params->worker_count; i++)
		h->queues[i] = -EBADF;
	int code = make_plan(h);
	if (code == EXIT_OK)
		code = make_device(h);
	if (code != EXIT_OK)
		return code;
	int r = nl_open(NETLINK_NETFILTER, &h->nft);
	if (r < 0)
		return fail(h, "cannot talk to nftables", "", r);
	code = params->conf->masquerade ? make_table(h) : EXIT_OK;
	if (code != EXIT_OK)
		return code;
	report(h);
	log_info(params->log, "routed", "routed mode is set up", KV_STR("device", h->device.name),
		 KV_U64("prefixes", params->conf->tun_prefix_count),
		 KV_STR("masquerade", params->conf->masquerade ? "yes" : "no"));
	*ret = TAKE_PTR(h);
	return EXIT_OK;
}

void tun_host_close(struct tun_host *h)
{
	if (!h)
		return;
	nl_close(h->nft); /* and with it the table */
	for (unsigned int i = 0; h->queues && i < h->p.worker_count; i++)
		(void)fd_close(h->queues[i]);
	free(h->queues);
	tun_steer_free(h->steer);
	free(h);
}

const struct tun_plan *tun_host_plan(const struct tun_host *h)
{
	return &h->plan;
}

int tun_host_take_queue(struct tun_host *h, unsigned int worker)
{
	return TAKE_FD(h->queues[worker]);
}

bool tun_host_has_bursts(const struct tun_host *h)
{
	return h->device.has_bursts;
}

const struct tun_steer *tun_host_steer(const struct tun_host *h)
{
	return h->steer;
}
