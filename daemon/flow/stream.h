/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A two-way byte stream with credit: the noun that crosses all stages. A QUIC stream, a TCP or TLS
 * connection, an HTTP body and one half of a bridge are all streams; who uses one doesn't know
 * which.
 *
 * Reading is a pull: on_readable says that there is something, and what stream_read() moved out
 * counts as taken. Writing is by credit: stream_write() takes what can be sent or queued now, and
 * on_writable says when there is room again. Nothing in between queues without a bound.
 *
 * The two directions end independently: receiving with the peer's FIN, its reset or stream_stop(),
 * sending with stream_finish(), stream_reset() or the peer's stop. stream_close() gives the object
 * back at any time and aborts what has not ended.
 *
 * A stream and its user live on one worker. Callbacks come from the loop, never from inside a call
 * of this interface; after stream_close() none comes.
 */
#ifndef DAEMON_FLOW_STREAM_H
#define DAEMON_FLOW_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/base/bufq.h"
#include "daemon/base/loop.h"

struct stream;

/* What happened to a stream. Every member must be set. */
struct stream_user {
	/* stream_read() has something new to say: bytes, the end, or an error. */
	void (*on_readable)(struct stream *s, void *user);
	/* stream_write() will take more, or has an error to report (the peer stopped reading). */
	void (*on_writable)(struct stream *s, void *user);
};

/* Application error code of an abnormal end, where the wire has one. */
enum stream_code : uint32_t { STREAM_CODE_NONE = 0 };

struct stream_ops {
	ssize_t (*read)(struct stream *s, struct bufq *to, size_t max);
	ssize_t (*write)(struct stream *s, struct bufq *from, size_t max);
	size_t (*credit)(const struct stream *s);
	int (*read_error)(struct stream *s);        /* may be NULL: only reading tells */
	int (*write_error)(const struct stream *s); /* may be NULL: only writing tells */
	void (*finish)(struct stream *s);
	void (*reset)(struct stream *s, uint64_t code);
	void (*stop)(struct stream *s, uint64_t code);
	void (*close)(struct stream *s);
};

/* Embedded as the first part of every implementation. */
struct stream {
	const struct stream_ops *ops;
	const struct stream_user *user_ops; /* NULL until set: events wait */
	void *user;
	struct loop *loop;   /* the worker's */
	struct slab *slab;   /* the worker's */
	uint64_t error_code; /* the peer's code after -ECONNRESET or -EPIPE */

	struct loop_task events; /* calls the user; posted by stream_tell() and stream_set_user() */
	bool is_readable;        /* to be told, not yet told */
	bool is_writable;
};

/* Sets (or changes) who is told. Both callbacks come once in this turn's work phase, whether or not
 * there is something: so nothing that happened before is missed. */
void stream_set_user(struct stream *s, const struct stream_user *ops, void *user);

/* For implementations, from anywhere: has the user called in the work phase, once there is one. */
void stream_tell(struct stream *s, bool readable, bool writable);
/* Nobody is told any more; stream_close() does it before the implementation's close. */
void stream_forget_user(struct stream *s);

/*
 * Moves at most max bytes to the end of to. Returns how many (> 0), 0 at the peer's end of data,
 * -EAGAIN when nothing is there now, -ECONNRESET when the peer reset its direction (error_code) or
 * the connection was lost, -ENOBUFS when the worker's budget refused buffers (on_readable comes
 * again), -ECANCELED after stream_stop().
 */
static inline ssize_t stream_read(struct stream *s, struct bufq *to, size_t max)
{
	return s->ops->read(s, to, max);
}

/*
 * Takes at most max bytes from the head of from. Returns how many (> 0), -EAGAIN when there is no
 * credit (on_writable will come), -EPIPE when the peer doesn't want more (error_code), -ECONNRESET
 * when the connection is gone, -EPROTO after stream_finish() or stream_reset().
 */
static inline ssize_t stream_write(struct stream *s, struct bufq *from, size_t max)
{
	return s->ops->write(s, from, max);
}

/* Bytes that stream_write() would take now; an estimate for kernel sockets. */
static inline size_t stream_credit(const struct stream *s)
{
	return s->ops->credit(s);
}

/* Why stream_write() can't succeed any more: -EPIPE (error_code), -ECONNRESET, or 0. For users who
 * have nothing to write but want to know that nobody waits for it (after on_writable). */
static inline int stream_write_error(const struct stream *s)
{
	return s->ops->write_error ? s->ops->write_error(s) : 0;
}

/* Why what is still to be read is of no use: -ECONNRESET (error_code), 1 where a FIN is known to be
 * behind it, or 0. For users who can't read now but want to know if the other side has left. */
static inline int stream_read_error(struct stream *s)
{
	return s->ops->read_error ? s->ops->read_error(s) : 0;
}

/* No more data will be written; what was taken is still delivered, then FIN. Idempotent. */
static inline void stream_finish(struct stream *s)
{
	s->ops->finish(s);
}

/* Aborts our direction: bytes not yet delivered are dropped, the peer learns code. Idempotent. */
static inline void stream_reset(struct stream *s, uint64_t code)
{
	s->ops->reset(s, code);
}

/* We want no more data: the peer is asked to stop, what arrives is dropped. Idempotent. */
static inline void stream_stop(struct stream *s, uint64_t code)
{
	s->ops->stop(s, code);
}

/* Gives the stream back. A direction that was finished is still delivered in the background; one
 * that was not is reset or stopped with code 0. */
static inline void stream_close(struct stream *s)
{
	if (!s)
		return;
	stream_forget_user(s);
	s->ops->close(s);
}

static inline void stream_closep(struct stream **s)
{
	stream_close(*s);
}

#endif
