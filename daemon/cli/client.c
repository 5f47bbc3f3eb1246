/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One call to a daemon's control interface, with a deadline. A daemon that hangs must not hang its
 * operator, who may be a script.
 */
#include "daemon/cli/client.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-json.h>
#include <systemd/sd-varlink.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/print.h"
#include "util/cleanup.h"
#include "util/macro.h"

/* How libsystemd and the kernel say that nobody answers. */
static bool is_absent(int error)
{
	static const int errors[] = { ENOENT, ENOTDIR, ECONNREFUSED, ECONNRESET, ENOTCONN,
				      EPIPE,  ETIME,   ETIMEDOUT,    EAGAIN };
	for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
		if (error == -errors[i])
			return true;
	return false;
}

static const char *what_happened(int error)
{
	if (error == -ETIME || error == -ETIMEDOUT)
		return "does not answer";
	if (error == -EACCES || error == -EPERM)
		return "does not let us in";
	return is_absent(error) ? "is not reachable" : "gave no proper answer";
}

static int fail(const struct cli *c, int error)
{
	char text[128];
	(void)fprintf(stderr, "adit: %s at %s %s: %s\n", cli_program(c), c->paths.control,
		      what_happened(error), strerror_r(-error, text, sizeof(text)));
	if (error == -EACCES || error == -EPERM)
		(void)fputs("adit: the operators' group (adit-ops), root and the daemon's own user "
			    "may ask\n",
			    stderr);
	return is_absent(error) ? CLI_EXIT_ABSENT : CLI_EXIT_FAILED;
}

/* What an error has to say besides its name: the name or number that was wrong, or a list of texts
 * called errors. */
static void print_errors(sd_json_variant *parameters)
{
	static const struct print_column causes[] = { { "parameter", "parameter", PRINT_AS_TEXT },
						      { "name", "name", PRINT_AS_TEXT },
						      { "index", "index", PRINT_AS_COUNT } };
	struct print p = { .out = stderr };
	for (size_t i = 0; i < ARRAY_SIZE(causes); i++)
		if (sd_json_variant_by_key(parameters, causes[i].key))
			print_head(&p, parameters, &causes[i], 1);
	sd_json_variant *errors = sd_json_variant_by_key(parameters, "errors");
	size_t count = sd_json_variant_is_array(errors) ? sd_json_variant_elements(errors) : 0;
	for (size_t i = 0; i < count; i++) {
		sd_json_variant *text = sd_json_variant_by_index(errors, i);
		if (sd_json_variant_is_string(text))
			(void)fprintf(stderr, "%s\n", sd_json_variant_string(text));
	}
}

static int fail_refused(const struct cli *c, const char *method, const char *id,
			sd_json_variant *parameters)
{
	if (strcmp(id, SD_VARLINK_ERROR_TIMEOUT) == 0)
		return fail(c, -ETIMEDOUT);
	if (strcmp(id, SD_VARLINK_ERROR_DISCONNECTED) == 0)
		return fail(c, -ECONNRESET);
	char text[128] = "";
	if (strcmp(id, SD_VARLINK_ERROR_SYSTEM) == 0)
		id = strerror_r(-sd_varlink_error_to_errno(id, parameters), text, sizeof(text));
	(void)fprintf(stderr, "adit: %s refuses %s: %s\n", cli_program(c), method, id);
	print_errors(parameters);
	return CLI_EXIT_FAILED;
}

static int connect_to(const struct cli *c, unsigned int wait_sec, sd_varlink **ret)
{
	int r = sd_varlink_connect_address(ret, c->paths.control);
	return r < 0 ? r : sd_varlink_set_relative_timeout(*ret, wait_sec * UINT64_C(1000000));
}

/* answers: an array of objects, or NULL. */
static int make_list(sd_json_variant *answers, const struct client_list *what,
		     sd_json_variant **ret)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *list = NULL;
	int r = sd_json_variant_new_array(&list, NULL, 0);
	size_t count = sd_json_variant_is_array(answers) ? sd_json_variant_elements(answers) : 0;
	for (size_t i = 0; r >= 0 && i < count; i++) {
		sd_json_variant *answer = sd_json_variant_by_index(answers, i);
		sd_json_variant *member = sd_json_variant_by_key(answer, what->member);
		r = member ? sd_json_variant_append_array(&list, member) : -EBADMSG;
	}
	return r < 0 ? r : sd_json_buildo(ret, SD_JSON_BUILD_PAIR_VARIANT(what->list, list));
}

int client_collect(const struct cli *c, const struct client_request *request,
		   const struct client_list *what, struct sd_json_variant **ret)
{
	_cleanup_(sd_varlink_close_unrefp) sd_varlink *link = NULL;
	sd_json_variant *answers = NULL; /* the link's */
	const char *id = NULL;
	int r = connect_to(c, request->wait_sec, &link);
	if (r >= 0)
		r = sd_varlink_collect(link, request->method, request->parameters, &answers, &id);
	if (r >= 0 && id && strcmp(id, what->error_none) != 0)
		return fail_refused(c, request->method, id, answers);
	if (r >= 0)
		r = make_list(id ? NULL : answers, what, ret);
	return r < 0 ? fail(c, r) : CLI_EXIT_DONE;
}

int client_call(const struct cli *c, const struct client_request *request,
		struct sd_json_variant **ret)
{
	_cleanup_(sd_varlink_close_unrefp) sd_varlink *link = NULL;
	sd_json_variant *answer = NULL; /* the link's */
	const char *id = NULL;
	int r = connect_to(c, request->wait_sec, &link);
	if (r >= 0)
		r = sd_varlink_call(link, request->method, request->parameters, &answer, &id);
	if (r < 0)
		return fail(c, r);
	if (id)
		return fail_refused(c, request->method, id, answer);
	*ret = sd_json_variant_ref(answer);
	return CLI_EXIT_DONE;
}

int client_change(const struct cli *c, const char *method, struct sd_json_variant *parameters)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *answer = NULL;
	const struct client_request request = { method, parameters, CLIENT_WAIT_SEC };
	int code = client_call(c, &request, &answer);
	struct print p = { .out = stdout };
	if (code == CLI_EXIT_DONE && c->is_json && print_json(&p, answer, NULL, 0) < 0)
		return CLI_EXIT_FAILED;
	return code;
}
