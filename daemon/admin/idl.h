/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control interfaces as sd-varlink wants them; the text is include/abi/io.adit.*.varlink (a
 * test holds the two together).
 */
#ifndef DAEMON_ADMIN_IDL_H
#define DAEMON_ADMIN_IDL_H

struct sd_varlink_interface;

extern const struct sd_varlink_interface *const idl_daemon;
extern const struct sd_varlink_interface *const idl_edge;

#endif
