/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes on a connected stream socket, in clear or under TLS. OpenSSL demands that a write that
 * would block is repeated with the same bytes, while a stream's user may change his mind in the
 * meantime: so a record's worth is taken out of his queue before it is encrypted and stays here
 * until it has left.
 *
 * The two directions fail apart: a peer that answers early and closes has often sent all of its
 * answer when our sending breaks.
 */
#include "daemon/net/iostream.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "daemon/net/tcp.h"
#include "daemon/net/tlsbio.h"
#include "daemon/net/tlsctx.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	SENDMSG_SLICES = 16,
	RECORD_MAX = 16 * 1024,  /* plain bytes of a TLS record */
	RECORD_ALONE = 8 * 1024, /* a slice of so many isn't copied to fill one up */
};
static constexpr nsec_t retry_after = 10 * NSEC_PER_MSEC; /* when the buffers are used up */

enum io_state : uint8_t {
	IO_STATE_CONNECTING,
	IO_STATE_HANDSHAKE,
	IO_STATE_READY,
	IO_STATE_FAILED,
};

struct iostream {
	struct loop_io io;
	struct loop *loop;
	struct slab *slab;
	int fd;   /* owned */
	SSL *ssl; /* owned */
	struct tlsbio bio;
	const struct iostream_events *events;
	void *user;
	struct timer retry;
	struct loop_garbage garbage;

	enum io_state state;
	int error;             /* the first that happened */
	const char *tls_error; /* static */
	int rx_error;          /* what reading says from now on; 0: it works */
	int tx_error;

	struct bufq unsent; /* TLS: the record that OpenSSL is busy with */
	size_t want;        /* size of the next receive buffer */
	bool is_rx_blocked;
	bool is_tx_blocked;  /* and the user has to be told when it is over */
	bool is_rx_cut;      /* a reset was told to the writer: the end that follows is none */
	bool rx_wants_write; /* TLS: what unblocks can be the other direction */
	bool tx_wants_read;
	int peer_end;   /* as epoll has told: 1 FIN, -ECONNRESET; no event may follow */
	bool is_urgent; /* an urgent byte has come: reads end before it */
	bool has_told;  /* the first event says that writing is possible */
	bool wants_shutdown;
	bool has_shutdown;
};

static void tell(struct iostream *io, bool readable, bool writable)
{
	io->has_told = true;
	if (io->events && (readable || writable))
		io->events->on_ready(io, readable, writable, io->user);
}

static void remember(struct iostream *io, int error)
{
	if (!io->error)
		io->error = error;
}

/* Both directions are over. */
static void fail(struct iostream *io, int error)
{
	remember(io, error);
	io->state = IO_STATE_FAILED;
	io->rx_error = io->tx_error = -ECONNRESET;
}

/* ---- TLS ----------------------------------------------------------------------------------- */

static const char *queued_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_last_error());
	return reason ? reason : "";
}

/*
 * What a failed call of OpenSSL means: -EAGAIN (and whether it waits for reading or writing), 0 for
 * the peer's close_notify, or an error.
 */
