/* SPDX-License-Identifier: Apache-2.0 */
/* Snapshots: references, adoption by workers, and nothing left when workers stop on the way. */
#include "daemon/base/snapshot.h"

#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/base/worker.h"
#include "util/macro.h"

enum { WORKERS = 2, VERSIONS = 200 };

struct conf {
	struct snapshot snapshot;
	unsigned int version;
};

static _Atomic unsigned int alive;
static sem_t done;

static void conf_free(struct snapshot *s)
{
	free(CONTAINER_OF(s, struct conf, snapshot));
	alive--;
}

static struct conf *conf_new(unsigned int version)
{
	struct conf *c = calloc(1, sizeof(*c));
	assert_non_null(c);
	snapshot_init(&c->snapshot, conf_free);
	c->version = version;
	alive++;
	return c;
}

static void test_references(void **state UNUSED)
{
	struct conf *c = conf_new(1);
	assert_ptr_equal(snapshot_ref(&c->snapshot), &c->snapshot);
	snapshot_unref(&c->snapshot);
	assert_int_equal(alive, 1);
	snapshot_unref(&c->snapshot);
	assert_int_equal(alive, 0);
	snapshot_unref(NULL);
}

struct app {
	struct snapshot_slot slot;
	unsigned int last;
};

static void on_swap(struct snapshot_slot *slot, struct snapshot *old)
{
	struct app *app = CONTAINER_OF(slot, struct app, slot);
	unsigned int version = CONTAINER_OF(slot->current, struct conf, snapshot)->version;
	assert_int_equal(version, app->last + 1); /* none is left out, none comes twice */
	if (old)
		assert_int_equal(CONTAINER_OF(old, struct conf, snapshot)->version, app->last);
	app->last = version;
	if (version == VERSIONS)
		sem_post(&done);
}

static void publish(struct worker_set *set, struct app *apps, unsigned int versions)
{
	struct snapshot_target targets[WORKERS];
	for (unsigned int i = 0; i < WORKERS; i++)
		targets[i] = (struct snapshot_target){ .mailbox = worker_set_get(set, i)->mailbox,
						       .slot = &apps[i].slot };
	for (unsigned int v = 1; v <= versions; v++) {
		struct conf *c = conf_new(v);
		assert_int_equal(snapshot_publish(&c->snapshot, targets, WORKERS), 0);
		snapshot_unref(&c->snapshot);
	}
}

static void test_workers_adopt(void **state UNUSED)
{
	struct app apps[WORKERS] = { { .slot.on_swap = on_swap }, { .slot.on_swap = on_swap } };
	struct worker_set *set = NULL;
	const struct worker_params params = { .count = WORKERS, .memory = 1 };
	assert_int_equal(worker_set_new(&params, &set), 0);
	sem_init(&done, 0, 0);
	assert_int_equal(worker_set_start(set, NULL, NULL), 0);
	publish(set, apps, VERSIONS);
	for (unsigned int i = 0; i < WORKERS; i++)
		sem_wait(&done);
	worker_set_stop(set);
	assert_int_equal(alive, 1); /* the last one, shared */
	for (unsigned int i = 0; i < WORKERS; i++)
		snapshot_slot_done(&apps[i].slot);
	assert_int_equal(alive, 0);
	worker_set_free(set);
	sem_destroy(&done);
}

static void test_discarded(void **state UNUSED)
{
	struct app apps[WORKERS] = {};
	struct worker_set *set = NULL;
	const struct worker_params params = { .count = WORKERS, .memory = 1 };
	assert_int_equal(worker_set_new(&params, &set), 0);
	publish(set, apps, 3); /* to threads that never start */
	assert_int_equal(alive, 3);
	worker_set_free(set);
	assert_int_equal(alive, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_references),
		cmocka_unit_test(test_workers_adopt),
		cmocka_unit_test(test_discarded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
