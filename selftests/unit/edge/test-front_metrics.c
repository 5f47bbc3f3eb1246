/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Series of public names: each has its own while there is room, then its tunnel's "other".
 */
#include "daemon/edge/front_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { HOSTS_MAX = 2000 };

static char texts[HOSTS_MAX][24];
static struct conf_edge_host hosts[HOSTS_MAX];
static struct conf_edge_tunnel tunnels[2];
static struct edge_conf conf;
static struct metric_registry *reg;
static struct front_families front_families;

static void make(size_t first, size_t second)
{
	for (size_t i = 0; i < first + second; i++) {
		(void)snprintf(texts[i], sizeof(texts[i]), "h%zu", i);
		hosts[i].text = texts[i];
	}
	tunnels[0] =
		(struct conf_edge_tunnel){ .name = "one", .hosts = hosts, .host_count = first };
	tunnels[1] = (struct conf_edge_tunnel){ .name = "two",
						.hosts = hosts + first,
						.host_count = second };
	conf = (struct edge_conf){ .tunnels = tunnels, .tunnel_count = 2 };
	assert_int_equal(metric_registry_new(32768, &reg), 0);
	assert_int_equal(front_families_define(&front_families, reg), 0);
}

struct seen {
	const char *family, *tunnel, *hostname; /* looked for; NULL: any */
	unsigned int series;
};

static void on_sample(const struct metric_sample *s, void *arg)
{
	struct seen *seen = arg;
	if (strcmp(s->family->name, seen->family) == 0 &&
	    (!seen->tunnel || strcmp(s->values[0], seen->tunnel) == 0) &&
	    (!seen->hostname || strcmp(s->values[1], seen->hostname) == 0))
		seen->series++;
}

static unsigned int count(const char *family, const char *tunnel, const char *hostname)
{
	struct seen seen = { .family = family, .tunnel = tunnel, .hostname = hostname };
	metric_walk(reg, on_sample, &seen);
	return seen.series;
}

static void test_few(void **state)
{
	(void)state;
	struct front_metrics m;
	make(2, 1);
	assert_int_equal(front_metrics_init(&m, &front_families, &conf), 0);
	assert_int_equal(m.host_count, 3);
	assert_int_equal(m.hosts[1].tunnel, 0);
	assert_int_equal(m.hosts[2].tunnel, 1);
	assert_int_equal(m.hosts[3].tunnel, 2); /* nobody's */
	assert_int_equal(count("adit_requests_total", "one", "h1"), 6);
	assert_int_equal(count("adit_requests_total", "two", "h2"), 6);
	assert_int_equal(count("adit_requests_total", "none", "none"), 6);
	assert_int_equal(count("adit_requests_total", NULL, NULL), 4 * 6);
	assert_int_equal(count("adit_request_errors_total", NULL, "other"), 0);
	assert_int_equal(count("adit_body_bytes_total", "one", "h0"), 2);
	assert_true(m.hosts[0].requests[2] != m.hosts[1].requests[2]);
	front_metrics_done(&m);
	metric_registry_free(reg);
}

static void test_many(void **state)
{
	(void)state;
	struct front_metrics m;
	make(1000, 1000);
	assert_int_equal(front_metrics_init(&m, &front_families, &conf), 0);
	static const char *const families[] = { "adit_requests_total", "adit_request_errors_total",
						"adit_request_seconds", "adit_requests_active",
						"adit_body_bytes_total" };
	for (unsigned int i = 0; i < 5; i++) {
		assert_in_range(count(families[i], NULL, NULL), 900, METRIC_FAMILY_SERIES);
		assert_int_equal(count(families[i], "other", NULL), 0); /* tunnels are named */
		assert_true(count(families[i], "two", "other") > 0);
		assert_true(count(families[i], "one", "h0") > 0);
		assert_true(count(families[i], "none", "none") > 0);
	}
	assert_int_equal(count("adit_requests_active", NULL, NULL), METRIC_FAMILY_SERIES);
	assert_int_equal(m.hosts[1998].requests[2], m.hosts[1999].requests[2]);
	assert_int_not_equal(m.hosts[999].requests[2], m.hosts[1999].requests[2]);
	for (size_t i = 0; i <= m.host_count; i++)
		assert_true(m.hosts[i].active && m.hosts[i].seconds && m.hosts[i].errors[1] &&
			    m.hosts[i].bytes_in && m.hosts[i].bytes_out);
	front_metrics_done(&m);
	metric_registry_free(reg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_few),
		cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
