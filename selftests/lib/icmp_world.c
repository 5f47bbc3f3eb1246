/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network around ICMP at a daemon.
 */
#include "selftests/lib/icmp_world.h"

#include <stdlib.h>

struct icmp_world icmp_world;

/* ---- the linker's names ---- */

int __wrap_icmp_path_new(struct worker *w, const struct icmp_path_user *user,
			 struct icmp_path **ret);
void __wrap_icmp_path_free(struct icmp_path *path);
enum icmp_path_kind __wrap_icmp_path_kind(const struct icmp_path *path, enum ip_family family);
int __wrap_icmp_path_send(struct icmp_path *path, const struct icmp_path_send *send);
int __wrap_icmp_path_find_way(const struct ip_addr *dst, struct icmp_path_way *ret);
nsec_t __wrap_loop_now(const struct loop *l);

int __wrap_icmp_path_new(struct worker *w, const struct icmp_path_user *user,
			 struct icmp_path **ret)
{
	(void)w;
	icmp_world.user = *user;
	*ret = NULL;
	return 0;
}

void __wrap_icmp_path_free(struct icmp_path *path)
{
	(void)path;
}

enum icmp_path_kind __wrap_icmp_path_kind(const struct icmp_path *path, enum ip_family family)
{
	(void)path;
	(void)family;
	return icmp_world.kind;
}

int __wrap_icmp_path_send(struct icmp_path *path, const struct icmp_path_send *send)
{
	(void)path;
	if (icmp_world.send_error)
		return icmp_world.send_error;
	unsigned int at = icmp_world.sends++ % ICMP_WORLD_KEPT;
	if (send->data.len > ICMP_WORLD_ROOM)
		abort();
	icmp_world.sent[at] = *send;
	memcpy(icmp_world.data[at].bytes, send->data.ptr, send->data.len);
	icmp_world.data[at].len = send->data.len;
	return 0;
}

int __wrap_icmp_path_find_way(const struct ip_addr *dst, struct icmp_path_way *ret)
{
	if (icmp_world.way_error)
		return icmp_world.way_error;
	ret->src = dst->family == IP_FAMILY_V4 ? icmp_world.own_v4 : icmp_world.own_v6;
	ret->mtu = 900;
	return 0;
}

nsec_t __wrap_loop_now(const struct loop *l)
{
	(void)l;
	return icmp_world.now;
}

/* ---- the ground ---- */

static bool may_reach(void *arg, const struct ip_addr *addr)
{
	(void)arg;
	(void)addr;
	icmp_world.asked++;
	return icmp_world.is_allowed;
}

void icmp_world_start(void)
{
	struct icmp_world *w = &icmp_world;
	*w = (struct icmp_world){
		.now = 1000 * NSEC_PER_SEC,
		.kind = ICMP_PATH_KIND_PING,
		.is_allowed = true,
		.own_v4 = { IP_FAMILY_V4, { 10, 77, 0, 1 } },
		.own_v6 = { IP_FAMILY_V6, { 0xfd, 0x77, [15] = 1 } },
	};
	if (loop_new(&w->loop) < 0)
		abort();
	w->worker.loop = w->loop;
	const struct icmp_session_params params = { .worker = &w->worker, .may_reach = may_reach };
	if (icmp_session_init(&w->session, &params) < 0)
		abort();
	icmp_session_set_limits(&w->session, 1000);
}

void icmp_world_end(void)
{
	icmp_session_done(&icmp_world.session);
	loop_free(icmp_world.loop);
}

void icmp_world_reply(unsigned int at)
{
	const struct icmp_path_reply reply = {
		.src = icmp_world.sent[at].dst,
		.seq = icmp_world.sent[at].seq,
		.data = span_of(icmp_world.data[at].bytes, icmp_world.data[at].len),
	};
	icmp_world.user.on_reply(icmp_world.user.arg, &reply);
}
