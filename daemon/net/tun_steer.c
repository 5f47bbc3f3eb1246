/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program for a TUN device's queues, embedded in ours, and its map.
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
#include "embed/steer.bpf.h"

struct tun_steer {
	struct bpf_object *object;
	int map, prog; /* the object's descriptors */
};

static int load(struct tun_steer *s, unsigned int max_flows)
{
	libbpf_set_print(NULL); /* what goes wrong is told by us */
	const struct bpf_object_open_opts opts = { .sz = sizeof(opts), .object_name = "adit" };
	s->object = bpf_object__open_mem(embed_steer, sizeof(embed_steer), &opts);
	if (!s->object)
		return -errno;
	struct bpf_map *map = bpf_object__find_map_by_name(s->object, TUNQ_MAP);
	const struct bpf_program *prog = bpf_object__find_program_by_name(s->object, TUNQ_PROG);
	if (!map || !prog || bpf_map__key_size(map) != sizeof(struct adit_tunq_key) ||
	    bpf_map__value_size(map) != sizeof(__u32))
		return -EPROTO;
	int r = bpf_map__set_max_entries(map, max_flows);
	if (r == 0)
		r = bpf_object__load(s->object);
	if (r < 0)
		return r;
	s->map = bpf_map__fd(map);
	s->prog = bpf_program__fd(prog);
	return 0;
}

int tun_steer_new(unsigned int max_flows, struct tun_steer **ret, const char **ret_why)
{
	struct tun_steer *s = calloc(1, sizeof(*s));
	int r = s ? load(s, max_flows) : -ENOMEM;
	if (r < 0) {
		tun_steer_free(s);
		*ret_why = r == -EPERM ? "loading programs into the kernel needs CAP_BPF"
				       : "the kernel refuses the program";
		return r;
	}
	*ret = s;
	return 0;
}

void tun_steer_free(struct tun_steer *s)
{
	if (!s)
		return;
	bpf_object__close(s->object);
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
