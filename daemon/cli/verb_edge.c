/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `adit edge …`: what only an edge can do.
 */
#include <stdio.h>
#include <systemd/sd-json.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/client.h"
#include "util/cleanup.h"

int verb_edge_drain(struct cli *c, const struct opt_args *args)
{
	if (args->count > 0) {
		(void)fprintf(stderr, "adit: edge drain takes no argument\n");
		return CLI_EXIT_USAGE;
	}
	return client_change(c, "io.adit.Edge.Drain", NULL);
}

int verb_edge_refuse(struct cli *c, const struct opt_args *args)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
	if (args->count != 1) {
		(void)fprintf(stderr, "adit: edge refuse takes one KIND; see its --help\n");
		return CLI_EXIT_USAGE;
	}
	int r = sd_json_buildo(&parameters, SD_JSON_BUILD_PAIR_STRING("kind", args->items[0]),
			       SD_JSON_BUILD_PAIR_CONDITION(c->tunnel != NULL, "tunnel",
							    SD_JSON_BUILD_STRING(c->tunnel)),
			       SD_JSON_BUILD_PAIR_CONDITION(c->count > 0, "count",
							    SD_JSON_BUILD_UNSIGNED(c->count)),
			       SD_JSON_BUILD_PAIR_CONDITION(
				       c->retry_after_sec != CLI_NOT_GIVEN, "retry_after_usec",
				       SD_JSON_BUILD_UNSIGNED(c->retry_after_sec * 1000000)));
	if (r < 0) {
		(void)fprintf(stderr, "adit: KIND or --tunnel: not text\n");
		return CLI_EXIT_USAGE;
	}
	return client_change(c, "io.adit.Edge.Refuse", parameters);
}
