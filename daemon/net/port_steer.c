/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program for sockets of one address. The sockets hold it and it holds its map, so that our
 * descriptors may go at once; each address needs a map of its own, for the kernel gives a packet to
 * no socket of another one.
 */
#include "daemon/net/port_steer.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "abi/steer.h"
#include "daemon/net/steer_object.h"

/* The constants of a program are a map of their own. */
static int set_count(const struct bpf_object *object, __u32 count)
{
	const struct bpf_map *constants = bpf_object__find_map_by_name(object, ".rodata");
	size_t size = 0;
	void *value = constants ? bpf_map__initial_value(constants, &size) : NULL;
	if (!value || size != sizeof(count))
		return -EPROTO;
	memcpy(value, &count, sizeof(count));
	return 0;
}

static int attach(const struct steer_object *o, const int *fds, __u32 count, const char **ret_why)
{
	for (__u32 worker = 0; worker < count; worker++) {
		const __u64 fd = (__u64)fds[worker];
		int r = bpf_map_update_elem(bpf_map__fd(o->map), &worker, &fd, BPF_NOEXIST);
		if (r < 0) {
			*ret_why = "the kernel doesn't take a socket into the program's map";
			return r;
		}
	}
	int prog = bpf_program__fd(o->prog);
	if (setsockopt(fds[0], SOL_SOCKET, SO_ATTACH_REUSEPORT_EBPF, &prog, sizeof(prog)) < 0) {
		*ret_why = "the sockets don't take the program";
		return -errno;
	}
	return 0;
}

int port_steer_attach(const int *fds, unsigned int count, const char **ret_why)
{
	static const struct steer_object_want want = { STEER_PROG, STEER_MAP, sizeof(__u32),
						       sizeof(__u64) };
	struct steer_object object = {};
	*ret_why = "the program can't be prepared";
	int r = steer_object_open(&want, count, &object);
	if (r == 0)
		r = set_count(object.object, count);
	if (r == 0)
		r = steer_object_load(&object, ret_why);
	if (r == 0)
		r = attach(&object, fds, count, ret_why);
	steer_object_close(&object);
	return r;
}
