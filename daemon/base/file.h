/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole small files: read with a limit, replaced so that a reader sees the old or the new one and a
 * crash leaves one of them.
 */
#ifndef DAEMON_BASE_FILE_H
#define DAEMON_BASE_FILE_H

#include <sys/types.h>

#include "util/span.h"

/*
 * Reads a file of at most max bytes. *ret is the caller's to free(); a NUL follows the ret_len
 * bytes (ret_len may be NULL when the content is text anyway). Returns 0, -EMSGSIZE for a longer
 * file, -ENOMEM, or what open and read said.
 */
[[nodiscard]] int file_read(const char *path, size_t max, char **ret, size_t *ret_len);
/* Reads until the end or until buf is full. Returns how many bytes, or what read said. */
[[nodiscard]] ssize_t file_read_fd(int fd, void *buf, size_t len);

/*
 * Writes content to a new file in the same directory, syncs it, gives it the mode (exactly,
 * whatever the umask), renames it over path and syncs the directory. Blocks: not on a worker.
 * Returns 0 or a negative errno; then path is as before.
 */
[[nodiscard]] int file_replace(const char *path, struct span content, mode_t mode);
/*
 * The same without waiting for the disk: after a power cut the file may be empty or cut. For what
 * its reader checks and can do without.
 */
[[nodiscard]] int file_replace_fast(const char *path, struct span content, mode_t mode);

#endif
