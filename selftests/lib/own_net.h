/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network of the test's own: nothing in it but what the test makes, and gone with the process.
 */
#ifndef SELFTESTS_LIB_OWN_NET_H
#define SELFTESTS_LIB_OWN_NET_H

#include <stdbool.h>

/* Moves the process there, loopback down. False without the rights for it. */
bool own_net_enter(void);
/* Runs a command line, split at blanks; its exit status, -1 when it couldn't be run. */
int own_net_run(const char *command);
/* A veth pair eth1, peer1, both up. False when it couldn't be made. */
bool own_net_make_pair(void);
void own_net_remove_pair(void);

#endif
