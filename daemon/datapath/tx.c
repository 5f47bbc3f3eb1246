/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What paths send in a turn: copied (the transport's bytes last only as long as its callback),
 * linked for each path in the order in which it came, and handed to the kernel at the end of the
 * turn, for each socket in one system call, runs of equal length as one message. When the memory is
 * used up it is sent earlier.
 *
 * A path that keeps sending in runs gets a socket of its own, which spares the kernel the route and
 * the address of each message; there are few of them, because with many a worker reads many sockets
 * where it could read one.
 */
#include "daemon/datapath/tx.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/datapath/anchor.h"
#include "daemon/datapath/promote.h"
#include "daemon/datapath/tun_path.h"
#include "daemon/net/udp_burst.h"
#include "util/macro.h"

enum {
	TX_ITEMS = 1024,
	TX_BYTES = 256 * 1024,
	OWN_MAX = 64,   /* sockets of one path */
	OWN_TURNS = 32, /* in a second … */
	OWN_RUN = 4,    /* … with so many datagrams each, on average, make a path worth one */
};

/* Numbers of items are by one higher than their place: 0 is none. */
struct tx_item {
	uint32_t at;
	uint16_t len;
	uint16_t next;
};

struct path_tx {
	struct datapath *datapath;
	struct list socks; /* with something to send */
	struct loop_task flush;
	struct udp_burst *burst;
	unsigned int count;
	size_t used;
	struct tx_item items[TX_ITEMS];
	/* What one call sends. */
	unsigned int runs_ready, iov_ready;
	struct udp_run runs[UDP_BURST];
	struct flow_path *paths[UDP_BURST]; /* whose runs they are */
	struct iovec iov[TX_ITEMS];
	uint8_t bytes[TX_BYTES];
};

/* ---- the end of a turn ---- */

static void report(struct flow_path *path, unsigned int count, int error)
{
	if (count == 0)
		return;
	struct promoter *promoter = path->tun ? NULL : path->datapath->promoter;
	if (error == 0)
		path->datapath->stats.tx_datagrams[path_sock_kind(path)] += count;
	if (promoter && error == 0)
		promote_note(promoter, path, count);
	else if (promoter && error != -EAGAIN)
		promote_error(promoter, path, error);
	path->user->on_sent(path, count, error);
}

static void send_runs(struct path_tx *tx, struct path_sock *s)
{
	unsigned int count = tx->runs_ready;
	tx->runs_ready = 0;
	tx->iov_ready = 0;
	if (tx->datapath->tun && s == tun_ground_sock(tx->datapath->tun))
		tun_path_send(tx->datapath->tun, tx->runs, tx->paths, count);
	else
		udp_burst_send(tx->burst, &s->udp, tx->runs, count, &tx->datapath->stats.udp);
	for (unsigned int i = 0; i < count; i++) {
		const struct udp_run *run = &tx->runs[i];
		report(tx->paths[i], run->sent, 0);
		report(tx->paths[i], run->count - run->sent, run->result);
	}
}

/* Whether a datagram of len bytes goes into a run of count, the last of them of last bytes. */
static bool fits_run(const struct iovec *first, unsigned int count, size_t last, size_t len)
{
	return count < UDP_RUN && len > 0 && last == first->iov_len && len <= first->iov_len &&
	       (count + 1) * first->iov_len <= UDP_RUN_BYTES;
}

/* Takes a run off a path's datagrams. */
static void add_run(struct path_tx *tx, struct path_sock *s, struct flow_path *path)
{
	struct iovec *first = &tx->iov[tx->iov_ready];
	unsigned int count = 0;
	size_t last = 0;
	do {
		const struct tx_item *item = &tx->items[path->tx_first - 1];
		if (count > 0 && !fits_run(first, count, last, item->len))
			break;
		first[count++] = (struct iovec){ tx->bytes + item->at, item->len };
		last = item->len;
		path->tx_first = item->next;
	} while (path->tx_first && s->udp.has_gso);
	tx->paths[tx->runs_ready] = path;
	tx->runs[tx->runs_ready++] = (struct udp_run){
		.peer = s->path ? NULL : &path->remote,
		.iov = first,
		.count = count,
	};
	tx->iov_ready += count;
}

static void flush_sock(struct path_tx *tx, struct path_sock *s)
{
	struct list *node;
	while ((node = list_pop(&s->tx))) {
		struct flow_path *path = LIST_ENTRY(node, struct flow_path, in_tx);
		while (path->tx_first) {
			add_run(tx, s, path);
			if (tx->runs_ready == UDP_BURST)
				send_runs(tx, s);
		}
	}
	if (tx->runs_ready)
		send_runs(tx, s);
}

static void flush(struct path_tx *tx)
{
	struct list *node;
	while ((node = list_pop(&tx->socks)))
		flush_sock(tx, LIST_ENTRY(node, struct path_sock, in_tx));
	tx->count = 0;
	tx->used = 0;
}

static void on_flush(struct loop_task *task)
{
	flush(CONTAINER_OF(task, struct path_tx, flush));
}

void path_tx_flush_path(struct flow_path *path)
{
	if (path->tx_first)
		flush(path->datapath->tx);
}

/* ---- sockets of one path ---- */

static void note_turn(struct flow_path *path)
{
	struct datapath *d = path->datapath;
	nsec_t now = loop_now(d->worker->loop);
	if (now - path->busy.since > NSEC_PER_SEC) {
		path->busy.since = now;
		path->busy.turns = 0;
		path->busy.datagrams = 0;
	}
	bool is_busy =
		path->busy.turns >= OWN_TURNS && path->busy.datagrams >= path->busy.turns * OWN_RUN;
	path->busy.turns++;
	/* Where there is no descriptor left the anchor does. */
	if (is_busy && !path->own && !path->tun && d->stats.connected < OWN_MAX &&
	    path_own_open(path) == 0)
		flow_path_note(path, "it sends in runs");
}

/* ---- sending ---- */

static void append(struct path_tx *tx, struct flow_path *path, struct span datagram)
{
	struct tx_item *item = &tx->items[tx->count++];
	*item = (struct tx_item){ .at = (uint32_t)tx->used, .len = (uint16_t)datagram.len };
	if (datagram.len > 0)
		memcpy(tx->bytes + tx->used, datagram.ptr, datagram.len);
	tx->used += datagram.len;
	if (path->tx_first)
		tx->items[path->tx_last - 1].next = (uint16_t)tx->count;
	else
		path->tx_first = (uint16_t)tx->count;
	path->tx_last = (uint16_t)tx->count;
}

void flow_path_fetch(const struct flow_path *path)
{
	if (path->fast)
		promote_fetch(path->fast);
	else
		__builtin_prefetch(path->own ? (const void *)path->own : path->place);
}

void flow_path_send(struct flow_path *path, struct span datagram)
{
	struct datapath *d = path->datapath;
	struct path_tx *tx = d->tx;
	if (datagram.len > UDP_MSG_MAX) {
		path->user->on_sent(path, 1, -EMSGSIZE);
		return;
	}
	if (path->fast && promote_send(d->promoter, path, datagram)) {
		path->user->on_sent(path, 1, 0);
		return;
	}
	if (tx->count == TX_ITEMS || datagram.len > TX_BYTES - tx->used)
		flush(tx);
	path->busy.datagrams++;
	if (!path->tx_first) {
		note_turn(path);
		struct path_sock *s = path_sock_of(path);
		list_append(&s->tx, &path->in_tx);
		if (!list_is_linked(&s->in_tx))
			list_append(&tx->socks, &s->in_tx);
		loop_task_post(d->worker->loop, &tx->flush, LOOP_PHASE_FLUSH);
	}
	append(tx, path, datagram);
}

int path_tx_new(struct datapath *d, struct path_tx **ret)
{
	struct path_tx *tx = malloc(sizeof(*tx)); /* its pages are used when they are written */
	if (!tx)
		return -ENOMEM;
	tx->datapath = d;
	tx->flush = (struct loop_task){ .run = on_flush };
	tx->count = tx->runs_ready = tx->iov_ready = 0;
	tx->used = 0;
	list_init(&tx->socks);
	int r = udp_burst_new(&tx->burst);
	if (r < 0) {
		free(tx);
		return r;
	}
	*ret = tx;
	return 0;
}

void path_tx_free(struct path_tx *tx)
{
	if (!tx)
		return;
	loop_task_cancel(&tx->flush);
	udp_burst_free(tx->burst);
	free(tx);
}
