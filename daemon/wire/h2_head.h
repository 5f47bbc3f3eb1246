/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What heads mean on the HTTP/2 transport (docs/protocol.md §15): of which class a request is, how
 * the visitor's fields are packed into one field of an answer, and who made the answer. Pure: knows
 * names and values, not HTTP/2.
 */
#ifndef DAEMON_WIRE_H2_HEAD_H
#define DAEMON_WIRE_H2_HEAD_H

#include "daemon/wire/http_field.h"

/* Request fields (§15.2). */
#define H2_FIELD_UPGRADE "cf-cloudflared-proxy-connection-upgrade"
#define H2_FIELD_SRC     "cf-cloudflared-proxy-src"
/* Response fields (§15.3, §15.4). */
#define H2_FIELD_HEADERS "cf-cloudflared-response-headers"
#define H2_FIELD_META    "cf-cloudflared-response-meta"
#define H2_FIELD_TRACING "cf-int-cloudflared-tracing"

/* Values of H2_FIELD_UPGRADE, case exact. */
#define H2_UPGRADE_CONFIG    "update-configuration"
#define H2_UPGRADE_WEBSOCKET "websocket"
#define H2_UPGRADE_CONTROL   "control-stream"

enum h2_class : uint8_t {
	H2_CLASS_HTTP,
	H2_CLASS_WEBSOCKET,
	H2_CLASS_TCP,
	H2_CLASS_CONTROL,
	H2_CLASS_CONFIG,
};

/* upgrade: value of the first H2_FIELD_UPGRADE, empty: none. has_src: the first H2_FIELD_SRC has a
 * value that isn't empty. */
enum h2_class h2_class_of(struct span upgrade, bool has_src);
/* The same for a whole head; names in any case. */
enum h2_class h2_class_of_fields(const struct http_field *fields, unsigned int count);

/* Where a field of the origin's answer goes (§15.3). 0: nowhere. */
enum h2_place : uint8_t {
	H2_PLACE_INSIDE = 1U << 0,  /* a pair of the list */
	H2_PLACE_OUTSIDE = 1U << 1, /* a field of the HTTP/2 head */
};
/* name: in any case. Returns h2_place flags. */
unsigned int h2_place_of(struct span name);

/* Bytes that a pair takes in a list, with a separator: what to sum up for a list's buffer. */
size_t h2_pair_len(const struct http_field *f);
/* Appends a pair to the list that p holds (nothing else is in p). Any bytes are possible. */
void h2_pair_add(struct packer *p, const struct http_field *f);
/*
 * Takes the next pair off a list. Name and value are decoded into p's buffer (less than the list's
 * length is needed for a whole list) and borrowed from it. They are any bytes: check before use.
 *
 * Returns 1 with a pair, 0 at the end, -EBADMSG (the whole list counts for nothing), -ENOBUFS.
 */
[[nodiscard]] int h2_pair_next(struct span *list, struct packer *p, struct http_field *ret);

/* Who made an answer (§15.4). */
enum h2_meta : uint8_t {
	H2_META_NONE,        /* said nothing that we know */
	H2_META_ORIGIN,      /* the origin, or a rule in its place */
	H2_META_DAEMON,      /* the daemon, which got no answer */
	H2_META_FLOW_LIMITED /* the same: its limit of flows is reached */
};
constexpr size_t H2_META_MAX = 1024; /* bytes that are read */

/* The value of H2_FIELD_META; empty for NONE. Static. */
struct span h2_meta_text(enum h2_meta meta);
/*
 * Reads one, tolerantly: blanks, members in any order, unknown ones (texts, numbers, true, false,
 * null), the last of a name counts. Names and values written with escapes are unknown ones.
 * Returns 0, -EBADMSG, -EMSGSIZE over H2_META_MAX.
 */
[[nodiscard]] int h2_meta_decode(struct span text, enum h2_meta *ret);

#endif
