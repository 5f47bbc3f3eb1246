/* SPDX-License-Identifier: Apache-2.0 */
#ifndef DAEMON_BASE_VERSION_H
#define DAEMON_BASE_VERSION_H

/* The version of this build. The Makefile gives it to version.c alone. */

/* Like "0.1.0" or "0.1.0-3-gabcdef0-dirty"; printable ASCII, never empty. */
extern const char adit_version[];

#endif
