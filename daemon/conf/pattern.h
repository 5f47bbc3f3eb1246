/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path expressions: the RE2 subset of ingress-and-origins §2.2, checked and rewritten by us, run by
 * PCRE2 with a limit on its work (adit.md §8). A pattern is read-only and shared by all workers;
 * each worker has a scratch.
 */
#ifndef DAEMON_CONF_PATTERN_H
#define DAEMON_CONF_PATTERN_H

#include "util/cleanup.h"
#include "util/span.h"

/* Longest expression, bytes; nesting of groups; steps of one match. */
constexpr size_t PATTERN_TEXT_MAX = 65536;
constexpr unsigned int PATTERN_DEPTH_MAX = 1000;
constexpr uint32_t PATTERN_STEPS_MAX = 100000;

struct pattern;
struct pattern_scratch;

struct pattern_error {
	const char *reason; /* static */
	size_t offset;      /* byte of the expression where it was noticed */
};

/*
 * Checks and rewrites an expression without compiling it. *ret_text is a new NUL-terminated PCRE2
 * expression that the caller frees.
 *
 * Returns 0, -EINVAL with *ret_error, -ENOMEM.
 */
[[nodiscard]] int pattern_translate(struct span text, char **ret_text,
				    struct pattern_error *ret_error);

/*
 * Checks, rewrites and compiles. ret_error may be NULL.
 *
 * Returns 0, -EINVAL with *ret_error, -ENOMEM.
 */
[[nodiscard]] int pattern_new(struct span text, struct pattern **ret,
			      struct pattern_error *ret_error);
void pattern_free(struct pattern *p);
DEFINE_CLEANUP(struct pattern *, pattern_free)

/* What one worker needs to run any pattern. NULL: no memory. */
struct pattern_scratch *pattern_scratch_new(void);
void pattern_scratch_free(struct pattern_scratch *s);
DEFINE_CLEANUP(struct pattern_scratch *, pattern_scratch_free)

/*
 * Searches a decoded path (any bytes; what isn't UTF-8 counts as U+FFFD byte by byte, as in the
 * reference).
 *
 * Returns 1 found, 0 not found, -E2BIG when the limit of steps or memory was reached (which is not
 * "not found": the request gets rule-cost), -ENOMEM.
 */
[[nodiscard]] int pattern_match(const struct pattern *p, struct pattern_scratch *s,
				struct span path);

#endif
