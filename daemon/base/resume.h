/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Notices that the machine has slept: CLOCK_BOOTTIME goes on while CLOCK_MONOTONIC stands still.
 * Costs no wake-up while nothing happens. Control thread.
 */
#ifndef DAEMON_BASE_RESUME_H
#define DAEMON_BASE_RESUME_H

#include "util/time.h"

struct mainloop;
struct resume;

/* A shorter sleep is none: the clocks are read one after the other. */
#define RESUME_SLEPT_MIN NSEC_PER_SEC

struct resume_params {
	struct mainloop *loop;
	/* For tests; NULL: the real ones. open_jumps gives a descriptor that becomes readable when
	 * wall time may have jumped, or a negative errno. */
	nsec_t (*clock)(clockid_t clock);
	int (*open_jumps)(void);
	/* slept: how long. From the loop. */
	void (*on_resume)(nsec_t slept, void *user);
	void *user;
};
/* Returns 0, -ENOMEM, or what the kernel said. */
[[nodiscard]] int resume_start(const struct resume_params *params, struct resume **ret);
/* Accepts NULL. */
void resume_stop(struct resume *r);

/*
 * Compares the clocks now, and calls on_resume if they say so. For who was woken by something else
 * that a sleep may have caused. Accepts NULL.
 */
void resume_check(struct resume *r);

#endif
