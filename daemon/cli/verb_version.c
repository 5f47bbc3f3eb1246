/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `adit version`: our own version and the daemon's. Our own is printed even if no daemon answers;
 * the exit code tells.
 */
#include <stdio.h>
#include <systemd/sd-json.h>

#include "daemon/base/version.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/client.h"
#include "daemon/cli/print.h"
#include "util/cleanup.h"

/* Every Varlink service answers this, whatever version its own interface has. */
static const char method[] = "org.varlink.service.GetInfo";

static int print_versions(const struct cli *c, sd_json_variant *info)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *document = NULL;
	struct print p = { .out = stdout };
	char cell[PRINT_CELL_MAX];
	const struct print_column column = { "version", cli_program(c), PRINT_AS_TEXT };
	sd_json_variant *version = sd_json_variant_by_key(info, "version");
	if (!c->is_json) {
		(void)printf("adit %s\n", adit_version);
		if (info)
			(void)printf("%s %s\n", column.heading,
				     print_cell(&p, info, &column, cell));
		return CLI_EXIT_DONE;
	}
	int r = sd_json_buildo(&document, SD_JSON_BUILD_PAIR_STRING("adit", adit_version));
	if (r >= 0)
		r = version ? sd_json_variant_set_field(&document, column.heading, version)
			    : sd_json_variant_set_fieldb(&document, column.heading,
							 SD_JSON_BUILD_NULL);
	return r < 0 || print_json(&p, document, NULL, 0) < 0 ? CLI_EXIT_FAILED : CLI_EXIT_DONE;
}

int verb_version(struct cli *c, const struct opt_args *args)
{
	if (args->count > 0) {
		(void)fprintf(stderr, "adit: version takes no argument\n");
		return CLI_EXIT_USAGE;
	}
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *info = NULL;
	const struct client_request request = { method, NULL, CLIENT_WAIT_SEC };
	int code = client_call(c, &request, &info);
	int printed = print_versions(c, info);
	return code ? code : printed;
}
