/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a visitor sees when something failed. No template engine: one format string each; nothing of
 * the request is echoed but the id that we made.
 */
#include "daemon/edge/error_page.h"

#include <stdio.h>
#include <stdlib.h>

#include "util/cleanup.h"
#include "util/macro.h"

enum { ERROR_PAGE_MAX = 1536 }; /* longest body, bytes */

static const char html[] =
	"<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
	"<meta name=\"viewport\" content=\"width=device-width\"><title>%u %s</title>"
	"<style>body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em;color:#222}"
	"small{color:#666}</style></head><body><h1>%s</h1><p>%s</p>"
	"<p><small>%u %s &middot; request %.*s</small></p></body></html>\n";

static const char json[] =
	"{\"error\":\"%s\",\"status\":%u,\"message\":\"%s\",\"request\":\"%.*s\"}\n";

static size_t error_page_write(enum proxy_reason reason, unsigned int status, struct span ray,
			       bool as_json, char buf[ERROR_PAGE_MAX])
{
	const struct proxy_reason_info *i = proxy_reason_info(reason);
	int ray_len = (int)MIN(ray.len, (size_t)64);
	const char *ray_text = ray_len ? (const char *)ray.ptr : "-";
	if (!ray_len)
		ray_len = 1;
	int n = as_json ? snprintf(buf, ERROR_PAGE_MAX, json, i->name, status, i->advice, ray_len,
				   ray_text)
			: snprintf(buf, ERROR_PAGE_MAX, html, status, i->title, i->title, i->advice,
				   status, i->name, ray_len, ray_text);
	return MIN((size_t)MAX(n, 0), (size_t)ERROR_PAGE_MAX - 1);
}

/* JSON for those who ask for it before HTML. */
static bool wants_json(const struct http_head *request)
{
	const struct http_field *accept = http_head_find(request, "Accept");
	struct span list = accept ? accept->value : span_of(NULL, 0);
	struct span item;
	while (http_list_next(&list, &item)) {
		if (span_starts_with(item, SPAN_LIT("text/html")))
			return false;
		if (span_starts_with(item, SPAN_LIT("application/json")))
			return true;
	}
	return false;
}

void error_page_respond(struct http_exchange *x, enum proxy_reason reason, unsigned int status,
			struct span ray)
{
	const struct proxy_reason_info *info = proxy_reason_info(reason);
	if (!status)
		status = info->status;
	bool as_json = wants_json(&x->request);
	bool is_head = span_eq_str(x->request.method, "HEAD");
	char page[ERROR_PAGE_MAX];
	size_t len = error_page_write(reason, status, ray, as_json, page);
	char retry[12];
	(void)snprintf(retry, sizeof(retry), "%u", info->retry_after);
	struct http_field fields[] = {
		{ SPAN_LIT("Content-Type"),
		  as_json ? SPAN_LIT("application/json") : SPAN_LIT("text/html; charset=utf-8") },
		{ SPAN_LIT("Cache-Control"), SPAN_LIT("no-store") },
		{ SPAN_LIT("Adit-Error"), span_str(info->name) },
		{ SPAN_LIT("Retry-After"), span_str(retry) },
	};
	struct http_head head = {
		.status = status,
		.body = is_head ? HTTP_BODY_NONE : HTTP_BODY_LENGTH,
		.content_length = len,
		.has_length = true,
		.fields = fields,
		.field_count = info->retry_after ? 4 : 3,
	};
	if (http_respond(x, &head) < 0 || is_head)
		return;
	struct bufq body;
	bufq_init(&body, x->body->slab);
	if (bufq_append_copy(&body, span_of(page, len)) == 0 &&
	    stream_write(x->body, &body, body.len) == (ssize_t)len)
		stream_finish(x->body);
	else
		stream_reset(x->body, STREAM_CODE_NONE);
	bufq_clear(&body);
}
