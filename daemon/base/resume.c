/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timer that never expires, with TFD_TIMER_CANCEL_ON_SET: the kernel cancels it whenever wall
 * time jumps against monotonic time, and the end of a sleep is such a jump (timekeeping_resume()
 * tells timerfd). So the descriptor wakes us at once after a sleep, and when somebody sets the
 * clock; the two clocks that don't care what time it is tell these apart. A timer on CLOCK_BOOTTIME
 * would need to expire every few seconds for the same.
 */
#include "daemon/base/resume.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "daemon/base/mainloop.h"
#include "util/cleanup.h"
#include "util/macro.h"

struct resume {
	struct resume_params p;
	int fd;
	struct mainloop_io io;
	nsec_t asleep; /* all sleeps since the boot, as last seen */
};

DEFINE_CLEANUP(struct resume *, resume_stop)

/* Between the two readings time may pass: what comes out is too little rather than too much. */
static nsec_t asleep(const struct resume *r)
{
	nsec_t boot = r->p.clock(CLOCK_BOOTTIME);
	return nsec_sub(boot, r->p.clock(CLOCK_MONOTONIC));
}

void resume_check(struct resume *r)
{
	if (!r)
		return;
	nsec_t now = asleep(r);
	if (now < r->asleep)
		return; /* the readings were far apart */
	nsec_t slept = now - r->asleep;
	r->asleep = now;
	if (slept >= RESUME_SLEPT_MIN)
		r->p.on_resume(slept, r->p.user);
}

/* Readable when wall time jumps. Returns the descriptor or a negative errno. */
static int open_jumps(void)
{
	/* An absolute time that doesn't come. */
	static const struct itimerspec never = { .it_value.tv_sec = INT64_C(1) << 33 };
	_cleanup_(fd_closep) int fd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	int r = timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL);
	/* Cancelled at once, by a jump in this very moment, it is armed all the same. */
	if (r < 0 && errno != ECANCELED)
		return -errno;
	return TAKE_FD(fd);
}

static void on_ready(struct mainloop_io *io, uint32_t revents UNUSED)
{
	struct resume *r = CONTAINER_OF(io, struct resume, io);
	uint64_t count;
	/* ECANCELED is the message; the timer stays armed, and reading makes it quiet again. */
	(void)!read(r->fd, &count, sizeof(count));
	resume_check(r);
}

int resume_start(const struct resume_params *params, struct resume **ret)
{
	_cleanup_(resume_stopp) struct resume *r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->p = *params;
	if (!r->p.clock)
		r->p.clock = nsec_clock;
	r->asleep = asleep(r);
	r->fd = r->p.open_jumps ? r->p.open_jumps() : open_jumps();
	if (r->fd < 0)
		return TAKE_FD(r->fd);
	r->io.on_ready = on_ready;
	int error = mainloop_io_start(r->p.loop, &r->io, r->fd, EPOLLIN);
	if (error < 0)
		return error;
	*ret = TAKE_PTR(r);
	return 0;
}

void resume_stop(struct resume *r)
{
	if (!r)
		return;
	mainloop_io_stop(&r->io);
	(void)fd_close(r->fd);
	free(r);
}
