/* SPDX-License-Identifier: Apache-2.0 */
/* Workers: start and stop on their threads, calls between them, buffers that travel, blocked
 * signals. */
#include "daemon/base/worker.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "util/macro.h"

enum { WORKERS = 2, HOPS = 2000 };

struct app {
	pthread_t thread;
	unsigned int starts;
	unsigned int stops;
	char name[16];
	bool is_deaf; /* all signals blocked */
};

static sem_t done;

static struct worker_set *new_set(struct metric_registry *metrics)
{
	struct worker_set *set = NULL;
	const struct worker_params params = { .count = WORKERS,
					      .memory = 1 << 20,
					      .metrics = metrics };
	assert_int_equal(worker_set_new(&params, &set), 0);
	return set;
}

static void on_start(struct worker *w)
{
	struct app *app = w->app;
	sigset_t blocked;
	app->thread = pthread_self();
	app->starts++;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	app->is_deaf = sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGHUP) == 1;
}

static void on_stop(struct worker *w)
{
	struct app *app = w->app;
	assert_true(pthread_equal(app->thread, pthread_self()));
	(void)pthread_getname_np(pthread_self(), app->name, sizeof(app->name));
	app->stops++;
}

static void signal_done(struct worker *w UNUSED, void *arg UNUSED)
{
	sem_post(&done);
}

static void test_life(void **state UNUSED)
{
	struct app apps[WORKERS] = {};
	struct worker_set *set = new_set(NULL);
	assert_int_equal(worker_set_count(set), WORKERS);
	assert_null(worker_set_get(set, WORKERS));
	for (unsigned int i = 0; i < WORKERS; i++)
		worker_set_get(set, i)->app = &apps[i];
	sigset_t blocked;
	assert_int_equal(worker_set_start(set, on_start, on_stop), 0);
	(void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	assert_int_equal(sigismember(&blocked, SIGTERM), 0); /* ours is as before */

	sem_init(&done, 0, 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(worker_call(worker_set_get(set, i), signal_done, NULL), 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		sem_wait(&done);
	worker_set_stop(set);
	worker_set_stop(set);
	for (unsigned int i = 0; i < WORKERS; i++) {
		assert_int_equal(apps[i].starts, 1);
		assert_int_equal(apps[i].stops, 1);
		assert_true(apps[i].is_deaf);
		assert_memory_equal(apps[i].name, i ? "adit-w1" : "adit-w0", 8);
	}
	/* Calls to stopped workers are discarded. */
	assert_int_equal(worker_call(worker_set_get(set, 0), signal_done, NULL), 0);
	worker_set_free(set);
	worker_set_free(NULL);
	sem_destroy(&done);
}

static void test_parameters(void **state UNUSED)
{
	struct worker_set *set = NULL;
	struct worker_params params = { .count = 0, .memory = 1 };
	assert_int_equal(worker_set_new(&params, &set), -EINVAL);
	params.count = WORKER_MAX + 1;
	assert_int_equal(worker_set_new(&params, &set), -EINVAL);
	assert_null(set);
	set = new_set(NULL);
	worker_set_free(set); /* never started */
	assert_true(worker_default_count() >= 1);
	assert_true(worker_default_count() <= WORKER_MAX);
}

/* ---- a buffer that travels ----------------------------------------------------------------- */

struct hop {
	struct message message;
	struct slab_buf *buf; /* one reference, of whichever worker made it */
	unsigned int left;
	metric_id counter;
};

static void on_hop_discard(struct message *message)
{
	struct hop *h = CONTAINER_OF(message, struct hop, message);
	slab_buf_unref(h->buf);
	free(h);
}

static void on_hop(struct message *message, void *owner)
{
	struct hop *h = CONTAINER_OF(message, struct hop, message);
	struct worker *w = owner;
	assert_int_equal(h->buf->data[0], h->left & 0xff);
	metric_add(w->metrics, h->counter, 1);
	slab_buf_unref(h->buf); /* the other worker's */
	h->buf = NULL;
	if (h->left == 0) {
		free(h);
		sem_post(&done);
		return;
	}
	h->buf = slab_buf_get(w->slab, 1);
	assert_non_null(h->buf);
	h->left--;
	h->buf->data[0] = (uint8_t)h->left;
	mailbox_post(worker_set_get(w->set, (w->index + 1) % WORKERS)->mailbox, message);
}

static void start_hopping(struct worker *w, void *arg)
{
	struct hop *h = calloc(1, sizeof(*h));
	assert_non_null(h);
	h->message = (struct message){ .on_deliver = on_hop, .on_discard = on_hop_discard };
	h->left = HOPS;
	h->counter = *(metric_id *)arg;
	h->buf = slab_buf_get(w->slab, 1);
	assert_non_null(h->buf);
	h->buf->data[0] = (uint8_t)h->left;
	mailbox_post(w->mailbox, &h->message);
}

static void test_buffers_travel(void **state UNUSED)
{
	static const struct metric_family hops = { .name = "hops", .help = "Hops" };
	struct metric_registry *metrics = NULL;
	assert_int_equal(metric_registry_new(10, &metrics), 0);
	metric_id id = metric_series(metrics, metric_define(metrics, &hops), NULL);
	struct worker_set *set = new_set(metrics);
	sem_init(&done, 0, 0);
	assert_int_equal(worker_set_start(set, NULL, NULL), 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		assert_int_equal(worker_call(worker_set_get(set, i), start_hopping, &id), 0);
	for (unsigned int i = 0; i < WORKERS; i++)
		sem_wait(&done);
	worker_set_stop(set);
	assert_int_equal(metric_value(metrics, id), WORKERS * (HOPS + 1));
	worker_set_free(set);
	metric_registry_free(metrics);
	sem_destroy(&done);
}

/* Stopped in the middle: messages on their way are discarded with their buffers. */
static void test_stop_under_load(void **state UNUSED)
{
	metric_id none = 0;
	for (unsigned int round = 0; round < 20; round++) {
		struct worker_set *set = new_set(NULL);
		sem_init(&done, 0, 0);
		assert_int_equal(worker_set_start(set, NULL, NULL), 0);
		for (unsigned int i = 0; i < 8; i++)
			assert_int_equal(
				worker_call(worker_set_get(set, i % WORKERS), start_hopping, &none),
				0);
		worker_set_stop(set);
		worker_set_free(set);
		sem_destroy(&done);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_buffers_travel),
		cmocka_unit_test(test_stop_under_load),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
