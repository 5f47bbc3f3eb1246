/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prints configuration: the effective one as INI, the manual page of all options as Markdown, and
 * the JSON that is uploaded to an edge.
 */
#ifndef DAEMON_CONF_DUMP_H
#define DAEMON_CONF_DUMP_H

#include <stdio.h>

#include "daemon/conf/conf_common.h"

struct conf;

/*
 * Writes the effective configuration in the syntax of the file, defaults as comments, secrets
 * masked
 * (--dump-config). Returns 0 or -EIO.
 */
[[nodiscard]] int conf_dump(const struct conf_common *c, FILE *to);

/* Writes docs/config.md from the schema (--dump-docs). Returns 0 or -EIO. */
[[nodiscard]] int conf_dump_docs(FILE *to);

/*
 * The local configuration as updateLocalConfiguration carries it (edge-protocol §7.5): UTF-8 JSON,
 * not terminated in the length. *ret_json is freed by the caller.
 *
 * Returns 0; -E2BIG over c->common.limits.configuration (not uploaded, the caller warns once);
 * -ENOMEM.
 */
[[nodiscard]] int conf_dump_local_json(const struct conf *c, char **ret_json, size_t *ret_len);

#endif
