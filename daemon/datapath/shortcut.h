/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The short cut around sockets: on each interface that the operator named, an XDP program that
 * hands frames of promoted flows to the workers' AF_XDP sockets, and those sockets. The control
 * thread's; each worker has a promoter (promote.h), which is told when an interface's short cut
 * opens and closes and what changes on the host.
 *
 * Everything that needs a privilege is done by shortcut_new(); sockets are opened in stock there,
 * so that an interface which comes back can be served once more.
 */
#ifndef DAEMON_DATAPATH_SHORTCUT_H
#define DAEMON_DATAPATH_SHORTCUT_H

#include "abi/flow_abi.h"
#include "daemon/base/worker.h"
#include "daemon/datapath/path.h"

struct mainloop;
struct promoter;
struct shortcut;

struct shortcut_params {
	const char *const *interfaces; /* names; "auto": every Ethernet without a default route */
	size_t count;
	unsigned int workers;
	unsigned int max_flows;
	unsigned int rate; /* datagrams a second from which a flow is worth it; 0: any */
	const struct log *log;
};

/*
 * What hinders is told in the log, with what the operator can do, and then there is less: an
 * interface or all of them stay with sockets. 0, *ret NULL when nothing is left; -ENOMEM.
 */
[[nodiscard]] int shortcut_new(const struct shortcut_params *params, struct shortcut **ret);
/* After the workers' promoters. Accepts NULL. */
void shortcut_free(struct shortcut *s);

/* Makes a worker's promoter, before the threads start. 0 or a negative errno. */
[[nodiscard]] int shortcut_join(struct shortcut *s, struct worker *worker,
				struct datapath_stats *stats, struct promoter **ret);

/* Opens what can be opened, and follows the network from here on; when the workers run. */
[[nodiscard]] int shortcut_start(struct shortcut *s, struct mainloop *loop,
				 struct worker_set *workers);
/* Nothing is followed any more; before the workers end. Accepts NULL. */
void shortcut_stop(struct shortcut *s);

/* What became of frames with UDP (FLOW_VERDICT_…) on all interfaces. Any thread. */
void shortcut_verdicts(const struct shortcut *s, uint64_t ret[FLOW_VERDICTS]);

#endif
