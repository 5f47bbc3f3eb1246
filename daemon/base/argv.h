/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets that came by command line or environment: taken into a struct secret and overwritten
 * where everybody could read them (/proc/PID/cmdline, /proc/PID/environ). At start, before any
 * thread.
 */
#ifndef DAEMON_BASE_ARGV_H
#define DAEMON_BASE_ARGV_H

struct secret;

/*
 * arg: (the rest of) an argument of main(); its bytes become '*'. Returns 0 or what secret_new()
 * said: then it is overwritten all the same.
 */
[[nodiscard]] int argv_take_secret(char *arg, struct secret **ret);
/* The same for an environment variable, which is gone afterwards; -ENOENT when it isn't set. */
[[nodiscard]] int argv_take_env(const char *name, struct secret **ret);

#endif
