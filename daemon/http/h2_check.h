/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A header block of HTTP/2 as it is decoded field by field, checked against RFC 9113 §8.2 and §8.3
 * and against limits. Pure: memory comes from an arena.
 */
#ifndef DAEMON_HTTP_H2_CHECK_H
#define DAEMON_HTTP_H2_CHECK_H

#include "daemon/base/arena.h"
#include "daemon/http/h2.h"

enum h2_block_kind : uint8_t {
	H2_BLOCK_IGNORED, /* of a stream that is no more: nothing is kept */
	H2_BLOCK_REQUEST,
	H2_BLOCK_RESPONSE,
	H2_BLOCK_TRAILERS,
};

struct h2_block_limits {
	size_t size_max; /* names, values, and 32 a field (RFC 9113 §6.5.2) */
	size_t line_max; /* name and value */
	unsigned int field_max;
};

enum h2_pseudo : uint8_t {
	H2_PSEUDO_METHOD,
	H2_PSEUDO_SCHEME,
	H2_PSEUDO_AUTHORITY,
	H2_PSEUDO_PATH,
	H2_PSEUDO_STATUS,
	H2_PSEUDO_MAX_,
};

struct h2_block {
	enum h2_block_kind kind;
	struct h2_block_limits limits;
	struct arena *arena;       /* what is kept lives there; the owner resets it */
	struct http_field *fields; /* in the arena */
	unsigned int count, cap;
	size_t size;
	struct span pseudo[H2_PSEUDO_MAX_]; /* ptr NULL: absent */
	uint64_t length;                    /* with has_length: Content-Length */
	bool has_length;
	bool is_malformed, is_too_large, is_forbidden, is_out_of_memory;
};

void h2_block_begin(struct h2_block *b, enum h2_block_kind kind,
		    const struct h2_block_limits *limits, struct arena *arena);
/* The next field; copied as far as it is needed. */
void h2_block_add(struct h2_block *b, struct span name, struct span value);
/*
 * The block is whole. ret lives in the arena; it is written for 0, -E2BIG and -EPERM. Returns 0,
 * -EBADMSG (malformed), -ENOMEM, -E2BIG (over a limit: ret has the fields before), -EPERM (a field
 * that HTTP/2 doesn't have: connection and its like, te other than trailers).
 */
[[nodiscard]] int h2_block_end(const struct h2_block *b, struct h2_head *ret);

#endif
