/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics: shards are summed, series are bounded, readers and writers race without harm. */
#include "daemon/base/metric.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "util/macro.h"

static const double buckets[] = { 0.001, 0.01, 0.1 };

static const struct metric_family requests = {
	.name = "adit_requests_total",
	.help = "Requests",
	.labels = { "tunnel", "code" },
};
static const struct metric_family links = {
	.name = "adit_links",
	.help = "Links",
	.type = METRIC_TYPE_GAUGE,
};
static const struct metric_family seconds = {
	.name = "adit_request_seconds",
	.help = "Time",
	.type = METRIC_TYPE_HISTOGRAM,
	.buckets = buckets,
	.bucket_count = 3,
	.scale = 1e-9,
};

static struct metric_registry *new_registry(unsigned int max_series)
{
	struct metric_registry *reg = NULL;
	assert_int_equal(metric_registry_new(max_series, &reg), 0);
	return reg;
}

static void test_counters_and_gauges(void **state UNUSED)
{
	struct metric_registry *reg = new_registry(100);
	assert_int_equal(metric_define(reg, &requests), 0);
	assert_int_equal(metric_define(reg, &links), 1);
	struct metric_shard *a = metric_shard_new(reg);
	struct metric_shard *b = metric_shard_new(reg);
	metric_id ok = metric_series(reg, 0, (const char *[]){ "blog", "200" });
	metric_id bad = metric_series(reg, 0, (const char *[]){ "blog", "502" });
	metric_id gauge = metric_series(reg, 1, NULL);
	assert_true(ok && bad && gauge && ok != bad && bad != gauge);
	assert_int_equal(metric_series(reg, 0, (const char *[]){ "blog", "200" }), ok);
	assert_int_equal(metric_series(reg, 1, NULL), gauge);

	metric_add(a, ok, 2);
	metric_add(b, ok, 3);
	metric_add(a, gauge, 5);
	metric_add(b, gauge, -2);
	assert_int_equal(metric_value(reg, ok), 5);
	assert_int_equal(metric_value(reg, bad), 0);
	assert_int_equal(metric_value(reg, gauge), 3);
	metric_set(a, gauge, -7);
	assert_int_equal(metric_value(reg, gauge), -9);

	/* The sink, no shard, no family. */
	metric_add(a, 0, 1);
	metric_observe(a, 0, 1);
	assert_int_equal(metric_value(reg, 0), 0);
	metric_add(NULL, ok, 1);
	metric_set(NULL, ok, 1);
	metric_observe(NULL, ok, 1);
	assert_int_equal(metric_series(reg, -1, NULL), 0);
	assert_int_equal(metric_series(reg, 2, NULL), 0);
	metric_registry_free(reg);
	metric_registry_free(NULL);
}

static void print_sample(const struct metric_sample *s, void *arg)
{
	char *out = arg;
	size_t len = strlen(out);
	len += (size_t)snprintf(out + len, 512 - len, "%s", s->family->name + 5);
	for (unsigned int i = 0; i < 3 && s->family->labels[i]; i++)
		len += (size_t)snprintf(out + len, 512 - len, ",%s=%s", s->family->labels[i],
					s->values[i]);
	len += (size_t)snprintf(out + len, 512 - len, " %lld", (long long)s->value);
	for (unsigned int i = 0; s->counts && i <= s->family->bucket_count; i++)
		len += (size_t)snprintf(out + len, 512 - len, "|%llu",
					(unsigned long long)s->counts[i]);
	(void)snprintf(out + len, 512 - len, "\n");
}

static void test_walk(void **state UNUSED)
{
	char out[512] = "";
	struct metric_registry *reg = new_registry(100);
	assert_int_equal(metric_define(reg, &requests), 0);
	assert_int_equal(metric_define(reg, &seconds), 1);
	struct metric_shard *a = metric_shard_new(reg);
	struct metric_shard *b = metric_shard_new(reg);
	metric_id time = metric_series(reg, 1, NULL);
	metric_id one = metric_series(reg, 0, (const char *[]){ "b", "200" });
	metric_id two = metric_series(reg, 0, (const char *[]){ "a", NULL });
	metric_add(a, one, 1);
	metric_add(b, two, 2);
	metric_observe(a, time, 1000000); /* on the bound: belongs to it */
	metric_observe(a, time, 1000001);
	metric_observe(b, time, 0);
	metric_observe(b, time, 100000001);
	metric_walk(reg, print_sample, out);
	assert_string_equal(out, "requests_total,tunnel=b,code=200 1\n"
				 "requests_total,tunnel=a,code= 2\n"
				 "request_seconds 102000002|2|1|0|1\n");
	metric_registry_free(reg);
}

