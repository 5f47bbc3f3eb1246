/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a program keeps its files. A path that doesn't fit is an error, never a shorter path.
 */
#include "daemon/base/paths.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/macro.h"

PRINTF_LIKE(3, 4)
static int put(char *to, size_t size, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsnprintf(to, size, format, args);
	va_end(args);
	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* [a-z0-9][a-z0-9_.-]{0,31} */
static bool is_instance(const char *name)
{
	size_t len = strlen(name);
	if (len == 0 || len > 32 || strchr("_.-", name[0]))
		return false;
	return strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == len;
}

static const char *env(const char *name)
{
	const char *value = secure_getenv(name);
	return value && value[0] == '/' ? value : NULL;
}

/* The first of a list of paths divided by colons (systemd gives several when the unit has several).
 */
static int put_first(char *to, const char *list)
{
	size_t len = strcspn(list, ":");
	return put(to, PATHS_LEN, "%.*s", (int)len, list);
}

static int put_home(char *to, const char *xdg, const char *below_home, const char *folder)
{
	const char *base = env(xdg), *home = env("HOME");
	if (base)
		return put(to, PATHS_LEN, "%s/%s", base, folder);
	if (home && below_home)
		return put(to, PATHS_LEN, "%s/%s/%s", home, below_home, folder);
	return put(to, PATHS_LEN, "/tmp/adit-%u/%s", (unsigned int)getuid(), folder);
}

static int find_config(bool is_edge, const char *instance, char *to)
{
	char folder[PATHS_LEN];
	int r = getuid() == 0 ? put(folder, sizeof(folder), "/etc/adit")
			      : put_home(folder, "XDG_CONFIG_HOME", ".config", "adit");
	if (r < 0)
		return r;
	return put(to, PATHS_LEN, "%s/%s.conf", folder,
		   is_edge    ? "edge"
		   : instance ? instance
			      : "adit");
}

/* A folder of the command line may be relative. */
static int put_absolute(char *to, const char *folder)
{
	char cwd[PATHS_LEN];
	if (folder[0] == '/')
		return put(to, PATHS_LEN, "%s", folder);
	if (!getcwd(cwd, sizeof(cwd)))
		return -errno;
	return put(to, PATHS_LEN, "%s/%s", cwd, folder);
}

static int find_folder(const struct paths_params *p, bool is_run, char *to)
{
	bool is_edge = strcmp(p->program, "adit-edge") == 0;
	const char *given = env(is_run ? "RUNTIME_DIRECTORY" : "STATE_DIRECTORY");
	const char *option = is_run ? p->run_dir : p->state_dir;
	const char *instance = p->instance ? p->instance : "default";
	if (given)
		return put_first(to, given);
	if (option)
		return put_absolute(to, option);
	char folder[128];
	int r = put(folder, sizeof(folder), "%s%s%s", is_edge ? "adit-edge" : "adit",
		    is_edge ? "" : "/", is_edge ? "" : instance);
	if (r < 0)
		return r;
	if (getuid() == 0)
		return put(to, PATHS_LEN, "%s/%s", is_run ? "/run" : "/var/lib", folder);
	return is_run ? put_home(to, "XDG_RUNTIME_DIR", NULL, folder)
		      : put_home(to, "XDG_STATE_HOME", ".local/state", folder);
}

int paths_find(const struct paths_params *params, struct paths *ret)
{
	struct paths p;
	if (params->instance && !is_instance(params->instance))
		return -EINVAL;
	int r = find_config(strcmp(params->program, "adit-edge") == 0, params->instance, p.config);
	if (r == 0)
		r = find_folder(params, true, p.run);
	if (r == 0)
		r = find_folder(params, false, p.state);
	if (r == 0)
		r = put(p.control, sizeof(p.control), "%s/control", p.run);
	if (r == 0)
		*ret = p;
	return r;
}

/* Anybody can make our folder in /tmp before us; it is ours, and closed to others, or not used. */
static int make_below_tmp(const char *folder)
{
	char top[32];
	struct stat st;
	int r = put(top, sizeof(top), "/tmp/adit-%u/", (unsigned int)getuid());
	if (r < 0 || strncmp(folder, top, strlen(top)) != 0)
		return r;
	top[strlen(top) - 1] = '\0';
	if (mkdir(top, 0700) < 0 && errno != EEXIST)
		return -errno;
	if (lstat(top, &st) < 0)
		return -errno;
	return S_ISDIR(st.st_mode) && st.st_uid == getuid() && !(st.st_mode & 077) ? 0 : -EPERM;
}

int paths_make(const char *folder, unsigned int mode)
{
	char part[PATHS_LEN];
	struct stat st;
	int r = make_below_tmp(folder);
	if (r == 0)
		r = put(part, sizeof(part), "%s", folder);
	if (r < 0)
		return r;
	for (char *slash = strchr(part + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	if (mkdir(part, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return -errno;
	if (stat(part, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	return st.st_uid == geteuid() || geteuid() == 0 ? 0 : -EPERM;
}
