/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up privileges, with the system calls themselves: what libcap would add is parsing of
 * names. The order matters: the bounding set needs CAP_SETPCAP and the groups CAP_SETGID, so both
 * come before the user; kept capabilities survive the change of user only by PR_SET_KEEPCAPS.
 */
#include "daemon/base/drop_priv.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>

enum {
	CAP_BITS = 64,
	PASSWD_LEN = 16 * 1024,
	/* ThreadSanitizer has a thread of its own from the start. */
	THREADS_AT_START = __has_feature(thread_sanitizer) ? 2 : 1,
};

static bool has_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	if (!dir)
		return false; /* no /proc: we can't know */
	unsigned int count = 0;
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is ours */
	for (const struct dirent *e = readdir(dir); e; e = readdir(dir))
		count += e->d_name[0] != '.';
	(void)closedir(dir);
	return count > THREADS_AT_START;
}

static int get_caps(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	return syscall(SYS_capget, &header, data) < 0 ? -errno : 0;
}

/* Permitted and effective become what is kept of the permitted ones; nothing is inherited. */
static int set_caps(uint64_t keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};
	int r = get_caps(data);
	if (r < 0)
		return r;
	for (unsigned int i = 0; i < 2; i++) {
		data[i].permitted &= (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* Without CAP_SETPCAP the bounding set can't be changed; no_new_privs then has to do. */
static int drop_bounding(uint64_t keep)
{
	struct __user_cap_data_struct data[2] = {};
	int r = get_caps(data);
	if (r < 0)
		return r;
	if (!(data[0].effective & 1U << CAP_SETPCAP))
		return 0;
	for (unsigned int cap = 0; cap < CAP_BITS; cap++) {
		if (prctl(PR_CAPBSET_READ, cap, 0, 0, 0) < 0)
			break; /* the kernel's last one was before */
		if (!(keep & UINT64_C(1) << cap) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

static int switch_user(const struct drop_priv *p)
{
	if (p->keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return -errno;
	if (setgroups(0, NULL) < 0 || setresgid(p->gid, p->gid, p->gid) < 0 ||
	    setresuid(p->uid, p->uid, p->uid) < 0)
		return -errno;
	return prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 ? -errno : 0;
}

int drop_priv(const struct drop_priv *p)
{
	bool is_switch = p->uid != (uid_t)-1;
	if (is_switch != (p->gid != (gid_t)-1))
		return -EINVAL;
	if (has_threads())
		return -EBUSY;
	int r = drop_bounding(p->keep);
	if (r == 0 && is_switch)
		r = switch_user(p);
	if (r == 0)
		r = set_caps(p->keep);
	if (r < 0)
		return r;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	/* Believe nobody: a way back would be worse than not starting. */
	if (is_switch && p->uid != 0 && setresuid(0, 0, 0) == 0)
		return -EPERM;
	return 0;
}

int drop_priv_find_user(const char *name, uid_t *ret_uid, gid_t *ret_gid)
{
	char buf[PASSWD_LEN];
	struct passwd pw;
	struct passwd *found = NULL;
	int r = getpwnam_r(name, &pw, buf, sizeof(buf), &found);
	if (!found)
		return r ? -r : -ENOENT;
	*ret_uid = pw.pw_uid;
	*ret_gid = pw.pw_gid;
	return 0;
}
