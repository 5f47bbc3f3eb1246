/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The XDP program of the short cut on one interface (bpf/flow.bpf.c): loading, attaching, its maps.
 * The programs of several interfaces share flows and slots; each has its own sockets.
 *
 * Loading needs CAP_BPF and CAP_NET_ADMIN; everything after it works without (spec §14). Nothing is
 * pinned: with the last descriptor all of it is gone, however the process ended.
 */
#ifndef DAEMON_NET_BPF_H
#define DAEMON_NET_BPF_H

#include <stddef.h>
#include <stdint.h>

#include "abi/flow_abi.h"

struct bpf_flow;

struct bpf_flow_params {
	unsigned int max_flows;       /* slots */
	const struct bpf_flow *share; /* whose flows and slots these are too; NULL: new ones */
	char *log; /* what the kernel's verifier says when it refuses; may be NULL */
	size_t log_len;
};

/*
 * Makes the maps and loads the program. Before any thread is started. On failure a negative errno,
 * and *ret_why is a sentence for the operator: -EPERM (no privilege), -EOPNOTSUPP (a kernel without
 * something that it needs), -ENOMEM …
 */
[[nodiscard]] int bpf_flow_load(const struct bpf_flow_params *params, struct bpf_flow **ret,
				const char **ret_why);
/* Takes the program off its interface. Accepts NULL. Who shares its maps may live on. */
void bpf_flow_free(struct bpf_flow *f);

/*
 * Puts the program on an interface, in the driver and never in the generic place, where bursts
 * arrive as one frame. On failure as above: -EBUSY (another program is there already),
 * -EOPNOTSUPP (the driver can't), -ERANGE (its MTU is too large for that), -ENODEV, -EALREADY.
 */
[[nodiscard]] int bpf_flow_attach(struct bpf_flow *f, unsigned int ifindex, const char **ret_why);
/* Also when its interface has gone. Harmless on one that isn't attached. */
void bpf_flow_detach(struct bpf_flow *f);
/* Where it is attached; 0: nowhere, or the interface has been deleted. */
unsigned int bpf_flow_ifindex(const struct bpf_flow *f);

/* Enters or changes a flow, as a whole for the program's eyes: 0 or -E2BIG. Any thread. */
[[nodiscard]] int bpf_flow_set(struct bpf_flow *f, const struct adit_flow_key *key,
			       const struct adit_flow_val *val);
/* 0 or -ENOENT. Any thread. */
int bpf_flow_remove(struct bpf_flow *f, const struct adit_flow_key *key);
/*
 * Names the AF_XDP socket that takes a worker's flows on a queue; it leaves by itself when it is
 * closed. 0, -EINVAL (no such queue or worker), or what the kernel said.
 */
[[nodiscard]] int bpf_flow_set_socket(struct bpf_flow *f, unsigned int worker, unsigned int queue,
				      int fd);

/* Frames of a slot that passed in FLOW_STATE_PROBE. Any thread. */
uint64_t bpf_flow_probes(const struct bpf_flow *f, uint32_t slot);
/* What became of frames with UDP (FLOW_VERDICT_…), all processors together. */
[[nodiscard]] int bpf_flow_verdicts(const struct bpf_flow *f, uint64_t ret[FLOW_VERDICTS]);
const char *bpf_flow_verdict_name(unsigned int verdict);

/* The program itself, for BPF_PROG_TEST_RUN. Borrowed. */
int bpf_flow_prog_fd(const struct bpf_flow *f);

#endif
