/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Message heads: what can be asked of one, and what the registries say about methods and status
 * codes.
 */
#include "daemon/http/head.h"

#include "util/macro.h"

const struct http_limits http_limits_default = {
	.head_max = (size_t)64 * 1024,
	.field_max = 200,
	.line_max = (size_t)16 * 1024,
	.trailer_max = (size_t)16 * 1024,
	.trailer_field_max = 100,
	.header_timeout = 10 * NSEC_PER_SEC,
	.idle_timeout = 75 * NSEC_PER_SEC,
	.body_timeout = 60 * NSEC_PER_SEC,
};

/* IANA HTTP Method Registry, column "idempotent". */
static const char *const idempotent_methods[] = {
	"GET",
	"HEAD",
	"OPTIONS",
	"TRACE",
	"PUT",
	"DELETE",
	"ACL",
	"BASELINE-CONTROL",
	"BIND",
	"CHECKIN",
	"CHECKOUT",
	"COPY",
	"LABEL",
	"LINK",
	"MERGE",
	"MKACTIVITY",
	"MKCALENDAR",
	"MKCOL",
	"MKREDIRECTREF",
	"MKWORKSPACE",
	"MOVE",
	"ORDERPATCH",
	"PRI",
	"PROPFIND",
	"PROPPATCH",
	"QUERY",
	"REBIND",
	"REPORT",
	"SEARCH",
	"UNBIND",
	"UNCHECKOUT",
	"UNLINK",
	"UNLOCK",
	"UPDATE",
	"UPDATEREDIRECTREF",
	"VERSION-CONTROL",
};

/* IANA HTTP Status Code Registry. */
static const struct {
	unsigned int status;
	const char *text;
} status_texts[] = {
	{ 100, "Continue" },
	{ 101, "Switching Protocols" },
	{ 200, "OK" },
	{ 201, "Created" },
	{ 202, "Accepted" },
	{ 203, "Non-Authoritative Information" },
	{ 204, "No Content" },
	{ 205, "Reset Content" },
	{ 206, "Partial Content" },
	{ 207, "Multi-Status" },
	{ 300, "Multiple Choices" },
	{ 301, "Moved Permanently" },
	{ 302, "Found" },
	{ 303, "See Other" },
	{ 304, "Not Modified" },
	{ 307, "Temporary Redirect" },
	{ 308, "Permanent Redirect" },
	{ 400, "Bad Request" },
	{ 401, "Unauthorized" },
	{ 402, "Payment Required" },
	{ 403, "Forbidden" },
	{ 404, "Not Found" },
	{ 405, "Method Not Allowed" },
	{ 406, "Not Acceptable" },
	{ 408, "Request Timeout" },
	{ 409, "Conflict" },
	{ 410, "Gone" },
	{ 411, "Length Required" },
	{ 412, "Precondition Failed" },
	{ 413, "Content Too Large" },
	{ 414, "URI Too Long" },
	{ 415, "Unsupported Media Type" },
	{ 416, "Range Not Satisfiable" },
	{ 417, "Expectation Failed" },
	{ 421, "Misdirected Request" },
	{ 422, "Unprocessable Content" },
	{ 425, "Too Early" },
	{ 426, "Upgrade Required" },
	{ 428, "Precondition Required" },
	{ 429, "Too Many Requests" },
	{ 431, "Request Header Fields Too Large" },
	{ 451, "Unavailable For Legal Reasons" },
	{ 500, "Internal Server Error" },
	{ 501, "Not Implemented" },
	{ 502, "Bad Gateway" },
	{ 503, "Service Unavailable" },
	{ 504, "Gateway Timeout" },
	{ 505, "HTTP Version Not Supported" },
	{ 511, "Network Authentication Required" },
};

const struct http_field *http_head_find(const struct http_head *head, const char *name)
{
	struct span wanted = span_str(name);
	for (unsigned int i = 0; i < head->field_count; i++)
		if (span_eq_nocase(head->fields[i].name, wanted))
			return &head->fields[i];
	return NULL;
}

bool http_head_lists(const struct http_head *head, const char *name, struct span item)
{
	struct span wanted = span_str(name);
	for (unsigned int i = 0; i < head->field_count; i++)
		if (span_eq_nocase(head->fields[i].name, wanted) &&
		    http_connection_lists(head->fields[i].value, item))
			return true;
	return false;
}

bool http_head_is_hop_by_hop(const struct http_head *head, struct span name)
{
	return http_field_is_hop_by_hop(name) || http_head_lists(head, "connection", name);
}

bool http_method_is_idempotent(struct span method)
{
	for (size_t i = 0; i < ARRAY_SIZE(idempotent_methods); i++)
		if (span_eq_str(method, idempotent_methods[i]))
			return true;
	return false;
}

bool http_status_is_bodiless(unsigned int status)
{
	return status < 200 || status == 204 || status == 304;
}

const char *http_status_text(unsigned int status)
{
	for (size_t i = 0; i < ARRAY_SIZE(status_texts); i++)
		if (status_texts[i].status == status)
			return status_texts[i].text;
	return "";
}
