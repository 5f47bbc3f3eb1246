/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The object of bpf/steer.bpf.c, embedded in ours: opened for one of its programs. Private to
 * tun_steer.c and port_steer.c, which load it.
 */
#ifndef DAEMON_NET_STEER_OBJECT_H
#define DAEMON_NET_STEER_OBJECT_H

#include <stddef.h>

struct bpf_map;
struct bpf_object;
struct bpf_program;

struct steer_object {
	struct bpf_object *object; /* NULL: none */
	struct bpf_map *map;       /* the object's */
	struct bpf_program *prog;  /* the object's */
};

/* What is wanted of it: by name, and the sizes that we know it with. */
struct steer_object_want {
	const char *prog;
	const char *map;
	size_t key_size, value_size;
};

/* Not loaded yet. 0 or a negative errno. */
[[nodiscard]] int steer_object_open(const struct steer_object_want *want, unsigned int max_entries,
				    struct steer_object *ret);
/* 0 or what the kernel said; then a sentence for the operator (static). */
[[nodiscard]] int steer_object_load(const struct steer_object *o, const char **ret_why);
void steer_object_close(struct steer_object *o);

#endif
