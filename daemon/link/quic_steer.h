/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How packets find the worker that owns them (spec §5): which help of the kernel there is. Private
 * to the QUIC transport.
 */
#ifndef DAEMON_LINK_QUIC_STEER_H
#define DAEMON_LINK_QUIC_STEER_H

#include "daemon/base/log.h"
#include "daemon/link/quic.h"

/*
 * Steers the sockets of one address, of each worker in order, and logs how: by a classic filter,
 * which takes no privilege; where that is refused by a program, which takes CAP_BPF; where that is,
 * too, not at all. fds: borrowed for the call. Before privileges are dropped.
 */
enum quic_steering quic_steer(const int *fds, unsigned int workers, const struct ip_port *addr,
			      const struct log *log);

#endif
