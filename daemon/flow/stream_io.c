/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A struct stream over a socket. The socket's own buffers are the queue; credit is a guess that is
 * taken back when the kernel says no.
 */
#include "daemon/flow/stream_io.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "daemon/net/iostream.h"
#include "daemon/net/sockaddr.h"
#include "util/macro.h"

enum {
	CREDIT_GUESS = 64 * 1024,
	DRAIN_BUDGET = 256 * 1024, /* bytes dropped in one turn (style L2) */
};
static constexpr nsec_t linger_max = 5 * NSEC_PER_SEC;

struct stream_io {
	struct stream base;
	struct iostream *io; /* NULL after a reset */
	void (*on_open)(struct stream *s, int error, void *user);
	void *open_user;
	struct loop_task open_task;
	struct loop_task drain_task; /* drops what a stopped or lingering stream receives */
	struct timer linger;
	struct loop_leftover leftover; /* while it lingers */
	struct loop_garbage garbage;
	int reset_error; /* of the socket, kept when io is gone */
	bool is_opened;  /* connect and handshake have ended, well or not */
	bool is_tx_blocked;
	bool is_finished;
	bool is_reset;
	bool is_stopped;
	bool has_rx_end;
	bool is_closed;
};

static_assert(offsetof(struct stream_io, base) == 0);

static struct stream_io *of(struct stream *s)
{
	return (struct stream_io *)s;
}

static const struct stream_io *of_const(const struct stream *s)
{
	return (const struct stream_io *)s;
}

/* ---- end of life --------------------------------------------------------------------------- */

static void release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct stream_io, garbage));
}

static void drop_io(struct stream_io *sio, bool with_reset)
{
	if (!sio->io)
		return;
	sio->reset_error = iostream_error(sio->io);
	iostream_free(sio->io, with_reset);
	sio->io = NULL;
	loop_task_cancel(&sio->drain_task);
	timer_stop(&sio->linger);
}

static void free_later(struct stream_io *sio, bool with_reset)
{
	drop_io(sio, with_reset);
	loop_leave_cancel(&sio->leftover);
	loop_task_cancel(&sio->open_task);
	sio->garbage.release = release;
	loop_defer_free(sio->base.loop, &sio->garbage);
}

/* ---- dropping what nobody wants -------------------------------------------------------------- */

/* Returns true when there may be more in this turn. */
static bool drain(struct stream_io *sio)
{
	struct bufq junk;
	bufq_init(&junk, sio->base.slab);
	ssize_t n = 0;
	size_t total = 0;
	while (total < DRAIN_BUDGET) {
		n = iostream_read(sio->io, &junk, SLAB_LARGE_LEN);
		bufq_clear(&junk);
		if (n <= 0)
			break;
		total += (size_t)n;
	}
	if (n == 0 || n == -ECONNRESET)
		sio->has_rx_end = true;
	return n > 0;
}

/* After the close: until the peer has ended, too. */
static void step_linger(struct stream_io *sio)
{
	bool is_sent = !iostream_has_unsent(sio->io);
	if (is_sent && sio->has_rx_end)
		free_later(sio, false);
}

static void run_drain(struct loop_task *task)
{
	struct stream_io *sio = CONTAINER_OF(task, struct stream_io, drain_task);
	if (!sio->has_rx_end && drain(sio))
		loop_task_post(sio->base.loop, &sio->drain_task, LOOP_PHASE_WORK);
	if (sio->is_closed)
		step_linger(sio);
}

static void post_drain(struct stream_io *sio)
{
	loop_task_post(sio->base.loop, &sio->drain_task, LOOP_PHASE_WORK);
}

/* What was handed to the kernel is still delivered, to a peer that reads slowly too. */
static void on_linger_end(struct timer *timer)
{
	struct stream_io *sio = CONTAINER_OF(timer, struct stream_io, linger);
	free_later(sio, iostream_has_unsent(sio->io));
}

static void on_loop_end(struct loop_leftover *leftover)
{
	free_later(CONTAINER_OF(leftover, struct stream_io, leftover), false);
}

/* ---- events -------------------------------------------------------------------------------- */

static void run_open(struct loop_task *task)
{
	struct stream_io *sio = CONTAINER_OF(task, struct stream_io, open_task);
	void (*on_open)(struct stream *s, int error, void *user) = sio->on_open;
	if (!on_open)
		return;
	sio->on_open = NULL;
	on_open(&sio->base, stream_io_error(&sio->base), sio->open_user);
}

static void check_opened(struct stream_io *sio)
{
	if (sio->is_opened || (!iostream_is_ready(sio->io) && iostream_error(sio->io) == 0))
		return;
	sio->is_opened = true;
	loop_task_post(sio->base.loop, &sio->open_task, LOOP_PHASE_WORK);
}

static void on_ready(struct iostream *io, bool readable, bool writable, void *user)
{
	(void)io;
	struct stream_io *sio = user;
	check_opened(sio);
	if (writable)
		sio->is_tx_blocked = false;
	if (sio->is_stopped || sio->is_closed) {
		post_drain(sio);
		readable = false;
	}
	if (!sio->is_closed)
		stream_tell(&sio->base, readable, writable && !sio->is_finished);
}

static const struct iostream_events events = { .on_ready = on_ready };

