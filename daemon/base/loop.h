/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of one worker: batched epoll, one clock reading a turn, timers, work that runs
 * once at the end of the turn, and memory that is released after it (style L1-L7).
 *
 * A turn: wait (until the next timer at most) -> read the clock -> descriptors -> mailbox and
 * timers
 * -> LOOP_PHASE_WORK tasks -> LOOP_PHASE_FLUSH tasks -> deferred frees. Tasks that are posted while
 * tasks run are run in the same turn for a bounded number of rounds, then in the next turn, which
 * doesn't wait. All calls belong to the loop's own thread except loop_quit().
 */
#ifndef DAEMON_BASE_LOOP_H
#define DAEMON_BASE_LOOP_H

#include <stdint.h>

#include "util/heap.h"
#include "util/list.h"
#include "util/time.h"

struct loop;

/* A descriptor that is watched. Embedded in its owner; zeroed before the first start. */
struct loop_io {
	/* revents: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR. */
	void (*on_ready)(struct loop_io *io, uint32_t revents);
	struct loop *loop; /* NULL while stopped */
	int fd;            /* borrowed */
	uint32_t events;
};

/* Work that runs once at the end of the turn, however often it was posted. Embedded, zeroed. */
struct loop_task {
	void (*run)(struct loop_task *task);
	struct list node;
};

enum loop_phase : uint8_t {
	LOOP_PHASE_WORK,  /* moving data between stages */
	LOOP_PHASE_FLUSH, /* writing to sockets what the turn produced */
	LOOP_PHASE_MAX_,
};

/* An object whose memory goes when the turn is over. */
struct loop_garbage {
	struct loop_garbage *next;
	void (*release)(struct loop_garbage *garbage);
};

/* Something that goes on in the background after its owner has let go of it. */
struct loop_leftover {
	void (*end)(struct loop_leftover *leftover); /* now: the loop goes, too */
	struct list node;
};

/* A timer. Embedded, zeroed; armed in at most one loop. */
struct timer {
	void (*on_expire)(struct timer *timer);
	struct loop *loop; /* NULL while not armed */
	nsec_t at;
	struct heap_node node;
};

/* Returns 0, -ENOMEM, or what epoll_create said. */
[[nodiscard]] int loop_new(struct loop **ret);
/*
 * Frees the loop; everything must have been stopped. Leftovers are ended, pending garbage is
 * released. Accepts NULL.
 */
void loop_free(struct loop *loop);

/* Runs turns until loop_quit(). Returns 0 or what epoll_wait said. */
[[nodiscard]] int loop_run(struct loop *loop);
/* One turn that waits at most until max_wait has passed (0: not at all). For tests and loop_run().
 */
[[nodiscard]] int loop_turn(struct loop *loop, nsec_t max_wait);
/* Ends loop_run() after the current turn. Any thread. */
void loop_quit(struct loop *loop);

/* Time of the current turn (CLOCK_MONOTONIC). */
nsec_t loop_now(const struct loop *loop);
/* Nanoseconds that the thread has spent outside epoll_wait; readable from any thread. */
nsec_t loop_busy(const struct loop *loop);

/*
 * Watches fd for events (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET as wanted); io->on_ready is set
 * by the caller before. Returns 0 or what epoll_ctl said.
 */
[[nodiscard]] int loop_io_start(struct loop *loop, struct loop_io *io, int fd, uint32_t events);
[[nodiscard]] int loop_io_update(struct loop_io *io, uint32_t events);
/* When this one is ready it is served before all others, at the top of the turn. One for a loop. */
void loop_io_set_first(struct loop_io *io);
/*
 * Stops watching; no callback comes after it, not even for events already fetched. Idempotent. Call
 * it before the descriptor is closed.
 */
void loop_io_stop(struct loop_io *io);

/* Runs the task in this turn's phase (idempotent while it waits). */
void loop_task_post(struct loop *loop, struct loop_task *task, enum loop_phase phase);
void loop_task_cancel(struct loop_task *task);

/* (Re)arms a timer for the absolute time at; a time in the past expires in the next turn. */
void timer_start(struct loop *loop, struct timer *timer, nsec_t at);
void timer_stop(struct timer *timer);
static inline bool timer_is_armed(const struct timer *timer)
{
	return timer->loop != NULL;
}

/* Calls garbage->release at the end of the turn, after all tasks. */
void loop_defer_free(struct loop *loop, struct loop_garbage *garbage);

/* Has leftover->end called by loop_free() unless it is canceled before. */
void loop_leave(struct loop *loop, struct loop_leftover *leftover);
void loop_leave_cancel(struct loop_leftover *leftover);

#endif
