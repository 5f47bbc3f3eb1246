/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which queue of a TUN device a flow's packets go to (bpf/steer.bpf.c). Without it the kernel
 * learns from what is written on a queue, and forgets after three silent seconds.
 *
 * Loading needs CAP_BPF; afterwards nothing does.
 */
#ifndef DAEMON_NET_TUN_STEER_H
#define DAEMON_NET_TUN_STEER_H

#include "util/addr.h"

struct tun_steer;

/* The packets of a flow as they are read. */
struct tun_flow {
	struct ip_port src;
	struct ip_port dst;
	uint8_t protocol; /* of IP; ports are 0 other than in UDP */
};

/* max_flows: beyond it the ones that were silent longest are forgotten. 0; on failure a negative
 * errno and a sentence for the operator (static). */
[[nodiscard]] int tun_steer_new(unsigned int max_flows, struct tun_steer **ret,
				const char **ret_why);
/* Accepts NULL. The device keeps what it has. */
void tun_steer_free(struct tun_steer *s);
/* For the device of this queue. 0 or what the kernel said. */
[[nodiscard]] int tun_steer_attach(const struct tun_steer *s, int fd);

/* From now on a flow goes to this queue. 0 or what the kernel said. Any thread. */
int tun_steer_set(const struct tun_steer *s, const struct tun_flow *flow, unsigned int queue);
/* … by its hash again. Any thread. */
void tun_steer_remove(const struct tun_steer *s, const struct tun_flow *flow);

/* The program itself, for BPF_PROG_TEST_RUN. Borrowed. */
int tun_steer_prog_fd(const struct tun_steer *s);

#endif
