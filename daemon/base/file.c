/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole small files. Reading doesn't trust the size that stat() tells: /proc says 0, and a file may
 * grow meanwhile.
 */
#include "daemon/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/base/random.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	CHUNK_LEN = 4096,
};

ssize_t file_read_fd(int fd, void *buf, size_t len)
{
	size_t done = 0;
	while (done < len) {
		ssize_t n = read(fd, (uint8_t *)buf + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Room for the next read: the double, up to one byte more than allowed (which shows that it is
 * more). */
static int grow(char **buf, size_t *cap, size_t max)
{
	size_t next = MIN(MAX(*cap * 2, (size_t)CHUNK_LEN), max + 1);
	char *p = realloc(*buf, next + 1);
	if (!p)
		return -ENOMEM;
	*buf = p;
	*cap = next;
	return 0;
}

static int read_all(int fd, size_t max, char **buf, size_t *ret_len)
{
	size_t cap = 0;
	size_t len = 0;
	do {
		int r = grow(buf, &cap, max);
		if (r < 0)
			return r;
		ssize_t n = file_read_fd(fd, *buf + len, cap - len);
		if (n < 0)
			return (int)n;
		len += (size_t)n;
	} while (len == cap && len <= max);
	if (len > max)
		return -EMSGSIZE;
	*ret_len = len;
	return 0;
}

int file_read(const char *path, size_t max, char **ret, size_t *ret_len)
{
	if (max > SSIZE_MAX / 2)
		return -EINVAL;
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return -errno;

	char *buf = NULL;
	size_t len = 0;
	int r = read_all(fd, max, &buf, &len);
	if (r < 0) {
		free(buf);
		return r;
	}
	buf[len] = '\0';
	*ret = buf;
	if (ret_len)
		*ret_len = len;
	return 0;
}

/* ---- replacing ----------------------------------------------------------------------------- */

static int write_all(int fd, struct span content)
{
	while (content.len) {
		ssize_t n = write(fd, content.ptr, content.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		content = span_skip(content, (size_t)n);
	}
	return 0;
}

enum durability : uint8_t {
	DURABILITY_FULL, /* survives a power cut */
	DURABILITY_NONE, /* who reads it can do without */
};

/* Writes the content to a file that doesn't exist yet. */
static int write_new(int dir, const char *name, struct span content, mode_t mode,
		     enum durability durability)
{
	_cleanup_(fd_closep) int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	int r = write_all(fd, content);
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0 && durability == DURABILITY_FULL && fsync(fd) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(dir, name, 0);
	return r;
}

static int open_parent(const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char dir[PATH_MAX];
	if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return -EINVAL;
	/* "name" is in ".", "/name" in "/", "a/name" in "a/". */
	size_t len = (size_t)(name - path);
	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	memcpy(dir, path, len);
	dir[len] = '\0';
	int fd = open(len ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret_name = name;
	return fd;
}

static int replace(const char *path, struct span content, mode_t mode, enum durability durability)
{
	const char *name = NULL;
	_cleanup_(fd_closep) int dir = open_parent(path, &name);
	if (dir < 0)
		return dir;

	char temp[NAME_MAX + 1];
	if (snprintf(temp, sizeof(temp), ".%s.%016llx", name, (unsigned long long)random_u64()) >=
	    (int)sizeof(temp))
		return -ENAMETOOLONG;
	int r = write_new(dir, temp, content, mode, durability);
	if (r < 0)
		return r;
	if (renameat(dir, temp, dir, name) < 0) {
		r = -errno;
		(void)unlinkat(dir, temp, 0);
		return r;
	}
	/* The new one is there; only whether it survives a power cut is still open. */
	if (durability == DURABILITY_FULL)
		(void)fsync(dir);
	return 0;
}

int file_replace(const char *path, struct span content, mode_t mode)
{
	return replace(path, content, mode, DURABILITY_FULL);
}

int file_replace_fast(const char *path, struct span content, mode_t mode)
{
	return replace(path, content, mode, DURABILITY_NONE);
}
