/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bent path between two UDP ends in the same thread.
 */
#include "selftests/lib/udp_relay.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/cleanup.h"

enum { BURST = 256, BUFFER = 4 * 1024 * 1024 };

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int r = bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	assert(fd >= 0 && r == 0);
	int size = BUFFER;
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

static void connect_back(struct udp_relay *r, const struct sockaddr_in *server)
{
	r->back = open_socket();
	int n = connect(r->back, (const struct sockaddr *)server, sizeof(*server));
	assert(n == 0);
}

void udp_relay_init(struct udp_relay *r, const struct ip_port *server, struct ip_port *ret_addr)
{
	*r = (struct udp_relay){};
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(server->port) };
	memcpy(&sa.sin_addr, server->ip.bytes, 4);
	connect_back(r, &sa);
	r->front = open_socket();
	socklen_t len = sizeof(sa);
	int n = getsockname(r->front, (struct sockaddr *)&sa, &len);
	assert(n == 0);
	*ret_addr = *server;
	ret_addr->port = ntohs(sa.sin_port);
}

void udp_relay_done(struct udp_relay *r)
{
	r->front = fd_close(r->front);
	r->back = fd_close(r->back);
}

void udp_relay_rebind(struct udp_relay *r)
{
	struct sockaddr_in server;
	socklen_t len = sizeof(server);
	int n = getpeername(r->back, (struct sockaddr *)&server, &len);
	assert(n == 0);
	(void)fd_close(r->back);
	connect_back(r, &server);
}

static bool is_lost(struct udp_relay *r, size_t len)
{
	r->count++;
	bool lost = r->is_cut || (r->max_len && len > r->max_len) ||
		    (r->lose_one_in && r->count % r->lose_one_in == 0);
	r->dropped += lost;
	return lost;
}

void udp_relay_run(struct udp_relay *r)
{
	uint8_t buf[65536];
	for (int i = 0; i < BURST; i++) {
		socklen_t len = sizeof(r->client);
		ssize_t n = recvfrom(r->front, buf, sizeof(buf), 0, (struct sockaddr *)&r->client,
				     &len);
		if (n < 0)
			break;
		if ((size_t)n > r->longest)
			r->longest = (size_t)n;
		if (!is_lost(r, (size_t)n))
			(void)send(r->back, buf, (size_t)n, MSG_NOSIGNAL);
	}
	for (int i = 0; i < BURST; i++) {
		ssize_t n = recv(r->back, buf, sizeof(buf), 0);
		if (n < 0)
			break;
		if (!is_lost(r, (size_t)n))
			(void)sendto(r->front, buf, (size_t)n, MSG_NOSIGNAL,
				     (struct sockaddr *)&r->client, sizeof(r->client));
	}
}
