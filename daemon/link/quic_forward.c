/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets that reached a worker which doesn't own them: handed on by mailbox, many in one message,
 * once. A message comes back to its sender empty, so that the sender knows how many are under way
 * and drops beyond that.
 */
#include <stdlib.h>
#include <string.h>

#include "daemon/link/quic_accept.h"
#include "daemon/link/quic_io.h"
#include "daemon/link/quic_path.h"
#include "daemon/net/sockaddr.h"

enum {
	FORWARD_PACKETS = 32,
	FORWARD_BYTES = 48 * 1024,
	FORWARD_MAX = 64, /* messages of a worker under way */
};

struct quic_forward {
	struct message message;
	struct quic_accept *from;
	struct quic_accept *to;
	unsigned int count;
	size_t used;
	struct {
		struct ip_port local, remote;
		size_t at, len;
		unsigned int listen;
		enum udp_ecn ecn;
	} packets[FORWARD_PACKETS];
	uint8_t bytes[FORWARD_BYTES];
};

static void discard(struct message *message)
{
	free(CONTAINER_OF(message, struct quic_forward, message));
}

static void on_return(struct message *message, void *owner)
{
	(void)owner;
	struct quic_forward *f = CONTAINER_OF(message, struct quic_forward, message);
	f->from->forwards--;
	free(f);
}

static void on_arrival(struct message *message, void *owner)
{
	(void)owner;
	struct quic_forward *f = CONTAINER_OF(message, struct quic_forward, message);
	for (unsigned int i = 0; i < f->count && f->to->is_running; i++) {
		struct quic_path path;
		quic_path_make(&f->packets[i].local, &f->packets[i].remote, &path);
		const struct quic_packet packet = {
			.sock = f->to->socks[f->packets[i].listen],
			.path = &path.path,
			.bytes = span_of(f->bytes + f->packets[i].at, f->packets[i].len),
			.ecn = f->packets[i].ecn,
		};
		quic_accept_forwarded(f->to, &packet);
	}
	f->message.on_deliver = on_return;
	mailbox_post(f->from->qw->worker->mailbox, &f->message);
}

static void post(struct quic_accept *a, unsigned int to)
{
	struct quic_forward *f = a->building[to];
	a->building[to] = NULL;
	mailbox_post(f->to->qw->worker->mailbox, &f->message);
}

static struct quic_forward *get(struct quic_accept *a, unsigned int to, size_t len)
{
	struct quic_forward *f = a->building[to];
	if (f && (f->count == FORWARD_PACKETS || len > FORWARD_BYTES - f->used)) {
		post(a, to);
		f = NULL;
	}
	if (f || a->forwards >= FORWARD_MAX)
		return f;
	f = malloc(sizeof(*f));
	if (!f)
		return NULL;
	f->message = (struct message){ .on_deliver = on_arrival, .on_discard = discard };
	f->from = a;
	f->to = a->server->accepts[to];
	f->count = 0;
	f->used = 0;
	a->forwards++;
	a->building[to] = f;
	return f;
}

void quic_forward_packet(struct quic_accept *a, unsigned int to, const struct quic_packet *packet)
{
	struct span bytes = packet->bytes;
	const ngtcp2_path *path = packet->path;
	struct quic_forward *f = bytes.len <= FORWARD_BYTES ? get(a, to, bytes.len) : NULL;
	struct ip_port local, remote;
	if (!f || sockaddr_to_ip_port(path->local.addr, path->local.addrlen, &local) < 0 ||
	    sockaddr_to_ip_port(path->remote.addr, path->remote.addrlen, &remote) < 0) {
		quic_count(&a->counters.dropped_forward, 1);
		return;
	}
	f->packets[f->count].local = local;
	f->packets[f->count].remote = remote;
	f->packets[f->count].at = f->used;
	f->packets[f->count].len = bytes.len;
	f->packets[f->count].listen = packet->sock->listen;
	f->packets[f->count].ecn = packet->ecn;
	memcpy(f->bytes + f->used, bytes.ptr, bytes.len);
	f->used += bytes.len;
	f->count++;
	quic_count(&a->counters.forwarded, 1);
}

void quic_forward_flush(struct quic_accept *a)
{
	for (unsigned int i = 0; i < a->server->worker_count; i++)
		if (a->building[i])
			post(a, i);
}
