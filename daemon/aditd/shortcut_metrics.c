/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics of the short cut. What the program counts is of all workers; the first one shows it.
 */
#include "daemon/aditd/shortcut_metrics.h"

#include <errno.h>

#include "daemon/datapath/shortcut.h"
#include "daemon/net/bpf.h"

/* clang-format off */
static const struct metric_family open_family = { .name = "adit_short_cut_interfaces", .help = "Interfaces on which flows can go around the kernel.", .type = METRIC_TYPE_GAUGE };
static const struct metric_family changes_family = { .name = "adit_flow_changes_total", .help = "UDP flows moved to (promoted) and from (demoted) the short cut.", .type = METRIC_TYPE_COUNTER, .labels = { "change" } };
static const struct metric_family frames_family = { .name = "adit_short_cut_frames_total", .help = "Frames with UDP on interfaces with a short cut, by what became of them; all but taken and lost went on unchanged.", .type = METRIC_TYPE_COUNTER, .labels = { "verdict" } };
/* clang-format on */

int shortcut_metrics_init(struct shortcut_metrics *m, struct metric_registry *reg,
			  const struct link_metrics *links)
{
	int open = metric_define(reg, &open_family);
	int changes = metric_define(reg, &changes_family);
	int frames = metric_define(reg, &frames_family);
	if (open < 0 || changes < 0 || frames < 0)
		return -ENOMEM;
	m->open = metric_series(reg, open, NULL);
	m->promotions = metric_series(reg, changes, (const char *const[]){ "promoted" });
	m->demotions = metric_series(reg, changes, (const char *const[]){ "demoted" });
	m->late = metric_series(reg, links->drops, (const char *const[]){ "xdp", "late" });
	for (unsigned int i = 0; i < PATH_LOSS_MAX_; i++) {
		const char *name = path_loss_name((enum path_loss)i);
		m->lost[i] = metric_series(reg, links->drops, (const char *const[]){ "xdp", name });
	}
	for (unsigned int v = 0; v < FLOW_VERDICTS; v++)
		m->frames[v] = metric_series(reg, frames,
					     (const char *const[]){ bpf_flow_verdict_name(v) });
	return 0;
}

static void refresh_frames(const struct shortcut_metrics *m, struct wiring *w)
{
	uint64_t verdicts[FLOW_VERDICTS];
	shortcut_verdicts(w->shared->shortcut, verdicts);
	for (unsigned int v = 0; v < FLOW_VERDICTS; v++)
		metric_set(w->worker->metrics, m->frames[v], (int64_t)verdicts[v]);
}

void shortcut_metrics_refresh(const struct shortcut_metrics *m, struct wiring *w)
{
	struct metric_shard *shard = w->worker->metrics;
	const struct datapath_stats *d = datapath_get_stats(w->datapath);
	bool is_first = w->worker->index == 0;
	metric_set(shard, m->open, is_first ? (int64_t)d->open : 0);
	metric_set(shard, m->promotions, (int64_t)d->promotions);
	metric_set(shard, m->demotions, (int64_t)d->demotions);
	metric_set(shard, m->late, (int64_t)d->late);
	for (unsigned int i = 0; i < PATH_LOSS_MAX_; i++)
		metric_set(shard, m->lost[i], (int64_t)d->frames_lost[i]);
	if (is_first && w->shared->shortcut)
		refresh_frames(m, w);
}
