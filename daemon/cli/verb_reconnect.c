/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `adit reconnect [INDEX]`: one connection, or all, are dialled anew.
 */
#include <stdio.h>
#include <systemd/sd-json.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/client.h"
#include "util/cleanup.h"

enum { INDEX_MAX = 255 }; /* connIndex is a byte */

/* Decimal digits and nothing else. */
static bool parse_index(const char *text, int *ret)
{
	int v = 0;
	if (*text == '\0')
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		v = v * 10 + (*text - '0');
		if (v > INDEX_MAX)
			return false;
	}
	*ret = v;
	return true;
}

int verb_reconnect(struct cli *c, const struct opt_args *args)
{
	_cleanup_(sd_json_variant_unrefp) sd_json_variant *parameters = NULL;
	int index = 0;
	if (c->is_edge) {
		(void)fprintf(stderr, "adit: reconnect: an edge dials nobody\n");
		return CLI_EXIT_USAGE;
	}
	if (args->count > 1 || (args->count > 0 && !parse_index(args->items[0], &index))) {
		(void)fprintf(stderr, "adit: reconnect takes at most the INDEX of a connection\n");
		return CLI_EXIT_USAGE;
	}
	if (args->count > 0 &&
	    sd_json_buildo(&parameters, SD_JSON_BUILD_PAIR_INTEGER("index", index)) < 0)
		return CLI_EXIT_FAILED;
	return client_change(c, "io.adit.Daemon.Reconnect", parameters);
}
