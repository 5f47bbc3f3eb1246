/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locations: one is current, and an edge that invents a new one each time makes no more series.
 */
#include "daemon/aditd/locations.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct metric_registry *reg;
static struct metric_shard *shard;
static struct locations locations;

static int setup(void **state)
{
	(void)state;
	if (metric_registry_new(1000, &reg) < 0 || locations_init(&locations, reg) < 0)
		return -1;
	shard = metric_shard_new(reg);
	return shard ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	metric_registry_free(reg);
	return 0;
}

struct seen {
	const char *index, *name; /* looked for; NULL: all */
	unsigned int series;
	int64_t sum;
};

static void on_sample(const struct metric_sample *s, void *arg)
{
	struct seen *seen = arg;
	if ((seen->index && strcmp(seen->index, s->values[0]) != 0) ||
	    (seen->name && strcmp(seen->name, s->values[1]) != 0))
		return;
	seen->series++;
	seen->sum += s->value;
}

static struct seen look(const char *index, const char *name)
{
	struct seen seen = { .index = index, .name = name };
	metric_walk(reg, on_sample, &seen);
	return seen;
}

static void test_current_and_previous(void **state)
{
	(void)state;
	locations_set(&locations, shard, 0, "here");
	locations_set(&locations, shard, 1, "here");
	locations_set(&locations, shard, 0, "there");
	assert_int_equal(look("0", "here").sum, 0);
	assert_int_equal(look("0", "there").sum, 1);
	assert_int_equal(look("1", "here").sum, 1);
	locations_set(&locations, shard, 0, "here");
	locations_set(&locations, shard, 0, "here");
	assert_int_equal(look("0", "here").sum, 1);
	assert_int_equal(look("0", "there").sum, 0);
	assert_int_equal(look(NULL, NULL).series, 3);
}

static void test_bounded(void **state)
{
	(void)state;
	char name[16];
	for (unsigned int i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof(name), "place%u", i);
		locations_set(&locations, shard, 7, name);
		assert_int_equal(look("7", NULL).sum, 1);
	}
	assert_int_equal(look("7", NULL).series, LOCATIONS_PER_INDEX + 1);
	assert_int_equal(look("7", "other").sum, 1);
	locations_set(&locations, shard, 7, "place0");
	assert_int_equal(look("7", "other").sum, 0);
	assert_int_equal(look("7", "place0").sum, 1);
	locations_set(&locations, shard, LOCATIONS_INDEX_MAX, "nowhere");
	assert_int_equal(look(NULL, "nowhere").series, 0);
}

/* Two names that are the same as far as there is room are one. */
static void test_long_names(void **state)
{
	(void)state;
	char name[100];
	memset(name, 'x', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	locations_set(&locations, shard, 0, name);
	name[80] = 'y';
	locations_set(&locations, shard, 0, name);
	assert_int_equal(look("0", NULL).series, 1);
	locations_set(&locations, shard, 0, "");
	assert_int_equal(look("0", "").sum, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_current_and_previous, setup, teardown),
		cmocka_unit_test_setup_teardown(test_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(test_long_names, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
