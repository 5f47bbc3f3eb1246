/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structured log. A line is made on the writer's stack and handed to the kernel in one call, so
 * threads share a log without a lock. Nothing waits: the journal is sent datagrams with
 * MSG_DONTWAIT (sd_journal_sendv() would wait for a journald that hangs), and standard error is
 * opened anew so that it can be non-blocking without being so for the shell or service that shares
 * it.
 */
#include "daemon/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/base/log_format.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	AREA_MAX = 32,
	AREA_LEN = 24,
};

/* A level of its own. Names are only ever added: who writes meanwhile sees the old or the new
 * level. */
struct log_area {
	char name[AREA_LEN];
	_Atomic uint8_t level; /* 0: the default */
};

enum sink : uint8_t {
	SINK_JOURNAL,
	SINK_SOCKET,      /* standard error is a socket */
	SINK_NONBLOCKING, /* a file, or our own description of a pipe or terminal */
	SINK_SHARED,      /* a blocking descriptor: asked with poll() first */
};

/* What changes although the log is const to its writers. */
struct log_state {
	_Atomic uint64_t dropped;
	_Atomic bool has_observer;
	pthread_mutex_t mutex; /* observe, observe_arg, and changes of the levels */
	void (*observe)(const struct log_event *event, void *arg);
	void *observe_arg;
};

struct log {
	enum log_format format;
	enum sink sink;
	bool color;
	int fd;
	char ident[64];
	_Atomic uint8_t level;
	_Atomic uint8_t most; /* the highest of all areas: usually says no at once */
	_Atomic unsigned int area_count;
	struct log_area areas[AREA_MAX];
	struct log_state *state; /* of the same allocation */
};

struct log_memory {
	struct log log;
	struct log_state state;
};

DEFINE_CLEANUP(struct log *, log_free)

/* ---- sinks --------------------------------------------------------------------------------- */

static int open_journal(struct log *log)
{
	static const struct sockaddr_un addr = { .sun_family = AF_UNIX,
						 .sun_path = "/run/systemd/journal/socket" };
	_cleanup_(fd_closep) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0)
		return -errno;
	log->sink = SINK_JOURNAL;
	log->fd = TAKE_FD(fd);
	return 0;
}

static int open_stderr(struct log *log)
{
	struct stat st;
	if (fstat(STDERR_FILENO, &st) < 0)
		return -errno;
	int flags = O_WRONLY | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	log->fd = S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode) ? open("/proc/self/fd/2", flags)
							      : -EBADF;
	log->sink = SINK_NONBLOCKING;
	if (log->fd >= 0)
		return 0;
	log->fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (log->fd < 0)
		return -errno;
	log->sink = S_ISSOCK(st.st_mode)  ? SINK_SOCKET
		    : S_ISREG(st.st_mode) ? SINK_NONBLOCKING
					  : SINK_SHARED;
	return 0;
}

/* systemd sets JOURNAL_STREAM to the device and inode of the stream; somebody may have redirected
 * it. */
static bool is_journal_stream(void)
{
	const char *env = getenv("JOURNAL_STREAM"); /* NOLINT(concurrency-mt-unsafe): at start */
	char own[64];
	struct stat st;
	if (!env || fstat(STDERR_FILENO, &st) < 0)
		return false;
	(void)snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return strcmp(env, own) == 0;
}

static int open_sink(struct log *log, enum log_format format)
{
	if (format == LOG_FORMAT_AUTO)
		format = is_journal_stream() ? LOG_FORMAT_JOURNAL : LOG_FORMAT_TEXT;
	log->format = format;
	return format == LOG_FORMAT_JOURNAL ? open_journal(log) : open_stderr(log);
}

