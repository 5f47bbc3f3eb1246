/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS over TLS. The library writes and parses messages; the connection is ours, since it has none
 * of this kind. All questions share one connection and are told apart by their id (RFC 7766 §7); a
 * connection that fails takes all of them along, and who asks decides whether to ask again.
 */
#include "daemon/net/dot.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include <ares.h>
#include <openssl/ssl.h>

#include "daemon/base/bufq.h"
#include "daemon/base/random.h"
#include "daemon/net/iostream.h"
#include "daemon/net/tcp.h"
#include "daemon/net/tlsctx.h"
#include "util/cleanup.h"
#include "util/endian.h"
#include "util/list.h"
#include "util/macro.h"

enum {
	HEAD_LEN = 2,        /* length of the message (RFC 1035 §4.2.2) */
	DELIVER_BUDGET = 16, /* answers of one task run (style L2) */
	READ_BUDGET = 64 * 1024,
};

struct dot_query {
	struct list node; /* on dot.waiting, the oldest first, then on dot.ready */
	struct dot *dot;
	void (*on_done)(int error, const struct dns_answer *answer, void *user);
	void *user;
	nsec_t deadline;
	uint16_t id;
	int error;
	char name[DNS_NAME_MAX + 1];
	struct dns_answer answer;
};

struct dot {
	struct loop *loop;
	struct slab *slab;
	SSL_CTX *tls; /* a reference */
	struct dot_server server;
	struct iostream *io; /* NULL while not connected */
	struct bufq rx;
	struct bufq tx;
	struct list waiting;
	struct list ready;
	unsigned int queries; /* on both */
	uint16_t last_id;
	struct timer deadline; /* of the oldest question */
	struct loop_task deliver;
	const char *reason; /* static */
};

/* ---- questions ----------------------------------------------------------------------------- */

static void query_free(struct dot_query *q)
{
	q->dot->queries--;
	list_remove(&q->node);
	free(q);
}

static void query_finish(struct dot_query *q, int error)
{
	q->error = error;
	list_remove(&q->node);
	list_append(&q->dot->ready, &q->node);
	loop_task_post(q->dot->loop, &q->dot->deliver, LOOP_PHASE_WORK);
}

static void on_deliver(struct loop_task *task)
{
	struct dot *d = CONTAINER_OF(task, struct dot, deliver);
	struct list *node = NULL;
	for (int i = 0; i < DELIVER_BUDGET && (node = list_pop(&d->ready)); i++) {
		struct dot_query *q = LIST_ENTRY(node, struct dot_query, node);
		q->on_done(q->error, q->error ? NULL : &q->answer, q->user);
		query_free(q);
	}
	if (!list_is_empty(&d->ready))
		loop_task_post(d->loop, &d->deliver, LOOP_PHASE_WORK);
}

static void arm_deadline(struct dot *d)
{
	if (list_is_empty(&d->waiting))
		timer_stop(&d->deadline);
	else
		timer_start(d->loop, &d->deadline,
			    LIST_ENTRY(d->waiting.next, struct dot_query, node)->deadline);
}

static void disconnect(struct dot *d)
{
	iostream_free(TAKE_PTR(d->io), false);
	bufq_clear(&d->rx);
	bufq_clear(&d->tx);
}

/* The connection is of no use any more. */
static void fail(struct dot *d, int error)
{
	disconnect(d);
	LIST_FOREACH(node, &d->waiting)
	query_finish(LIST_ENTRY(node, struct dot_query, node), error);
	arm_deadline(d);
}

static void on_deadline(struct timer *timer)
{
	fail(CONTAINER_OF(timer, struct dot, deadline), -ETIMEDOUT);
}

/* ---- messages ------------------------------------------------------------------------------ */

static bool is_answer_to(const ares_dns_record_t *message, const struct dot_query *q)
{
	const char *name = NULL;
	ares_dns_rec_type_t type;
	ares_dns_class_t class;
	return ares_dns_record_get_flags(message) & ARES_FLAG_QR &&
	       ares_dns_record_query_cnt(message) == 1 &&
	       ares_dns_record_query_get(message, 0, &name, &type, &class) == ARES_SUCCESS &&
	       (int)type == dns_type_to_ares(q->answer.type) && strcasecmp(name, q->name) == 0;
}

