/* SPDX-License-Identifier: Apache-2.0 */
/*
 * QUIC links against one another over loopback in one thread.
 */
#include "selftests/lib/quic_pair.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selftests/lib/talk.h"
#include "util/macro.h"

#define NAME "quic.cftunnel.com"

enum { MEMORY = 64 * 1024 * 1024, RCVBUF = 4 * 1024 * 1024, FD_MAX = 512 };

/* ---- sinks --------------------------------------------------------------------------------- */

static void on_state(struct link *link, enum link_state state, void *user)
{
	struct pair_end *end = user;
	end->is_up |= state == LINK_STATE_UP;
	end->is_draining |= state == LINK_STATE_DRAINING;
	if (state == LINK_STATE_CLOSED) {
		assert(!end->is_closed);
		end->is_closed = true;
		end->info = link->close_info;
	}
}

static void on_stream(struct link *link, struct stream *stream, uint64_t id, void *user)
{
	(void)link;
	struct pair_end *end = user;
	if (end->on_stream) {
		end->on_stream(end, stream);
		return;
	}
	assert(end->stream_count < PAIR_STREAMS_MAX);
	end->ids[end->stream_count] = id;
	end->streams[end->stream_count++] = stream;
}

static void on_datagram(struct link *link, struct span payload, void *user)
{
	(void)link;
	struct pair_end *end = user;
	end->datagrams++;
	end->datagram_bytes += payload.len;
	end->datagram_len = MIN(payload.len, sizeof(end->datagram));
	if (end->datagram_len)
		memcpy(end->datagram, payload.ptr, end->datagram_len);
}

static const struct link_sink sink = {
	.on_state = on_state,
	.on_stream = on_stream,
	.on_datagram = on_datagram,
};

static void *on_link(struct link *link, void *arg)
{
	struct quic_pair *p = arg;
	assert(p->accepted_count < PAIR_LINKS_MAX);
	struct pair_end *end = calloc(1, sizeof(*end));
	assert(end);
	end->link = link;
	end->pair = p;
	end->on_stream = p->on_server_stream;
	p->accepted[p->accepted_count++] = end;
	return end;
}

/* ---- making -------------------------------------------------------------------------------- */

static void make_tls(struct quic_pair *p)
{
	(void)snprintf(p->dir, sizeof(p->dir), "/tmp/quic-pair.XXXXXX");
	bool is_made = mkdtemp(p->dir) != NULL;
	assert(is_made);
	p->ca = test_ca_new("adit test CA");
	p->cert = test_cert_new(&p->ca, "DNS:" NAME ",DNS:probe.cftunnel.com");

	char chain[128], key[128];
	(void)snprintf(chain, sizeof(chain), "%s/chain.pem", p->dir);
	(void)snprintf(key, sizeof(key), "%s/key.pem", p->dir);
	test_cert_write(chain, &p->cert, &p->ca, false);
	test_cert_write_key(key, &p->cert);
	p->trust = (struct tls_trust){ .has_pin = true };
	test_cert_pin(&p->ca, p->trust.pin);
	const char *reason = NULL;
	int r = tlsctx_new_tunnel_server(chain, key, &p->server_tls, &reason);
	assert(r == 0);
	r = tlsctx_new_tunnel_client(&p->trust, TLS_PQ_PREFER, &p->client_tls, &reason);
	assert(r == 0);
	(void)unlink(chain);
	(void)unlink(key);
	(void)rmdir(p->dir);
}

static const struct quic_settings defaults = {
	.idle_timeout = 60 * NSEC_PER_SEC,
	.handshake_timeout = 5 * NSEC_PER_SEC,
	.max_streams = 16384,
	.stream_window = 64 * 1024,
	.stream_window_max = 6 * 1024 * 1024,
	.link_window_max = 30 * 1024 * 1024,
	.send_queue_max = 1024 * 1024,
	.use_ecn = true,
	.keylog_fd = -EBADF,
	.rcvbuf = RCVBUF,
	.sndbuf = RCVBUF,
};

