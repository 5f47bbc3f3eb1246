/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every daemon does to its own process before anything else.
 */
#ifndef DAEMON_BASE_PROCESS_H
#define DAEMON_BASE_PROCESS_H

struct paths;

/*
 * No core dump (it would hold keys), as many descriptors as we may have, and the run (0755) and
 * state (0700) directories exist; the first is ours alone until we end (-EAGAIN). Returns 0 or a
 * negative errno with what couldn't be done, a static text, and to which directory (borrowed from
 * paths).
 */
[[nodiscard]] int process_prepare(const struct paths *paths, const char **ret_reason,
				  const char **ret_folder);

#endif
