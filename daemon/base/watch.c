/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches a file. The directory is what is watched, since most programs write a new file and rename
 * it; which of its events mean our file is found out by looking at the file, since a symbolic link
 * may stand between.
 */
#include "daemon/base/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/mainloop.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	SETTLE_MSEC = 100, /* from the first event to on_change */
	EVENTS = IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_ATTRIB,
};

/* What tells one content from another. */
struct look {
	bool is_there;
	dev_t dev;
	ino_t ino;
	off_t size;
	nsec_t written;
};

struct watch {
	struct mainloop *ml;
	struct mainloop_io io;
	struct mainloop_timer settle;
	int fd;
	char *path;
	struct look last;
	void (*on_change)(void *arg);
	void *arg;
};

static struct look look_at(const char *path)
{
	struct stat st;
	if (stat(path, &st) < 0)
		return (struct look){};
	return (struct look){
		.is_there = true,
		.dev = st.st_dev,
		.ino = st.st_ino,
		.size = st.st_size,
		.written = (nsec_t)st.st_mtim.tv_sec * NSEC_PER_SEC + (nsec_t)st.st_mtim.tv_nsec,
	};
}

static bool is_same(const struct look *a, const struct look *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->written == b->written;
}

static void on_settled(struct mainloop_timer *timer)
{
	struct watch *w = CONTAINER_OF(timer, struct watch, settle);
	struct look now = look_at(w->path);
	if (!now.is_there || is_same(&now, &w->last))
		return;
	w->last = now;
	w->on_change(w->arg);
}

static void on_event(struct mainloop_io *io, uint32_t revents)
{
	(void)revents;
	struct watch *w = CONTAINER_OF(io, struct watch, io);
	alignas(struct inotify_event) char buf[4096];
	/* What happened is seen by looking; a queue that overran is an event like any other. */
	while (read(w->fd, buf, sizeof(buf)) > 0)
		;
	if (w->settle.source) /* not put off: a busy folder would do that for ever */
		return;
	(void)mainloop_timer_start(w->ml, &w->settle,
				   nsec_clock(CLOCK_MONOTONIC) + SETTLE_MSEC * NSEC_PER_MSEC);
}

/* The directory of path; the caller's to free(). NULL: no memory. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return strdup(".");
	return slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

static int watch_open(struct watch *w, const char *path)
{
	w->path = strdup(path);
	_cleanup_(freep) char *folder = folder_of(path);
	if (!w->path || !folder)
		return -ENOMEM;
	w->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->fd < 0 || inotify_add_watch(w->fd, folder, EVENTS) < 0)
		return -errno;
	w->last = look_at(path);
	return mainloop_io_start(w->ml, &w->io, w->fd, EPOLLIN);
}

int watch_new(struct mainloop *ml, const char *path, void (*on_change)(void *arg), void *arg,
	      struct watch **ret)
{
	struct watch *w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->ml = ml;
	w->fd = -EBADF;
	w->io.on_ready = on_event;
	w->settle.on_expire = on_settled;
	w->on_change = on_change;
	w->arg = arg;
	int r = watch_open(w, path);
	if (r < 0) {
		watch_free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	mainloop_timer_stop(&w->settle);
	mainloop_io_stop(&w->io);
	(void)fd_close(w->fd);
	free(w->path);
	free(w);
}
