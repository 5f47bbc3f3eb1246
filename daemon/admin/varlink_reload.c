/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The method Reload of every daemon: answered when all workers have the new configuration, or with
 * BadConfig and every fault.
 */
#include <errno.h>
#include <stdlib.h>

#include "daemon/admin/reload.h"
#include "daemon/admin/varlink_priv.h"
#include "util/cleanup.h"
#include "util/macro.h"

struct call {
	struct reload_waiter waiter;
	sd_varlink *link;
	const char *bad_config;
};

int varlink_string_array(const struct conf_names *names, sd_json_variant **ret)
{
	sd_json_variant *array = NULL;
	int r = sd_json_variant_new_array(&array, NULL, 0);
	for (size_t i = 0; r >= 0 && i < names->count; i++)
		r = sd_json_variant_append_arrayb(&array, SD_JSON_BUILD_STRING(names->items[i]));
	if (r < 0) {
		(void)sd_json_variant_unref(array);
		return r;
	}
	*ret = array;
	return 0;
}

static int reply_changes(sd_varlink *link, const struct conf_changes *changes)
{
	sd_json_variant *changed = NULL, *need_restart = NULL;
	int r = varlink_string_array(&changes->changed, &changed);
	if (r >= 0)
		r = varlink_string_array(&changes->need_restart, &need_restart);
	if (r >= 0)
		r = sd_varlink_replybo(link, SD_JSON_BUILD_PAIR_VARIANT("changed", changed),
				       SD_JSON_BUILD_PAIR_VARIANT("need_restart", need_restart));
	(void)sd_json_variant_unref(changed);
	(void)sd_json_variant_unref(need_restart);
	return r;
}

/* Every error; the warnings are in the log. */
static int reply_bad_config(const struct call *c, const struct conf_report *report)
{
	char line[2048];
	sd_json_variant *errors = NULL;
	int r = sd_json_variant_new_array(&errors, NULL, 0);
	for (size_t i = 0; r >= 0 && i < report->count; i++) {
		const struct conf_message *m = &report->messages[i];
		if (m->severity == CONF_SEVERITY_ERROR)
			r = sd_json_variant_append_arrayb(
				&errors,
				SD_JSON_BUILD_STRING(conf_message_print(m, line, sizeof(line))));
	}
	if (r >= 0)
		r = sd_varlink_errorbo(c->link, c->bad_config,
				       SD_JSON_BUILD_PAIR_VARIANT("errors", errors));
	(void)sd_json_variant_unref(errors);
	return r;
}

static void on_done(struct reload_waiter *waiter, int error, const struct conf_changes *changes,
		    const struct conf_report *report)
{
	struct call *c = CONTAINER_OF(waiter, struct call, waiter);
	if (error == 0)
		error = reply_changes(c->link, changes);
	else if (error == -EINVAL)
		(void)reply_bad_config(c, report);
	if (error < 0 && error != -EINVAL)
		(void)sd_varlink_error_errno(c->link, error);
	(void)sd_varlink_unref(c->link);
	free(c);
}

int varlink_reload(sd_varlink *link, sd_json_variant *parameters, struct reload *reload,
		   const char *bad_config)
{
	if (!varlink_may_change(link))
		return varlink_deny(link);
	int r = varlink_no_parameters(link, parameters);
	if (r != 0)
		return r;
	struct call *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->waiter.on_done = on_done;
	c->link = sd_varlink_ref(link);
	c->bad_config = bad_config;
	reload_file(reload, "control interface", &c->waiter);
	return 0;
}
