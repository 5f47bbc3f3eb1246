/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP/2 transport: from a TCP connection to a link and back. It is UP when the control stream
 * is there, because without one nothing can be said; whoever keeps us waiting for it has a
 * deadline.
 *
 * TCP tells nobody that the other end has gone. Two things do: a PING after silence, and the
 * kernel's count of bytes that were acknowledged, looked at while something waits (spec §6).
 */
#include "daemon/link/h2link.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/flow/stream_io.h"
#include "daemon/link/close.h"
#include "daemon/link/h2call.h"
#include "daemon/link/h2link_priv.h"
#include "daemon/net/outproxy.h"
#include "daemon/net/sockaddr.h"
#include "util/cleanup.h"

enum {
	SCRATCH_LEN = 512 * 1024, /* a head of 64 KiB in both forms, base64 and all */
	UNSENT_MAX = 256 * 1024,  /* bytes that the kernel holds and has not sent */
};
#define SILENCE    (2 * NSEC_PER_SEC)    /* bytes may wait so long for the peer's kernel */
#define WATCH_BUSY (500 * NSEC_PER_MSEC) /* looks so often while something is going on */
#define WATCH_HOPE (100 * NSEC_PER_MSEC) /* while the peer is suspect */
#define PROBE_NAME "probe.cftunnel.com"

const struct h2link_settings h2link_settings_default = {
	.h2 = {
		.max_streams = 16384,
		.stream_window = 64 * 1024,
		.stream_window_max = 6 * 1024 * 1024,
		.conn_window = 768 * 1024,
		.conn_window_max = 30 * 1024 * 1024,
		.send_queue_max = (size_t)1024 * 1024,
		.field_max = 200,
		.head_max = (size_t)64 * 1024,
		.line_max = (size_t)16 * 1024,
		.trailer_max = (size_t)16 * 1024,
		.trailer_field_max = 100,
	},
	.connect_timeout = 4 * NSEC_PER_SEC,
	.handshake_timeout = 5 * NSEC_PER_SEC,
	.open_timeout = 5 * NSEC_PER_SEC,
	.keep_alive = 15 * NSEC_PER_SEC,
	.pong_timeout = 10 * NSEC_PER_SEC,
};

static struct h2link *h2link_of(struct link *link)
{
	return (struct h2link *)link;
}

static struct loop *loop_of(const struct h2link *link)
{
	return link->base.worker->loop;
}

/* ---- the end ------------------------------------------------------------------------------- */

static void release(struct loop_garbage *garbage)
{
	struct h2link *link = CONTAINER_OF(garbage, struct h2link, garbage);
	free(link->scratch);
	free(link);
}

/* Lets the connection go; calls that users still hold are told. */
static void drop_connection(struct h2link *link)
{
	if (link->control) /* nobody has taken it */
		stream_close(h2call_stream(TAKE_PTR(link->control)));
	h2call_lose_all(link);
	outproxy_cancel(TAKE_PTR(link->proxy));
	SSL_free(TAKE_PTR(link->ssl));
	h2_free(TAKE_PTR(link->h2));
	stream_close(TAKE_PTR(link->io));
	link->fd = -EBADF;
	timer_stop(&link->deadline);
	timer_stop(&link->watch);
}

static void on_closed_task(struct loop_task *task)
{
	struct h2link *link = CONTAINER_OF(task, struct h2link, closed);
	drop_connection(link);
	(void)link_step(&link->base, LINK_EVENT_END);
}

void h2link_end(struct h2link *link, enum link_end end, int error, const char *reason)
{
	if (link->is_closing)
		return;
	link->is_closing = true;
	link->base.close_info.end = end;
	link->base.close_info.error = error;
	link_reason_copy(link->base.close_info.reason, sizeof(link->base.close_info.reason),
			 span_str(reason));
	loop_task_post(loop_of(link), &link->closed, LOOP_PHASE_WORK);
}

