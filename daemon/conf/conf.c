/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a snapshot. Snapshot and everything it points to lie in one arena, so the last reference
 * frees it whole.
 */
#include "daemon/conf/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/conf/arena.h"
#include "daemon/conf/edge_conf.h"

/* The counter orders nothing else: the snapshot is read-only, the mailbox that hands it on orders
 * it. */
static void common_ref(struct conf_common *c)
{
	atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

/* Release so that every reader is done before the last one frees, which acquires. */
static void common_unref(struct conf_common *c)
{
	if (atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
		conf_arena_free(c->arena);
}

struct conf *conf_ref(struct conf *c)
{
	common_ref(&c->common);
	return c;
}

void conf_unref(struct conf *c)
{
	if (c)
		common_unref(&c->common);
}

struct edge_conf *edge_conf_ref(struct edge_conf *c)
{
	common_ref(&c->common);
	return c;
}

void edge_conf_unref(struct edge_conf *c)
{
	if (c)
		common_unref(&c->common);
}

int conf_find_rule(const struct conf *c, struct span name, size_t *ret_index)
{
	for (size_t i = 0; i < c->rule_count; i++)
		if (span_eq_str(name, c->rules[i].name)) {
			*ret_index = i;
			return 0;
		}
	return -ESTALE;
}

static size_t listeners(const struct conf_edge_port *ports, size_t port_count)
{
	size_t count = 0;
	for (size_t i = 0; i < port_count; i++)
		count += ports[i].listen_count;
	return count;
}

size_t edge_conf_tcp_listeners(const struct edge_conf *c)
{
	return listeners(c->tcp_ports, c->tcp_port_count);
}

size_t edge_conf_udp_listeners(const struct edge_conf *c)
{
	return listeners(c->udp_ports, c->udp_port_count);
}

size_t edge_conf_find_tunnel(const struct edge_conf *c, const char *name)
{
	size_t i = 0;
	while (i < c->tunnel_count && strcmp(c->tunnels[i].name, name) != 0)
		i++;
	return i;
}

size_t edge_conf_prefixes(const struct edge_conf *c)
{
	size_t n = 0;
	for (size_t i = 0; i < c->network_count; i++)
		n += c->networks[i].prefix_count;
	return n;
}

size_t edge_conf_find_network(const struct edge_conf *c, const struct ip_addr *addr)
{
	size_t found = c->network_count;
	int longest = -1;
	for (size_t i = 0; i < c->network_count; i++)
		for (size_t k = 0; k < c->networks[i].prefix_count; k++) {
			const struct conf_prefix *p = &c->networks[i].prefixes[k];
			if (p->bits <= longest || !conf_prefix_contains(p, addr))
				continue;
			longest = p->bits;
			found = i;
		}
	return found;
}

void conf_cut_to_descriptors(unsigned int *limit, const char *key, struct log *log)
{
	struct rlimit r;
	if (getrlimit(RLIMIT_NOFILE, &r) < 0)
		return;
	rlim_t room = r.rlim_cur - r.rlim_cur / 8;
	if (room >= *limit)
		return;
	log_notice(log, "start", "a limit is cut to the descriptors that there are",
		   KV_STR("limit", key), KV_U64("from", *limit), KV_U64("to", room),
		   KV_U64("descriptors", r.rlim_cur));
	*limit = (unsigned int)room;
}

int conf_log_open(const struct conf_log *c, const char *program, struct log **ret)
{
	struct log_params params = {
		.format = c->format,
		.level = c->level,
		.areas = c->areas,
		.ident = program,
		.color = c->color != CONF_SWITCH_OFF && isatty(STDERR_FILENO),
	};
	int r = log_new(&params, ret);
	if (r < 0)
		(void)fprintf(stderr, "%s: cannot open the log: %s\n", program,
			      strerrordesc_np(-r));
	return r;
}

int conf_key_log_open(const struct conf_debug *c, struct log *log, int *ret_fd)
{
	const char *path = c->tls_key_log;
	*ret_fd = -EBADF;
	if (!path)
		return 0;
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0) {
		int r = -errno;
		log_error(log, "start", "cannot write tls-key-log", KV_STR("file", path),
			  KV_ERR(r));
		return r;
	}
	log_warning(log, "start", "TLS secrets are written for debugging", KV_STR("file", path));
	*ret_fd = fd;
	return 0;
}
