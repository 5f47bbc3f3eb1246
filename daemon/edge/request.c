/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the head of a visitor's request asks for.
 */
#include "daemon/edge/request.h"

bool request_is_websocket(const struct http_head *request)
{
	return request->body == HTTP_BODY_NONE && !request->has_length && request->minor > 0 &&
	       span_eq_str(request->method, "GET") &&
	       http_head_lists(request, "connection", SPAN_LIT("upgrade")) &&
	       http_head_lists(request, "upgrade", SPAN_LIT("websocket"));
}

bool request_wants_frames(const struct http_head *request)
{
	const struct http_field *type = http_head_find(request, "content-type");
	struct span grpc = SPAN_LIT("application/grpc");
	return request->body == HTTP_BODY_UNKNOWN || http_head_find(request, "trailer") ||
	       (type && span_eq_nocase(span_first(type->value, grpc.len), grpc));
}
