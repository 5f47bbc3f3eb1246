/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP field names and values (RFC 9110 §5, §7.6.1).
 */
#ifndef DAEMON_WIRE_HTTP_FIELD_H
#define DAEMON_WIRE_HTTP_FIELD_H

#include "util/packer.h"

/* A name and its value; borrowed. */
struct http_field {
	struct span name;
	struct span value;
};

/* One or more token characters: a method or a field name. */
bool http_token_is_valid(struct span s);
/* A field value: no control characters but tab, no DEL, no blank at either end; may be empty. */
bool http_value_is_valid(struct span s);

/*
 * True for the fields that never leave one hop: Connection, Keep-Alive, Proxy-Connection,
 * Proxy-Authenticate, Proxy-Authorization, TE, Trailer, Transfer-Encoding, Upgrade, HTTP2-Settings.
 * (The caller lets TE: trailers and the Upgrade of a 101 pass.) Any case.
 */
bool http_field_is_hop_by_hop(struct span name);
/* True when a Connection value (comma list) names this field. Any case. */
bool http_connection_lists(struct span connection, struct span name);
/* Takes the next element off a comma list, trimmed, empty ones passed over; false at the end. */
bool http_list_next(struct span *list, struct span *ret_item);

/* Appends the canonical form: x-lOWER gives X-Lower. A name that is no token stays as it is. */
void http_name_canonical(struct packer *p, struct span name);
/* Appends the name in lower case. */
void http_name_lower(struct packer *p, struct span name);

/*
 * Reads Content-Length: digits only, at most 2^63 - 1. Returns 0 or -EBADMSG.
 */
[[nodiscard]] int http_length_parse(struct span value, uint64_t *ret);

#endif
