/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call to a control socket: what an answer, a refusal, a vanishing daemon and nobody at all
 * come to as exit codes. The daemon is a thread that says one prepared thing.
 */
#include <pthread.h>
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
#include <systemd/sd-json.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/client.h"
#include "util/cleanup.h"
#include "util/macro.h"

struct fixture {
	char folder[32];
	struct cli cli;
	int listener;
	const char *answer; /* NULL: hangs up */
	size_t answer_len;
	char request[256];
	pthread_t thread;
};

/* The verbs' file isn't part of this test. */
const char *cli_program(const struct cli *c)
{
	return c->is_edge ? "adit-edge" : "aditd";
}

static int start(void **state)
{
	static struct fixture fx;
	fx = (struct fixture){ .folder = "/tmp/test-client.XXXXXX" };
	assert_non_null(mkdtemp(fx.folder));
	(void)snprintf(fx.cli.paths.control, sizeof(fx.cli.paths.control), "%s/control", fx.folder);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/control", fx.folder);
	fx.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fx.listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	*state = &fx;
	return 0;
}

static int end(void **state)
{
	struct fixture *fx = *state;
	(void)close(fx->listener);
	(void)unlink(fx->cli.paths.control);
	return rmdir(fx->folder);
}

/* Reads one message, which ends with NUL, and says what it has to say. */
static void *serve(void *arg)
{
	struct fixture *fx = arg;
	int fd = accept4(fx->listener, NULL, NULL, SOCK_CLOEXEC);
	size_t len = 0;
	ssize_t n = 1;
	while (n > 0 && len < sizeof(fx->request) && (len == 0 || fx->request[len - 1] != '\0')) {
		n = read(fd, fx->request + len, sizeof(fx->request) - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (fx->answer)
		(void)!write(fd, fx->answer, fx->answer_len);
	(void)close(fd);
	return NULL;
}

static const struct client_request request = { "io.adit.Daemon.Status", NULL, CLIENT_WAIT_SEC };

static void begin(struct fixture *fx, const char *answer)
{
	fx->answer = answer;
	fx->answer_len = answer ? strlen(answer) + 1 : 0;
	memset(fx->request, 0, sizeof(fx->request));
	assert_int_equal(listen(fx->listener, 1), 0);
	assert_int_equal(pthread_create(&fx->thread, NULL, serve, fx), 0);
}

/* The exit code of a call that is answered so. */
static int call(struct fixture *fx, const char *answer, sd_json_variant **ret)
{
	begin(fx, answer);
	int code = client_call(&fx->cli, &request, ret);
	assert_int_equal(pthread_join(fx->thread, NULL), 0);
	return code;
}

/* The same of a verb without text. */
static int change(struct fixture *fx, const char *answer, sd_json_variant *parameters)
{
	begin(fx, answer);
	int code = client_change(&fx->cli, "io.adit.Daemon.Reconnect", parameters);
	assert_int_equal(pthread_join(fx->thread, NULL), 0);
	return code;
}

static void test_answer(void **state)
{
	struct fixture *fx = *state;
	sd_json_variant *v = NULL;
	assert_int_equal(call(fx, "{\"parameters\":{\"version\":\"7\"}}", &v), CLI_EXIT_DONE);
	assert_string_equal(sd_json_variant_string(sd_json_variant_by_key(v, "version")), "7");
	sd_json_variant_unref(v);
	assert_non_null(strstr(fx->request, "\"io.adit.Daemon.Status\""));
}

static const struct {
	const char *answer;
	int code;
} failures[] = {
	{ "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}",
	  CLI_EXIT_FAILED },
	{ "{\"error\":\"io.adit.Daemon.NoSuchIndex\",\"parameters\":{\"index\":7}}",
	  CLI_EXIT_FAILED },
	{ "{\"error\":\"io.adit.Daemon.BadConfig\",\"parameters\":{\"errors\":[\"a\",7,\"b\"]}}",
	  CLI_EXIT_FAILED },
	{ "{\"error\":\"io.adit.Daemon.BadConfig\",\"parameters\":{\"errors\":7}}",
	  CLI_EXIT_FAILED },
	{ NULL, CLI_EXIT_ABSENT },
};

static void test_failures(void **state)
{
	struct fixture *fx = *state;
	for (size_t i = 0; i < ARRAY_SIZE(failures); i++) {
		sd_json_variant *v = NULL;
		assert_int_equal(call(fx, failures[i].answer, &v), failures[i].code);
		assert_null(v);
	}
}

/* What a method is given, and what a change without an answer's text comes to. */
static void test_change(void **state)
{
	struct fixture *fx = *state;
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
	assert_true(sd_json_buildo(&parameters, SD_JSON_BUILD_PAIR_INTEGER("index", 3)) >= 0);
	assert_int_equal(change(fx, "{\"parameters\":{}}", parameters), CLI_EXIT_DONE);
	assert_non_null(strstr(fx->request, "\"index\":3"));
	assert_int_equal(change(fx, failures[1].answer, parameters), CLI_EXIT_FAILED);
	assert_int_equal(change(fx, NULL, NULL), CLI_EXIT_ABSENT);
}

/* Answers that come one by one, and the word for none. */
static void test_collect(void **state)
{
	struct fixture *fx = *state;
	static const struct client_list what = { "flow", "flows", "io.adit.Daemon.NoFlows" };
	static const struct {
		const char *answer;
		int code;
		size_t count;
	} cases[] = {
		{ "{\"parameters\":{\"flow\":{\"id\":\"7\"}}}", CLI_EXIT_DONE, 1 },
		{ "{\"error\":\"io.adit.Daemon.NoFlows\",\"parameters\":{}}", CLI_EXIT_DONE, 0 },
		{ "{\"error\":\"org.varlink.service.PermissionDenied\",\"parameters\":{}}",
		  CLI_EXIT_FAILED, 0 },
		{ "{\"parameters\":{\"flaw\":{}}}", CLI_EXIT_FAILED, 0 },
		{ NULL, CLI_EXIT_ABSENT, 0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(sd_json_variant_unrefp) sd_json_variant *v = NULL;
		begin(fx, cases[i].answer);
		assert_int_equal(client_collect(&fx->cli, &request, &what, &v), cases[i].code);
		assert_int_equal(pthread_join(fx->thread, NULL), 0);
		assert_non_null(strstr(fx->request, "\"more\":true"));
		sd_json_variant *list = v ? sd_json_variant_by_key(v, "flows") : NULL;
		assert_int_equal(list != NULL, cases[i].code == CLI_EXIT_DONE);
		assert_int_equal(list ? sd_json_variant_elements(list) : 0, cases[i].count);
	}
}

static void test_garbage(void **state)
{
	struct fixture *fx = *state;
	static const char *const answers[] = { "", "not JSON", "[]", "{\"parameters\":7}" };
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		sd_json_variant *v = NULL;
		assert_int_not_equal(call(fx, answers[i], &v), CLI_EXIT_DONE);
		assert_null(v);
	}
}

static void test_nobody(void **state)
{
	struct fixture *fx = *state;
	sd_json_variant *v = NULL;
	/* A socket that nobody listens on, then no socket, then no folder. */
	assert_int_equal(client_call(&fx->cli, &request, &v), CLI_EXIT_ABSENT);
	(void)unlink(fx->cli.paths.control);
	assert_int_equal(client_call(&fx->cli, &request, &v), CLI_EXIT_ABSENT);
	(void)snprintf(fx->cli.paths.control, sizeof(fx->cli.paths.control), "%s/no/control",
		       fx->folder);
	assert_int_equal(client_call(&fx->cli, &request, &v), CLI_EXIT_ABSENT);
	assert_null(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_answer, start, end),
		cmocka_unit_test_setup_teardown(test_failures, start, end),
		cmocka_unit_test_setup_teardown(test_change, start, end),
		cmocka_unit_test_setup_teardown(test_collect, start, end),
		cmocka_unit_test_setup_teardown(test_garbage, start, end),
		cmocka_unit_test_setup_teardown(test_nobody, start, end),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