static void on_deadline(struct timer *timer)
{
	struct h2link *link = CONTAINER_OF(timer, struct h2link, deadline);
	const char *reason = "no registration in time";
	if (!link->h2)
		reason = "no TLS connection in time";
	else if (!link->has_control)
		reason = "no control stream in time";
	if (link->h2)
		h2_close(link->h2, H2_CODE_NO_ERROR, reason);
	h2link_end(link, LINK_END_HANDSHAKE, -ETIMEDOUT, reason);
}

static void set_deadline(struct h2link *link, nsec_t wait)
{
	timer_start(loop_of(link), &link->deadline, nsec_add(loop_now(loop_of(link)), wait));
}

/* ---- liveness ------------------------------------------------------------------------------ */

static void watch_in(struct h2link *link, nsec_t wait)
{
	timer_start(loop_of(link), &link->watch, nsec_add(loop_now(loop_of(link)), wait));
}

void h2link_watch(struct h2link *link)
{
	nsec_t soon = nsec_add(loop_now(loop_of(link)), WATCH_BUSY);
	if (!link->is_closing && link->h2 &&
	    (!timer_is_armed(&link->watch) || link->watch.at > soon))
		timer_start(loop_of(link), &link->watch, soon);
}

static void ask(struct h2link *link, nsec_t now)
{
	if (link->asked)
		return;
	link->asked = now;
	h2_ping(link->h2);
}

