/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which worker has what: a table from ids to workers that all of them read and each writes for its
 * own, without a lock. A hint, not the truth: who has the thing is asked by message, and may say
 * that it has gone.
 */
#ifndef DAEMON_BASE_OWNERS_H
#define DAEMON_BASE_OWNERS_H

#include <stddef.h>

#include "util/span.h"

struct owners;

/*
 * A table that serves count ids well: 16 bytes for each, of memory that is used when it is written.
 * 0 or -ENOMEM.
 */
[[nodiscard]] int owners_new(size_t count, struct owners **ret);
void owners_free(struct owners *o); /* Accepts NULL. */

/* Index of the worker that has it, or -ENOENT. Any thread. Where there is one worker the table may
 * be NULL, here and below: nobody else has anything. */
[[nodiscard]] int owners_find(const struct owners *o, struct span id);
/* From now on worker has it, whoever had it before. False: there is no room, nobody will find it.
 */
bool owners_set(struct owners *o, struct span id, unsigned int worker);
/* It has gone; harmless where another worker has it. */
void owners_clear(struct owners *o, struct span id, unsigned int worker);

#endif
