/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text format: one HELP and TYPE a family, escaping, histograms with cumulative buckets, sums
 * over shards, what the kernel knows of the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/admin/promtext.h"

static const double bounds[] = { 0.001, 0.5, 1 };
static const struct metric_family counter = { .name = "t_total",
					      .help = "Lines\nand \\ back.",
					      .type = METRIC_TYPE_COUNTER,
					      .labels = { "a", "b" } };
static const struct metric_family gauge = {
	.name = "t_seconds", .help = "A gauge.", .type = METRIC_TYPE_GAUGE, .scale = 1e-9
};
static const struct metric_family histogram = { .name = "t_time",
						.help = "A histogram.",
						.type = METRIC_TYPE_HISTOGRAM,
						.labels = { "rule" },
						.buckets = bounds,
						.bucket_count = 3,
						.scale = 1e-9 };

static const char expected[] = "# HELP t_total Lines\\nand \\\\ back.\n"
			       "# TYPE t_total counter\n"
			       "t_total{a=\"x\",b=\"\\\"y\\\\\\n\"} 5\n"
			       "t_total{a=\"x\",b=\"z\"} 0\n"
			       "# HELP t_seconds A gauge.\n"
			       "# TYPE t_seconds gauge\n"
			       "t_seconds 1.5\n"
			       "# HELP t_time A histogram.\n"
			       "# TYPE t_time histogram\n"
			       "t_time_bucket{rule=\"r\",le=\"0.001\"} 1\n"
			       "t_time_bucket{rule=\"r\",le=\"0.5\"} 1\n"
			       "t_time_bucket{rule=\"r\",le=\"1\"} 3\n"
			       "t_time_bucket{rule=\"r\",le=\"+Inf\"} 4\n"
			       "t_time_sum{rule=\"r\"} 4.001\n"
			       "t_time_count{rule=\"r\"} 4\n";

static void test_families(void **state)
{
	(void)state;
	struct metric_registry *reg = NULL;
	assert_int_equal(metric_registry_new(1000, &reg), 0);
	struct metric_shard *one = metric_shard_new(reg), *two = metric_shard_new(reg);
	assert_non_null(one);
	assert_non_null(two);
	int c = metric_define(reg, &counter), g = metric_define(reg, &gauge),
	    h = metric_define(reg, &histogram);
	metric_id quoted = metric_series(reg, c, (const char *const[]){ "x", "\"y\\\n" });
	(void)metric_series(reg, c, (const char *const[]){ "x", "z" });
	metric_id plain = metric_series(reg, g, NULL);
	metric_id timed = metric_series(reg, h, (const char *const[]){ "r" });
	metric_add(one, quoted, 2);
	metric_add(two, quoted, 3);
	metric_set(one, plain, 1500000000);
	metric_observe(one, timed, 1000000); /* on the bound */
	metric_observe(one, timed, 1000000000);
	metric_observe(two, timed, 1000000000);
	metric_observe(two, timed, 2000000000);

	char *text = NULL;
	size_t len = 0;
	assert_int_equal(promtext_write(reg, &text, &len), 0);
	assert_int_equal(strlen(text), len);
	assert_int_equal(strncmp(text, expected, strlen(expected)), 0);
	free(text);
	metric_registry_free(reg);
}

/* The value of a line that begins with name and a blank. */
static double value_of(const char *text, const char *name)
{
	char line[128] = "\n";
	strncat(line, name, sizeof(line) - 3);
	strncat(line, " ", 2);
	const char *p = strstr(text, line);
	assert_non_null(p);
	return strtod(p + strlen(line), NULL);
}

static void test_process(void **state)
{
	(void)state;
	struct metric_registry *reg = NULL;
	char *text = NULL;
	size_t len = 0;
	assert_int_equal(metric_registry_new(10, &reg), 0);
	assert_int_equal(promtext_write(reg, &text, &len), 0);
	assert_true(value_of(text, "process_open_fds") >= 3);
	assert_true(value_of(text, "process_max_fds") >= value_of(text, "process_open_fds"));
	assert_true(value_of(text, "process_resident_memory_bytes") > 4096);
	assert_true(value_of(text, "process_virtual_memory_bytes") > 4096);
	assert_true(value_of(text, "process_start_time_seconds") > 1e9);
	assert_true(value_of(text, "process_cpu_seconds_total") >= 0);
	assert_int_equal(text[len - 1], '\n');
	free(text);
	metric_registry_free(reg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_families),
		cmocka_unit_test(test_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