/* Whether bytes of ours wait for the peer's kernel, and since when nothing has moved. */
static bool look_at_kernel(struct h2link *link, nsec_t now)
{
	struct tcp_info info = {};
	socklen_t len = sizeof(info);
	if (getsockopt(link->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return false;
	bool is_waiting = info.tcpi_unacked > 0;
	if (!is_waiting || info.tcpi_bytes_acked != link->acked || !link->stuck_since)
		link->stuck_since = is_waiting ? now : 0;
	link->acked = info.tcpi_bytes_acked;
	return is_waiting;
}

static void become_suspect(struct h2link *link)
{
	if (link->base.suspicion || link->base.state < LINK_STATE_UP)
		return;
	link->suspicions++;
	link->base.suspicion = LINK_SUSPICION_SILENT;
	(void)link_step(&link->base, LINK_EVENT_SUSPECT);
}

static void become_heard(struct h2link *link)
{
	if (!link->base.suspicion)
		return;
	link->base.suspicion = LINK_SUSPICION_NONE;
	(void)link_step(&link->base, LINK_EVENT_HEARD);
}

static void on_watch(struct timer *timer)
{
	struct h2link *link = CONTAINER_OF(timer, struct h2link, watch);
	const struct h2link_settings *set = link->settings;
	nsec_t now = loop_now(loop_of(link));
	struct h2_stats stats;
	h2_get_stats(link->h2, &stats);
	bool is_waiting = look_at_kernel(link, now);
	if (link->asked && stats.heard > link->asked)
		link->asked = 0;
	/* A daemon behind a NAT that has forgotten it opens the way by its own keep-alive. */
	nsec_t patience = set->pong_timeout;
	if (link->base.role == LINK_ROLE_SERVER)
		patience = MAX(patience, nsec_add(set->keep_alive, SILENCE));
	if (link->asked && now >= link->asked + patience) {
		/* Not NO_ERROR, which says that we are going away: if it wakes up it may come back.
		 */
		h2_close(link->h2, H2_CODE_INTERNAL_ERROR, "no answer to PING");
		h2link_end(link, LINK_END_IDLE, -ETIMEDOUT, "no answer to PING");
		return;
	}
	if (link->stuck_since && now >= link->stuck_since + SILENCE)
		become_suspect(link);
	else if (!link->stuck_since || link->stuck_since == now)
		become_heard(link);
	/* Whoever accepted gives the other a little longer, or two PINGs would always cross. */
	nsec_t idle_at = nsec_add(stats.heard, set->keep_alive);
	if (link->base.role == LINK_ROLE_SERVER)
		idle_at = nsec_add(idle_at, SILENCE);
	if (now >= idle_at)
		ask(link, now);
	if (link->base.suspicion)
		watch_in(link, WATCH_HOPE);
	else if (is_waiting || link->asked || stats.running > 0 || stats.has_unsent)
		watch_in(link, WATCH_BUSY);
	else
		timer_start(loop_of(link), timer, MAX(idle_at, now + WATCH_BUSY));
}

/* ---- what HTTP/2 says ---------------------------------------------------------------------- */

static void come_up(struct h2link *link)
{
	link->since = loop_now(loop_of(link));
	if (link->base.role == LINK_ROLE_CLIENT || link->is_registered)
		timer_stop(&link->deadline);
	h2link_watch(link);
	(void)link_step(&link->base, LINK_EVENT_HANDSHAKE_DONE);
}

void h2link_control_opened(struct h2link *link, struct h2call *call)
{
	link->has_control = true;
	link->control = call;
	come_up(link);
}

/* The edge opens the control stream for the daemon, who will speak first. */
static void on_open(struct h2_conn *c, void *user)
{
	(void)c;
	struct h2link *link = user;
	struct stream *control = NULL;
	if (link->base.role == LINK_ROLE_CLIENT || link->is_closing || link->has_control)
		return;
	if (h2call_open_control(link, &control) < 0) {
		h2_close(link->h2, H2_CODE_INTERNAL_ERROR, "no memory");
		return;
	}
	link->has_control = true;
	come_up(link);
	if (link->base.sink)
		link->base.sink->on_stream(&link->base, control, 0, link->base.user);
	else
		stream_close(control);
}

static void on_request(struct h2_conn *c, struct stream *s, const struct h2_request *request,
		       void *user)
{
	(void)c;
	struct h2link *link = user;
	h2link_watch(link);
	h2call_accept(link, s, request);
}

static void on_response(struct h2_conn *c, struct stream *s, const struct h2_head *head,
			bool is_end, void *user)
{
	(void)c;
	(void)user;
	h2call_answered(s, head, is_end);
}

/* The peer will open (edge) or take (daemon) no more streams. */
static void on_goaway(struct h2_conn *c, void *user)
{
	(void)c;
	struct h2link *link = user;
	link->is_away = true;
	if (link->base.role == LINK_ROLE_CLIENT)
		h2call_end_control(link);
	else
		(void)link_step(&link->base, LINK_EVENT_DRAIN);
}

static void on_pong(struct h2_conn *c, void *user)
{
	(void)c;
	struct h2link *link = user;
	link->asked = 0;
	become_heard(link);
}

static void on_h2_closed(struct h2_conn *c, enum h2_end end, uint32_t code, const char *reason,
			 void *user)
{
	(void)c;
	struct h2link *link = user;
	static const enum link_end ends[] = {
		[H2_END_LOCAL] = LINK_END_LOCAL,
		[H2_END_PEER] = LINK_END_PEER,
		[H2_END_LOST] = LINK_END_NETWORK,
		[H2_END_PROTOCOL] = LINK_END_PROTOCOL,
	};
	if (!link->is_closing)
		link->base.close_info.code = code;
	h2link_end(link, ends[end], 0, reason);
}

static const struct h2_events h2_events = {
	.on_open = on_open,
	.on_request = on_request,
	.on_response = on_response,
	.on_goaway = on_goaway,
	.on_pong = on_pong,
	.on_closed = on_h2_closed,
};

/* ---- TCP and TLS --------------------------------------------------------------------------- */

static void describe(struct h2link *link)
{
	SSL *ssl = stream_io_ssl(link->io);
	const char *group = SSL_get0_group_name(ssl);
	(void)snprintf(link->group, sizeof(link->group), "%s", group ? group : "");
	(void)snprintf(link->cipher, sizeof(link->cipher), "%s",
		       SSL_CIPHER_get_name(SSL_get_current_cipher(ssl)));
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	if (getsockname(link->fd, (struct sockaddr *)&sa, &len) == 0)
		(void)sockaddr_to_ip_port((struct sockaddr *)&sa, len, &link->local);
}

static enum link_end end_of_open(int error)
{
	if (error == -EPERM)
		return LINK_END_CERTIFICATE;
	if (error == -EPROTO)
		return LINK_END_HANDSHAKE;
	return link_end_of_error(error);
}

/* Who only looks whether we are there is let go without a word. */
static bool is_probe(const struct h2link *link)
{
	const char *name = SSL_get_servername(stream_io_ssl(link->io), TLSEXT_NAMETYPE_host_name);
	return link->base.role == LINK_ROLE_SERVER && name &&
	       span_eq_str(span_str(name), PROBE_NAME);
}

static void on_tls_open(struct stream *s, int error, void *user)
{
	struct h2link *link = user;
	if (link->is_closing)
		return;
	if (error < 0) {
		const char *words = stream_io_tls_error(s);
		h2link_end(link, end_of_open(error), error,
			   words[0] ? words : strerrordesc_np(-error));
		return;
	}
	describe(link);
	if (is_probe(link)) {
		h2link_end(link, LINK_END_PEER, 0, "only looked");
		return;
	}
	bool is_client = link->base.role == LINK_ROLE_CLIENT;
	struct h2_params params = {
		.role = is_client ? H2_ROLE_SERVER : H2_ROLE_CLIENT,
		.below = TAKE_PTR(link->io),
		.settings = &link->settings->h2,
		.events = &h2_events,
		.user = link,
	};
	if (h2_new(loop_of(link), link->base.worker->slab, &params, &link->h2) < 0)
		h2link_end(link, LINK_END_PROTOCOL, -ENOMEM, "no memory");
	else if (is_client)
		set_deadline(link, link->settings->open_timeout);
}

/* What is urgent stands behind what the kernel has; so that has little that it can't send. */
static void limit_unsent(int fd)
{
	int most = UNSENT_MAX;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most));
}

