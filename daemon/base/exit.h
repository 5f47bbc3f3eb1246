/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Exit codes of the daemons (spec §1). Units are not restarted after the last two.
 */
#ifndef DAEMON_BASE_EXIT_H
#define DAEMON_BASE_EXIT_H

enum {
	EXIT_OK = 0,      /* done or drained */
	EXIT_FAILED = 1,  /* while running, or for want of something outside */
	EXIT_USAGE = 64,  /* command line */
	EXIT_CONFIG = 78, /* configuration, or a file that it names */
};

#endif
