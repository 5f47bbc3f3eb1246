/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control thread of adit-edge: everything that exists once.
 */
#ifndef DAEMON_EDGE_APP_H
#define DAEMON_EDGE_APP_H

#include "daemon/base/mainloop.h"
#include "daemon/base/paths.h"
#include "daemon/conf/load.h"
#include "daemon/edge/edge_conn.h"
#include "daemon/edge/front_http.h"
#include "daemon/edge/front_tunnel.h"
#include "daemon/edge/front_udp.h"
#include "daemon/link/quic.h"

struct page;
struct reload;
struct varlink;
struct watchdog;
struct edge_status;
struct front_net;
struct net_host;
struct refuse;

struct edge_params {
	struct edge_conf *conf;    /* a reference, taken */
	struct conf_source source; /* that it was loaded from; lives as long as the process */
	struct paths paths;
	const char
		*user; /* to become when started as root; NULL: adit-edge if there is such a user */
};

/* What lives on one worker. */
struct edge_worker {
	struct edge *edge;
	struct worker *worker;
	struct snapshot_slot roster; /* what is in force here */
	struct quic_settings quic_settings;
	struct quic_worker *quic;
	struct h2link_settings h2_settings;
	struct front_tunnel *tunnels; /* HTTP/2; NULL before the start and after the end */
	struct edge_conn_env conns;
	struct flow_caller flows;
	struct front *front;
	struct tls_certs *certs;
	int http_fds[FRONT_LISTENERS_MAX];
	int https_fds[FRONT_LISTENERS_MAX];
	int *tcp_fds;    /* of [tcp NAME]: edge_conf_tcp_listeners() */
	int *tunnel_fds; /* of [edge] listen, over TCP */
	int net_fds[FRONT_NETWORK_FDS];

	struct timer drained; /* looks whether everything has ended */
	struct timer certs_timer;
	int bad_certs; /* of the directory, when last read; negative: it could not be */
};

/* What happens on every worker when the edge leaves. */
enum drain_round : uint8_t {
	DRAIN_ROUND_NONE,
	DRAIN_ROUND_FRONT, /* no visitor comes in any more */
	DRAIN_ROUND_ASKED, /* again and again: who came in before asks, and goes his way */
	DRAIN_ROUND_LINKS, /* no request goes out any more: daemons are sent away */
};

struct edge {
	struct edge_params params; /* its conf is that of the start */
	struct roster *roster;     /* in force */
	struct refuse *refuse;     /* an order in force; NULL: none */
	struct log *log;
	struct metric_registry *metrics;
	struct metric_shard *shard;
	struct mainloop *loop;
	struct worker_set *workers;
	struct watchdog *watchdog; /* NULL: nobody asks for it */
	unsigned int worker_count;
	_Atomic bool is_draining; /* it goes: daemons are refused, nobody is sent here */
	struct front_families front_families;
	struct tunnel_families tunnel_families;
	struct bridge_metrics bridge_metrics;
	struct quic_settings quic_settings; /* of the start: each worker has its own copy */
	SSL_CTX *tls;    /* of QUIC at the start: the server has the one in force */
	SSL_CTX *h2_tls; /* of HTTP/2 at the start: the workers have the one in force */
	uint8_t quic_key[32];
	struct quic_server *server;
	struct directory **directories; /* one per worker */
	struct edge_worker *edge_workers;
	struct front_udp **udp_fronts;  /* one per worker */
	struct udp_clients **udp_peers; /* theirs */
	struct net_host *net;           /* NULL: no private network */
	struct front_net **net_fronts;  /* one per worker; NULL: none */
	struct udp_clients **net_peers; /* theirs */
	unsigned int http_count;
	unsigned int https_count;
	_Atomic uint64_t next_serial;
	enum drain_round drain_round;   /* written before the workers are asked */
	_Atomic bool awaits_visitors;   /* in that round: some worker's haven't asked yet */
	_Atomic unsigned int undrained; /* workers that still have something */
	nsec_t drain_began;
	struct reload *reload;
	struct page *page;
	struct varlink *varlink;
	struct edge_status *status;
	struct mainloop_timer renew_timer;
	struct mainloop_timer grace_timer;
	struct mainloop_timer round_timer;
	nsec_t started; /* CLOCK_REALTIME */
};

static inline struct roster *edge_worker_roster(const struct edge_worker *ew)
{
	return CONTAINER_OF(ew->roster.current, struct roster, snapshot);
}

/* Runs until a signal ends it. Returns an exit code. */
int edge_run(const struct edge_params *params);

/* Starts draining, or cuts when it drains already. Control thread. */
void edge_stop(struct edge *e);

#endif
