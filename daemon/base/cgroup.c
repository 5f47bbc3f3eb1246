/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CPU quota of the control group. The group's path in /proc/self/cgroup may be the host's while the
 * mounted tree is the container's: files that aren't there are passed over on the way up, and the
 * root of the mount is always looked at.
 */
#include "daemon/base/cgroup.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/base/file.h"
#include "util/cleanup.h"
#include "util/macro.h"

enum {
	GROUPS_LEN = 16 * 1024, /* of /proc/self/cgroup: a line for each hierarchy */
};

struct quota {
	unsigned int cpus; /* 0: none found yet */
};

static void quota_add(struct quota *q, long long quota_usec, long long period_usec)
{
	if (quota_usec <= 0 || period_usec <= 0)
		return;
	long long cpus = (quota_usec - 1) / period_usec + 1;
	if (cpus < UINT_MAX && (q->cpus == 0 || cpus < q->cpus))
		q->cpus = (unsigned int)cpus;
}

/* Reads the start of a small file as text. False when there is none. */
static bool read_text(const char *path, char *buf, size_t cap)
{
	_cleanup_(fd_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? fd : file_read_fd(fd, buf, cap - 1);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

/* Reads up to two numbers. Returns how many there were; "max" is none. */
static int read_numbers(const char *dir, const char *file, long long *ret_a, long long *ret_b)
{
	char path[PATH_MAX];
	char line[128];
	long long *numbers[] = { ret_a, ret_b };
	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path) ||
	    !read_text(path, line, sizeof(line)))
		return 0;
	char *p = line;
	for (int i = 0; i < 2; i++) {
		char *end = p;
		*numbers[i] = strtoll(p, &end, 10);
		if (end == p)
			return i;
		p = end;
	}
	return 2;
}

static void look_v2(struct quota *q, const char *dir)
{
	long long quota = 0;
	long long period = 0;
	if (read_numbers(dir, "cpu.max", &quota, &period) == 2)
		quota_add(q, quota, period);
}

static void look_v1(struct quota *q, const char *dir)
{
	long long quota = 0;
	long long period = 0;
	long long none = 0;
	if (read_numbers(dir, "cpu.cfs_quota_us", &quota, &none) == 1 &&
	    read_numbers(dir, "cpu.cfs_period_us", &period, &none) == 1)
		quota_add(q, quota, period);
}

/* Looks at a group and all above it, up to the mount. */
static void climb(struct quota *q, const char *mount, const char *group,
		  void (*look)(struct quota *q, const char *dir))
{
	char dir[PATH_MAX];
	size_t mount_len = strlen(mount);
	if (snprintf(dir, sizeof(dir), "%s%s", mount, group) >= (int)sizeof(dir))
		return;
	while (strlen(dir) > mount_len) {
		look(q, dir);
		*strrchr(dir, '/') = '\0';
	}
	look(q, mount);
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *p = list; p; p = strchr(p, ',')) {
		p += *p == ',';
		if (strncmp(p, word, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	}
	return false;
}

static void climb_in(struct quota *q, const char *root, const char *name, const char *group,
		     void (*look)(struct quota *q, const char *dir))
{
	char mount[PATH_MAX];
	if (snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup%s%s", root, *name ? "/" : "", name) <
	    (int)sizeof(mount))
		climb(q, mount, group, look);
}

/* A line is ID:CONTROLLERS:PATH; version 2 has the id 0 and no controllers. */
static void use_line(struct quota *q, const char *root, char *line)
{
	char *controllers = strchr(line, ':');
	char *group = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!group || group[1] != '/')
		return;
	*controllers++ = '\0';
	*group++ = '\0';

	if (*controllers == '\0') {
		climb_in(q, root, "", group, look_v2);
		climb_in(q, root, "unified", group, look_v2);
	} else if (has_word(controllers, "cpu")) {
		climb_in(q, root, controllers, group, look_v1);
		climb_in(q, root, "cpu", group, look_v1);
	}
}

unsigned int cgroup_cpu_quota(const char *root)
{
	struct quota q = {};
	char path[PATH_MAX];
	char text[GROUPS_LEN];
	if (snprintf(path, sizeof(path), "%s/proc/self/cgroup", root) >= (int)sizeof(path) ||
	    !read_text(path, text, sizeof(text)))
		return 0;
	char *rest = NULL;
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		use_line(&q, root, line);
	return q.cpus;
}
