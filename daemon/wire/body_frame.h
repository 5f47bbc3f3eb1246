/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames of a body between our own ends (docs/protocol.md §10.7): heads, trailers, reasons.
 */
#ifndef DAEMON_WIRE_BODY_FRAME_H
#define DAEMON_WIRE_BODY_FRAME_H

#include "daemon/wire/http_field.h"

/* Others are skipped. */
enum body_frame_type : uint64_t {
	BODY_FRAME_DATA = 0,
	BODY_FRAME_TRAILERS = 1,
	BODY_FRAME_ABORT = 2,
};

enum { BODY_FRAME_HEAD_MAX = 16 }; /* bytes of type and length */

/*
 * Reads type and payload length at the beginning of in. Returns how many bytes they take, or
 * -ENODATA when in is too short.
 */
[[nodiscard]] int body_frame_head_decode(struct span in, uint64_t *ret_type, uint64_t *ret_len);
void body_frame_head_encode(struct packer *p, enum body_frame_type type, uint64_t len);

/*
 * Reads the payload of TRAILERS into fields (room for max), borrowed from it. Names must be in
 * lower case. Returns 0, -EBADMSG (malformed, or no field that could be sent), -E2BIG for more than
 * max.
 */
[[nodiscard]] int body_trailers_decode(struct span payload, struct http_field *fields,
				       unsigned int max, unsigned int *ret_count);
/* Bytes of the payload, and the payload with names in lower case. */
size_t body_trailers_len(const struct http_field *fields, unsigned int count);
void body_trailers_encode(struct packer *p, const struct http_field *fields, unsigned int count);

/* Reads the payload of ABORT. Returns 0 or -EBADMSG. */
[[nodiscard]] int body_abort_decode(struct span payload, uint64_t *ret_reason);

#endif
