/* SPDX-License-Identifier: Apache-2.0 */
/* Which interfaces may have a short cut (shortcut.h). Private to datapath/. */
#ifndef DAEMON_DATAPATH_OBSTACLE_H
#define DAEMON_DATAPATH_OBSTACLE_H

#include "netlink/lookup.h"

/* Why frames of this interface can't go around the kernel, a static text; NULL: they can. */
const char *obstacle_find(struct lookup *lookup, const struct lookup_link *link);

#endif