static int start_tls(struct h2link *link, int fd_take, SSL *ssl_take)
{
	struct worker *w = link->base.worker;
	limit_unsent(fd_take);
	int r = stream_io_new(w->loop, w->slab, fd_take, ssl_take, &link->io);
	if (r < 0)
		return r;
	link->fd = fd_take;
	stream_io_on_open(link->io, on_tls_open, link);
	return 0;
}

/* ---- operations ---------------------------------------------------------------------------- */

static int op_open_stream(struct link *base, struct stream **ret)
{
	struct h2link *link = h2link_of(base);
	if (link->is_closing || !link->h2 || link->is_away || link->is_draining)
		return -EPROTO;
	h2link_watch(link);
	if (base->role == LINK_ROLE_SERVER)
		return h2call_new(link, ret);
	/* A daemon opens nothing; the stream that it speaks first on was opened for it. */
	if (!link->control)
		return -EAGAIN;
	*ret = h2call_stream(TAKE_PTR(link->control));
	return 0;
}

static int op_send_datagram(struct link *base, enum datagram_kind kind, struct span payload)
{
	(void)base;
	(void)kind;
	(void)payload;
	return -EMSGSIZE; /* this transport has none */
}

static size_t op_max_datagram(const struct link *base)
{
	(void)base;
	return 0;
}

static void op_probe(struct link *base)
{
	struct h2link *link = h2link_of(base);
	if (link->is_closing || !link->h2 || !link_is_up(base))
		return;
	ask(link, loop_now(loop_of(link)));
	h2link_watch(link);
}

static void op_drain(struct link *base)
{
	struct h2link *link = h2link_of(base);
	if (link->is_draining || link->is_closing)
		return;
	link->is_draining = true;
	if (!link->h2) {
		h2link_end(link, LINK_END_LOCAL, 0, "");
		return;
	}
	(void)link_step(base, LINK_EVENT_DRAIN);
	h2_drain(link->h2);
}

