/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which socket of an address (SO_REUSEPORT) gets a QUIC packet, by a program that the kernel runs
 * (bpf/steer.bpf.c): the one of the worker that its connection id names.
 *
 * Loading needs CAP_BPF; the program lives as long as the sockets, and nothing of it stays here.
 */
#ifndef DAEMON_NET_PORT_STEER_H
#define DAEMON_NET_PORT_STEER_H

/*
 * fds: of the workers in order, all bound to one address; no socket may be in a second group.
 * A socket that is closed leaves; its packets go to any of the others then. Returns 0; or a
 * negative errno and a sentence for the operator (static): the group is as it was.
 */
[[nodiscard]] int port_steer_attach(const int *fds, unsigned int count, const char **ret_why);

#endif