static int tls_status(struct iostream *io, int result, bool *ret_wants_read)
{
	switch (SSL_get_error(io->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		*ret_wants_read = true;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		*ret_wants_read = false;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return 0;
	case SSL_ERROR_SYSCALL:
		return io->bio.error ? io->bio.error : -ECONNRESET;
	default:
		io->tls_error = queued_reason();
		return io->bio.is_eof ? -ECONNRESET : -EPROTO;
	}
}

static void step_handshake(struct iostream *io)
{
	bool wants_read;
	ERR_clear_error();
	int r = SSL_do_handshake(io->ssl);
	if (r == 1) {
		io->state = IO_STATE_READY;
		return;
	}
	int status = tls_status(io, r, &wants_read);
	if (status == -EAGAIN)
		return; /* edges of both directions come here */
	long verdict = SSL_get_verify_result(io->ssl);
	if (verdict != X509_V_OK && status == -EPROTO) {
		io->tls_error = X509_verify_cert_error_string(verdict);
		status = -EPERM;
	}
	ERR_clear_error();
	fail(io, status < 0 ? status : -ECONNRESET);
}

static ssize_t tls_read(struct iostream *io, uint8_t *to, size_t len)
{
	size_t n = 0;
	bool wants_read = true;
	ERR_clear_error();
	int r = SSL_read_ex(io->ssl, to, len, &n);
	if (r == 1)
		return (ssize_t)n;
	int status = tls_status(io, r, &wants_read);
	io->rx_wants_write = status == -EAGAIN && !wants_read;
	return status;
}

/* Encrypts what has been taken. Returns 0 when all of it has left, -EAGAIN, or an error. */
static int flush_unsent(struct iostream *io)
{
	while (!bufq_is_empty(&io->unsent)) {
		struct span head = bufq_peek(&io->unsent);
		size_t n = 0;
		bool wants_read = false;
		ERR_clear_error();
		int r = SSL_write_ex(io->ssl, head.ptr, head.len, &n);
		if (r != 1) {
			int status = tls_status(io, r, &wants_read);
			io->tx_wants_read = status == -EAGAIN && wants_read;
			return status ? status : -EPIPE;
		}
		bufq_consume(&io->unsent, n);
	}
	return 0;
}

/* ---- reading ------------------------------------------------------------------------------- */

static ssize_t plain_read(const struct iostream *io, uint8_t *to, size_t len)
{
	ssize_t n;
	do {
		n = recv(io->fd, to, len, 0);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Small buffers for who sends little, so that idle connections hold little. */
static void adapt_want(struct iostream *io, size_t got, size_t room)
{
	if (got == room)
		io->want = SLAB_LARGE_LEN;
	else if (got < SLAB_SMALL_LEN / 2)
		io->want = SLAB_SMALL_LEN;
}

static void retry_later(struct iostream *io)
{
	if (!timer_is_armed(&io->retry))
		timer_start(io->loop, &io->retry, loop_now(io->loop) + retry_after);
}

static void on_retry(struct timer *timer)
{
	struct iostream *io = CONTAINER_OF(timer, struct iostream, retry);
	io->is_tx_blocked = false; /* if the kernel still blocks it says so again */
	tell(io, true, true);
}

/* One receive; as iostream_read(). */
static ssize_t read_once(struct iostream *io, struct bufq *to, size_t max)
{
	size_t room = 0;
	uint8_t *at = bufq_room(to, io->want, &room);
	if (!at) {
		retry_later(io);
		return -ENOBUFS;
	}
	size_t len = MIN(room, max);
	ssize_t n = io->ssl ? tls_read(io, at, len) : plain_read(io, at, len);
	bufq_commit(to, n > 0 ? (size_t)n : 0);
	if (n == 0 && io->is_rx_cut)
		n = -ECONNRESET;
	if (n > 0) {
		adapt_want(io, (size_t)n, len);
		/* Less than asked for was all that there was: what follows comes with an event. */
		io->is_rx_blocked = !io->ssl && (size_t)n < len && !io->peer_end && !io->is_urgent;
	} else if (n == -EAGAIN) {
		io->is_rx_blocked = true;
	} else if (n < 0) {
		remember(io, (int)n);
		io->rx_error = -ECONNRESET;
		n = -ECONNRESET;
	}
	return n;
}

ssize_t iostream_read(struct iostream *io, struct bufq *to, size_t max)
{
	if (io->rx_error)
		return io->rx_error;
	if (io->state != IO_STATE_READY || io->is_rx_blocked)
		return -EAGAIN;

	size_t total = 0;
	ssize_t n = -EAGAIN;
	while (total < max && !io->is_rx_blocked) {
		n = read_once(io, to, max - total);
		if (n <= 0)
			break;
		total += (size_t)n;
	}
	return total ? (ssize_t)total : n;
}

/* ---- writing ------------------------------------------------------------------------------- */

static int tx_failed(struct iostream *io, int error)
{
	remember(io, error);
	io->tx_error = error == -EPIPE ? -EPIPE : -ECONNRESET;
	/* The kernel tells a reset once: to us here, so the reader's end of data isn't one. */
	if (error != -EPIPE)
		io->is_rx_cut = true;
	bufq_clear(&io->unsent);
	return io->tx_error;
}

static ssize_t plain_write(struct iostream *io, struct bufq *from, size_t max)
{
	struct iovec iov[SENDMSG_SLICES];
	struct msghdr header = { .msg_iov = iov };
	header.msg_iovlen = bufq_iov(from, 0, max, iov, ARRAY_SIZE(iov));
	ssize_t n;
	do {
		n = sendmsg(io->fd, &header, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	bufq_consume(from, (size_t)n);
	return n;
}

/*
 * Takes the bytes of the next record. Each write of OpenSSL is a record and a system call of its
 * own: what comes in small slices, such as the heads of frames, is copied together.
 */
static size_t take_record(struct iostream *io, struct bufq *from, size_t max)
{
	size_t want = MIN(max, (size_t)RECORD_MAX);
	size_t head = bufq_peek(from).len;
	size_t room = 0;
	want = MIN(want, from->len);
	uint8_t *at = NULL;
	if (head < want && head < RECORD_ALONE)
		at = bufq_room(&io->unsent, want, &room);
	if (!at)
		return bufq_move(&io->unsent, from, MIN(want, head));
	size_t n = bufq_copy_out(from, at, MIN(want, room));
	bufq_commit(&io->unsent, n);
	bufq_consume(from, n);
	return n;
}

static ssize_t tls_write(struct iostream *io, struct bufq *from, size_t max)
{
	int r = flush_unsent(io);
	if (r < 0)
		return r;
	size_t n = take_record(io, from, max);
	if (n == 0) {
		retry_later(io); /* no slice node to be had */
		return -EAGAIN;
	}
	r = flush_unsent(io);
	if (r == -EAGAIN)
		io->is_tx_blocked = true; /* but n bytes are taken */
	return r < 0 && r != -EAGAIN ? r : (ssize_t)n;
}

ssize_t iostream_write(struct iostream *io, struct bufq *from, size_t max)
{
	if (io->tx_error)
		return io->tx_error;
	if (io->wants_shutdown)
		return -EPROTO;
	if (io->state != IO_STATE_READY || io->is_tx_blocked) {
		io->is_tx_blocked = true;
		return -EAGAIN;
	}

	size_t total = 0;
	ssize_t n = 0;
	max = MIN(max, from->len);
	while (total < max && !io->is_tx_blocked) {
		n = io->ssl ? tls_write(io, from, max - total) : plain_write(io, from, max - total);
		if (n < 0)
			break;
		total += (size_t)n;
	}
	if (n == -EAGAIN)
		io->is_tx_blocked = true;
	else if (n < 0)
		n = tx_failed(io, (int)n);
	return total ? (ssize_t)total : n;
}

static void try_shutdown(struct iostream *io)
{
	if (!io->wants_shutdown || io->has_shutdown || io->state != IO_STATE_READY ||
	    !bufq_is_empty(&io->unsent))
		return;
	if (io->ssl && !io->tx_error) {
		bool wants_read;
		ERR_clear_error();
		int r = SSL_shutdown(io->ssl);
		if (r < 0 && tls_status(io, r, &wants_read) == -EAGAIN)
			return;
	}
	(void)shutdown(io->fd, SHUT_WR);
	io->has_shutdown = true;
}

void iostream_shutdown(struct iostream *io)
{
	io->wants_shutdown = true;
	try_shutdown(io);
}

bool iostream_has_unsent(const struct iostream *io)
{
	return io->state != IO_STATE_FAILED && !io->tx_error &&
	       (!bufq_is_empty(&io->unsent) || (io->wants_shutdown && !io->has_shutdown));
}

/* ---- events -------------------------------------------------------------------------------- */

static void finish_connect(struct iostream *io)
{
	int error = socket_error(io->fd);
	if (error < 0) {
		fail(io, error);
		return;
	}
	io->state = io->ssl ? IO_STATE_HANDSHAKE : IO_STATE_READY;
}

/* Before both ends are ready; tells once how it went. */
static void on_opening(struct iostream *io, uint32_t revents)
{
	if (io->state == IO_STATE_CONNECTING && (revents & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		finish_connect(io);
	if (io->state == IO_STATE_HANDSHAKE)
		step_handshake(io);
	if (io->state == IO_STATE_READY || io->state == IO_STATE_FAILED) {
		io->is_tx_blocked = false;
		try_shutdown(io);
		tell(io, true, true);
	}
}

/* What decides how far the next read goes. */
static void note_end(struct iostream *io, uint32_t revents)
{
	io->is_urgent |= (revents & EPOLLPRI) != 0;
	/* A reset behind the end is about what we send; all that the peer sent is here. */
	if (io->peer_end)
		return;
	if (revents & EPOLLERR)
		io->peer_end = -ECONNRESET;
	else if (revents & (EPOLLRDHUP | EPOLLHUP))
		io->peer_end = 1;
}

static void on_event(struct loop_io *lio, uint32_t revents)
{
	struct iostream *io = CONTAINER_OF(lio, struct iostream, io);
	note_end(io, revents);
	if (io->state == IO_STATE_CONNECTING || io->state == IO_STATE_HANDSHAKE) {
		on_opening(io, revents);
		return;
	}

	bool is_over = revents & (EPOLLERR | EPOLLHUP);
	bool may_read = is_over || (revents & (EPOLLIN | EPOLLRDHUP));
	bool may_write = is_over || (revents & EPOLLOUT);
	bool was_tx_blocked = io->is_tx_blocked || !io->has_told;

	if (may_write || (may_read && io->tx_wants_read)) {
		io->is_tx_blocked = false;
		int r = io->tx_error ? 0 : flush_unsent(io);
		if (r == -EAGAIN)
			io->is_tx_blocked = true;
		else if (r < 0)
			(void)tx_failed(io, r);
		try_shutdown(io);
	}
	bool tell_read = may_read || (may_write && io->rx_wants_write);
	if (tell_read)
		io->is_rx_blocked = false;
	tell(io, tell_read, (was_tx_blocked || is_over) && !io->is_tx_blocked);
}

/* ---- life cycle ---------------------------------------------------------------------------- */

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct iostream, garbage));
}

static bool is_connected(int fd)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	return getpeername(fd, (struct sockaddr *)&sa, &len) == 0;
}

static int start(struct iostream *io)
{
	if (io->ssl) {
		int r = tlsbio_attach(&io->bio, io->fd, io->ssl);
		if (r < 0)
			return r;
		tlsctx_setup_stream(io->ssl);
	}
	if (is_connected(io->fd))
		io->state = io->ssl ? IO_STATE_HANDSHAKE : IO_STATE_READY;
	io->io.on_ready = on_event;
	return loop_io_start(io->loop, &io->io, io->fd,
			     EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

int iostream_new(struct loop *loop, struct slab *slab, int fd, SSL *ssl, struct iostream **ret)
{
	struct iostream *io = calloc(1, sizeof(*io));
	int r = -ENOMEM;
	if (io) {
		*io = (struct iostream){ .loop = loop, .slab = slab, .fd = fd, .ssl = ssl };
		io->tls_error = "";
		io->want = SLAB_SMALL_LEN;
		io->retry.on_expire = on_retry;
		bufq_init(&io->unsent, slab);
		r = start(io);
	}
	if (r < 0) {
		SSL_free(ssl);
		(void)fd_close(fd);
		free(io);
		return r;
	}
	*ret = io;
	return 0;
}

void iostream_set_events(struct iostream *io, const struct iostream_events *events, void *user)
{
	io->events = events;
	io->user = user;
}

void iostream_free(struct iostream *io, bool with_reset)
{
	if (!io)
		return;
	loop_io_stop(&io->io);
	timer_stop(&io->retry);
	bufq_clear(&io->unsent);
	SSL_free(io->ssl);
	if (with_reset) {
		struct linger now = { .l_onoff = 1, .l_linger = 0 };
		(void)setsockopt(io->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	}
	io->fd = fd_close(io->fd);
	io->events = NULL;
	io->garbage.release = release;
	loop_defer_free(io->loop, &io->garbage);
}

int iostream_error(const struct iostream *io)
{
	return io->error;
}

int iostream_peer_end(const struct iostream *io)
{
	return io->peer_end;
}

bool iostream_is_ready(const struct iostream *io)
{
	return io->state == IO_STATE_READY;
}

const char *iostream_tls_error(const struct iostream *io)
{
	return io->tls_error;
}

SSL *iostream_ssl(const struct iostream *io)
{
	return io->ssl;
}

int iostream_fd(const struct iostream *io)
{
	return io->fd;
}
