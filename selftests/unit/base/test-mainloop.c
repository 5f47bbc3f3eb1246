/* SPDX-License-Identifier: Apache-2.0 */
/* The control thread's loop, and what it tells the service manager (a socket of our own). */
#include "daemon/base/mainloop.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/base/mailbox.h"
#include "daemon/base/notify.h"
#include "util/macro.h"

struct app {
	struct mainloop *ml;
	unsigned int messages;
	unsigned int signals;
	int last_signal;
};

static void on_deliver(struct message *message, void *owner)
{
	struct app *app = owner;
	app->messages++;
	free(message);
	if (app->messages == 3)
		mainloop_quit(app->ml, 7);
}

static void on_discard(struct message *message)
{
	free(message);
}

static void *post_three(void *arg)
{
	for (unsigned int i = 0; i < 3; i++) {
		struct message *m = calloc(1, sizeof(*m));
		assert_non_null(m);
		*m = (struct message){ .on_deliver = on_deliver, .on_discard = on_discard };
		mailbox_post(mainloop_mailbox(arg), m);
	}
	return NULL;
}

static void test_mailbox(void **state UNUSED)
{
	struct app app = {};
	pthread_t thread;
	assert_int_equal(mainloop_new(&app, &app.ml), 0);
	assert_non_null(mainloop_event(app.ml));
	assert_int_equal(pthread_create(&thread, NULL, post_three, app.ml), 0);
	assert_int_equal(mainloop_run(app.ml), 7);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(app.messages, 3);
	(void)post_three(app.ml); /* discarded */
	mainloop_free(app.ml);
	mainloop_free(NULL);
}

static void on_signal(int signo, void *arg)
{
	struct app *app = arg;
	app->signals++;
	app->last_signal = signo;
}

static void test_signals(void **state UNUSED)
{
	struct app app = {};
	assert_int_equal(mainloop_new(&app, &app.ml), 0);
	assert_int_equal(mainloop_on_signal(app.ml, SIGHUP, on_signal, &app), 0);
	assert_int_equal(mainloop_on_signal(app.ml, SIGTERM, on_signal, &app), 0);
	assert_int_equal(mainloop_on_signal(app.ml, 12345, on_signal, &app), -EINVAL);
	assert_int_equal(kill(getpid(), SIGHUP), 0);
	while (app.signals < 1)
		assert_int_equal(mainloop_turn(app.ml, NSEC_NEVER), 0);
	assert_int_equal(app.last_signal, SIGHUP);
	assert_int_equal(kill(getpid(), SIGTERM), 0);
	while (app.signals < 2)
		assert_int_equal(mainloop_turn(app.ml, NSEC_NEVER), 0);
	assert_int_equal(app.last_signal, SIGTERM);
	assert_int_equal(raise(SIGPIPE), 0); /* ignored */
	mainloop_free(app.ml);
}

struct ticker {
	struct mainloop_timer timer;
	struct mainloop *ml;
	unsigned int calls;
	nsec_t at;
};

static void on_tick(struct mainloop_timer *timer)
{
	struct ticker *t = CONTAINER_OF(timer, struct ticker, timer);
	assert_null(timer->source);
	assert_true(nsec_clock(CLOCK_MONOTONIC) >= t->at);
	t->calls++;
	if (t->calls < 3) {
		t->at = nsec_clock(CLOCK_MONOTONIC) + NSEC_PER_MSEC + 1;
		assert_int_equal(mainloop_timer_start(t->ml, timer, t->at), 0);
	}
}

static void test_timers(void **state UNUSED)
{
	struct ticker t = { .timer.on_expire = on_tick };
	struct ticker never = { .timer.on_expire = on_tick };
	assert_int_equal(mainloop_new(NULL, &t.ml), 0);
	assert_int_equal(mainloop_timer_start(t.ml, &never.timer, 0), 0);
	mainloop_timer_stop(&never.timer);
	mainloop_timer_stop(&never.timer);
	assert_int_equal(mainloop_timer_start(t.ml, &t.timer, NSEC_NEVER - 1), 0);
	assert_int_equal(mainloop_timer_start(t.ml, &t.timer, 0), 0);
	while (t.calls < 3)
		assert_int_equal(mainloop_turn(t.ml, NSEC_NEVER), 0);
	assert_int_equal(mainloop_turn(t.ml, 0), 0);
	assert_int_equal(t.calls, 3);
	assert_int_equal(never.calls, 0);
	mainloop_free(t.ml);
}

struct watch {
	struct mainloop_io io;
	unsigned int calls;
	uint32_t revents;
};

static void on_ready(struct mainloop_io *io, uint32_t revents)
{
	struct watch *w = CONTAINER_OF(io, struct watch, io);
	w->calls++;
	w->revents = revents;
	mainloop_io_stop(io); /* in its own callback */
}

static void test_io(void **state UNUSED)
{
	struct mainloop *ml = NULL;
	struct watch w = { .io.on_ready = on_ready };
	int fds[2];
	assert_int_equal(mainloop_new(NULL, &ml), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
			 0);
	assert_int_equal(mainloop_io_start(ml, &w.io, fds[0], EPOLLIN), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	while (w.calls < 1)
		assert_int_equal(mainloop_turn(ml, NSEC_NEVER), 0);
	assert_int_equal(w.revents, EPOLLIN);
	assert_int_equal(mainloop_turn(ml, 0), 0);
	assert_int_equal(w.calls, 1);
	assert_int_equal(mainloop_io_start(ml, &w.io, -1, EPOLLIN), -EBADF);
	mainloop_io_stop(&w.io);
	close(fds[0]);
	close(fds[1]);
	mainloop_free(ml);
}

/* ---- service manager ----------------------------------------------------------------------- */

static void check_notice(int fd, const char *want)
{
	char buf[512];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	buf[n] = '\0';
	assert_string_equal(buf, want);
}

static void test_notify(void **state UNUSED)
{
	char dir[] = "/tmp/test-notify-XXXXXX";
	assert_non_null(mkdtemp(dir));
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/socket", dir);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);

	notify_ready("to nobody");
	assert_int_equal(setenv("NOTIFY_SOCKET", addr.sun_path, 1), 0);
	notify_ready("connected");
	check_notice(fd, "READY=1\nSTATUS=connected");
	notify_status("not connected: a\nMAINPID=1");
	check_notice(fd, "STATUS=not connected: a MAINPID=1");
	notify_stopping("draining");
	check_notice(fd, "STOPPING=1\nSTATUS=draining");
	notify_extend_timeout(5 * NSEC_PER_SEC);
	check_notice(fd, "EXTEND_TIMEOUT_USEC=5000000");
	notify_reloading();
	char buf[128];
	ssize_t n = recv(fd, buf, sizeof(buf) - 1, MSG_DONTWAIT);
	assert_true(n > 0);
	buf[n] = '\0';
	static const char start[] = "RELOADING=1\nMONOTONIC_USEC=";
	assert_memory_equal(buf, start, strlen(start));
	unsigned long long usec = strtoull(buf + strlen(start), NULL, 10);
	assert_true(usec > 0 && usec <= nsec_clock(CLOCK_MONOTONIC) / NSEC_PER_USEC);

	assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
	close(fd);
	assert_int_equal(unlink(addr.sun_path), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mailbox), cmocka_unit_test(test_signals),
		cmocka_unit_test(test_timers),  cmocka_unit_test(test_io),
		cmocka_unit_test(test_notify),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
