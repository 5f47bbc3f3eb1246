/* SPDX-License-Identifier: Apache-2.0 */
/* The log: levels by area, sinks that are full or gone, the observer, rate limits. */
#include "daemon/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/macro.h"

static int real_stderr;

/* Makes the descriptor standard error for the log to find; gives back the log. */
static struct log *new_log(int fd, enum log_format format, const char *areas)
{
	struct log *log = NULL;
	const struct log_params params = {
		.format = format, .level = LOG_LEVEL_INFO, .areas = areas, .ident = "test"
	};
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	int r = log_new(&params, &log);
	assert_int_equal(dup2(real_stderr, STDERR_FILENO), STDERR_FILENO);
	assert_int_equal(r, 0);
	return log;
}

static void test_levels(void **state UNUSED)
{
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	struct log *log = new_log(fds[1], LOG_FORMAT_TEXT, " link:debug,, origin : error ");
	assert_true(log_is_enabled(log, LOG_LEVEL_DEBUG, "link"));
	assert_false(log_is_enabled(log, LOG_LEVEL_WARNING, "origin"));
	assert_true(log_is_enabled(log, LOG_LEVEL_ERROR, "origin"));
	assert_true(log_is_enabled(log, LOG_LEVEL_INFO, "other"));
	assert_false(log_is_enabled(log, LOG_LEVEL_DEBUG, "other"));
	assert_false(log_is_enabled(NULL, LOG_LEVEL_ERROR, "link"));

	static const char *const bad[] = {
		"link",      ":debug",        "link:",
		"link:loud", "a:info b:info", "this-name-is-much-too-long-for-an-area:info"
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(log_set_levels(log, LOG_LEVEL_ERROR, bad[i]), -EINVAL);
	assert_true(log_is_enabled(log, LOG_LEVEL_DEBUG, "link")); /* nothing changed */

	assert_int_equal(log_set_levels(log, LOG_LEVEL_WARNING, NULL), 0);
	assert_false(log_is_enabled(log, LOG_LEVEL_INFO, "link"));
	assert_true(log_is_enabled(log, LOG_LEVEL_WARNING, "origin"));

	char many[1024] = "";
	for (unsigned int i = 0; i < 33; i++)
		(void)snprintf(many + strlen(many), sizeof(many) - strlen(many), "a%u:info,", i);
	assert_int_equal(log_set_levels(log, LOG_LEVEL_ERROR, many), -E2BIG);
	assert_true(log_is_enabled(log, LOG_LEVEL_WARNING, "link"));
	log_free(log);
	log_free(NULL);
	close(fds[0]);
	close(fds[1]);
}

static void test_line(void **state UNUSED)
{
	int fds[2];
	char buf[256];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	struct log *log = new_log(fds[1], LOG_FORMAT_AUTO, NULL);
	errno = EXDEV;
	log_notice(log, "main", "started", KV_U64("workers", 2));
	log_debug(log, "main", "not shown");
	log_error(log, "main", "no fields");
	log_info(NULL, "main", "no log", KV_U64("n", 1));
	assert_int_equal(errno, EXDEV);
	ssize_t n = read(fds[0], buf, sizeof(buf) - 1);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_string_equal(strchr(buf, ' '), strstr(buf, " notice  main: started workers=2\n"));
	assert_non_null(strstr(buf, " error   main: no fields\n"));
	assert_null(strstr(buf, "not shown"));
	assert_int_equal(log_dropped(log), 0);
	assert_int_equal(log_dropped(NULL), 0);
	log_free(log);
	close(fds[0]);
	close(fds[1]);
}

/* A reader that has stopped: lines are dropped and counted; the shared descriptor stays blocking.
 */
static void check_full_sink(int reader, int writer)
{
	struct log *log = new_log(writer, LOG_FORMAT_JSON, NULL);
	for (unsigned int i = 0; i < 20000 && log_dropped(log) == 0; i++)
		log_info(log, "test", "flood", KV_U64("i", i));
	assert_true(log_dropped(log) > 0);
	assert_int_equal(fcntl(writer, F_GETFL) & O_NONBLOCK, 0);

	char buf[8192];
	for (unsigned int i = 0; i < 4; i++)
		assert_true(read(reader, buf, sizeof(buf)) > 0);
	uint64_t before = log_dropped(log);
	log_info(log, "test", "room again");
	assert_int_equal(log_dropped(log), before);
	log_free(log);
	close(reader);
	close(writer);
}

static void test_full_pipe(void **state UNUSED)
{
	int fds[2];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	check_full_sink(fds[0], fds[1]);
}

static void test_full_socket(void **state UNUSED)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	check_full_sink(fds[0], fds[1]);
}

