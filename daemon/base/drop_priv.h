/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving up privileges for good (docs: spec §14): user, groups, capabilities, and the way back.
 */
#ifndef DAEMON_BASE_DROP_PRIV_H
#define DAEMON_BASE_DROP_PRIV_H

#include <stdint.h>
#include <sys/types.h>

struct drop_priv {
	uid_t uid;     /* (uid_t)-1: stay who we are */
	gid_t gid;     /* (gid_t)-1: the same */
	uint64_t keep; /* capabilities to keep (1 << CAP_NET_ADMIN for fwmark), usually 0 */
};

/*
 * Switches to the user and group with no supplementary groups, drops all other capabilities from
 * all sets, sets no_new_privs, and makes the process unreadable to others of its user
 * (PR_SET_DUMPABLE 0).
 *
 * Before any thread is started: capabilities belong to threads. Returns 0, -EBUSY when there are
 * threads, -EINVAL for one id without the other, or what the kernel said; the process must end
 * then, for it may have dropped half.
 */
[[nodiscard]] int drop_priv(const struct drop_priv *params);

/* Ids of a user by name, from the system's user database. Returns 0, -ENOENT or a negative errno.
 */
[[nodiscard]] int drop_priv_find_user(const char *name, uid_t *ret_uid, gid_t *ret_gid);

#endif
