/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Keys and tokens (style O6): bytes on pages of their own that are not swapped and not in core
 * dumps, and that are wiped when they are freed.
 */
#ifndef DAEMON_BASE_SECRET_H
#define DAEMON_BASE_SECRET_H

#include "util/cleanup.h"
#include "util/span.h"

enum {
	SECRET_MAX = 64 * 1024,
};

struct secret;

/* Copies bytes; wiping the original is the caller's. Returns 0, -EMSGSIZE over SECRET_MAX, -ENOMEM.
 */
[[nodiscard]] int secret_new(struct span bytes, struct secret **ret);
/* Room for len bytes, zeroed, to be filled through secret_data(). Errors as above. */
[[nodiscard]] int secret_new_empty(size_t len, struct secret **ret);
/*
 * Reads a whole file of at most max bytes (at most SECRET_MAX). Blanks and ends of lines at its end
 * are left out. Returns 0, -EMSGSIZE when it is longer, -ENOMEM, or what open and read said.
 */
[[nodiscard]] int secret_read_file(const char *path, size_t max, struct secret **ret);
/* Wipes and frees. Accepts NULL. */
void secret_free(struct secret *secret);
DEFINE_CLEANUP(struct secret *, secret_free)

/* Borrowed until secret_free(). A NULL secret is empty. */
struct span secret_span(const struct secret *secret);
uint8_t *secret_data(struct secret *secret);

/* Equal, in a time that depends on the lengths only. */
bool secret_eq(struct span a, struct span b);
/* Overwrites memory in a way that the compiler doesn't leave out. */
void secret_wipe(void *ptr, size_t len);

#endif
