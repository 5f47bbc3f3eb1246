/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The envelope of a configuration that an edge pushes over HTTP/2 (docs/protocol.md §15.6).
 */
#ifndef DAEMON_CONF_PUSH_H
#define DAEMON_CONF_PUSH_H

#include "util/packer.h"

/* Bytes of a pushed configuration (spec §13). */
constexpr size_t CONF_PUSH_MAX = (size_t)4 * 1024 * 1024;

/*
 * Reads {"version": N, "config": …}: names in any case, the last of a name counts, unknown members
 * and what stands behind the value are passed over, a missing version is 0, null an empty object.
 * text[len] must be writable: a NUL is put there. Returns 0, -EBADMSG, -ENOMEM.
 */
[[nodiscard]] int conf_push_version(char *text, size_t len, int32_t *ret);
/* Writes the answer: error NULL for a configuration that was taken (static text without quotes). */
void conf_push_answer(struct packer *p, int32_t version, const char *error);

#endif
