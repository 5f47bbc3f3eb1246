/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between our address values and the kernel's. IPv4-mapped addresses exist only in the kernel: on
 * our side an IPv4 peer is an IPv4 peer whatever socket it came through.
 */
#include "daemon/net/sockaddr.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>

static socklen_t fill_v6(const struct ip_port *addr, struct sockaddr_storage *ret)
{
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(addr->port),
		.sin6_scope_id = addr->scope,
	};
	ip_addr_to_mapped(&addr->ip, sin6.sin6_addr.s6_addr);
	memcpy(ret, &sin6, sizeof(sin6));
	return sizeof(sin6);
}

socklen_t sockaddr_from_ip_port(const struct ip_port *addr, struct sockaddr_storage *ret)
{
	assert(addr->ip.family != IP_FAMILY_NONE);
	if (addr->ip.family == IP_FAMILY_V6)
		return fill_v6(addr, ret);

	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(addr->port) };
	memcpy(&sin.sin_addr, addr->ip.bytes, 4);
	memcpy(ret, &sin, sizeof(sin));
	return sizeof(sin);
}

socklen_t sockaddr_for_family(const struct ip_port *addr, enum ip_family socket_family,
			      struct sockaddr_storage *ret)
{
	if (socket_family == IP_FAMILY_V6)
		return fill_v6(addr, ret);
	return sockaddr_from_ip_port(addr, ret);
}

int sockaddr_to_ip_port(const struct sockaddr *sa, socklen_t len, struct ip_port *ret)
{
	struct ip_port p = {};

	if (len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
		struct sockaddr_in sin;
		memcpy(&sin, sa, sizeof(sin));
		p.ip = ip_addr_from(IP_FAMILY_V4, &sin.sin_addr);
		p.port = ntohs(sin.sin_port);
	} else if (len >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
		struct sockaddr_in6 sin6;
		memcpy(&sin6, sa, sizeof(sin6));
		p.ip = ip_addr_unmap(ip_addr_from(IP_FAMILY_V6, &sin6.sin6_addr));
		p.port = ntohs(sin6.sin6_port);
		p.scope = p.ip.family == IP_FAMILY_V6 ? sin6.sin6_scope_id : 0;
	} else {
		return -EAFNOSUPPORT;
	}
	*ret = p;
	return 0;
}
