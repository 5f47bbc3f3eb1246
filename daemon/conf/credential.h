/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Finds and checks the tunnel's credential: join token, credentials file, or what systemd handed
 * over. A credential lives in locked memory that is left out of core dumps and wiped when freed.
 */
#ifndef DAEMON_CONF_CREDENTIAL_H
#define DAEMON_CONF_CREDENTIAL_H

#include "daemon/wire/token.h"
#include "util/cleanup.h"
#include "util/span.h"

/* Longest token text and credentials file, bytes. */
constexpr size_t CREDENTIAL_TEXT_MAX = 16384;

/*
 * Reads a join token: base64 of {"a","t","s","e","x"} (adit.md §3); blanks around it are ignored,
 * unknown members too, a repeated one is refused.
 *
 * Returns 0; -EBADMSG with *ret_reason (static, never quotes the token); -ENOMEM.
 */
[[nodiscard]] int credential_from_token(struct span text, struct tunnel_credential **ret,
					const char **ret_reason);

/* Reads a credentials file: {"AccountTag","TunnelSecret","TunnelID","Endpoint"}. The same results.
 */
[[nodiscard]] int credential_from_json(struct span text, struct tunnel_credential **ret,
				       const char **ret_reason);

/*
 * Reads a file of one of the two kinds. A file that group or others may read is refused, unless
 * is_handed_over (it lies in $CREDENTIALS_DIRECTORY, where systemd decides).
 *
 * Returns 0; -ENOENT and other errors of open(); -EPERM (mode); -E2BIG (length); -EBADMSG; -ENOMEM;
 * with *ret_reason.
 */
[[nodiscard]] int credential_read(const char *path, bool is_json, bool is_handed_over,
				  struct tunnel_credential **ret, const char **ret_reason);

/* A copy in memory of the same kind, or NULL. */
struct tunnel_credential *credential_copy(const struct tunnel_credential *c);
/* Wipes and frees; NULL is harmless. */
void credential_free(struct tunnel_credential *c);
DEFINE_CLEANUP(struct tunnel_credential *, credential_free)

/*
 * Reads a file that holds nothing but a tunnel's secret in base64 (secret-file at the edge) into
 * out, which the caller wipes. Returns the length in bytes, or as credential_read().
 */
[[nodiscard]] int credential_read_secret(const char *path, uint8_t out[TUNNEL_SECRET_MAX],
					 const char **ret_reason);

/*
 * Checks that a file exists, is a regular one, and is not readable by group or others.
 * Returns 0, -ENOENT and other errors of stat(), -EPERM, with *ret_reason.
 */
[[nodiscard]] int secret_file_check(const char *path, const char **ret_reason);

#endif
