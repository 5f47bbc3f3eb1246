/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which header fields pass, which are removed and which are set, at each of the four crossings
 * between visitor, tunnel and origin (spec §7). Framing fields are never copied: they are not in
 * the heads.
 */
#ifndef DAEMON_PROXY_HEADER_POLICY_H
#define DAEMON_PROXY_HEADER_POLICY_H

#include "daemon/http/http.h"

struct conf_rule;

/* What adit-edge knows of a visitor. Texts live as long as the arena of the result. */
struct header_visitor {
	struct span address;   /* of the visitor, printed */
	bool is_trusted_proxy; /* its X-Forwarded-* fields count */
	bool is_tls;
	struct span ray; /* request id: 16 hex digits, '-', location */
};

/*
 * Each fills in ret->fields and ret->field_count from in (other members of ret are the caller's).
 * Spans are borrowed from in, from the context, or made in the arena.
 * Returns 0 or -ENOMEM (arena full).
 */
[[nodiscard]] int header_policy_visitor_to_tunnel(const struct http_head *in,
						  const struct header_visitor *visitor,
						  struct arena *arena, struct http_head *ret);
/* connector_id: text of the uuid. Also sets ret->authority by the rule. With HTTP_BODY_UPGRADE the
 * fields that ask for a WebSocket are set (docs/protocol.md §10.4). */
[[nodiscard]] int header_policy_tunnel_to_origin(const struct http_head *in,
						 const struct conf_rule *rule,
						 struct span connector_id, struct arena *arena,
						 struct http_head *ret);
[[nodiscard]] int header_policy_origin_to_tunnel(const struct http_head *in, struct arena *arena,
						 struct http_head *ret);
[[nodiscard]] int header_policy_tunnel_to_visitor(const struct http_head *in, struct arena *arena,
						  struct http_head *ret);

/*
 * Which trailers pass: as at the crossing of the head, and none that frames, routes or
 * authenticates (RFC 9110 §6.5.1). *ret->fields is made in the arena. Returns how many are left
 * out, or -ENOMEM.
 */
enum header_crossing : uint8_t {
	HEADER_CROSSING_VISITOR,  /* visitor to tunnel */
	HEADER_CROSSING_REQUEST,  /* tunnel to origin */
	HEADER_CROSSING_RESPONSE, /* back, at either end */
};
[[nodiscard]] int header_policy_trailers(const struct http_trailers *in,
					 enum header_crossing crossing, struct arena *arena,
					 struct http_trailers *ret);

#endif
