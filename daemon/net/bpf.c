/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short cut's program on one interface. The object is embedded in ours, so program and maps are
 * always of one build; the sizes of keys and values are compared all the same.
 */
#include "daemon/net/bpf.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/if_link.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "embed/flow.bpf.h"
#include "util/cleanup.h"
#include "util/macro.h"

struct bpf_flow {
	struct bpf_object *object;
	int flows, probes, xsks, verdicts; /* the object's descriptors */
	int prog, prog_mult;
	int link;          /* -EBADF: not attached */
	uint64_t *by_slot; /* the map of probes itself */
	unsigned int max_flows;
	unsigned int cpus;
};

/* ---- what to tell the operator ---- */

struct advice {
	int error;
	const char *text;
};

static const char *advice_for(const struct advice *table, int error)
{
	const struct advice *a = table;
	while (a->error && a->error != error)
		a++;
	return a->text;
}

/* clang-format off */
static const struct advice load_advice[] = {
	{ -EPERM,      "loading programs into the kernel needs CAP_BPF and CAP_NET_ADMIN" },
	{ -EACCES,     "the kernel's verifier refuses the program" },
	{ -EINVAL,     "the kernel refuses the program" },
	{ -EOPNOTSUPP, "this kernel has no XDP" },
	{ -ENOMEM,     "there is no memory for the flows" },
	{ -E2BIG,      "there is no memory for the flows" },
	{ 0,           "the program can't be loaded" },
};

static const struct advice attach_advice[] = {
	{ -EALREADY,   "the program is on an interface already" },
	{ -EBUSY,      "interface has an XDP program already" },
	{ -EEXIST,     "interface has an XDP program already" },
	{ -EOPNOTSUPP, "the interface's driver has no XDP" },
	{ -EINVAL,     "the interface's driver refuses XDP as it is set up" },
	{ -ERANGE,     "the interface's MTU is too large for XDP" },
	{ -ENODEV,     "there is no such interface" },
	{ -EPERM,      "attaching programs needs CAP_NET_ADMIN" },
	{ 0,           "the program can't be attached" },
};
/* clang-format on */

/* ---- loading ---- */

static int find_map(struct bpf_object *object, const char *name, size_t key, size_t value)
{
	const struct bpf_map *map = bpf_object__find_map_by_name(object, name);
	if (!map || bpf_map__key_size(map) != key || bpf_map__value_size(map) != value)
		return -EPROTO;
	return bpf_map__fd(map);
}

static int size_map(struct bpf_object *object, const char *name, unsigned int entries)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);
	return map ? bpf_map__set_max_entries(map, entries) : -EPROTO;
}

static int share_map(struct bpf_object *object, const char *name, int fd)
{
	struct bpf_map *map = bpf_object__find_map_by_name(object, name);
	return map ? bpf_map__reuse_fd(map, fd) : -EPROTO;
}

/* Flows die a little after they have ended: there is room for more of them than slots. */
static int prepare_maps(struct bpf_flow *f, const struct bpf_flow *share)
{
	int r = 0;
	if (share) {
		r = share_map(f->object, FLOW_MAP_FLOWS, share->flows);
		return r < 0 ? r : share_map(f->object, FLOW_MAP_PROBES, share->probes);
	}
	r = size_map(f->object, FLOW_MAP_FLOWS, f->max_flows + f->max_flows / 4);
	return r < 0 ? r : size_map(f->object, FLOW_MAP_PROBES, f->max_flows);
}

static int find_parts(struct bpf_flow *f)
{
	struct bpf_object *o = f->object;
	f->flows = find_map(o, FLOW_MAP_FLOWS, sizeof(struct adit_flow_key),
			    sizeof(struct adit_flow_val));
	f->probes = find_map(o, FLOW_MAP_PROBES, sizeof(__u32), sizeof(*f->by_slot));
	f->xsks = find_map(o, FLOW_MAP_XSKS, sizeof(__u32), sizeof(__u32));
	f->verdicts = find_map(o, FLOW_MAP_VERDICTS, sizeof(__u32), sizeof(__u64));
	const struct bpf_program *prog = bpf_object__find_program_by_name(o, FLOW_PROG);
	const struct bpf_program *mult = bpf_object__find_program_by_name(o, FLOW_PROG_MULT);
	f->prog = bpf_program__fd(prog);
	f->prog_mult = bpf_program__fd(mult);
	if (f->flows < 0 || f->probes < 0 || f->xsks < 0 || f->verdicts < 0 || f->prog < 0 ||
	    f->prog_mult < 0)
		return -EPROTO;
	void *at =
		mmap(NULL, f->max_flows * sizeof(*f->by_slot), PROT_READ, MAP_SHARED, f->probes, 0);
	if (at == MAP_FAILED)
		return -errno;
	f->by_slot = at;
	return 0;
}

static int load(struct bpf_flow *f, const struct bpf_flow_params *p)
{
	libbpf_set_print(NULL); /* what goes wrong is told by us */
	const struct bpf_object_open_opts opts = {
		.sz = sizeof(opts),
		.object_name = "adit",
		.kernel_log_buf = p->log_len ? p->log : NULL,
		.kernel_log_size = p->log_len,
	};
	f->object = bpf_object__open_mem(embed_flow, sizeof(embed_flow), &opts);
	if (!f->object)
		return -errno;
	int r = prepare_maps(f, p->share);
	if (r == 0)
		r = bpf_object__load(f->object);
	return r < 0 ? r : find_parts(f);
}

