/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `adit reload`: has the daemon read its configuration again and says what came of it. Faults are
 * printed by the client, one a line, each with its file and line.
 */
#include <stdio.h>
#include <systemd/sd-json.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/client.h"
#include "daemon/cli/print.h"
#include "util/cleanup.h"
#include "util/macro.h"

static size_t print_names(sd_json_variant *document, const char *key, const char *heading)
{
	sd_json_variant *names = sd_json_variant_by_key(document, key);
	size_t count = sd_json_variant_is_array(names) ? sd_json_variant_elements(names) : 0;
	struct print p = { .out = stdout };
	const struct print_column column = { "name", "", PRINT_AS_TEXT };
	for (size_t i = 0; i < count; i++) {
		char cell[PRINT_CELL_MAX];
		_cleanup_(sd_json_variant_unrefp) sd_json_variant *row = NULL;
		if (sd_json_buildo(&row, SD_JSON_BUILD_PAIR_VARIANT(
						 "name", sd_json_variant_by_index(names, i))) < 0)
			continue;
		if (i == 0)
			(void)printf("%s\n", heading);
		(void)printf("  %s\n", print_cell(&p, row, &column, cell));
	}
	return count;
}

int verb_reload(struct cli *c, const struct opt_args *args)
{
	if (args->count > 0) {
		(void)fprintf(stderr, "adit: reload takes no argument\n");
		return CLI_EXIT_USAGE;
	}
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *document = NULL;
	const struct client_request request = {
		.method = c->is_edge ? "io.adit.Edge.Reload" : "io.adit.Daemon.Reload",
		.wait_sec = CLIENT_RELOAD_SEC,
	};
	int code = client_call(c, &request, &document);
	if (code != CLI_EXIT_DONE)
		return code;
	struct print p = { .out = stdout };
	if (c->is_json)
		return print_json(&p, document, NULL, 0) < 0 ? CLI_EXIT_FAILED : CLI_EXIT_DONE;
	size_t count = print_names(document, "changed", "changed:");
	count += print_names(document, "need_restart", "after a restart:");
	if (count == 0)
		(void)puts("nothing has changed");
	return CLI_EXIT_DONE;
}