void pair_init(struct quic_pair *p, unsigned int workers)
{
	*p = (struct quic_pair){ .worker_count = workers };
	p->server_memory = MEMORY;
	p->server_name = NAME;
	p->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert(workers <= PAIR_WORKERS_MAX);
	make_tls(p);
	p->client_settings = defaults;
	p->server_settings = defaults;
	memset(p->key, 0x5a, sizeof(p->key));
	p->addr = (struct ip_port){ .ip = { .family = IP_FAMILY_V4, .bytes = { 127, 0, 0, 1 } } };
	p->params = (struct quic_server_params){
		.listen_count = 1,
		.tls = p->server_tls,
		.key = p->key,
		.max_unregistered = 1024,
		.max_unregistered_per_addr = 16,
		.register_timeout = 5 * NSEC_PER_SEC,
	};
}

static void start_server(struct quic_pair *p)
{
	const struct worker_params wp = { .count = p->worker_count, .memory = p->server_memory };
	int r = worker_set_new(&wp, &p->server_set);
	assert(r == 0);
	for (unsigned int i = 0; i < p->worker_count; i++) {
		r = quic_worker_new(worker_set_get(p->server_set, i), &p->server_settings,
				    &p->server_qws[i]);
		assert(r == 0);
	}
	p->params.listen = &p->addr;
	r = quic_server_new(&p->params, p->server_qws, p->worker_count, &p->server);
	assert(r == 0);
	quic_server_addr(p->server, 0, &p->addr);
	for (unsigned int i = 0; i < p->worker_count; i++) {
		r = quic_server_start(p->server, worker_set_get(p->server_set, i), &sink, on_link,
				      p);
		assert(r == 0);
	}
	p->is_server_gone = false;
}

void pair_start(struct quic_pair *p)
{
	const struct worker_params wp = { .count = 1, .memory = MEMORY };
	int r = worker_set_new(&wp, &p->set);
	assert(r == 0);
	r = quic_worker_new(worker_set_get(p->set, 0), &p->client_settings, &p->client_qw);
	assert(r == 0);
	start_server(p);
}

void pair_end_free(struct pair_end *end)
{
	for (unsigned int i = 0; i < end->stream_count; i++)
		stream_close(end->streams[i]);
	end->stream_count = 0;
	link_free(end->link);
	end->link = NULL;
}

static void stop_server(struct quic_pair *p)
{
	for (unsigned int i = 0; i < p->accepted_count; i++) {
		pair_end_free(p->accepted[i]);
		free(p->accepted[i]);
	}
	p->accepted_count = 0;
	for (unsigned int i = 0; i < p->worker_count; i++)
		quic_server_stop(p->server, worker_set_get(p->server_set, i));
	quic_server_free(p->server);
	for (unsigned int i = 0; i < p->worker_count; i++)
		quic_worker_free(p->server_qws[i]);
	worker_set_free(p->server_set);
	p->is_server_gone = true;
}

/* Nothing that the server says on its way out leaves: its sockets can't send any more. */
void pair_kill_server(struct quic_pair *p)
{
	for (int fd = 3; fd < FD_MAX; fd++) {
		struct sockaddr_in sa = {};
		socklen_t len = sizeof(sa);
		if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0 &&
		    sa.sin_family == AF_INET && ntohs(sa.sin_port) == p->addr.port)
			(void)dup2(p->null_fd, fd);
	}
	stop_server(p);
}

void pair_restart_server(struct quic_pair *p)
{
	start_server(p);
}

void pair_done(struct quic_pair *p)
{
	pair_end_free(&p->client);
	if (!p->is_server_gone)
		stop_server(p);
	quic_worker_free(p->client_qw);
	worker_set_free(p->set);
	pair_done_tls(p);
}

