/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which addresses may the edge reach through this daemon besides the rules? (spec §2.2 [network])
 */
#ifndef DAEMON_PROXY_DESTINATION_H
#define DAEMON_PROXY_DESTINATION_H

#include "util/addr.h"

struct conf;

/*
 * is_own: it is an address of this host. Nothing that isn't allowed, or is denied. Without any
 * `allow` an edge of ours reaches nothing, another one what is neither loopback, link-local nor
 * own. Those are opened only by an entry that means them: one that lies within 127.0.0.0/8, ::1,
 * 169.254.0.0/16 or fe80::/10; for own addresses any but 0.0.0.0/0 and ::/0. The unspecified
 * address, which the kernel takes for loopback, multicast and broadcast are never allowed.
 */
bool destination_is_allowed(const struct conf *conf, const struct ip_addr *addr, bool is_own);

#endif
