/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of the routed mode. Without it they stay 0.
 */
#include "daemon/aditd/tun_metrics.h"

#include <errno.h>

/* clang-format off */
static const struct metric_family errors_family = { .name = "adit_tun_icmp_errors_total", .help = "ICMP errors made for hosts of the private network.", .type = METRIC_TYPE_COUNTER };
static const struct metric_family crossed_family = { .name = "adit_tun_crossings_total", .help = "Packets of the TUN device that another worker has read.", .type = METRIC_TYPE_COUNTER };
/* clang-format on */

int tun_metrics_init(struct tun_metrics *m, struct metric_registry *reg,
		     const struct link_metrics *links, const struct flow_metrics *flows)
{
	static const char path[] = "tun-icmp";
	int errors = metric_define(reg, &errors_family);
	int crossed = metric_define(reg, &crossed_family);
	if (errors < 0 || crossed < 0)
		return -ENOMEM;
	m->errors = metric_series(reg, errors, NULL);
	m->crossed = metric_series(reg, crossed, NULL);
	m->flows = metric_series(reg, flows->flows_family, (const char *const[]){ path, "icmp" });
	m->rx = metric_series(reg, flows->packets_family, (const char *const[]){ path, "rx" });
	m->tx = metric_series(reg, flows->packets_family, (const char *const[]){ path, "tx" });
	for (unsigned int i = 0; i < TUN_DROP_MAX_; i++) {
		const char *name = tun_drop_name((enum tun_drop)i);
		m->drops[i] =
			metric_series(reg, links->drops, (const char *const[]){ "tun", name });
	}
	return 0;
}

void tun_metrics_refresh(const struct tun_metrics *m, struct wiring *w)
{
	struct metric_shard *shard = w->worker->metrics;
	if (!w->tun)
		return;
	const struct tun_ground_stats *s = tun_ground_get_stats(w->tun);
	metric_set(shard, m->flows, (int64_t)icmp_routed_count(&w->icmp_routed));
	metric_set(shard, m->rx, (int64_t)s->rx_packets);
	metric_set(shard, m->tx, (int64_t)s->tx_packets);
	metric_set(shard, m->errors, (int64_t)s->errors);
	metric_set(shard, m->crossed, (int64_t)s->crossed);
	for (unsigned int i = 0; i < TUN_DROP_MAX_; i++)
		metric_set(shard, m->drops[i], (int64_t)s->drops[i]);
}
