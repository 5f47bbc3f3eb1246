/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the control group of this process allows it (cgroups(7), version 1 and 2).
 */
#ifndef DAEMON_BASE_CGROUP_H
#define DAEMON_BASE_CGROUP_H

/*
 * CPUs' worth of time that the group and its parents may use, rounded up; 0 when there is no limit
 * or none can be read. root: prefix of /proc and /sys, "" for the real ones (tests have their own).
 */
unsigned int cgroup_cpu_quota(const char *root);

#endif
