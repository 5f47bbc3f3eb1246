/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a new configuration: refused, applied, told to the service manager, the waiter and the
 * metric; when the workers have it and when the program ends before. The program is a fake with one
 * worker whose mail the test delivers.
 */
#include "daemon/admin/reload.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/base/mainloop.h"
#include "daemon/base/notify.h"
#include "daemon/base/worker.h"
#include "daemon/conf/load.h"
#include "util/macro.h"

struct fixture {
	struct mainloop *loop;
	struct worker_set *workers;
	struct metric_registry *registry;
	struct metric_shard *shard;
	struct edge_conf *boot;
	struct edge_conf *current;
	struct reload *reload;
	int notify;
	/* what the fake program does */
	const char *const *settings;
	size_t setting_count;
	int load_error, apply_error;
	bool is_announced, is_stopping;
	/* what was seen */
	unsigned int loads, applies, announces;
	struct reload_waiter waiter;
	unsigned int done;
	int error;
	size_t changed, need_restart, faults;
};

static const char *const plain[] = { "edge.location=fra" };
static const char *const other[] = { "edge.location=ams", "process.workers=7" };

static struct edge_conf *load_settings(const char *const *settings, size_t count)
{
	struct conf_source src = { .set = settings, .set_count = count };
	struct conf_report report = {};
	struct edge_conf *conf = NULL;
	assert_int_equal(edge_conf_load(&src, &report, &conf), 0);
	conf_report_done(&report);
	return conf;
}

static int load(struct conf_report *report, struct conf_common **ret, void *user)
{
	struct fixture *fx = user;
	fx->loads++;
	if (fx->load_error < 0) {
		conf_report_add(report, CONF_SEVERITY_ERROR, "x.conf", 7, "bad");
		return fx->load_error;
	}
	*ret = &load_settings(fx->settings, fx->setting_count)->common;
	return 0;
}

static int apply(struct conf_common *now, struct conf_report *report UNUSED,
		 struct conf_changes *changes, void *user)
{
	struct fixture *fx = user;
	fx->applies++;
	struct edge_conf *conf = CONTAINER_OF(now, struct edge_conf, common);
	int r = edge_conf_keep_fixed(conf, fx->boot, changes);
	if (r < 0 || fx->apply_error < 0)
		return r < 0 ? r : fx->apply_error;
	edge_conf_unref(fx->current);
	fx->current = conf;
	return 0;
}

static void unref(struct conf_common *conf)
{
	edge_conf_unref(CONTAINER_OF(conf, struct edge_conf, common));
}

static void announce(void *user)
{
	((struct fixture *)user)->announces++;
	notify_ready("fine");
}

static bool is_announced(void *user)
{
	return ((struct fixture *)user)->is_announced;
}

static bool is_stopping(void *user)
{
	return ((struct fixture *)user)->is_stopping;
}

static const struct reload_ops ops = { load, apply, unref, announce, is_announced, is_stopping };

static void on_done(struct reload_waiter *waiter, int error, const struct conf_changes *changes,
		    const struct conf_report *report)
{
	struct fixture *fx = CONTAINER_OF(waiter, struct fixture, waiter);
	fx->done++;
	fx->error = error;
	fx->changed = changes->changed.count;
	fx->need_restart = changes->need_restart.count;
	fx->faults = report->errors;
}

static int start(void **state)
{
	static struct fixture fx;
	fx = (struct fixture){ .settings = other,
			       .setting_count = ARRAY_SIZE(other),
			       .waiter.on_done = on_done,
			       .is_announced = true };
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "/tmp/test-reload.%d", (int)getpid());
	fx.notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(fx.notify, (struct sockaddr *)&addr, sizeof(addr)), 0);
	/* NOLINTNEXTLINE(concurrency-mt-unsafe): one thread */
	assert_int_equal(setenv("NOTIFY_SOCKET", addr.sun_path, 1), 0);
	assert_int_equal(mainloop_new(&fx, &fx.loop), 0);
	assert_int_equal(metric_registry_new(100, &fx.registry), 0);
	struct worker_params workers = { .count = 1, .memory = 1 << 20, .metrics = fx.registry };
	assert_int_equal(worker_set_new(&workers, &fx.workers), 0);
	fx.shard = metric_shard_new(fx.registry);
	assert_non_null(fx.shard);
	fx.boot = load_settings(plain, ARRAY_SIZE(plain));
	fx.current = edge_conf_ref(fx.boot);
	struct reload_params params = { .loop = fx.loop,
					.workers = fx.workers,
					.registry = fx.registry,
					.shard = fx.shard,
					.conf = &fx.boot->common,
					.ops = &ops,
					.user = &fx };
	assert_int_equal(reload_new(&params, &fx.reload), 0);
	*state = &fx;
	return 0;
}

static int end(void **state)
{
	struct fixture *fx = *state;
	struct sockaddr_un addr;
	socklen_t len = sizeof(addr);
	reload_free(fx->reload);
	reload_free(NULL);
	worker_set_free(fx->workers);
	mainloop_free(fx->loop);
	edge_conf_unref(fx->current);
	edge_conf_unref(fx->boot);
	metric_registry_free(fx->registry);
	assert_int_equal(getsockname(fx->notify, (struct sockaddr *)&addr, &len), 0);
	(void)unlink(addr.sun_path);
	(void)close(fx->notify);
	return 0;
}