static struct dot_query *query_find(struct dot *d, uint16_t id)
{
	LIST_FOREACH(node, &d->waiting)
	{
		struct dot_query *q = LIST_ENTRY(node, struct dot_query, node);
		if (q->id == id)
			return q;
	}
	return NULL;
}

/* Answers to questions that were cancelled meanwhile are dropped. Returns 0 or -EBADMSG. */
static int take_message(struct dot *d, const uint8_t *bytes, size_t len)
{
	ares_dns_record_t *message = NULL;
	if (ares_dns_parse(bytes, len, 0, &message) != ARES_SUCCESS)
		return -EBADMSG;
	struct dot_query *q = query_find(d, ares_dns_record_get_id(message));
	int r = 0;
	if (q && is_answer_to(message, q))
		query_finish(q, dns_answer_read(message, q->answer.type, &q->answer));
	else if (q)
		r = -EBADMSG;
	ares_dns_record_destroy(message);
	return r;
}

/* Takes whole messages off what was received. Returns 0 or an error. */
static int take_messages(struct dot *d)
{
	uint8_t head[HEAD_LEN];
	static_assert(DOT_MESSAGE_MAX <= 16 * 1024, "it is put on the stack");
	uint8_t bytes[DOT_MESSAGE_MAX];
	while (bufq_copy_out(&d->rx, head, HEAD_LEN) == HEAD_LEN && d->rx.len >= HEAD_LEN) {
		size_t len = load_be16(head);
		if (len > sizeof(bytes))
			return -EMSGSIZE;
		if (d->rx.len < HEAD_LEN + len)
			return 0;
		bufq_consume(&d->rx, HEAD_LEN);
		(void)bufq_copy_out(&d->rx, bytes, len);
		bufq_consume(&d->rx, len);
		int r = take_message(d, bytes, len);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Reads until there is no more. Returns 0 or an error; -ECONNRESET at the server's end. */
static int receive(struct dot *d)
{
	for (size_t total = 0; total < READ_BUDGET;) {
		ssize_t n = iostream_read(d->io, &d->rx, HEAD_LEN + DOT_MESSAGE_MAX - d->rx.len);
		if (n == -EAGAIN || n == -ENOBUFS)
			return 0;
		if (n <= 0)
			return n ? (int)n : -ECONNRESET;
		total += (size_t)n;
		int r = take_messages(d);
		if (r < 0)
			return r;
	}
	return -EMSGSIZE; /* nobody has that much to say in one turn */
}

static int transmit(struct dot *d)
{
	while (!bufq_is_empty(&d->tx)) {
		ssize_t n = iostream_write(d->io, &d->tx, d->tx.len);
		if (n == -EAGAIN || n == -ENOBUFS)
			return 0;
		if (n < 0)
			return (int)n;
	}
	return 0;
}

static void on_ready(struct iostream *io, bool readable, bool writable, void *user)
{
	(void)readable;
	(void)writable;
	struct dot *d = user;
	int error = iostream_error(io);
	if (!error)
		error = transmit(d);
	if (!error)
		error = receive(d);
	if (error) {
		d->reason = iostream_tls_error(io);
		int first = iostream_error(io);
		fail(d, first ? first : error);
	} else {
		arm_deadline(d);
	}
}

/* ---- asking -------------------------------------------------------------------------------- */

static const struct iostream_events io_events = { .on_ready = on_ready };

/* A failure to connect is told like one that comes later. */
static int connect_to_server(struct dot *d)
{
	SSL *ssl = NULL;
	int r = tlsctx_open_origin(d->tls, d->server.name, &ssl);
	if (r < 0)
		return r;
	int fd = tcp_connect(&d->server.addr, 0);
	if (fd < 0) {
		SSL_free(ssl);
		return fd;
	}
	r = iostream_new(d->loop, d->slab, fd, ssl, &d->io);
	if (r == 0)
		iostream_set_events(d->io, &io_events, d);
	return r;
}

/* Puts the question behind those that wait to be sent. */
static int write_question(struct dot *d, const struct dot_query *q)
{
	ares_dns_record_t *message = NULL;
	unsigned char *bytes = NULL;
	size_t len = 0;
	if (ares_dns_record_create(&message, q->id, ARES_FLAG_RD, ARES_OPCODE_QUERY,
				   ARES_RCODE_NOERROR) != ARES_SUCCESS)
		return -ENOMEM;
	ares_dns_rec_type_t type = (ares_dns_rec_type_t)dns_type_to_ares(q->answer.type);
	int r = -EINVAL;
	if (ares_dns_record_query_add(message, q->name, type, ARES_CLASS_IN) == ARES_SUCCESS &&
	    ares_dns_write(message, &bytes, &len) == ARES_SUCCESS)
		r = 0;
	ares_dns_record_destroy(message);
	uint8_t both[HEAD_LEN + 512];
	if (r == 0 && len > sizeof(both) - HEAD_LEN)
		r = -EINVAL;
	if (r == 0) {
		store_be16(both, (uint16_t)len);
		memcpy(both + HEAD_LEN, bytes, len);
		r = bufq_append_copy(&d->tx, span_of(both, HEAD_LEN + len)) < 0 ? -ENOMEM : 0;
	}
	ares_free_string(bytes);
	return r;
}

static void fill_query(struct dot *d, struct dot_query *q, const struct dns_question *question)
{
	size_t len = strlen(question->name);
	if (question->name[len - 1] == '.')
		len--;
	memcpy(q->name, question->name, len);
	q->dot = d;
	q->on_done = question->on_done;
	q->user = question->user;
	q->answer.type = question->type;
	q->id = ++d->last_id;
	q->deadline = loop_now(d->loop) + d->server.timeout;
}

int dot_ask(struct dot *d, const struct dns_question *question, struct dot_query **ret)
{
	size_t len = strlen(question->name);
	if (len == 0 || len > DNS_NAME_MAX)
		return -EINVAL;
	if (d->queries == DOT_QUERIES_MAX)
		return -E2BIG;
	_cleanup_(freep) struct dot_query *q = calloc(1, sizeof(*q));
	if (!q)
		return -ENOMEM;
	fill_query(d, q, question);
	int r = write_question(d, q);
	if (r < 0)
		return r;
	list_append(&d->waiting, &q->node);
	d->queries++;
	*ret = q;
	TAKE_PTR(q);
	r = d->io ? transmit(d) : connect_to_server(d);
	if (r < 0)
		fail(d, r);
	else
		arm_deadline(d);
	return 0;
}

void dot_cancel(struct dot_query *q)
{
	if (!q)
		return;
	struct dot *d = q->dot;
	query_free(q);
	arm_deadline(d);
}

const char *dot_reason(const struct dot *d)
{
	return d->reason;
}

int dot_new(struct loop *loop, struct slab *slab, SSL_CTX *tls, const struct dot_server *server,
	    struct dot **ret)
{
	_cleanup_(freep) struct dot *d = calloc(1, sizeof(*d));
	if (!d)
		return -ENOMEM;
	int r = tlsctx_ref(tls, &d->tls);
	if (r < 0)
		return r;
	d->loop = loop;
	d->slab = slab;
	d->server = *server;
	if (!d->server.timeout)
		d->server.timeout = DOT_TIMEOUT_SEC * NSEC_PER_SEC;
	d->reason = "";
	d->last_id = (uint16_t)random_u64();
	bufq_init(&d->rx, slab);
	bufq_init(&d->tx, slab);
	list_init(&d->waiting);
	list_init(&d->ready);
	d->deadline.on_expire = on_deadline;
	d->deliver.run = on_deliver;
	*ret = TAKE_PTR(d);
	return 0;
}

void dot_free(struct dot *d)
{
	if (!d)
		return;
	disconnect(d);
	LIST_FOREACH(node, &d->waiting)
	query_free(LIST_ENTRY(node, struct dot_query, node));
	LIST_FOREACH(node, &d->ready)
	query_free(LIST_ENTRY(node, struct dot_query, node));
	timer_stop(&d->deadline);
	loop_task_cancel(&d->deliver);
	tlsctx_free(d->tls);
	free(d);
}
