/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The worker's end of a connection: dials, registers when it is told to, and reports to the control
 * thread, which decides (design §5). Commands and reports are messages; a connection is named by
 * its serial.
 */
#ifndef DAEMON_ADITD_TUNNEL_H
#define DAEMON_ADITD_TUNNEL_H

#include "daemon/conf/conf.h"
#include "daemon/demux/demux.h"
#include "daemon/demux/demux_dgram.h"
#include "daemon/link/control.h"
#include "daemon/link/h2link.h"
#include "daemon/link/quic.h"

struct outproxy_params;
struct snapshot;
struct tunnel;

/* DATAGRAM frames of links. */
struct tunnel_datagrams {
	uint64_t rx, tx, dropped;
};

/* What of the configuration in force tunnels use. */
struct tunnel_config {
	struct snapshot *snapshot; /* keeps the rest alive; the wiring's reference */
	struct conf *conf;
	SSL_CTX *tls;
	const struct tls_trust *trust;
	struct span local_json; /* empty: not sent */
};

/* What all tunnels of one worker share. Owned by the wiring. */
struct tunnel_env {
	struct worker *worker;
	struct quic_worker *quic;
	const struct h2link_settings *h2;
	const struct outproxy_params *proxy; /* NULL: none */
	struct demux *demux;
	struct flow_table *flows;
	struct icmp_session *icmp;
	struct tunnel_config config; /* by tunnel_use_config() */
	const char *server_names[LINK_PROTOCOL_MAX_];
	struct uuid connector_id;
	struct mailbox *main; /* where reports go */
	const struct rpc_metrics *rpc_metrics;
	struct list tunnels;
	uint64_t links_dialled, links_ended;
	struct tunnel_datagrams datagrams_ended; /* of links that are gone */
	uint64_t config_pushes, config_errors;   /* local configurations sent; not taken */
};

enum tunnel_report_kind : uint8_t {
	TUNNEL_REPORT_CONNECTED,  /* handshake done: it may be told to register */
	TUNNEL_REPORT_REGISTERED, /* result is set */
	TUNNEL_REPORT_REFUSED,    /* registration failed: result is set; a CLOSED follows */
	TUNNEL_REPORT_AWAY,       /* the edge ended the control stream: replace this connection */
	TUNNEL_REPORT_SUSPECT,    /* registered, but the edge doesn't answer; again after HEARD */
	TUNNEL_REPORT_HEARD,      /* it does */
	TUNNEL_REPORT_CLOSED,     /* the last report of this tunnel */
	TUNNEL_REPORT_MAX_,
};

/*
 * A report to the control thread, which makes one of each kind with the dial: a worker that has no
 * memory can still say what became of it. What can come again is copied.
 */
struct tunnel_report {
	void *owner;            /* who decides */
	struct message message; /* on_deliver: the control thread's, which frees the report */
	enum tunnel_report_kind kind;
	unsigned int index;
	uint64_t serial; /* of the dial that it answers */
	enum link_protocol protocol;
	bool was_connected; /* a CONNECTED went before it */
	struct control_result result;
	struct link_close_info close;
	struct ip_port peer;
	struct ip_port local;
	char text[160]; /* CLOSED: why, for status and log */
};

/* One connection to be made. */
struct tunnel_dial {
	struct tunnel_report *reports[TUNNEL_REPORT_MAX_]; /* owned */
	unsigned int index;
	uint64_t serial;
	enum link_protocol protocol;
	struct ip_port peer;
	uint16_t local_port; /* UDP, of the index's last connection; 0: none */
	bool dns_says_v3;    /* the vendor's record gives this account datagram version 3 */
};
/*
 * Another configuration is in force: dials, registrations and drains from now on go by it, and
 * connection 0 sends the edge the new local configuration. Before the first dial, then on the
 * worker's thread.
 */
void tunnel_use_config(struct tunnel_env *env, const struct tunnel_config *config);

/* Takes the dial's reports. The rest of this page is for the worker's thread too. */
void tunnel_start(struct tunnel_env *env, const struct tunnel_dial *dial);
/* Frees reports that were not sent. Any thread that owns the dial. */
void tunnel_dial_done(struct tunnel_dial *dial);

/* It may register now; attempts (0–255) is what the edge is told of those before it. */
void tunnel_register(struct tunnel_env *env, uint64_t serial, unsigned int attempts);
/* Unregisters, lets running requests end, and closes; after the grace period the rest is cut. */
void tunnel_drain(struct tunnel_env *env, uint64_t serial);
/* Closes it at once. */
void tunnel_close(struct tunnel_env *env, uint64_t serial, const char *reason);
/* Drains all, or closes all when grace is 0. */
void tunnel_stop_all(struct tunnel_env *env, nsec_t grace);
/* Asks every edge that was silent for a second for a sign of life, but not that of this index. */
void tunnel_probe_all_but(struct tunnel_env *env, unsigned int index);
/* Links, addresses or routes have changed: connections whose packets would now leave from another
 * address move there. */
void tunnel_network_changed(struct tunnel_env *env);
/* Closes and frees all, without reports. */
void tunnel_free_all(struct tunnel_env *env);
/* Statistics of the live link of an index. False when there is none. */
bool tunnel_get_stats(struct tunnel_env *env, unsigned int index, struct link_stats *ret);
/* UDP flows whose answers go to that link; 0 when there is none. */
unsigned int tunnel_get_flows(struct tunnel_env *env, unsigned int index);
/* Sums over all links of the worker, those that have ended as well. */
void tunnel_get_datagrams(struct tunnel_env *env, struct tunnel_datagrams *ret);

#endif
