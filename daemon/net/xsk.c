/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_XDP, with the kernel's interface itself (linux/if_xdp.h): the library for it opens sockets of
 * its own when memory is shared, and ours have been opened before privileges went.
 *
 * All sockets of a queue have one fill ring and one completion ring, each for one producer and
 * consumer at a time: a lock of the queue is taken once for a batch. Sent chunks come back to
 * whoever looks, and are put where their owner finds them. Chunks lie 2 KiB apart, where few lines
 * of a cache can hold them: an owner takes the one that it had back last.
 */
#include "daemon/net/xsk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if_xdp.h>

#include "util/cleanup.h"
#include "util/macro.h"

enum {
	HEADROOM = XSK_CHUNK - XSK_FRAME_MAX, /* where a frame begins, both ways */
	META_LEN = 24,                        /* before a frame to send */
	META_CSUM_START = 8,                  /* in struct xsk_tx_metadata, behind its flags */
	META_CSUM_OFFSET = 10,
	RX_RING = 1024,
	TX_STALLS = 16, /* calls of a flush that move nothing: another's was in the way */
};
#define NO_ADDRESS UINT64_MAX /* the kernel passes over what has it */
static_assert((int)XSK_HEADROOM_RX == (int)HEADROOM);
static_assert((int)RX_RING >= (int)XSK_RX_CHUNKS);

/* Producer and consumer are the kernel's on one side: loaded with acquire, stored with release. */
struct ring {
	uint32_t *producer, *consumer, *flags;
	void *entries;
	uint32_t size; /* a power of two */
	void *map;
	size_t map_len;
};

struct queue {
	pthread_mutex_t mutex; /* of both rings, and of `returned` of the workers that send here */
	struct ring fill, completion;
};

struct sock {
	int fd;
	struct ring rx;
};

struct sender {
	struct ring tx;
	unsigned int queue;
	uint32_t free[XSK_TX_CHUNKS];      /* numbers of chunks, this worker's alone */
	uint32_t returned[XSK_TX_CHUNKS];  /* … that others have found sent */
	uint32_t withdrawn[XSK_TX_CHUNKS]; /* … whose places in the ring the kernel has to pass */
	uint32_t withdrawn_end;            /* the place behind the last of them */
	unsigned int free_count, returned_count, withdrawn_count;
	uint64_t not_sent;
};

struct xsk_area {
	unsigned int workers, queues;
	unsigned int bound; /* sockets, in their order */
	uint8_t *memory;
	size_t size;
	struct queue *by_queue;
	struct sock *socks; /* by worker, then queue */
	struct sender *senders;
};

static struct sock *sock_of(const struct xsk_area *a, unsigned int worker, unsigned int queue)
{
	return &a->socks[worker * a->queues + queue];
}

static unsigned int rx_chunks(const struct xsk_area *a)
{
	return a->queues * XSK_RX_CHUNKS;
}

size_t xsk_area_size(unsigned int workers, unsigned int queues)
{
	return ((size_t)queues * XSK_RX_CHUNKS + (size_t)workers * XSK_TX_CHUNKS) * XSK_CHUNK;
}

int xsk_fd(const struct xsk_area *a, unsigned int worker, unsigned int queue)
{
	return sock_of(a, worker, queue)->fd;
}

/* ---- rings ---- */

