/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every daemon does to its own process before anything else. Where the kernel refuses a limit
 * the daemon runs with what it has.
 */
#include "daemon/base/process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/base/paths.h"

static void raise_descriptors(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* Two daemons in one folder would take each other's socket away. The lock ends with the process. */
static int lock_folder(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0; /* kept open */
	int r = -errno;
	(void)close(fd);
	return r;
}

int process_prepare(const struct paths *paths, const char **ret_reason, const char **ret_folder)
{
	(void)prctl(PR_SET_DUMPABLE, 0);
	raise_descriptors();
	*ret_folder = paths->run;
	int r = paths_make(paths->run, 0755);
	if (r < 0) {
		*ret_reason = "cannot make the run directory";
		return r;
	}
	r = lock_folder(paths->run);
	if (r < 0) {
		*ret_reason = "cannot lock the run directory: is another one running in it?";
		return r;
	}
	*ret_folder = paths->state;
	r = paths_make(paths->state, 0700);
	if (r < 0)
		*ret_reason = "cannot make the state directory";
	return r;
}