/* ---- the interface ------------------------------------------------------------------------- */

static ssize_t op_read(struct stream *s, struct bufq *to, size_t max)
{
	struct stream_io *sio = of(s);
	if (sio->is_stopped)
		return -ECANCELED;
	if (!sio->io)
		return -ECONNRESET;
	ssize_t n = iostream_read(sio->io, to, max);
	if (n == 0)
		sio->has_rx_end = true;
	return n;
}

static ssize_t op_write(struct stream *s, struct bufq *from, size_t max)
{
	struct stream_io *sio = of(s);
	if (sio->is_finished || sio->is_reset)
		return -EPROTO;
	ssize_t n = iostream_write(sio->io, from, max);
	sio->is_tx_blocked = n == -EAGAIN || (n >= 0 && (size_t)n < max && !bufq_is_empty(from));
	return n;
}

static int op_write_error(const struct stream *s)
{
	const struct stream_io *sio = of_const(s);
	return !sio->io || iostream_error(sio->io) < 0 ? -ECONNRESET : 0;
}

static int op_read_error(struct stream *s)
{
	const struct stream_io *sio = of_const(s);
	return sio->io ? iostream_peer_end(sio->io) : -ECONNRESET;
}

static size_t op_credit(const struct stream *s)
{
	const struct stream_io *sio = of_const(s);
	bool can =
		sio->io && iostream_is_ready(sio->io) && !sio->is_tx_blocked && !sio->is_finished;
	return can ? CREDIT_GUESS : 0;
}

static void op_finish(struct stream *s)
{
	struct stream_io *sio = of(s);
	if (sio->is_finished || sio->is_reset)
		return;
	sio->is_finished = true;
	iostream_shutdown(sio->io);
}

static void op_reset(struct stream *s, uint64_t code)
{
	(void)code; /* TCP has no place for it */
	struct stream_io *sio = of(s);
	sio->is_reset = true;
	drop_io(sio, true);
	if (!sio->is_stopped && !sio->has_rx_end)
		stream_tell(s, true, false);
}

static void op_stop(struct stream *s, uint64_t code)
{
	(void)code;
	struct stream_io *sio = of(s);
	if (sio->is_stopped)
		return;
	sio->is_stopped = true;
	if (sio->io)
		post_drain(sio);
}

static void op_close(struct stream *s)
{
	struct stream_io *sio = of(s);
	sio->is_closed = true;
	sio->on_open = NULL;
	if (!sio->io || !sio->is_finished) {
		free_later(sio, true);
		return;
	}
	sio->leftover.end = on_loop_end;
	loop_leave(s->loop, &sio->leftover);
	timer_start(s->loop, &sio->linger, loop_now(s->loop) + linger_max);
	post_drain(sio);
}

static const struct stream_ops ops = {
	.read = op_read,
	.write = op_write,
	.credit = op_credit,
	.write_error = op_write_error,
	.read_error = op_read_error,
	.finish = op_finish,
	.reset = op_reset,
	.stop = op_stop,
	.close = op_close,
};

int stream_io_new(struct loop *loop, struct slab *slab, int fd, struct ssl_st *ssl,
		  struct stream **ret)
{
	struct iostream *io;
	int r = iostream_new(loop, slab, fd, ssl, &io);
	if (r < 0)
		return r;
	struct stream_io *sio = calloc(1, sizeof(*sio));
	if (!sio) {
		iostream_free(io, true);
		return -ENOMEM;
	}
	sio->base = (struct stream){ .ops = &ops, .loop = loop, .slab = slab };
	sio->io = io;
	sio->open_task.run = run_open;
	sio->drain_task.run = run_drain;
	sio->linger.on_expire = on_linger_end;
	iostream_set_events(io, &events, sio);
	check_opened(sio);
	*ret = &sio->base;
	return 0;
}

void stream_io_on_open(struct stream *s, void (*on_open)(struct stream *s, int error, void *user),
		       void *user)
{
	struct stream_io *sio = of(s);
	sio->on_open = on_open;
	sio->open_user = user;
	if (sio->is_opened)
		loop_task_post(s->loop, &sio->open_task, LOOP_PHASE_WORK);
}

bool stream_io_is_open(const struct stream *s)
{
	const struct stream_io *sio = of_const(s);
	return sio->io && iostream_is_ready(sio->io);
}

int stream_io_error(const struct stream *s)
{
	const struct stream_io *sio = of_const(s);
	return sio->io ? iostream_error(sio->io) : sio->reset_error;
}

const char *stream_io_tls_error(const struct stream *s)
{
	const struct stream_io *sio = of_const(s);
	return sio->io ? iostream_tls_error(sio->io) : "";
}

struct ssl_st *stream_io_ssl(const struct stream *s)
{
	const struct stream_io *sio = of_const(s);
	return sio->io ? iostream_ssl(sio->io) : NULL;
}

int stream_io_peer(const struct stream *s, struct ip_port *ret)
{
	const struct stream_io *sio = of_const(s);
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	if (!sio->io)
		return -ENOTCONN;
	if (getpeername(iostream_fd(sio->io), (struct sockaddr *)&sa, &len) < 0)
		return -errno;
	return sockaddr_to_ip_port((struct sockaddr *)&sa, len, ret);
}