void pair_done_tls(struct quic_pair *p)
{
	(void)close(p->null_fd);
	SSL_CTX_free(p->client_tls);
	SSL_CTX_free(p->server_tls);
	test_cert_free(&p->cert);
	test_cert_free(&p->ca);
}

/* ---- running ------------------------------------------------------------------------------- */

void pair_turn(struct quic_pair *p)
{
	if (p->on_turn)
		p->on_turn(p->turn_arg);
	/* The first one waits a little when all are idle; the others only look. */
	int r = loop_turn(worker_set_get(p->set, 0)->loop, NSEC_PER_MSEC / 4);
	assert(r == 0);
	for (unsigned int i = 0; i < p->worker_count && !p->is_server_gone; i++) {
		r = loop_turn(worker_set_get(p->server_set, i)->loop, 0);
		assert(r == 0);
	}
}

nsec_t pair_patience(unsigned int msec)
{
	const char *slow = getenv("ADIT_SLOW");
	unsigned long times = slow ? strtoul(slow, NULL, 10) : 1;
	return msec * NSEC_PER_MSEC * MAX(times, 1UL);
}

bool pair_until(struct quic_pair *p, bool (*check)(void *arg), void *arg, unsigned int msec)
{
	nsec_t deadline = nsec_clock(CLOCK_MONOTONIC) + pair_patience(msec);
	while (!check(arg)) {
		if (nsec_clock(CLOCK_MONOTONIC) > deadline)
			return false;
		pair_turn(p);
	}
	return true;
}

void pair_run(struct quic_pair *p, unsigned int msec)
{
	nsec_t left = msec * NSEC_PER_MSEC;
	while (left > 0) {
		nsec_t begun = nsec_clock(CLOCK_MONOTONIC);
		pair_turn(p);
		nsec_t took = nsec_clock(CLOCK_MONOTONIC) - begun;
		left = nsec_sub(left, MIN(took, NSEC_PER_MSEC));
	}
}

int pair_dial(struct quic_pair *p, struct pair_end *end)
{
	const struct quic_dial dial = {
		.peer = p->relay.ip.family ? p->relay : p->addr,
		.tls = p->client_tls,
		.trust = &p->trust,
		.server_name = p->server_name,
	};
	end->pair = p;
	return quic_dial(p->client_qw, &dial, &sink, end, &end->link);
}

static bool are_up(void *arg)
{
	const struct quic_pair *p = arg;
	return p->client.is_up && p->accepted_count && p->accepted[0]->is_up;
}

void pair_connect(struct quic_pair *p)
{
	int r = pair_dial(p, &p->client);
	assert(r == 0);
	bool is_ok = pair_until(p, are_up, p, 5000);
	assert(is_ok);
	link_set_registered(p->accepted[0]->link);
}

struct stream *pair_open_stream(struct link *link)
{
	struct stream *s = NULL;
	int r = link_open_stream(link, &s);
	assert(r == 0);
	(void)r;
	return s;
}

struct wanted {
	const struct quic_pair *pair;
	unsigned int count;
};

static bool has_streams(void *arg)
{
	const struct wanted *w = arg;
	return w->pair->accepted[0]->stream_count >= w->count;
}

void pair_wait_streams(struct quic_pair *p, unsigned int count)
{
	struct wanted w = { p, count };
	bool is_done = pair_until(p, has_streams, &w, 2000);
	assert(is_done);
	(void)is_done;
}

bool pair_has_read(void *arg)
{
	struct pair_reading *r = arg;
	r->ret = talk_read(r->s, r->buf, sizeof(r->buf));
	return r->ret != -EAGAIN;
}

ssize_t pair_read_one(struct quic_pair *p, struct stream *s, struct pair_reading *r)
{
	r->s = s;
	bool is_done = pair_until(p, pair_has_read, r, 2000);
	assert(is_done);
	(void)is_done;
	return r->ret;
}
