/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread's loop: sd-event with signals, timers, descriptors and a mailbox for what
 * workers have to say (style L1). All calls belong to the control thread except posting to the
 * mailbox.
 */
#ifndef DAEMON_BASE_MAINLOOP_H
#define DAEMON_BASE_MAINLOOP_H

#include <stdint.h>

#include "util/time.h"

struct mailbox;
struct mainloop;
struct sd_event;
struct sd_event_source;

/* A timer. Embedded, zeroed. */
struct mainloop_timer {
	void (*on_expire)(struct mainloop_timer *timer);
	struct sd_event_source *source; /* NULL while not armed */
};

/* A descriptor that is watched, level-triggered. Embedded, zeroed. */
struct mainloop_io {
	void (*on_ready)(struct mainloop_io *io, uint32_t revents);
	struct sd_event_source *source; /* NULL while stopped */
};

/*
 * owner: what messages to this thread's mailbox are delivered with. SIGPIPE is ignored from here
 * on. Returns 0, -ENOMEM, or what the kernel said.
 */
[[nodiscard]] int mainloop_new(void *owner, struct mainloop **ret);
/* Timers and descriptors must have been stopped; messages that are left are discarded. Accepts
 * NULL. */
void mainloop_free(struct mainloop *ml);

/* Runs until mainloop_quit(). Returns the code given there or a negative errno. */
[[nodiscard]] int mainloop_run(struct mainloop *ml);
/* One turn that waits at most max_wait (NSEC_NEVER: for an event). 0 or a negative errno. For
 * tests. */
[[nodiscard]] int mainloop_turn(struct mainloop *ml, nsec_t max_wait);
/* code: 0 or positive. */
void mainloop_quit(struct mainloop *ml, int code);

/* For what is served by the same thread with its own sources (Varlink). Borrowed. */
struct sd_event *mainloop_event(struct mainloop *ml);
/* Any thread may post to it. */
struct mailbox *mainloop_mailbox(struct mainloop *ml);

/* Blocks the signal and has on_signal called from the loop. Before other threads start; once for
 * each. */
[[nodiscard]] int mainloop_on_signal(struct mainloop *ml, int signo,
				     void (*on_signal)(int signo, void *arg), void *arg);

/* (Re)arms a timer for the absolute time at (CLOCK_MONOTONIC). Returns 0 or -ENOMEM. */
[[nodiscard]] int mainloop_timer_start(struct mainloop *ml, struct mainloop_timer *timer,
				       nsec_t at);
/* Idempotent. */
void mainloop_timer_stop(struct mainloop_timer *timer);

/* events: EPOLLIN, EPOLLOUT. fd is borrowed. Returns 0 or a negative errno. */
[[nodiscard]] int mainloop_io_start(struct mainloop *ml, struct mainloop_io *io, int fd,
				    uint32_t events);
/* Idempotent; before the descriptor is closed. */
void mainloop_io_stop(struct mainloop_io *io);

#endif
