/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program for a TUN device's queues and its map.
 */
#include "daemon/net/tun_steer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include <linux/if_tun.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "abi/tunq_abi.h"
#include "daemon/net/steer_object.h"

struct tun_steer {
	struct steer_object object;
	int map, prog; /* the object's descriptors */
};

int tun_steer_new(unsigned int max_flows, struct tun_steer **ret, const char **ret_why)
{
	static const struct steer_object_want want = { TUNQ_PROG, TUNQ_MAP,
						       sizeof(struct adit_tunq_key),
						       sizeof(__u32) };
	*ret_why = "the program can't be prepared";
	struct tun_steer *s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	int r = steer_object_open(&want, max_flows, &s->object);
	if (r == 0)
		r = steer_object_load(&s->object, ret_why);
	if (r < 0) {
		tun_steer_free(s);
		return r;
	}
	s->map = bpf_map__fd(s->object.map);
	s->prog = bpf_program__fd(s->object.prog);
	*ret = s;
	return 0;
}

void tun_steer_free(struct tun_steer *s)
{
	if (!s)
		return;
	steer_object_close(&s->object);
	free(s);
}

int tun_steer_attach(const struct tun_steer *s, int fd)
{
	return ioctl(fd, TUNSETSTEERINGEBPF, &s->prog) < 0 ? -errno : 0;
}

static struct adit_tunq_key key_of(const struct tun_flow *flow)
{
	struct adit_tunq_key key = {
		.sport = htons(flow->src.port),
		.dport = htons(flow->dst.port),
		.proto = flow->protocol,
	};
	ip_addr_to_mapped(&flow->src.ip, (uint8_t *)key.src);
	ip_addr_to_mapped(&flow->dst.ip, (uint8_t *)key.dst);
	return key;
}

int tun_steer_set(const struct tun_steer *s, const struct tun_flow *flow, unsigned int queue)
{
	const struct adit_tunq_key key = key_of(flow);
	const __u32 value = queue;
	return bpf_map_update_elem(s->map, &key, &value, BPF_ANY);
}

void tun_steer_remove(const struct tun_steer *s, const struct tun_flow *flow)
{
	const struct adit_tunq_key key = key_of(flow);
	(void)bpf_map_delete_elem(s->map, &key);
}

int tun_steer_prog_fd(const struct tun_steer *s)
{
	return s->prog;
}
