/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections through a proxy. The dialogue is a list of "so many bytes, then this function": each
 * answer of SOCKS5 says how long the next one is. The head of an HTTP answer has no length, so it
 * is looked at in the kernel's buffer first and only what belongs to it is taken out.
 */
#include "daemon/net/outproxy.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/base/secret.h"
#include "daemon/net/happy.h"
#include "daemon/net/resolve.h"
#include "daemon/wire/base64.h"
#include "daemon/wire/endpoint.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	REQUEST_MAX = 2048, /* the longest: names and credentials of OUTPROXY_NAME_MAX each */

	SOCKS_VERSION = 5,
	SOCKS_CONNECT = 1,
	SOCKS_METHOD_NONE = 0,
	SOCKS_METHOD_PASSWORD = 2,
	SOCKS_METHOD_REFUSED = 0xff,
	SOCKS_PASSWORD_VERSION = 1,
	SOCKS_ADDR_V4 = 1,
	SOCKS_ADDR_NAME = 3,
	SOCKS_ADDR_V6 = 4,
};

struct outproxy {
	struct loop *loop;
	struct outproxy_dial dial;
	char target_name[OUTPROXY_NAME_MAX + 1];
	struct resolve_query *query;
	struct happy *happy;
	int fd; /* owned; -EBADF before the connection */
	struct loop_io io;
	struct timer deadline;

	struct packer out; /* over request; what is left of it begins at sent */
	size_t sent;
	uint8_t request[REQUEST_MAX];

	/* want bytes are read, then on_answer is called; 0: up to the end of an HTTP head. */
	size_t want;
	void (*on_answer)(struct outproxy *p, struct span answer);
	size_t got;
	size_t head_len;   /* of an HTTP head whose end has been seen */
	size_t head_total; /* bytes of all heads */
	uint8_t answer[OUTPROXY_ANSWER_MAX];

	char reason[64];
	void (*on_done)(int fd_or_error, const char *reason, void *user);
	void *user;
	struct loop_garbage garbage;
};

/* ---- the end --------------------------------------------------------------------------------- */

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct outproxy, garbage));
}

void outproxy_cancel(struct outproxy *p)
{
	if (!p)
		return;
	resolve_cancel(TAKE_PTR(p->query));
	happy_cancel(TAKE_PTR(p->happy));
	loop_io_stop(&p->io);
	timer_stop(&p->deadline);
	p->fd = fd_close(p->fd);
	secret_wipe(p->request, sizeof(p->request));
	p->garbage.release = release;
	loop_defer_free(p->loop, &p->garbage);
}

/* The memory stays until the end of the turn, for the callback and for the caller. */
static void fail(struct outproxy *p, int error, const char *reason)
{
	outproxy_cancel(p);
	p->on_done(error, reason, p->user);
}

static void succeed(struct outproxy *p)
{
	loop_io_stop(&p->io);
	int fd = TAKE_FD(p->fd);
	outproxy_cancel(p);
	p->on_done(fd, NULL, p->user);
}

/* ---- sending and receiving ------------------------------------------------------------------- */

/* Sends what the request holds by now; then want bytes are awaited for on_answer. */
static void ask(struct outproxy *p, size_t want, void (*on_answer)(struct outproxy *, struct span))
{
	p->want = want;
	p->got = p->head_len = 0;
	p->on_answer = on_answer;
	if (packer_finish(&p->out) < 0)
		fail(p, -EINVAL, "names or credentials are too long");
	else if (loop_io_update(&p->io, p->sent < p->out.len ? EPOLLOUT : EPOLLIN) < 0)
		fail(p, -ENOMEM, "no memory");
}

/* A new request; nothing of the last one stays behind. */
static struct packer *compose(struct outproxy *p)
{
	secret_wipe(p->request, sizeof(p->request));
	p->out = packer_over(p->request, sizeof(p->request));
	p->sent = 0;
	return &p->out;
}

static void flush(struct outproxy *p)
{
	ssize_t n = send(p->fd, p->request + p->sent, p->out.len - p->sent, MSG_NOSIGNAL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		fail(p, -errno, "the proxy closed the connection");
		return;
	}
	p->sent += n > 0 ? (size_t)n : 0;
	if (p->sent < p->out.len)
		return;
	secret_wipe(p->request, sizeof(p->request));
	if (loop_io_update(&p->io, EPOLLIN) < 0)
		fail(p, -ENOMEM, "no memory");
}

