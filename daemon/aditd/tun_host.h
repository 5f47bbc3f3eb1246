/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the routed mode ([datapath] tun) needs of this host: a TUN device with an address, which
 * makes the route to its prefix, and with `masquerade` an nft table. All of it is made before
 * privileges go, and ends with our descriptors, whatever ends the process.
 */
#ifndef DAEMON_ADITD_TUN_HOST_H
#define DAEMON_ADITD_TUN_HOST_H

#include "daemon/base/log.h"
#include "daemon/conf/conf.h"
#include "daemon/datapath/tun_plan.h"

struct tun_host;
struct tun_steer;

struct tun_host_params {
	const struct conf_datapath *conf; /* lives as long; tun is set */
	struct log *log;
	unsigned int worker_count;
	unsigned int max_flows; /* that the kernel is told the worker of */
};

/* Sets up and says what is in the way. Returns an exit code, and has logged why. */
int tun_host_open(const struct tun_host_params *params, struct tun_host **ret);
/* Accepts NULL. */
void tun_host_close(struct tun_host *h);

const struct tun_plan *tun_host_plan(const struct tun_host *h);
/* The queue of a worker, which the taker owns. */
int tun_host_take_queue(struct tun_host *h, unsigned int worker);
bool tun_host_has_bursts(const struct tun_host *h);
/* NULL: the kernel steers the queues by itself. */
const struct tun_steer *tun_host_steer(const struct tun_host *h);

/*
 * What is missing for packets to come through, as words (docs/operations.md): forwarding now, a
 * chain in the way at the start, and a way back as long as nothing has come by it.
 */
enum { TUN_LACK_MAX = 96 };
typedef int (*tun_lack_fn)(void *user, const char *lack);
struct tun_state {
	bool has_answers[2]; /* by IPv4, IPv6 */
	bool has_gone;       /* the device */
};
/* 0, or what take said. */
[[nodiscard]] int tun_host_lacks(const struct tun_host *h, const struct tun_state *state,
				 tun_lack_fn take, void *user);

#endif