static void test_bad_families(void **state UNUSED)
{
	static const double wrong[] = { 2, 1 };
	static const double same[] = { 1, 1 };
	struct metric_family f = seconds;
	struct metric_registry *reg = new_registry(1);
	f.buckets = wrong;
	f.bucket_count = 2;
	assert_int_equal(metric_define(reg, &f), -EINVAL);
	f.buckets = same;
	assert_int_equal(metric_define(reg, &f), -EINVAL);
	f.bucket_count = 17;
	assert_int_equal(metric_define(reg, &f), -EINVAL);
	f = (struct metric_family){ .help = "no name" };
	assert_int_equal(metric_define(reg, &f), -EINVAL);
	for (int i = 0; i < 256; i++)
		assert_int_equal(metric_define(reg, &links), i);
	assert_int_equal(metric_define(reg, &links), -E2BIG);
	metric_registry_free(reg);
}

/* The thousandth and later values share one series. */
static void test_series_are_bounded(void **state UNUSED)
{
	struct metric_registry *reg = new_registry(5000);
	assert_int_equal(metric_define(reg, &requests), 0);
	metric_id other = 0;
	for (unsigned int i = 0; i < 1010; i++) {
		char value[16];
		(void)snprintf(value, sizeof(value), "%u", i);
		metric_id id = metric_series(reg, 0, (const char *[]){ value, "200" });
		assert_int_not_equal(id, 0);
		if (i == 1000)
			other = id;
		if (i > 1000)
			assert_int_equal(id, other);
	}
	char big[300];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(metric_series(reg, 0, (const char *[]){ big, "" }), other);
	assert_int_equal(metric_series(reg, 0, (const char *[]){ "other", "other" }), other);
	metric_registry_free(reg);

	/* Who is really called "other" doesn't make a second one. */
	reg = new_registry(5000);
	assert_int_equal(metric_define(reg, &requests), 0);
	other = metric_series(reg, 0, (const char *[]){ "other", "other" });
	assert_int_not_equal(other, 0);
	assert_int_equal(metric_series(reg, 0, (const char *[]){ big, "" }), other);
	metric_registry_free(reg);
}

/* A full registry still has "other" for each labelled family; without labels the sink is left. */
static void test_registry_is_bounded(void **state UNUSED)
{
	struct metric_registry *reg = new_registry(3);
	assert_int_equal(metric_define(reg, &requests), 0);
	assert_int_equal(metric_define(reg, &requests), 1);
	assert_int_equal(metric_define(reg, &links), 2);
	metric_id first = metric_series(reg, 0, (const char *[]){ "a", "1" });
	metric_id second = metric_series(reg, 0, (const char *[]){ "b", "1" });
	metric_id third = metric_series(reg, 0, (const char *[]){ "c", "1" });
	metric_id fourth = metric_series(reg, 1, (const char *[]){ "d", "1" });
	assert_true(first && second && fourth);
	assert_int_not_equal(first, second);
	assert_int_equal(second, third);
	assert_int_not_equal(fourth, second);
	assert_int_equal(metric_series(reg, 2, NULL), 0);
	metric_registry_free(reg);
}

static void add_one(void *arg)
{
	++*(unsigned int *)arg;
}

static void test_scrape(void **state UNUSED)
{
	unsigned int count = 0;
	struct metric_registry *reg = new_registry(1);
	for (unsigned int i = 0; i < 32; i++)
		assert_int_equal(metric_on_scrape(reg, add_one, &count), 0);
	assert_int_equal(metric_on_scrape(reg, add_one, &count), -E2BIG);
	metric_scrape(reg);
	assert_int_equal(count, 32);
	metric_registry_free(reg);
}

/* ---- races --------------------------------------------------------------------------------- */

enum { WRITERS = 3, ADDS = 20000 };

static void *write_metrics(void *arg)
{
	struct metric_registry *reg = arg;
	struct metric_shard *shard = metric_shard_new(reg);
	assert_non_null(shard);
	for (unsigned int i = 0; i < ADDS; i++) {
		char value[16];
		(void)snprintf(value, sizeof(value), "%u", i % 50);
		metric_add(shard, metric_series(reg, 0, (const char *[]){ value, "" }), 1);
		metric_observe(shard, metric_series(reg, 1, NULL), i);
	}
	return NULL;
}

static void sum_sample(const struct metric_sample *s, void *arg)
{
	if (s->counts)
		return;
	assert_non_null(s->values[0]);
	*(int64_t *)arg += s->value;
}

static void test_races(void **state UNUSED)
{
	struct metric_registry *reg = new_registry(100);
	pthread_t threads[WRITERS];
	assert_int_equal(metric_define(reg, &requests), 0);
	assert_int_equal(metric_define(reg, &seconds), 1);
	for (unsigned int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_metrics, reg), 0);
	int64_t last = 0;
	for (unsigned int i = 0; i < 50; i++) {
		int64_t sum = 0;
		metric_walk(reg, sum_sample, &sum);
		assert_true(sum >= last);
		last = sum;
	}
	for (unsigned int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	last = 0;
	metric_walk(reg, sum_sample, &last);
	assert_int_equal(last, WRITERS * ADDS);
	metric_registry_free(reg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counters_and_gauges),
		cmocka_unit_test(test_walk),
		cmocka_unit_test(test_bad_families),
		cmocka_unit_test(test_series_are_bounded),
		cmocka_unit_test(test_registry_is_bounded),
		cmocka_unit_test(test_scrape),
		cmocka_unit_test(test_races),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
