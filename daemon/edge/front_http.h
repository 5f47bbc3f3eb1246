/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public side of the edge: listeners for HTTP in clear and with TLS, and the exchange of each
 * visitor with a tunnel (design §8, spec §7, §9).
 */
#ifndef DAEMON_EDGE_FRONT_HTTP_H
#define DAEMON_EDGE_FRONT_HTTP_H

#include "daemon/conf/edge_conf.h"
#include "daemon/edge/directory.h"
#include "daemon/flow/bridge.h"
#include "daemon/http/http.h"
#include "daemon/net/tcp.h"
#include "daemon/net/tlscerts.h"
#include "daemon/proxy/reason.h"
#include "daemon/route/hosts.h"

enum { FRONT_LISTENERS_MAX = 16 };

/* Series of one tunnel's requests; filled in at start. */
struct front_tunnel_metrics {
	metric_id requests[6]; /* by code class */
	metric_id errors[PROXY_REASON_MAX_];
	metric_id seconds;
	metric_id active;
	metric_id bytes_in;
	metric_id bytes_out;
};

struct front_metrics {
	struct front_tunnel_metrics *tunnels; /* [tunnel_count + 1]; the last: no tunnel */
	metric_id no_route;
};
[[nodiscard]] int front_metrics_init(struct front_metrics *m, struct metric_registry *reg,
				     const struct edge_conf *conf);
void front_metrics_done(struct front_metrics *m);

struct front;

struct front_params {
	struct worker *worker;
	struct edge_conf *conf; /* outlives the front */
	const struct hosts *hosts;
	struct directory *directory;
	const struct bridge_metrics *bridge_metrics;
	const struct front_metrics *metrics;
	struct tls_certs *certs; /* NULL: no TLS */
	/* Listening sockets of this worker, taken: http first, then https. */
	const int *http_fds;
	unsigned int http_count;
	const int *https_fds;
	unsigned int https_count;
};

/* One per worker, on its thread. 0 or -ENOMEM (descriptors stay the caller's then). */
[[nodiscard]] int front_new(const struct front_params *params, struct front **ret);
/* No new visitors; running requests go on. */
void front_drain(struct front *front);
unsigned int front_active(const struct front *front);
/* Connections closed at once because their client had too many (spec §2.3 client-concurrency). */
uint64_t front_refused(const struct front *front);
/* Breaks everything off; connections are gone when front_is_empty(), a turn or two later. */
void front_stop(struct front *front);
bool front_is_empty(const struct front *front);
/* Once it is empty. Accepts NULL. */
void front_free(struct front *front);

#endif
