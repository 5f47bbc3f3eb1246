/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread's loop on sd-event. Sources are made when something starts and go when it
 * stops: the control thread does this a few times a second at most.
 */
#include "daemon/base/mainloop.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include <systemd/sd-event.h>

#include "daemon/base/mailbox.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	SIGNAL_MAX = 16,
	TIMER_ACCURACY_USEC = 1000,
};

struct signal_handler {
	int signo;
	void (*on_signal)(int signo, void *arg);
	void *arg;
	sd_event_source *source;
};

struct mainloop {
	sd_event *event;
	struct mailbox *mailbox;
	struct mainloop_io mailbox_io;
	struct signal_handler signals[SIGNAL_MAX];
	unsigned int signal_count;
};

DEFINE_CLEANUP(struct mainloop *, mainloop_free)

static void on_mailbox(struct mainloop_io *io, uint32_t revents UNUSED)
{
	mailbox_deliver(CONTAINER_OF(io, struct mainloop, mailbox_io)->mailbox);
}

int mainloop_new(void *owner, struct mainloop **ret)
{
	_cleanup_(mainloop_freep) struct mainloop *ml = calloc(1, sizeof(*ml));
	if (!ml)
		return -ENOMEM;
	int r = sd_event_new(&ml->event);
	if (r < 0)
		/* cppcheck-suppress memleak ; freed by its cleanup attribute */
		return r;
	r = mailbox_new(owner, &ml->mailbox);
	if (r < 0)
		/* cppcheck-suppress memleak ; freed by its cleanup attribute */
		return r;
	ml->mailbox_io.on_ready = on_mailbox;
	r = mainloop_io_start(ml, &ml->mailbox_io, mailbox_fd(ml->mailbox), EPOLLIN);
	if (r < 0)
		return r;
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	*ret = TAKE_PTR(ml);
	return 0;
}

void mainloop_free(struct mainloop *ml)
{
	if (!ml)
		return;
	for (unsigned int i = 0; i < ml->signal_count; i++)
		(void)sd_event_source_disable_unref(ml->signals[i].source);
	mainloop_io_stop(&ml->mailbox_io);
	mailbox_free(ml->mailbox);
	(void)sd_event_unref(ml->event);
	free(ml);
}

int mainloop_run(struct mainloop *ml)
{
	return sd_event_loop(ml->event);
}

int mainloop_turn(struct mainloop *ml, nsec_t max_wait)
{
	uint64_t usec = max_wait == NSEC_NEVER ? UINT64_MAX : max_wait / NSEC_PER_USEC;
	int r = sd_event_run(ml->event, usec);
	return r < 0 ? r : 0;
}

void mainloop_quit(struct mainloop *ml, int code)
{
	(void)sd_event_exit(ml->event, code);
}

struct sd_event *mainloop_event(struct mainloop *ml)
{
	return ml->event;
}

struct mailbox *mainloop_mailbox(struct mainloop *ml)
{
	return ml->mailbox;
}

/* ---- signals ------------------------------------------------------------------------------- */

static int on_signal_source(sd_event_source *source UNUSED,
			    const struct signalfd_siginfo *si UNUSED, void *arg)
{
	const struct signal_handler *h = arg;
	h->on_signal(h->signo, h->arg);
	return 0;
}

int mainloop_on_signal(struct mainloop *ml, int signo, void (*on_signal)(int signo, void *arg),
		       void *arg)
{
	if (ml->signal_count == SIGNAL_MAX)
		return -E2BIG;
	sigset_t set;
	(void)sigemptyset(&set);
	if (sigaddset(&set, signo) < 0)
		return -errno;
	int r = -pthread_sigmask(SIG_BLOCK, &set, NULL);
	if (r < 0)
		return r;

	struct signal_handler *h = &ml->signals[ml->signal_count];
	*h = (struct signal_handler){ .signo = signo, .on_signal = on_signal, .arg = arg };
	r = sd_event_add_signal(ml->event, &h->source, signo, on_signal_source, h);
	if (r < 0)
		return r;
	ml->signal_count++;
	return 0;
}

/* ---- timers -------------------------------------------------------------------------------- */

static int on_timer_source(sd_event_source *source UNUSED, uint64_t usec UNUSED, void *arg)
{
	struct mainloop_timer *t = arg;
	mainloop_timer_stop(t); /* it may be armed again in the callback */
	t->on_expire(t);
	return 0;
}

int mainloop_timer_start(struct mainloop *ml, struct mainloop_timer *t, nsec_t at)
{
	mainloop_timer_stop(t);
	/* Rounded up: never before its time. */
	uint64_t usec = at / NSEC_PER_USEC + (at % NSEC_PER_USEC != 0);
	return MIN(sd_event_add_time(ml->event, &t->source, CLOCK_MONOTONIC, usec,
				     TIMER_ACCURACY_USEC, on_timer_source, t),
		   0);
}

void mainloop_timer_stop(struct mainloop_timer *t)
{
	t->source = sd_event_source_disable_unref(t->source);
}

/* ---- descriptors --------------------------------------------------------------------------- */

static int on_io_source(sd_event_source *source UNUSED, int fd UNUSED, uint32_t revents, void *arg)
{
	struct mainloop_io *io = arg;
	io->on_ready(io, revents);
	return 0;
}

int mainloop_io_start(struct mainloop *ml, struct mainloop_io *io, int fd, uint32_t events)
{
	mainloop_io_stop(io);
	return MIN(sd_event_add_io(ml->event, &io->source, fd, events, on_io_source, io), 0);
}

void mainloop_io_stop(struct mainloop_io *io)
{
	io->source = sd_event_source_disable_unref(io->source);
}