/* The worker takes its mail, then the control thread. */
static void deliver(struct fixture *fx)
{
	mailbox_deliver(worker_set_get(fx->workers, 0)->mailbox);
	assert_int_equal(mainloop_turn(fx->loop, 0), 0);
}

/* The first line of the next message to the service manager, or "". */
static const char *said(struct fixture *fx)
{
	static char text[512];
	ssize_t n = recv(fx->notify, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static void test_applied(void **state)
{
	struct fixture *fx = *state;
	reload_file(fx->reload, "test", &fx->waiter);
	/* In force, but not yet with the worker. */
	assert_int_equal(reload_version(fx->reload), 2);
	assert_int_equal(fx->done, 0);
	assert_string_equal(said(fx), "RELOADING=1");
	assert_string_equal(said(fx), "");
	deliver(fx);
	assert_int_equal(fx->done, 1);
	assert_int_equal(fx->error, 0);
	assert_int_equal(fx->changed, 1);
	assert_int_equal(fx->need_restart, 1);
	assert_int_equal(fx->announces, 1);
	assert_string_equal(said(fx), "READY=1");
	assert_string_equal(reload_need_restart(fx->reload)->items[0], "process.workers");
	/* The same again: nothing has changed, but what waits still waits. */
	reload_file(fx->reload, "test", &fx->waiter);
	deliver(fx);
	assert_int_equal(fx->changed, 0);
	assert_int_equal(fx->need_restart, 1);
	fx->settings = plain;
	fx->setting_count = ARRAY_SIZE(plain);
	reload_file(fx->reload, "test", NULL);
	deliver(fx);
	assert_int_equal(reload_need_restart(fx->reload)->count, 0);
	assert_int_equal(reload_version(fx->reload), 4);
}

static void test_refused(void **state)
{
	struct fixture *fx = *state;
	fx->load_error = -EINVAL;
	reload_file(fx->reload, "test", &fx->waiter);
	assert_int_equal(fx->done, 1);
	assert_int_equal(fx->error, -EINVAL);
	assert_int_equal(fx->faults, 1);
	assert_int_equal(fx->applies, 0);
	assert_string_equal(said(fx), "RELOADING=1");
	assert_string_equal(said(fx), "READY=1");
	fx->load_error = 0;
	fx->apply_error = -ENOMEM;
	reload_file(fx->reload, "test", &fx->waiter);
	assert_int_equal(fx->done, 2);
	assert_int_equal(fx->error, -ENOMEM);
	assert_int_equal(reload_version(fx->reload), 1);
	assert_int_equal(reload_need_restart(fx->reload)->count, 0);
	assert_ptr_equal(fx->current, fx->boot);
}

/* Two under way: READY=1 when both are over. */
static void test_two(void **state)
{
	struct fixture *fx = *state;
	reload_file(fx->reload, "test", &fx->waiter);
	reload_file(fx->reload, "test", &fx->waiter);
	assert_string_equal(said(fx), "RELOADING=1");
	assert_string_equal(said(fx), "");
	deliver(fx);
	assert_int_equal(fx->done, 2);
	assert_int_equal(fx->announces, 1);
}

/* Before READY=1 nothing is said; while stopping nothing is done. */
static void test_states(void **state)
{
	struct fixture *fx = *state;
	fx->is_announced = false;
	reload_file(fx->reload, "test", &fx->waiter);
	deliver(fx);
	assert_int_equal(fx->error, 0);
	assert_string_equal(said(fx), "");
	fx->is_stopping = true;
	reload_file(fx->reload, "test", &fx->waiter);
	assert_int_equal(fx->error, -ESHUTDOWN);
	assert_int_equal(fx->loads, 1);
	reload_apply(fx->reload, RELOAD_SOURCE_FILE,
		     &load_settings(other, ARRAY_SIZE(other))->common, NULL);
	assert_int_equal(fx->applies, 1);
}

/* A parsed one, as another source has it. */
static void test_entry(void **state)
{
	struct fixture *fx = *state;
	reload_apply(fx->reload, RELOAD_SOURCE_FILE,
		     &load_settings(other, ARRAY_SIZE(other))->common, &fx->waiter);
	deliver(fx);
	assert_int_equal(fx->loads, 0);
	assert_int_equal(fx->error, 0);
	assert_int_equal(fx->changed, 1);
	assert_string_equal(fx->current->edge.location, "ams");
}

/* The process ends with a reload on its way: the waiter hears of it. */
static void test_cancel(void **state)
{
	struct fixture *fx = *state;
	reload_file(fx->reload, "test", &fx->waiter);
	mailbox_discard(worker_set_get(fx->workers, 0)->mailbox);
	assert_int_equal(fx->done, 1);
	assert_int_equal(fx->error, -ESHUTDOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_applied, start, end),
		cmocka_unit_test_setup_teardown(test_refused, start, end),
		cmocka_unit_test_setup_teardown(test_two, start, end),
		cmocka_unit_test_setup_teardown(test_states, start, end),
		cmocka_unit_test_setup_teardown(test_entry, start, end),
		cmocka_unit_test_setup_teardown(test_cancel, start, end),
	};
	conf_global_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