/*
 * Length of the head if it ends within the first len bytes (an empty line, with or without CR), or
 * 0. Of the bytes before from it is known that it doesn't end there.
 */
static size_t head_end(const uint8_t *head, size_t from, size_t len)
{
	for (size_t i = from > 2 ? from - 2 : 0; i + 1 < len; i++) {
		if (head[i] != '\n')
			continue;
		size_t next = i + 1 + (head[i + 1] == '\r');
		if (next < len && head[next] == '\n')
			return next + 1;
	}
	return 0;
}

/* Takes the next bytes of a head and no more. As recv(). */
static ssize_t receive_head(struct outproxy *p)
{
	size_t room = sizeof(p->answer) - p->got;
	ssize_t n = recv(p->fd, p->answer + p->got, room, MSG_PEEK);
	if (n <= 0)
		return n;
	p->head_len = head_end(p->answer, p->got, p->got + (size_t)n);
	return recv(p->fd, p->answer + p->got, p->head_len ? p->head_len - p->got : (size_t)n, 0);
}

/* True when the whole answer has been read. */
static bool receive(struct outproxy *p)
{
	if (p->got == sizeof(p->answer)) {
		fail(p, -EMSGSIZE, "the proxy's answer is too long");
		return false;
	}
	ssize_t n =
		p->want ? recv(p->fd, p->answer + p->got, p->want - p->got, 0) : receive_head(p);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		fail(p, n < 0 ? -errno : -ECONNRESET, "the proxy closed the connection");
		return false;
	}
	p->got += (size_t)n;
	return p->got == (p->want ? p->want : p->head_len);
}

