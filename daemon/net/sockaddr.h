/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between our address values and the kernel's.
 */
#ifndef DAEMON_NET_SOCKADDR_H
#define DAEMON_NET_SOCKADDR_H

#include <sys/socket.h>

#include "util/addr.h"

/* Fills ret and returns its length. addr->ip.family must not be NONE. */
socklen_t sockaddr_from_ip_port(const struct ip_port *addr, struct sockaddr_storage *ret);
/* The same for a socket of the given family: on an IPv6 one IPv4 addresses become mapped. */
socklen_t sockaddr_for_family(const struct ip_port *addr, enum ip_family socket_family,
			      struct sockaddr_storage *ret);
/* -EAFNOSUPPORT for other families; IPv4-mapped addresses come out as IPv4. */
[[nodiscard]] int sockaddr_to_ip_port(const struct sockaddr *sa, socklen_t len,
				      struct ip_port *ret);

#endif
