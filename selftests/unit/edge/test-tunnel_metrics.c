/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What links of a tunnel say together: the worst of all workers; what is gone is forgotten.
 */
#include "daemon/edge/tunnel_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct metric_registry *reg;
static struct tunnel_families families;
static struct tunnel_metrics metrics;
static struct worker workers[2];

static int setup(void **state)
{
	(void)state;
	static const struct conf_edge_tunnel tunnels[] = { { .name = "one" }, { .name = "two" } };
	static const struct edge_conf conf = { .tunnels = tunnels, .tunnel_count = 2 };
	if (metric_registry_new(1000, &reg) < 0 || tunnel_families_define(&families, reg) < 0 ||
	    tunnel_metrics_init(&metrics, &families, &conf, 2) < 0)
		return -1;
	for (unsigned int i = 0; i < 2; i++)
		workers[i] = (struct worker){ .index = i, .metrics = metric_shard_new(reg) };
	return workers[0].metrics && workers[1].metrics ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	tunnel_metrics_done(&metrics);
	metric_registry_free(reg);
	return 0;
}

struct seen {
	const char *family, *tunnel, *index;
	int64_t value;
	unsigned int series;
};

static void on_sample(const struct metric_sample *s, void *arg)
{
	struct seen *seen = arg;
	if (strcmp(s->family->name, seen->family) != 0 || strcmp(s->values[0], seen->tunnel) != 0 ||
	    (seen->index && strcmp(s->values[1], seen->index) != 0))
		return;
	seen->value += s->value;
	seen->series++;
}

static struct seen look(const char *family, const char *tunnel, const char *index)
{
	struct seen seen = { .family = family, .tunnel = tunnel, .index = index };
	metric_walk(reg, on_sample, &seen);
	return seen;
}

static void note(unsigned int worker, unsigned int index, unsigned int mtu, unsigned int rtt_usec)
{
	const struct link_stats stats = { .mtu = mtu, .ecn = 1, .rtt_nsec = rtt_usec * 1000 };
	tunnel_metrics_note(&metrics, &workers[worker], 0, index, &stats);
}

static void test_worst(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 2; i++)
		tunnel_metrics_forget(&metrics, &workers[i]);
	note(0, 0, 1400, 500);
	note(0, 1, 1200, 100);
	tunnel_metrics_tell(&metrics, &workers[0]);
	note(1, 0, 1300, 700);
	note(1, 3, 1300, 0); /* no sample yet */
	tunnel_metrics_tell(&metrics, &workers[1]);
	assert_int_equal(look("adit_link_mtu_bytes", "one", NULL).value, 1200);
	assert_int_equal(look("adit_link_ecn", "one", NULL).value, 1);
	assert_int_equal(look("adit_link_rtt_seconds", "one", "0").value, 700);
	assert_int_equal(look("adit_link_rtt_seconds", "one", "1").value, 100);
	assert_int_equal(look("adit_link_rtt_seconds", "one", "3").series, 0);
	assert_int_equal(look("adit_link_rtt_seconds", "two", NULL).series, 0);

	for (unsigned int i = 0; i < 2; i++)
		tunnel_metrics_forget(&metrics, &workers[i]);
	note(1, 0, 1300, 10);
	tunnel_metrics_tell(&metrics, &workers[0]);
	tunnel_metrics_tell(&metrics, &workers[1]);
	assert_int_equal(look("adit_link_rtt_seconds", "one", "0").value, 10);
	assert_int_equal(look("adit_link_rtt_seconds", "one", "1").value, 0);
	assert_int_equal(look("adit_link_mtu_bytes", "one", NULL).value, 1300);
}

static void test_indexes_are_bounded(void **state)
{
	(void)state;
	for (unsigned int i = 0; i < 256; i++) {
		note(1, i, 1200, 1 + i);
		metric_add(workers[1].metrics, tunnel_metrics_counters(&metrics, 0, i).lost, 1);
	}
	tunnel_metrics_tell(&metrics, &workers[1]);
	assert_int_equal(look("adit_link_rtt_seconds", "one", NULL).series,
			 TUNNEL_METRICS_INDEXES + 1);
	assert_int_equal(look("adit_link_rtt_seconds", "one", "other").value, 256);
	assert_int_equal(look("adit_link_lost_packets_total", "one", NULL).series,
			 TUNNEL_METRICS_INDEXES + 1);
	assert_int_equal(look("adit_link_lost_packets_total", "one", "other").value,
			 256 - TUNNEL_METRICS_INDEXES);
}

/* A snapshot that goes leaves no gauge standing, whoever has told it. */
static void test_zero(void **state)
{
	(void)state;
	note(1, 0, 1200, 5);
	tunnel_metrics_tell(&metrics, &workers[1]);
	tunnel_metrics_tell_links(&metrics, &workers[0], 0, 3);
	assert_int_equal(look("adit_edge_links", "one", NULL).value, 3);
	for (unsigned int i = 0; i < 2; i++)
		tunnel_metrics_zero(&metrics, &workers[i]);
	assert_int_equal(look("adit_edge_links", "one", NULL).value, 0);
	assert_int_equal(look("adit_link_mtu_bytes", "one", NULL).value, 0);
	assert_int_equal(look("adit_link_ecn", "one", NULL).value, 0);
	assert_int_equal(look("adit_link_rtt_seconds", "one", "0").value, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_worst, setup, teardown),
		cmocka_unit_test_setup_teardown(test_indexes_are_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_zero, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