static void on_ready(struct loop_io *io, uint32_t revents)
{
	(void)revents;
	struct outproxy *p = CONTAINER_OF(io, struct outproxy, io);
	if (p->sent < p->out.len)
		flush(p);
	else if (receive(p))
		p->on_answer(p, span_of(p->answer, p->got));
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

/* "HTTP/1.x NNN": the status, or 0. */
static unsigned int status_of(struct span head)
{
	if (head.len < 13 || !span_starts_with(head, SPAN_LIT("HTTP/1.")) || head.ptr[8] != ' ')
		return 0;
	unsigned int status = 0;
	for (size_t i = 9; i < 12; i++) {
		if (head.ptr[i] < '0' || head.ptr[i] > '9')
			return 0;
		status = status * 10 + head.ptr[i] - '0';
	}
	uint8_t next = head.ptr[12];
	return next == ' ' || next == '\r' || next == '\n' ? status : 0;
}

static void on_http_head(struct outproxy *p, struct span head)
{
	unsigned int status = status_of(head);
	p->head_total += head.len;
	if (status == 0 || status == 101) {
		fail(p, -EPROTO, "what answers is no HTTP proxy");
	} else if (status < 200) { /* news on the way to an answer */
		if (p->head_total > sizeof(p->answer))
			fail(p, -EMSGSIZE, "the proxy's answer is too long");
		else
			ask(p, 0, on_http_head);
	} else if (status < 300) {
		succeed(p);
	} else if (status == 407) {
		fail(p, -EPERM,
		     p->dial.proxy->user.ptr ? "the proxy refuses our user or password"
					     : "the proxy wants a user and a password");
	} else {
		(void)snprintf(p->reason, sizeof(p->reason), "the proxy answers with status %u",
			       status);
		fail(p, status == 403 ? -EPERM : -ECONNREFUSED, p->reason);
	}
}

static void pack_target(const struct outproxy *p, struct packer *out)
{
	struct endpoint e = { .kind = ENDPOINT_KIND_IP, .addr = p->dial.target };
	e.addr.scope = 0; /* ours; it would mean nothing there */
	if (p->target_name[0]) {
		e.kind = ENDPOINT_KIND_NAME;
		e.name = span_str(p->target_name);
	}
	endpoint_print(out, &e);
}

static void pack_basic(const struct outproxy *p, struct packer *out)
{
	uint8_t pair[2 * OUTPROXY_NAME_MAX + 1];
	struct packer plain = packer_over(pair, sizeof(pair));
	packer_bytes(&plain, p->dial.proxy->user);
	packer_u8(&plain, ':');
	packer_bytes(&plain, p->dial.proxy->password);
	packer_str(out, "Proxy-Authorization: Basic ");
	base64_encode(out, packer_span(&plain));
	packer_str(out, "\r\n");
	secret_wipe(pair, sizeof(pair));
}

static void http_begin(struct outproxy *p)
{
	struct packer *out = compose(p);
	packer_str(out, "CONNECT ");
	pack_target(p, out);
	packer_str(out, " HTTP/1.1\r\nHost: ");
	pack_target(p, out);
	packer_str(out, "\r\n");
	if (p->dial.proxy->user.ptr)
		pack_basic(p, out);
	packer_str(out, "\r\n");
	ask(p, 0, on_http_head);
}

/* ---- SOCKS5 ---------------------------------------------------------------------------------- */

static void on_socks_end(struct outproxy *p, struct span answer)
{
	(void)answer; /* the proxy's own address */
	succeed(p);
}

static void on_socks_name(struct outproxy *p, struct span answer)
{
	ask(p, answer.ptr[0] + 2U, on_socks_end);
}

/* RFC 1928 §6. */
static void on_socks_reply(struct outproxy *p, struct span answer)
{
	static const struct {
		int error;
		const char *reason;
	} replies[] = {
		[0] = {},
		[1] = { -ECONNREFUSED, "the proxy failed" },
		[2] = { -EPERM, "the proxy's rules forbid it" },
		[3] = { -ENETUNREACH, "the proxy can't reach the network" },
		[4] = { -EHOSTUNREACH, "the proxy can't reach the host" },
		[5] = { -ECONNREFUSED, "the proxy was refused" },
		[6] = { -EHOSTUNREACH, "the proxy's packets expired on the way" },
		[7] = { -EPROTO, "the proxy doesn't connect" },
		[8] = { -EPROTO, "the proxy doesn't know this kind of address" },
	};
	uint8_t reply = answer.ptr[1];
	if (answer.ptr[0] != SOCKS_VERSION || reply >= ARRAY_SIZE(replies)) {
		fail(p, -EPROTO, "what answers is no SOCKS5 proxy");
		return;
	}
	if (replies[reply].error < 0) {
		fail(p, replies[reply].error, replies[reply].reason);
		return;
	}
	switch (answer.ptr[3]) {
	case SOCKS_ADDR_V4:
		ask(p, 4 + 2, on_socks_end);
		return;
	case SOCKS_ADDR_V6:
		ask(p, 16 + 2, on_socks_end);
		return;
	case SOCKS_ADDR_NAME:
		ask(p, 1, on_socks_name);
		return;
	default:
		fail(p, -EPROTO, "what answers is no SOCKS5 proxy");
	}
}

static void socks_request(struct outproxy *p)
{
	const struct ip_port *target = &p->dial.target;
	struct packer *out = compose(p);
	packer_u8(out, SOCKS_VERSION);
	packer_u8(out, SOCKS_CONNECT);
	packer_u8(out, 0);
	if (p->target_name[0]) {
		packer_u8(out, SOCKS_ADDR_NAME);
		packer_u8(out, (uint8_t)strlen(p->target_name));
		packer_str(out, p->target_name);
	} else {
		packer_u8(out, target->ip.family == IP_FAMILY_V4 ? SOCKS_ADDR_V4 : SOCKS_ADDR_V6);
		packer_bytes(out, span_of(target->ip.bytes, ip_family_len(target->ip.family)));
	}
	packer_be16(out, target->port);
	ask(p, 4, on_socks_reply);
}

static void on_socks_password(struct outproxy *p, struct span answer)
{
	if (answer.ptr[0] != SOCKS_PASSWORD_VERSION)
		fail(p, -EPROTO, "what answers is no SOCKS5 proxy");
	else if (answer.ptr[1] != 0)
		fail(p, -EPERM, "the proxy refuses our user or password");
	else
		socks_request(p);
}

static void on_socks_method(struct outproxy *p, struct span answer)
{
	const struct outproxy_params *proxy = p->dial.proxy;
	uint8_t method = answer.ptr[1];
	if (answer.ptr[0] != SOCKS_VERSION) {
		fail(p, -EPROTO, "what answers is no SOCKS5 proxy");
	} else if (method == SOCKS_METHOD_NONE) {
		socks_request(p);
	} else if (method == SOCKS_METHOD_PASSWORD && proxy->user.ptr) {
		struct packer *out = compose(p);
		packer_u8(out, SOCKS_PASSWORD_VERSION);
		packer_u8(out, (uint8_t)proxy->user.len);
		packer_bytes(out, proxy->user);
		packer_u8(out, (uint8_t)proxy->password.len);
		packer_bytes(out, proxy->password);
		ask(p, 2, on_socks_password);
	} else {
		fail(p, method == SOCKS_METHOD_REFUSED ? -EPERM : -EPROTO,
		     proxy->user.ptr ? "the proxy takes no password"
				     : "the proxy wants a user and a password");
	}
}

static void socks_begin(struct outproxy *p)
{
	struct packer *out = compose(p);
	bool has_user = p->dial.proxy->user.ptr != NULL;
	packer_u8(out, SOCKS_VERSION);
	packer_u8(out, has_user ? 2 : 1);
	packer_u8(out, SOCKS_METHOD_NONE);
	if (has_user)
		packer_u8(out, SOCKS_METHOD_PASSWORD);
	ask(p, 2, on_socks_method);
}

/* ---- the beginning --------------------------------------------------------------------------- */

static void on_connected(int fd_or_error, const struct ip_port *peer, void *user)
{
	(void)peer;
	struct outproxy *p = user;
	p->happy = NULL;
	if (fd_or_error < 0) {
		(void)snprintf(p->reason, sizeof(p->reason), "the proxy can't be reached: %s",
			       strerrordesc_np(-fd_or_error));
		fail(p, fd_or_error, p->reason);
		return;
	}
	p->fd = fd_or_error;
	p->io.on_ready = on_ready;
	if (loop_io_start(p->loop, &p->io, p->fd, 0) < 0)
		fail(p, -ENOMEM, "no memory");
	else if (p->dial.proxy->kind == OUTPROXY_KIND_HTTP)
		http_begin(p);
	else
		socks_begin(p);
}

static void on_resolved(int error, const struct ip_port *addrs, unsigned int count, void *user)
{
	struct outproxy *p = user;
	p->query = NULL;
	struct happy_params params = { .addrs = addrs, .count = count, .tcp = p->dial.tcp };
	if (error == 0)
		error = happy_connect(p->loop, &params, on_connected, p, &p->happy);
	if (error < 0)
		fail(p, error,
		     error == -ENOENT ? "nobody knows the proxy's name"
				      : "the proxy's name can't be looked up");
}

static void on_deadline(struct timer *timer)
{
	struct outproxy *p = CONTAINER_OF(timer, struct outproxy, deadline);
	fail(p, -ETIMEDOUT,
	     p->fd >= 0 ? "the proxy doesn't answer" : "the proxy can't be reached in time");
}

/* A name goes into a request line: nothing there may end it. */
static bool is_name(const char *name)
{
	size_t len = strlen(name);
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
			return false;
	return len > 0 && len <= OUTPROXY_NAME_MAX;
}

int outproxy_connect(struct loop *loop, const struct outproxy_dial *dial,
		     void (*on_done)(int fd_or_error, const char *reason, void *user), void *user,
		     struct outproxy **ret)
{
	const struct outproxy_params *proxy = dial->proxy;
	if (proxy->user.len > OUTPROXY_NAME_MAX || proxy->password.len > OUTPROXY_NAME_MAX ||
	    (dial->target_name && !is_name(dial->target_name)))
		return -EINVAL;
	_cleanup_(freep) struct outproxy *p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->loop = loop;
	p->dial = *dial;
	if (dial->target_name)
		memcpy(p->target_name, dial->target_name, strlen(dial->target_name));
	p->fd = -EBADF;
	p->on_done = on_done;
	p->user = user;
	p->deadline.on_expire = on_deadline;
	int r = resolve_addr(proxy->resolver, proxy->host, proxy->port, IP_FAMILY_NONE, on_resolved,
			     p, &p->query);
	if (r < 0)
		return r;
	timer_start(loop, &p->deadline, nsec_add(loop_now(loop), dial->timeout));
	*ret = TAKE_PTR(p);
	return 0;
}