static uint32_t load(const uint32_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): it is written */
static void store(uint32_t *p, uint32_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static uint64_t *address_at(const struct ring *r, uint32_t index)
{
	return (uint64_t *)r->entries + (index & (r->size - 1));
}

static struct xdp_desc *desc_at(const struct ring *r, uint32_t index)
{
	return (struct xdp_desc *)r->entries + (index & (r->size - 1));
}

/* Has the kernel make a ring of a socket and maps it. */
static int ring_open(int fd, int option, uint32_t size, struct ring *ret)
{
	/* clang-format off */
	static const struct { int option; off_t page; size_t entry; } kinds[] = {
		{ XDP_RX_RING,              XDP_PGOFF_RX_RING,              sizeof(struct xdp_desc) },
		{ XDP_TX_RING,              XDP_PGOFF_TX_RING,              sizeof(struct xdp_desc) },
		{ XDP_UMEM_FILL_RING,       XDP_UMEM_PGOFF_FILL_RING,       sizeof(uint64_t) },
		{ XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING, sizeof(uint64_t) },
	};
	/* clang-format on */
	struct xdp_mmap_offsets all;
	socklen_t len = sizeof(all);
	if (setsockopt(fd, SOL_XDP, option, &size, sizeof(size)) < 0 ||
	    getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, &all, &len) < 0)
		return -errno;
	const struct xdp_ring_offset *offsets[] = { &all.rx, &all.tx, &all.fr, &all.cr };
	unsigned int k = 0;
	while (kinds[k].option != option)
		k++;
	const struct xdp_ring_offset *at = offsets[k];
	size_t map_len = at->desc + size * kinds[k].entry;
	uint8_t *map = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
			    kinds[k].page);
	if (map == MAP_FAILED)
		return -errno;
	*ret = (struct ring){
		.producer = (uint32_t *)(void *)(map + at->producer),
		.consumer = (uint32_t *)(void *)(map + at->consumer),
		.flags = (uint32_t *)(void *)(map + at->flags),
		.entries = map + at->desc,
		.size = size,
		.map = map,
		.map_len = map_len,
	};
	return 0;
}

static void ring_close(struct ring *r)
{
	if (r->map)
		(void)munmap(r->map, r->map_len);
}

/* ---- making ---- */

static uint32_t power_of_two(uint32_t at_least)
{
	uint32_t n = 1;
	while (n < at_least)
		n *= 2;
	return n;
}

static int register_memory(struct xsk_area *a, int fd)
{
	const struct xdp_umem_reg reg = {
		.addr = (uintptr_t)a->memory,
		.len = a->size,
		.chunk_size = XSK_CHUNK,
		.flags = XDP_UMEM_TX_METADATA_LEN,
		.tx_metadata_len = META_LEN,
	};
	return setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)) < 0 ? -errno : 0;
}

/* The rings that all sockets of a queue share belong to its first. */
static int open_queue(struct xsk_area *a, unsigned int queue, int fd)
{
	struct queue *q = &a->by_queue[queue];
	uint32_t sent = power_of_two(a->workers * XSK_TX_CHUNKS);
	int r = ring_open(fd, XDP_UMEM_FILL_RING, XSK_RX_CHUNKS, &q->fill);
	if (r == 0)
		r = ring_open(fd, XDP_UMEM_COMPLETION_RING, sent, &q->completion);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < XSK_RX_CHUNKS; i++)
		*address_at(&q->fill, i) = ((uint64_t)queue * XSK_RX_CHUNKS + i) * XSK_CHUNK;
	store(q->fill.producer, XSK_RX_CHUNKS);
	return 0;
}

/* Memory comes from the very first socket, the queue's rings from the first of the queue. */
static int bind_socket(struct xsk_area *a, unsigned int ifindex, unsigned int worker,
		       unsigned int queue)
{
	bool is_first = worker == 0 && queue == 0;
	struct sockaddr_xdp address = {
		.sxdp_family = AF_XDP,
		.sxdp_ifindex = ifindex,
		.sxdp_queue_id = queue,
		.sxdp_flags = is_first ? XDP_COPY | XDP_USE_NEED_WAKEUP : XDP_SHARED_UMEM,
		.sxdp_shared_umem_fd =
			is_first ? 0 : (uint32_t)xsk_fd(a, 0, worker == 0 ? 0 : queue),
	};
	int fd = xsk_fd(a, worker, queue);
	return bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
}

