/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Per worker: link sink = demux, demux = proxy, proxy = origins. The only file of aditd that knows
 * both the left and the right end of the pipe (design §2).
 */
#ifndef DAEMON_ADITD_WIRING_H
#define DAEMON_ADITD_WIRING_H

#include "daemon/aditd/config.h"
#include "daemon/aditd/tunnel.h"
#include "daemon/datapath/path.h"
#include "daemon/net/outproxy.h"
#include "daemon/origin/origin.h"
#include "daemon/proxy/proxy_http.h"
#include "daemon/session/icmp_routed.h"

struct page;
struct shortcut;
struct tun_ground;
struct tun_host;

/* What all workers share; outlives them. */
struct wiring_shared {
	struct config *config; /* with which the workers start */
	struct proxy_metrics proxy_metrics;
	struct rpc_metrics rpc_metrics;
	struct quic_settings quic; /* of the start: each worker has its own copy */
	const char *server_names[LINK_PROTOCOL_MAX_];
	struct uuid connector_id;
	char connector_text[UUID_TEXT_LEN + 1];
	struct mailbox *main;
	struct page *page;         /* NULL: no local page; the first worker serves it */
	struct shortcut *shortcut; /* NULL: UDP flows go by sockets */
	struct tun_host *tun;      /* NULL: nothing is routed */
	unsigned int worker_count;
	struct owners *flow_owners; /* NULL with one worker */
	struct owners *tun_owners;  /* … or without routed mode */
	void *tun_grounds[WORKER_MAX];
	struct flow_table *flow_tables[WORKER_MAX];
};

struct wiring {
	struct wiring_shared *shared;
	struct worker *worker;
	struct snapshot_slot config; /* what is in force here */
	struct http_limits limits;
	struct quic_settings quic_settings;
	struct h2link_settings h2_settings;
	struct outproxy_params proxy_out; /* on the way to the edge */
	struct resolver *resolver;
	struct origin_worker *origins;
	struct pattern_scratch *scratch;
	struct quic_worker *quic;
	struct proxy_env proxy;
	struct demux demux;
	struct datapath *datapath;
	struct tun_ground *tun; /* NULL: nothing is routed */
	struct flow_table flows;
	struct icmp_session icmp;
	struct icmp_routed icmp_routed; /* with tun */
	struct tunnel_env *tunnels;     /* in the supervisor's array */
};

/* Joins the parts of one worker; before its thread starts. 0 or a negative errno (then
 * wiring_done()). */
[[nodiscard]] int wiring_init(struct wiring *w, struct wiring_shared *shared, struct worker *worker,
			      struct tunnel_env *tunnels);
/* Ends everything that runs; on the worker's thread. */
void wiring_stop(struct wiring *w);
/* After the thread has ended, or when it never started. */
void wiring_done(struct wiring *w);

#endif