static void op_close(struct link *base, uint64_t code, const char *reason)
{
	struct h2link *link = h2link_of(base);
	if (link->is_closing)
		return;
	base->close_info.code = code;
	if (link->h2)
		h2_close(link->h2, H2_CODE_NO_ERROR, reason);
	else
		h2link_end(link, LINK_END_LOCAL, 0, reason);
}

static int op_migrate(struct link *base)
{
	(void)base;
	return -EOPNOTSUPP; /* a TCP connection stays where it is */
}

static void op_set_registered(struct link *base)
{
	struct h2link *link = h2link_of(base);
	link->is_registered = true;
	timer_stop(&link->deadline);
}

static void op_get_stats(struct link *base, struct link_stats *ret)
{
	struct h2link *link = h2link_of(base);
	*ret = (struct link_stats){
		.since = link->since,
		.congestion = -1,
		.suspicions = link->suspicions,
		.dropped_trailers = link->dropped_trailers,
		.local = link->local,
		.peer = link->peer,
	};
	(void)snprintf(ret->group, sizeof(ret->group), "%s", link->group);
	(void)snprintf(ret->cipher, sizeof(ret->cipher), "%s", link->cipher);
	if (!link->h2)
		return;
	struct h2_stats s;
	h2_get_stats(link->h2, &s);
	ret->heard = s.heard;
	ret->rx_bytes = s.rx_bytes;
	ret->tx_bytes = s.tx_bytes;
	ret->streams = s.streams;
	ret->running = s.running;
	ret->streams_total = s.streams_total;
	ret->credit_stalls = s.credit_stalls;
	struct tcp_info info = {};
	socklen_t len = sizeof(info);
	if (getsockopt(link->fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return;
	ret->rtt_nsec = ret->latest_rtt_nsec = info.tcpi_rtt * NSEC_PER_USEC;
	ret->min_rtt_nsec = info.tcpi_min_rtt * NSEC_PER_USEC;
	ret->cwnd = (uint64_t)info.tcpi_snd_cwnd * info.tcpi_snd_mss;
	ret->bytes_in_flight = (uint64_t)info.tcpi_unacked * info.tcpi_snd_mss;
	ret->rx_packets = info.tcpi_segs_in;
	ret->tx_packets = info.tcpi_segs_out;
	ret->lost_packets = info.tcpi_total_retrans;
	ret->mtu = info.tcpi_snd_mss;
}

static void op_free(struct link *base)
{
	struct h2link *link = h2link_of(base);
	base->sink = NULL;
	link->is_closing = true;
	loop_task_cancel(&link->closed);
	drop_connection(link);
	loop_defer_free(loop_of(link), &link->garbage);
}

static const struct link_ops ops = {
	.protocol = "http2",
	.has_trailers = true,
	.open_stream = op_open_stream,
	.send_datagram = op_send_datagram,
	.max_datagram = op_max_datagram,
	.probe = op_probe,
	.drain = op_drain,
	.close = op_close,
	.migrate = op_migrate,
	.set_registered = op_set_registered,
	.get_stats = op_get_stats,
	.free = op_free,
};

void *h2link_scratch(struct h2link *link, size_t *ret_cap)
{
	if (!link->scratch)
		link->scratch = malloc(SCRATCH_LEN);
	*ret_cap = SCRATCH_LEN;
	return link->scratch;
}

/* ---- birth --------------------------------------------------------------------------------- */

static struct h2link *link_new(struct worker *worker, const struct h2link_settings *settings,
			       enum link_role role, const struct ip_port *peer)
{
	struct h2link *link = calloc(1, sizeof(*link));
	if (!link)
		return NULL;
	link->base = (struct link){
		.ops = &ops, .worker = worker, .role = role, .state = LINK_STATE_CONNECTING
	};
	link->settings = settings;
	link->fd = -EBADF;
	link->peer = *peer;
	link->deadline.on_expire = on_deadline;
	link->watch.on_expire = on_watch;
	link->closed.run = on_closed_task;
	link->garbage.release = release;
	list_init(&link->calls);
	return link;
}

static void give(struct h2link *link, const struct link_sink *sink, void *user, struct link **ret)
{
	link->base.sink = sink;
	link->base.user = user;
	*ret = &link->base;
}

static void on_proxied(int fd_or_error, const char *reason, void *user)
{
	struct h2link *link = user;
	link->proxy = NULL;
	int r = fd_or_error;
	if (r >= 0) {
		r = start_tls(link, r, TAKE_PTR(link->ssl));
		reason = "no memory";
	}
	if (r < 0)
		h2link_end(link, link_end_of_error(r), r, reason);
}

/* To the edge, or to what leads there. */
static int start_connect(struct h2link *link, const struct h2link_dial *dial, SSL *ssl_take)
{
	const struct h2link_settings *set = link->settings;
	const struct outproxy_dial through = {
		.proxy = dial->proxy,
		.target = dial->peer,
		.timeout = set->connect_timeout,
		.tcp = { .user_timeout_ms = (unsigned int)((set->keep_alive + set->pong_timeout) /
							   NSEC_PER_MSEC),
			 .bind_interface = dial->bind_interface,
			 .fwmark = dial->fwmark },
	};
	link->ssl = ssl_take;
	if (dial->proxy)
		return outproxy_connect(loop_of(link), &through, on_proxied, link, &link->proxy);
	int fd = tcp_connect_with(&dial->peer, &through.tcp);
	return fd < 0 ? fd : start_tls(link, fd, TAKE_PTR(link->ssl));
}

static int make_client_ssl(const struct h2link_dial *dial, SSL **ret)
{
	SSL *ssl = SSL_new(dial->tls);
	if (!ssl)
		return -ENOMEM;
	SSL_set_connect_state(ssl);
	int r = tlsctx_setup_client(ssl, dial->trust, dial->server_name);
	/* The name of QUIC's protocol must not be offered here: no ALPN at all (spec §2.2). */
	if (r == 0 && SSL_set_alpn_protos(ssl, NULL, 0) != 0)
		r = -ENOMEM;
	if (r < 0) {
		SSL_free(ssl);
		return r;
	}
	*ret = ssl;
	return 0;
}

int h2link_dial(struct worker *worker, const struct h2link_dial *dial, const struct link_sink *sink,
		void *user, struct link **ret)
{
	struct h2link *link = link_new(worker, dial->settings, LINK_ROLE_CLIENT, &dial->peer);
	SSL *ssl = NULL;
	if (!link)
		return -ENOMEM;
	link->is_ours = dial->is_ours;
	int r = make_client_ssl(dial, &ssl);
	if (r == 0)
		r = start_connect(link, dial, ssl);
	if (r < 0) {
		SSL_free(link->ssl);
		free(link);
		return r;
	}
	set_deadline(link, link->settings->connect_timeout + link->settings->handshake_timeout);
	give(link, sink, user, ret);
	return 0;
}

int h2link_accept(struct worker *worker, const struct h2link_accept *accept,
		  const struct link_sink *sink, void *user, struct link **ret)
{
	struct h2link *link = link_new(worker, accept->settings, LINK_ROLE_SERVER, &accept->peer);
	SSL *ssl = link ? SSL_new(accept->tls) : NULL;
	if (!ssl) {
		free(link);
		(void)close(accept->fd);
		return -ENOMEM;
	}
	SSL_set_accept_state(ssl);
	int r = start_tls(link, accept->fd, ssl);
	if (r < 0) {
		free(link);
		return r;
	}
	set_deadline(link, accept->register_timeout);
	give(link, sink, user, ret);
	return 0;
}