/* A worker receives on all queues and sends on one. */
static int open_socket(struct xsk_area *a, unsigned int worker, unsigned int queue)
{
	struct sock *s = sock_of(a, worker, queue);
	struct sender *sender = &a->senders[worker];
	int r = 0;
	if (worker == 0 && queue == 0)
		r = register_memory(a, s->fd);
	if (r == 0 && worker == 0)
		r = open_queue(a, queue, s->fd);
	if (r == 0)
		r = ring_open(s->fd, XDP_RX_RING, RX_RING, &s->rx);
	if (r == 0 && sender->queue == queue)
		r = ring_open(s->fd, XDP_TX_RING, XSK_TX_CHUNKS, &sender->tx);
	return r;
}

static void init_senders(struct xsk_area *a)
{
	for (unsigned int w = 0; w < a->workers; w++) {
		struct sender *s = &a->senders[w];
		s->queue = w % a->queues;
		s->free_count = XSK_TX_CHUNKS;
		for (uint32_t i = 0; i < XSK_TX_CHUNKS; i++)
			s->free[i] = rx_chunks(a) + w * XSK_TX_CHUNKS + i;
	}
}

static int area_open(struct xsk_area *a)
{
	a->size = xsk_area_size(a->workers, a->queues);
	void *memory =
		mmap(NULL, a->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		return -ENOMEM;
	a->memory = memory;
	init_senders(a);
	for (unsigned int w = 0; w < a->workers; w++) {
		for (unsigned int q = 0; q < a->queues; q++) {
			int r = open_socket(a, w, q);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int xsk_area_new(const struct xsk_params *params, struct xsk_area **ret)
{
	unsigned int count = params->workers * params->queues;
	struct xsk_area *a = calloc(1, sizeof(*a));
	struct queue *queues = calloc(params->queues, sizeof(*queues));
	struct sock *socks = calloc(count, sizeof(*socks));
	struct sender *senders = calloc(params->workers, sizeof(*senders));
	if (!a || !queues || !socks || !senders) {
		for (unsigned int i = 0; i < count; i++)
			(void)fd_close(params->fds[i]);
		free(a);
		free(queues);
		free(socks);
		free(senders);
		return -ENOMEM;
	}
	a->workers = params->workers;
	a->queues = params->queues;
	a->by_queue = queues;
	a->socks = socks;
	a->senders = senders;
	for (unsigned int i = 0; i < count; i++)
		socks[i].fd = params->fds[i];
	for (unsigned int q = 0; q < params->queues; q++)
		(void)pthread_mutex_init(&queues[q].mutex, NULL);
	int r = area_open(a);
	if (r < 0) {
		xsk_area_free(a);
		return r;
	}
	*ret = a;
	return 0;
}

int xsk_area_bind(struct xsk_area *a, unsigned int ifindex)
{
	/* The first worker's sockets come first: the others share what they have. */
	for (; a->bound < a->workers * a->queues; a->bound++) {
		int r = bind_socket(a, ifindex, a->bound / a->queues, a->bound % a->queues);
		if (r < 0)
			return r;
	}
	return 0;
}

void xsk_area_free(struct xsk_area *a)
{
	if (!a)
		return;
	for (unsigned int w = 0; w < a->workers; w++)
		ring_close(&a->senders[w].tx);
	for (unsigned int i = 0; i < a->workers * a->queues; i++) {
		ring_close(&a->socks[i].rx);
		(void)fd_close(a->socks[i].fd);
	}
	for (unsigned int q = 0; q < a->queues; q++) {
		ring_close(&a->by_queue[q].fill);
		ring_close(&a->by_queue[q].completion);
		(void)pthread_mutex_destroy(&a->by_queue[q].mutex);
	}
	if (a->memory)
		(void)munmap(a->memory, a->size);
	free(a->by_queue);
	free(a->socks);
	free(a->senders);
	free(a);
}

/* ---- receiving ---- */

unsigned int xsk_receive(struct xsk_area *a, unsigned int worker, unsigned int queue,
			 struct xsk_frame ret[XSK_BATCH])
{
	struct ring *rx = &sock_of(a, worker, queue)->rx;
	uint32_t at = *rx->consumer; /* ours alone */
	uint32_t count = MIN(load(rx->producer) - at, (uint32_t)XSK_BATCH);
	for (uint32_t i = 0; i < count; i++) {
		const struct xdp_desc *d = desc_at(rx, at + i);
		ret[i] = (struct xsk_frame){ .data = a->memory + d->addr, .len = d->len };
	}
	store(rx->consumer, at + count);
	return count;
}

void xsk_release(struct xsk_area *a, unsigned int worker, unsigned int queue,
		 const struct xsk_frame *frames, unsigned int count)
{
	(void)worker;
	struct queue *q = &a->by_queue[queue];
	(void)pthread_mutex_lock(&q->mutex);
	/* There are as many chunks as places: it is never full. */
	uint32_t at = *q->fill.producer;
	for (unsigned int i = 0; i < count; i++) {
		uint64_t offset = (uint64_t)(frames[i].data - a->memory);
		*address_at(&q->fill, at + i) = offset - offset % XSK_CHUNK;
	}
	store(q->fill.producer, at + count);
	(void)pthread_mutex_unlock(&q->mutex);
}

/* ---- sending ---- */

/* Under the queue's lock. */
static void give_back(struct xsk_area *a, uint64_t address)
{
	if (address == NO_ADDRESS)
		return; /* kernels differ in whether what they pass over is told */
	uint32_t chunk = (uint32_t)(address / XSK_CHUNK);
	struct sender *owner = &a->senders[(chunk - rx_chunks(a)) / XSK_TX_CHUNKS];
	owner->returned[owner->returned_count++] = chunk;
}

/* What the kernel has passed over. */
static void collect_withdrawn(struct sender *s)
{
	if (s->withdrawn_count == 0 || (int32_t)(load(s->tx.consumer) - s->withdrawn_end) < 0)
		return;
	memcpy(s->free + s->free_count, s->withdrawn, s->withdrawn_count * sizeof(*s->free));
	s->free_count += s->withdrawn_count;
	s->withdrawn_count = 0;
}

/* What has been sent, by anybody on this queue; then what is ours. */
static void collect(struct xsk_area *a, struct sender *s)
{
	struct queue *q = &a->by_queue[s->queue];
	(void)pthread_mutex_lock(&q->mutex);
	uint32_t at = *q->completion.consumer;
	uint32_t end = load(q->completion.producer);
	for (; at != end; at++)
		give_back(a, *address_at(&q->completion, at));
	store(q->completion.consumer, at);
	memcpy(s->free + s->free_count, s->returned, s->returned_count * sizeof(*s->free));
	s->free_count += s->returned_count;
	s->returned_count = 0;
	(void)pthread_mutex_unlock(&q->mutex);
	collect_withdrawn(s);
}

uint8_t *xsk_take(struct xsk_area *a, unsigned int worker)
{
	struct sender *s = &a->senders[worker];
	if (s->free_count == 0)
		collect(a, s);
	if (s->free_count == 0)
		return NULL;
	return a->memory + (size_t)s->free[--s->free_count] * XSK_CHUNK + HEADROOM;
}

/* There are as many chunks as places in the ring: it is never full. */
void xsk_send(struct xsk_area *a, unsigned int worker, const struct xsk_frame *frame,
	      unsigned int csum_start, unsigned int csum_offset)
{
	struct ring *tx = &a->senders[worker].tx;
	uint8_t *meta = frame->data - META_LEN;
	const uint64_t flags = XDP_TXMD_FLAGS_CHECKSUM;
	const uint16_t start = (uint16_t)csum_start;
	const uint16_t offset = (uint16_t)csum_offset;
	memset(meta, 0, META_LEN);
	memcpy(meta, &flags, sizeof(flags));
	memcpy(meta + META_CSUM_START, &start, sizeof(start));
	memcpy(meta + META_CSUM_OFFSET, &offset, sizeof(offset));
	uint32_t at = *tx->producer;
	*desc_at(tx, at) = (struct xdp_desc){
		.addr = (uint64_t)(frame->data - a->memory),
		.len = (uint32_t)frame->len,
		.options = csum_start ? XDP_TX_METADATA : 0,
	};
	store(tx->producer, at + 1);
}

int xsk_flush(struct xsk_area *a, unsigned int worker)
{
	struct sender *s = &a->senders[worker];
	int fd = xsk_fd(a, worker, s->queue);
	uint32_t end = *s->tx.producer;
	/* Those that were sent last are taken first: they are in the caches. */
	collect(a, s);
	/* Each call takes some, or passes over one that was withdrawn, or says why not. */
	for (unsigned int stalls = 0; stalls <= TX_STALLS;) {
		uint32_t at = load(s->tx.consumer);
		if (at == end)
			return 0;
		if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN) {
			s->not_sent += errno == EBUSY; /* the device took it and dropped it */
			return errno == EBUSY || errno == ENOBUFS ? -EAGAIN : -errno;
		}
		stalls += load(s->tx.consumer) == at;
	}
	return load(s->tx.consumer) == end ? 0 : -EAGAIN;
}

/* The kernel may have read how many there are, so they stay, without a frame. It looks at them only
 * in calls of this thread. */
void xsk_withdraw(struct xsk_area *a, unsigned int worker)
{
	struct sender *s = &a->senders[worker];
	uint32_t end = *s->tx.producer;
	for (uint32_t at = load(s->tx.consumer); at != end; at++) {
		struct xdp_desc *d = desc_at(&s->tx, at);
		if (d->addr == NO_ADDRESS)
			continue;
		s->withdrawn[s->withdrawn_count++] = (uint32_t)(d->addr / XSK_CHUNK);
		s->not_sent++;
		*d = (struct xdp_desc){ .addr = NO_ADDRESS };
	}
	s->withdrawn_end = end;
}

bool xsk_area_is_bound(const struct xsk_area *a)
{
	return recv(xsk_fd(a, 0, 0), NULL, 0, MSG_DONTWAIT) == 0 || errno != ENXIO;
}

/* Zeroes where the kernel doesn't tell. */
static void statistics(const struct xsk_area *a, unsigned int worker, unsigned int queue,
		       struct xdp_statistics *ret)
{
	socklen_t len = sizeof(*ret);
	if (getsockopt(xsk_fd(a, worker, queue), SOL_XDP, XDP_STATISTICS, ret, &len) < 0)
		*ret = (struct xdp_statistics){};
}

/* The fill ring is the queue's: all of its sockets say the same of it, and what found no chunk
 * there is told as dropped besides. */
static void add_rx_drops(const struct xsk_area *a, unsigned int queue, struct xsk_drops *ret)
{
	uint64_t dropped = 0, no_chunk = 0;
	for (unsigned int w = 0; w < a->workers; w++) {
		struct xdp_statistics st = {};
		statistics(a, w, queue, &st);
		dropped += st.rx_dropped;
		no_chunk = MAX(no_chunk, st.rx_fill_ring_empty_descs);
	}
	ret->no_chunk += no_chunk;
	ret->too_long += dropped - MIN(dropped, no_chunk);
}

void xsk_drops(const struct xsk_area *a, unsigned int worker, struct xsk_drops *ret)
{
	*ret = (struct xsk_drops){};
	for (unsigned int q = 0; q < a->queues; q++) {
		struct xdp_statistics st = {};
		statistics(a, worker, q, &st);
		ret->ring_full += st.rx_ring_full;
		ret->tx_invalid += st.tx_invalid_descs;
		if (worker == 0)
			add_rx_drops(a, q, ret);
	}
	ret->not_sent = a->senders[worker].not_sent;
}