int bpf_flow_load(const struct bpf_flow_params *params, struct bpf_flow **ret, const char **ret_why)
{
	struct bpf_flow *f = calloc(1, sizeof(*f));
	if (!f) {
		*ret_why = advice_for(load_advice, -ENOMEM);
		return -ENOMEM;
	}
	f->link = -EBADF;
	f->max_flows = params->share ? params->share->max_flows : params->max_flows;
	int cpus = libbpf_num_possible_cpus();
	f->cpus = (unsigned int)MAX(cpus, 1);
	int r = cpus < 0 ? cpus : load(f, params);
	if (r < 0) {
		bpf_flow_free(f);
		*ret_why = advice_for(load_advice, r);
		return r;
	}
	*ret = f;
	return 0;
}

void bpf_flow_free(struct bpf_flow *f)
{
	if (!f)
		return;
	bpf_flow_detach(f);
	if (f->by_slot)
		(void)munmap(f->by_slot, f->max_flows * sizeof(*f->by_slot));
	bpf_object__close(f->object);
	free(f);
}

/* ---- attaching ---- */

/* Only in the driver: bpf_program__attach_xdp() would be content with the generic place. */
static int attach(int prog, unsigned int ifindex)
{
	const struct bpf_link_create_opts opts = {
		.sz = sizeof(opts),
		.flags = XDP_FLAGS_DRV_MODE,
	};
	int r = bpf_link_create(prog, (int)ifindex, BPF_XDP, &opts);
	char name[IF_NAMESIZE];
	/* The kernel has one error for an interface that refuses and one that isn't there. */
	return r == -EINVAL && !if_indextoname(ifindex, name) ? -ENODEV : r;
}

int bpf_flow_attach(struct bpf_flow *f, unsigned int ifindex, const char **ret_why)
{
	int r = f->link >= 0 ? -EALREADY : attach(f->prog, ifindex);
	/* A frame that may lie in several buffers is only given to a program that says it knows. */
	if (r == -ERANGE || r == -EOPNOTSUPP || r == -EINVAL) {
		int second = attach(f->prog_mult, ifindex);
		r = second >= 0 ? second : r;
	}
	if (r < 0) {
		*ret_why = advice_for(attach_advice, r);
		return r;
	}
	f->link = r;
	return 0;
}

void bpf_flow_detach(struct bpf_flow *f)
{
	int fd = TAKE_FD(f->link);
	if (fd >= 0)
		(void)close(fd);
}

unsigned int bpf_flow_ifindex(const struct bpf_flow *f)
{
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	if (f->link < 0 || bpf_link_get_info_by_fd(f->link, &info, &len) < 0)
		return 0;
	return info.xdp.ifindex;
}

/* ---- maps ---- */

int bpf_flow_set(struct bpf_flow *f, const struct adit_flow_key *key,
		 const struct adit_flow_val *val)
{
	return bpf_map_update_elem(f->flows, key, val, BPF_ANY);
}

int bpf_flow_remove(struct bpf_flow *f, const struct adit_flow_key *key)
{
	return bpf_map_delete_elem(f->flows, key);
}

int bpf_flow_set_socket(struct bpf_flow *f, unsigned int worker, unsigned int queue, int fd)
{
	if (worker >= FLOW_SOCKET_WORKERS || queue >= FLOW_SOCKET_QUEUES)
		return -EINVAL;
	__u32 index = FLOW_SOCKET(worker, queue);
	return bpf_map_update_elem(f->xsks, &index, &fd, BPF_ANY);
}

uint64_t bpf_flow_probes(const struct bpf_flow *f, uint32_t slot)
{
	return slot < f->max_flows ? __atomic_load_n(&f->by_slot[slot], __ATOMIC_RELAXED) : 0;
}

int bpf_flow_verdicts(const struct bpf_flow *f, uint64_t ret[FLOW_VERDICTS])
{
	_cleanup_(freep) __u64 *by_cpu = calloc(f->cpus, sizeof(*by_cpu));
	if (!by_cpu)
		return -ENOMEM;
	uint64_t sums[FLOW_VERDICTS] = {};
	for (__u32 v = 0; v < FLOW_VERDICTS; v++) {
		int r = bpf_map_lookup_elem(f->verdicts, &v, by_cpu);
		if (r < 0)
			return r;
		for (unsigned int cpu = 0; cpu < f->cpus; cpu++)
			sums[v] += by_cpu[cpu];
	}
	memcpy(ret, sums, sizeof(sums));
	return 0;
}

const char *bpf_flow_verdict_name(unsigned int verdict)
{
	static const char *const names[FLOW_VERDICTS] = {
		[FLOW_VERDICT_TAKEN] = "taken",         [FLOW_VERDICT_LOST] = "lost",
		[FLOW_VERDICT_PROBE] = "probe",         [FLOW_VERDICT_MISS] = "miss",
		[FLOW_VERDICT_FRAGMENT] = "fragment",   [FLOW_VERDICT_OPTIONS] = "options",
		[FLOW_VERDICT_LENGTH] = "length",       [FLOW_VERDICT_BUFFERS] = "buffers",
		[FLOW_VERDICT_NO_SOCKET] = "no-socket", [FLOW_VERDICT_REFUSED] = "refused",
	};
	return verdict < FLOW_VERDICTS ? names[verdict] : NULL;
}

int bpf_flow_prog_fd(const struct bpf_flow *f)
{
	return f->prog;
}
