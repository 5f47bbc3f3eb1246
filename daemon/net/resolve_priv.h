/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What resolve.c and resolve_record.c share: the resolver with its c-ares channel.
 */
#ifndef DAEMON_NET_RESOLVE_PRIV_H
#define DAEMON_NET_RESOLVE_PRIV_H

#include <sys/stat.h>

#include <ares.h>

#include "daemon/base/map.h"
#include "daemon/net/resolve.h"
#include "util/list.h"

struct resolver {
	struct loop *loop;
	struct resolver_params params;
	ares_channel_t *channel;
	struct stat configured; /* of resolv.conf when the channel was opened; zero: none */
	struct map entries;
	struct list answered;
	struct list ready; /* queries with an answer */
	struct list watches;
	struct loop_task deliver;
	struct timer timer; /* the library's next timeout */
	nsec_t cache_max;
	struct resolver_stats stats;
	bool is_closing;

	struct list records_ready; /* of resolve_record() */
	struct loop_task deliver_records;
	unsigned int records; /* asked for and not delivered */
};

/* After every call of the library: its next timeout may be another. */
void resolver_arm_timer(struct resolver *r);

/* Before a lookup: has the servers of a changed resolv.conf asked, if nothing is on its way. */
void resolver_follow_system(struct resolver *r);

void resolver_records_init(struct resolver *r);
/* After the channel was destroyed. */
void resolver_records_done(struct resolver *r);

#endif