static bool sink_write(const struct log *log, const char *line, size_t len)
{
	if (log->sink == SINK_JOURNAL || log->sink == SINK_SOCKET)
		return send(log->fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
	if (log->sink == SINK_SHARED) {
		struct pollfd p = { .fd = log->fd, .events = POLLOUT };
		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
			return false;
	}
	return write(log->fd, line, len) == (ssize_t)len;
}

/* ---- levels -------------------------------------------------------------------------------- */

/* Index of the area, or of the first free place. */
static unsigned int find_area(const struct log *log, struct span name)
{
	unsigned int count = atomic_load_explicit(&log->area_count, memory_order_acquire);
	unsigned int i = 0;
	while (i < count && !span_eq_str(name, log->areas[i].name))
		i++;
	return i;
}

static int add_area(struct log *log, struct span name)
{
	unsigned int i = find_area(log, name);
	if (i < atomic_load_explicit(&log->area_count, memory_order_relaxed))
		return 0;
	if (i == AREA_MAX)
		return -E2BIG;
	memcpy(log->areas[i].name, name.ptr, name.len); /* zeroed before */
	atomic_store_explicit(&log->area_count, i + 1, memory_order_release);
	return 0;
}

struct area_setting {
	struct span name;
	enum log_level level;
};

/* Splits "link:debug, origin:info". Returns how many there are, or -EINVAL, -E2BIG. */
static int parse_areas(struct span text, struct area_setting settings[AREA_MAX])
{
	int count = 0;
	while (text.len) {
		size_t len = span_find(text, ',');
		struct span item = span_trim(span_first(text, len));
		text = span_skip(text, len + 1);
		if (item.len == 0)
			continue;
		size_t colon = span_find(item, ':');
		struct area_setting s = { .name = span_trim(span_first(item, colon)) };
		if (s.name.len == 0 || s.name.len >= AREA_LEN ||
		    !log_level_parse(span_trim(span_skip(item, colon + 1)), &s.level))
			return -EINVAL;
		if (count == AREA_MAX)
			return -E2BIG;
		settings[count++] = s;
	}
	return count;
}

static void apply_levels(struct log *log, enum log_level level, const struct area_setting *settings,
			 int count)
{
	uint8_t most = level;
	for (unsigned int i = 0; i < AREA_MAX; i++) {
		uint8_t own = 0;
		for (int k = 0; k < count; k++)
			if (span_eq_str(settings[k].name, log->areas[i].name))
				own = settings[k].level;
		atomic_store_explicit(&log->areas[i].level, own, memory_order_relaxed);
		most = MAX(most, own);
	}
	atomic_store_explicit(&log->level, level, memory_order_relaxed);
	atomic_store_explicit(&log->most, most, memory_order_relaxed);
}

int log_set_levels(struct log *log, enum log_level level, const char *areas)
{
	struct area_setting settings[AREA_MAX];
	int count = parse_areas(span_str(areas), settings);
	if (count < 0 || !log)
		return MIN(count, 0);

	(void)pthread_mutex_lock(&log->state->mutex);
	int r = 0;
	for (int i = 0; r == 0 && i < count; i++)
		r = add_area(log, settings[i].name);
	if (r == 0)
		apply_levels(log, level, settings, count);
	(void)pthread_mutex_unlock(&log->state->mutex);
	return r;
}

bool log_is_enabled(const struct log *log, enum log_level level, const char *area)
{
	if (!log || level > atomic_load_explicit(&log->most, memory_order_relaxed))
		return false;
	unsigned int i = find_area(log, span_str(area));
	uint8_t own = 0;
	if (i < AREA_MAX)
		own = atomic_load_explicit(&log->areas[i].level, memory_order_relaxed);
	return level <= (own ? own : atomic_load_explicit(&log->level, memory_order_relaxed));
}

/* ---- the log ------------------------------------------------------------------------------- */

int log_new(const struct log_params *params, struct log **ret)
{
	struct log_memory *memory = calloc(1, sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	_cleanup_(log_freep) struct log *log = &memory->log;
	log->fd = -EBADF;
	log->state = &memory->state;
	(void)pthread_mutex_init(&log->state->mutex, NULL);
	log->color = params->color;
	(void)snprintf(log->ident, sizeof(log->ident), "%s",
		       params->ident ? params->ident : "adit");
	int r = log_set_levels(log, params->level, params->areas);
	if (r < 0)
		return r;
	r = open_sink(log, params->format);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(log);
	return 0;
}

void log_free(struct log *log)
{
	if (!log)
		return;
	(void)fd_close(log->fd);
	(void)pthread_mutex_destroy(&log->state->mutex);
	free(CONTAINER_OF(log, struct log_memory, log));
}

uint64_t log_dropped(const struct log *log)
{
	return log ? atomic_load_explicit(&log->state->dropped, memory_order_relaxed) : 0;
}

void log_set_observer(struct log *log, void (*observe)(const struct log_event *event, void *arg),
		      void *arg)
{
	(void)pthread_mutex_lock(&log->state->mutex);
	log->state->observe = observe;
	log->state->observe_arg = arg;
	atomic_store_explicit(&log->state->has_observer, observe != NULL, memory_order_relaxed);
	(void)pthread_mutex_unlock(&log->state->mutex);
}

/* An observer that logs isn't told about its own events. */
static void tell_observer(struct log_state *state, const struct log_event *event)
{
	static thread_local bool is_inside;
	if (is_inside || !atomic_load_explicit(&state->has_observer, memory_order_relaxed))
		return;
	is_inside = true;
	(void)pthread_mutex_lock(&state->mutex);
	if (state->observe)
		state->observe(event, state->observe_arg);
	(void)pthread_mutex_unlock(&state->mutex);
	is_inside = false;
}

void log_write(const struct log *log, const struct log_event *event)
{
	if (!log)
		return;
	int saved = errno;
	char buf[LOG_JOURNAL_LEN];
	size_t len;
	if (log->format == LOG_FORMAT_JOURNAL)
		len = log_format_journal(buf, event, log->ident);
	else if (log->format == LOG_FORMAT_JSON)
		len = log_format_json(buf, event, nsec_clock(CLOCK_REALTIME));
	else
		len = log_format_text(buf, event, nsec_clock(CLOCK_REALTIME), log->color);
	if (!sink_write(log, buf, len))
		(void)atomic_fetch_add_explicit(&log->state->dropped, 1, memory_order_relaxed);
	tell_observer(log->state, event);
	errno = saved;
}

bool log_limit_pass(struct log_limit *limit, nsec_t now, uint32_t burst)
{
	if (limit->count == 0 || now - limit->since >= NSEC_PER_SEC) {
		limit->since = now;
		limit->count = 0;
	}
	if (limit->count >= burst) {
		limit->suppressed += limit->suppressed < UINT32_MAX;
		return false;
	}
	limit->count++;
	return true;
}
