/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object of bpf/steer.bpf.c: what isn't asked for is neither loaded nor made.
 */
#include "daemon/net/steer_object.h"

#include <errno.h>
#include <string.h>

#include <bpf/libbpf.h>

#include "embed/steer.bpf.h"

static int choose(const struct steer_object_want *want, struct steer_object *o)
{
	struct bpf_program *prog;
	struct bpf_map *map;
	int r = 0;
	bpf_object__for_each_program(prog, o->object)
	{
		bool is_it = strcmp(bpf_program__name(prog), want->prog) == 0;
		r = r < 0 ? r : bpf_program__set_autoload(prog, is_it);
		o->prog = is_it ? prog : o->prog;
	}
	bpf_object__for_each_map(map, o->object)
	{
		bool is_it = strcmp(bpf_map__name(map), want->map) == 0;
		if (!is_it && !bpf_map__is_internal(map))
			r = r < 0 ? r : bpf_map__set_autocreate(map, false);
		o->map = is_it ? map : o->map;
	}
	return r;
}

/* Whether it is the one that we know, and as large as wanted. */
static int check(const struct steer_object_want *want, const struct steer_object *o,
		 unsigned int max_entries)
{
	if (!o->prog || !o->map || bpf_map__key_size(o->map) != want->key_size ||
	    bpf_map__value_size(o->map) != want->value_size)
		return -EPROTO;
	return bpf_map__set_max_entries(o->map, max_entries);
}

int steer_object_open(const struct steer_object_want *want, unsigned int max_entries,
		      struct steer_object *ret)
{
	libbpf_set_print(NULL); /* what goes wrong is told by us */
	const struct bpf_object_open_opts opts = { .sz = sizeof(opts), .object_name = "adit" };
	struct steer_object o = {
		.object = bpf_object__open_mem(embed_steer, sizeof(embed_steer), &opts),
	};
	if (!o.object)
		return -errno;
	int r = choose(want, &o);
	if (r == 0)
		r = check(want, &o, max_entries);
	if (r < 0) {
		steer_object_close(&o);
		return r;
	}
	*ret = o;
	return 0;
}

int steer_object_load(const struct steer_object *o, const char **ret_why)
{
	int r = bpf_object__load(o->object);
	if (r < 0)
		*ret_why = r == -EPERM ? "loading programs into the kernel needs CAP_BPF"
				       : "the kernel refuses the program";
	return r;
}

void steer_object_close(struct steer_object *o)
{
	bpf_object__close(o->object);
	*o = (struct steer_object){};
}
