/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AF_XDP sockets of one interface, one for each worker and queue, over one piece of memory (the
 * kernel lets a queue have no second one): chunks that the kernel fills with frames, and chunks of
 * each worker for frames to send. In copy mode: it works with every driver that has native XDP, and
 * lets the kernel complete checksums where the device can't.
 *
 * Made and freed by one thread; in between each worker uses its own part.
 */
#ifndef DAEMON_NET_XSK_H
#define DAEMON_NET_XSK_H

#include <stddef.h>
#include <stdint.h>

enum {
	XSK_BATCH = 64,        /* frames of one xsk_receive() */
	XSK_CHUNK = 2048,      /* bytes of memory for each frame */
	XSK_FRAME_MAX = 1792,  /* bytes of a frame: the kernel's headroom comes off */
	XSK_RX_CHUNKS = 1024,  /* of each queue, all workers together */
	XSK_TX_CHUNKS = 512,   /* of each worker */
	XSK_HEADROOM_RX = 256, /* bytes before a received frame that its reader may overwrite */
};

struct xsk_area;

struct xsk_params {
	unsigned int workers;
	unsigned int queues;
	const int *fds; /* AF_XDP sockets, workers × queues; taken, also on failure */
};

/*
 * Gives the sockets their memory and rings; needs no capability, but RLIMIT_MEMLOCK for the memory
 * (xsk_area_size()). 0, -ENOBUFS (the limit), -ENOMEM …
 */
[[nodiscard]] int xsk_area_new(const struct xsk_params *params, struct xsk_area **ret);
/*
 * Binds them to an interface, before they are used. 0; -EBUSY: another process, or an earlier area
 * that the kernel hasn't quite taken down, has a queue: to be tried again; -ENODEV, -ENETDOWN …
 */
[[nodiscard]] int xsk_area_bind(struct xsk_area *a, unsigned int ifindex);
/* Accepts NULL. No worker may be using it. */
void xsk_area_free(struct xsk_area *a);
size_t xsk_area_size(unsigned int workers, unsigned int queues);
/* Borrowed; readable when frames have come. */
int xsk_fd(const struct xsk_area *a, unsigned int worker, unsigned int queue);

struct xsk_frame {
	uint8_t *data;
	size_t len;
};
/*
 * Frames that have come, at most XSK_BATCH: how many. They are the caller's until xsk_release(),
 * which it calls with all of them before it asks again.
 */
unsigned int xsk_receive(struct xsk_area *a, unsigned int worker, unsigned int queue,
			 struct xsk_frame ret[XSK_BATCH]);
void xsk_release(struct xsk_area *a, unsigned int worker, unsigned int queue,
		 const struct xsk_frame *frames, unsigned int count);

/* Memory for a frame to send, XSK_FRAME_MAX bytes; NULL when all is on its way. */
uint8_t *xsk_take(struct xsk_area *a, unsigned int worker);
/*
 * Queues what lies in memory from xsk_take(); exactly one call for each. The device, or the kernel
 * for it, writes the checksum over everything from csum_start to csum_start + csum_offset; what is
 * there is added to it. csum_start 0: it stays as it is.
 */
void xsk_send(struct xsk_area *a, unsigned int worker, const struct xsk_frame *frame,
	      unsigned int csum_start, unsigned int csum_offset);
/*
 * Has the kernel send what is queued. 0; -EAGAIN: some is left for another call; -ENETDOWN: the
 * interface is down; -ENXIO: it has gone; or what else the kernel said.
 */
[[nodiscard]] int xsk_flush(struct xsk_area *a, unsigned int worker);
/* Takes back what is queued and hasn't been sent; it is counted. */
void xsk_withdraw(struct xsk_area *a, unsigned int worker);
/* False once the interface has left its network: the sockets won't serve it again, even if it
 * comes back. */
bool xsk_area_is_bound(const struct xsk_area *a);

/* Frames of a worker's sockets that were dropped, by cause; the first has those of all where no
 * worker can be named. */
struct xsk_drops {
	uint64_t too_long;   /* for a chunk, or otherwise invalid: of all workers */
	uint64_t no_chunk;   /* all chunks are with the workers: of all */
	uint64_t ring_full;  /* the worker was too slow */
	uint64_t not_sent;   /* the interface was full, or down, or had gone */
	uint64_t tx_invalid; /* withdrawn, or a bug of ours */
};
void xsk_drops(const struct xsk_area *a, unsigned int worker, struct xsk_drops *ret);

#endif
