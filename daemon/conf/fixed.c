/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options that need a restart keep the value of the start in every later snapshot. Written out by
 * hand, since a value is more than a field now and then; the test walks the schema and finds what
 * was forgotten.
 */
#include <errno.h>
#include <string.h>

#include "daemon/conf/arena.h"
#include "daemon/conf/credential.h"
#include "daemon/conf/diff.h"
#include "daemon/wire/token.h"

/* Log, metrics, process and debug; all limits take effect but the edge's few. */
static void keep_common(struct conf_common *now, const struct conf_common *boot)
{
	now->log.format = boot->log.format;
	now->log.color = boot->log.color;
	now->metrics = boot->metrics;
	now->process.workers = boot->process.workers;
	now->process.memory = boot->process.memory;
	now->debug = boot->debug;
	now->limits.unregistered = boot->limits.unregistered;
	now->limits.unregistered_per_address = boot->limits.unregistered_per_address;
	now->limits.register_timeout = boot->limits.register_timeout;
	now->limits.retry_unregistered = boot->limits.retry_unregistered;
	now->limits.retry_initials = boot->limits.retry_initials;
}

static bool is_same_tunnel(const struct tunnel_credential *a, const struct tunnel_credential *b)
{
	return uuid_eq(&a->tunnel_id, &b->tunnel_id) &&
	       span_eq(tunnel_credential_account(a), tunnel_credential_account(b));
}

static bool is_same_edge(const struct tunnel_credential *a, const struct tunnel_credential *b)
{
	if (a->has_pin != b->has_pin || a->edge_count != b->edge_count ||
	    strcmp(a->region, b->region) != 0 ||
	    (a->has_pin && memcmp(a->pin, b->pin, sizeof(a->pin)) != 0))
		return false;
	for (unsigned int i = 0; i < a->edge_count; i++)
		if (!span_eq(span_of(a->edges[i].text, a->edges[i].len),
			     span_of(b->edges[i].text, b->edges[i].len)))
			return false;
	return true;
}

static void on_credential_free(void *credential)
{
	credential_free(credential);
}

/* The one in force, which may be newer than that of the start, so that old need not stay. */
static int keep_old_credential(struct conf *now, const struct conf *old)
{
	struct tunnel_credential *copy = credential_copy(old->credential);
	if (!copy)
		return -ENOMEM;
	int r = conf_arena_own(now->common.arena, on_credential_free, copy);
	if (r < 0) {
		credential_free(copy);
		return r;
	}
	now->credential = copy;
	return 0;
}

/* A new secret is used by the next registration; another tunnel would be another program. */
static int keep_credential(struct conf *now, const struct conf *boot, const struct conf *old,
			   struct conf_changes *changes)
{
	if (!now->credential || !boot->credential || !old->credential)
		return 0;
	int r = 0;
	if (!is_same_edge(now->credential, boot->credential))
		r = conf_names_add(&changes->need_restart, "credential (another edge)");
	if (r == 0 && !is_same_tunnel(now->credential, boot->credential)) {
		r = keep_old_credential(now, old);
		if (r == 0)
			r = conf_names_add(&changes->need_restart, "credential (another tunnel)");
	}
	if (r == 0 && !span_eq(tunnel_credential_secret(now->credential),
			       tunnel_credential_secret(old->credential)))
		r = conf_names_add(&changes->changed, "credential (secret)");
	return r;
}

static void on_boot_free(void *boot)
{
	conf_unref(boot);
}

static void on_edge_boot_free(void *boot)
{
	edge_conf_unref(boot);
}

int conf_keep_fixed(struct conf *now, struct conf *boot, const struct conf *old,
		    struct conf_changes *changes)
{
	int r = conf_arena_own(now->common.arena, on_boot_free, boot);
	if (r < 0)
		return r;
	(void)conf_ref(boot);
	keep_common(&now->common, &boot->common);
	now->edge = boot->edge;
	now->datapath = boot->datapath;
	now->tunnel.protocol = boot->tunnel.protocol;
	now->tunnel.congestion = boot->tunnel.congestion;
	now->tunnel.connections = boot->tunnel.connections;
	now->tunnel.post_quantum = boot->tunnel.post_quantum;
	now->tunnel.datagram = boot->tunnel.datagram;
	now->tunnel.ecn = boot->tunnel.ecn;
	return keep_credential(now, boot, old, changes);
}

/* A listener is there when its section is, even an empty one: the texts don't tell. */
static int compare_listener(const char *kind, const struct conf_front_listener *now,
			    const struct conf_front_listener *boot, struct conf_changes *changes)
{
	if (!now->listen_count == !boot->listen_count)
		return 0;
	return conf_names_add(&changes->need_restart, "%s (%s)", kind,
			      now->listen_count ? "new" : "removed");
}

int edge_conf_keep_fixed(struct edge_conf *now, struct edge_conf *boot,
			 struct conf_changes *changes)
{
	int r = conf_arena_own(now->common.arena, on_edge_boot_free, boot);
	if (r < 0)
		return r;
	(void)edge_conf_ref(boot);
	r = compare_listener("http", &now->front.http, &boot->front.http, changes);
	if (r == 0)
		r = compare_listener("https", &now->front.https, &boot->front.https, changes);
	const char *location = now->edge.location;
	keep_common(&now->common, &boot->common);
	now->edge = boot->edge;
	now->edge.location = location;
	now->front.http = boot->front.http;
	now->front.https = boot->front.https;
	now->tcp_ports = boot->tcp_ports;
	now->tcp_port_count = boot->tcp_port_count;
	now->udp_ports = boot->udp_ports;
	now->udp_port_count = boot->udp_port_count;
	now->networks = boot->networks;
	now->network_count = boot->network_count;
	now->front.certificates = boot->front.certificates;
	return r;
}
