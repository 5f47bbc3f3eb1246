/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The local page when a visitor leaves, or the process ends, while a worker has not yet said what
 * it knows.
 */
#include "daemon/admin/page.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/macro.h"

enum { BUDGET = 4 << 20, TURNS = 20, SERIES = 16 };
static const nsec_t patience = 20 * NSEC_PER_MSEC;

struct fixture {
	struct metric_registry *registry;
	struct worker_set *workers;
	struct page *page;
	unsigned int refreshed;
	int fd;
};

static void refresh(struct worker *worker, void *arg)
{
	(void)worker;
	((struct fixture *)arg)->refreshed++;
}

static unsigned int ready_count(void *arg)
{
	(void)arg;
	return 1;
}

static struct loop *loop_of(const struct fixture *f, unsigned int worker)
{
	return worker_set_get(f->workers, worker)->loop;
}

static void turn(const struct fixture *f, unsigned int worker)
{
	for (unsigned int i = 0; i < TURNS; i++)
		assert_int_equal(loop_turn(loop_of(f, worker), 0), 0);
}

/* Two workers without threads, and a visitor who has asked for metrics; the second worker sleeps.
 */
static void begin(struct fixture *f)
{
	*f = (struct fixture){};
	assert_int_equal(metric_registry_new(SERIES, &f->registry), 0);
	struct worker_params workers = { .count = 2, .memory = BUDGET, .metrics = f->registry };
	assert_int_equal(worker_set_new(&workers, &f->workers), 0);
	const struct ip_port address = { .ip = { IP_FAMILY_V4, { 127, 0, 0, 1 } } };
	struct page_params params = {
		.workers = f->workers,
		.metrics = f->registry,
		.candidates = &address,
		.candidate_count = 1,
		.ready_count = ready_count,
		.refresh = refresh,
		.arg = f,
	};
	assert_int_equal(page_new(&params, &f->page), 0);

	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons(page_address(f->page)->port) };
	f->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(f->fd >= 0);
	assert_int_equal(connect(f->fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(write(f->fd, request, sizeof(request) - 1), sizeof(request) - 1);
	for (unsigned int i = 0; i < TURNS && f->refreshed == 0; i++)
		assert_int_equal(loop_turn(loop_of(f, 0), patience), 0);
	assert_int_equal(f->refreshed, 1);
}

static void end(struct fixture *f)
{
	page_stop(f->page);
	turn(f, 0);
	page_free(f->page);
	worker_set_free(f->workers);
	metric_registry_free(f->registry);
	if (f->fd >= 0)
		(void)close(f->fd);
}

static void test_answer(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f);
	turn(&f, 1);
	turn(&f, 0);
	char text[16] = "";
	assert_true(read(f.fd, text, sizeof(text) - 1) > 0);
	assert_memory_equal(text, "HTTP/1.1 200 OK", 15);
	assert_int_equal(f.refreshed, 2);
	end(&f);
}

/* When bodies have used all buffers up the operator still sees it. */
static void test_answer_without_a_buffer_left(void **state)
{
	(void)state;
	enum { MOST = BUDGET / SLAB_LARGE_LEN + 1 };
	static struct slab_buf *held[MOST];
	struct fixture f;
	begin(&f);
	struct slab *slab = worker_set_get(f.workers, 0)->slab;
	unsigned int count = 0;
	while (count < MOST && (held[count] = slab_buf_get(slab, SLAB_LARGE_LEN)))
		count++;
	while (count < MOST && (held[count] = slab_buf_get(slab, 1)))
		count++;
	turn(&f, 1);
	turn(&f, 0);
	char text[16] = "";
	assert_true(read(f.fd, text, sizeof(text) - 1) > 0);
	assert_memory_equal(text, "HTTP/1.1 200 OK", 15);
	while (count)
		slab_buf_unref(held[--count]);
	end(&f);
}

static void test_visitor_leaves_while_workers_are_asked(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f);
	(void)close(f.fd);
	f.fd = -EBADF;
	assert_int_equal(loop_turn(loop_of(&f, 0), patience), 0);
	turn(&f, 0);
	turn(&f, 1);
	turn(&f, 0);
	assert_int_equal(f.refreshed, 2);
	end(&f);
}

static void test_end_while_workers_are_asked(void **state)
{
	(void)state;
	struct fixture f;
	begin(&f);
	end(&f);
	assert_int_equal(f.refreshed, 1);
}

/* A start that fails after the page: no thread has run, and nothing may stay. */
static void test_freed_without_having_run(void **state)
{
	(void)state;
	struct fixture f = { .fd = -EBADF };
	char file[] = "/tmp/test-page.XXXXXX";
	assert_int_equal(metric_registry_new(SERIES, &f.registry), 0);
	struct worker_params workers = { .count = 1, .memory = BUDGET, .metrics = f.registry };
	assert_int_equal(worker_set_new(&workers, &f.workers), 0);
	struct ip_port address = { .ip = { IP_FAMILY_V4, { 127, 0, 0, 1 } } };
	struct page_params params = {
		.workers = f.workers,
		.metrics = f.registry,
		.candidates = &address,
		.candidate_count = 1,
		.ready_count = ready_count,
		.arg = &f,
	};
	int fd = mkstemp(file);
	assert_true(fd >= 0);
	(void)close(fd);
	assert_int_equal(page_new(&params, &f.page), 0);
	assert_int_equal(page_publish(f.page, "/nonexistent/metrics"), -ENOENT);
	assert_int_equal(page_publish(f.page, file), 0);
	address = *page_address(f.page);
	page_free(f.page);
	assert_int_equal(access(file, F_OK), -1);

	/* The port is free again. */
	assert_int_equal(page_new(&params, &f.page), 0);
	assert_int_equal(page_address(f.page)->port, address.port);
	page_free(f.page);
	worker_set_free(f.workers);
	metric_registry_free(f.registry);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answer),
		cmocka_unit_test(test_answer_without_a_buffer_left),
		cmocka_unit_test(test_visitor_leaves_while_workers_are_asked),
		cmocka_unit_test(test_end_while_workers_are_asked),
		cmocka_unit_test(test_freed_without_having_run),
	};
	return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