static void test_reader_gone(void **state UNUSED)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	struct log *log = new_log(fds[1], LOG_FORMAT_TEXT, NULL);
	close(fds[0]);
	log_info(log, "test", "to nobody"); /* no SIGPIPE */
	assert_int_equal(log_dropped(log), 1);
	log_free(log);
	close(fds[1]);
}

static void test_auto_is_text_without_journal(void **state UNUSED)
{
	int fds[2];
	char buf[256];
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(setenv("JOURNAL_STREAM", "1:2", 1), 0); /* somebody else's */
	struct log *log = new_log(fds[1], LOG_FORMAT_AUTO, NULL);
	log_info(log, "test", "here");
	assert_true(read(fds[0], buf, sizeof(buf)) > 0);
	assert_int_equal(unsetenv("JOURNAL_STREAM"), 0);
	log_free(log);
	close(fds[0]);
	close(fds[1]);
}

static void on_event(const struct log_event *event, void *arg)
{
	unsigned int *count = arg;
	*count += event->field_count;
}

static void test_observer(void **state UNUSED)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	unsigned int count = 0;
	struct log *log = new_log(fd, LOG_FORMAT_TEXT, NULL);
	log_set_observer(log, on_event, &count);
	log_info(log, "test", "seen", KV_U64("a", 1), KV_U64("b", 2));
	assert_int_equal(count, 2);
	log_set_observer(log, NULL, NULL);
	log_info(log, "test", "unseen", KV_U64("a", 1));
	assert_int_equal(count, 2);
	log_free(log);
	close(fd);
}

static void test_limit(void **state UNUSED)
{
	struct log_limit limit = {};
	nsec_t now = 5 * NSEC_PER_SEC;
	unsigned int passed = 0;
	for (unsigned int i = 0; i < 10; i++)
		passed += log_limit_pass(&limit, now + i, 3);
	assert_int_equal(passed, 3);
	assert_int_equal(limit.suppressed, 7);
	assert_false(log_limit_pass(&limit, now + NSEC_PER_SEC - 1, 3));
	assert_true(log_limit_pass(&limit, now + NSEC_PER_SEC, 3));
	assert_false(log_limit_pass(&limit, now, 0));
}

/* ---- threads ------------------------------------------------------------------------------- */

enum { WRITERS = 3, LINES = 300 };

static void *write_lines(void *arg)
{
	for (unsigned int i = 0; i < LINES; i++)
		log_debug(arg, "race", "line", KV_U64("i", i), KV_STR("pad", "0123456789abcdef"));
	return NULL;
}

static void test_threads(void **state UNUSED)
{
	FILE *f = tmpfile();
	assert_non_null(f);
	unsigned int seen = 0;
	struct log *log = new_log(fileno(f), LOG_FORMAT_TEXT, "race:debug");
	log_set_observer(log, on_event, &seen);
	pthread_t threads[WRITERS];
	for (unsigned int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, log), 0);
	for (unsigned int i = 0; i < 50; i++)
		assert_int_equal(log_set_levels(log, LOG_LEVEL_INFO, "race:debug,late:error"), 0);
	for (unsigned int i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	log_set_observer(log, NULL, NULL);

	/* Whole lines only. */
	assert_int_equal(fseek(f, 0, SEEK_SET), 0);
	char line[256];
	unsigned int count = 0;
	while (fgets(line, sizeof(line), f)) {
		assert_non_null(strstr(line, " debug   race: line i="));
		assert_non_null(strstr(line, " pad=0123456789abcdef\n"));
		count++;
	}
	assert_int_equal(seen, 2 * count);
	assert_int_equal(count, WRITERS * LINES);
	log_free(log);
	(void)fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_levels),
		cmocka_unit_test(test_line),
		cmocka_unit_test(test_full_pipe),
		cmocka_unit_test(test_full_socket),
		cmocka_unit_test(test_reader_gone),
		cmocka_unit_test(test_auto_is_text_without_journal),
		cmocka_unit_test(test_observer),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_threads),
	};
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
