/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of service hello_world: enough to see that a tunnel works and what of a request reaches
 * an origin.
 */
#include "daemon/origin/origin_hello.h"

#include <inttypes.h>
#include <stdio.h>

#include "util/macro.h"

/* A page in the making: the first error sticks. */
struct writer {
	struct bufq *page;
	int error;
};

static void put(struct writer *w, struct span bytes)
{
	if (!w->error && bytes.len)
		w->error = bufq_append_copy(w->page, bytes);
}

static void put_str(struct writer *w, const char *s)
{
	put(w, span_str(s));
}

static const char *escape(uint8_t c)
{
	switch (c) {
	case '&':
		return "&amp;";
	case '<':
		return "&lt;";
	case '>':
		return "&gt;";
	case '"':
		return "&#34;";
	case '\'':
		return "&#39;";
	default:
		return NULL;
	}
}

/* Text as HTML: what a visitor sends never becomes markup. */
static void put_text(struct writer *w, struct span text)
{
	size_t from = 0;
	for (size_t i = 0; i < text.len; i++) {
		const char *e = escape(text.ptr[i]);
		if (!e)
			continue;
		put(w, span_of(text.ptr + from, i - from));
		put_str(w, e);
		from = i + 1;
	}
	put(w, span_skip(text, from));
}

static void put_row(struct writer *w, struct span name, struct span value)
{
	put_str(w, "<tr><th>");
	put_text(w, name);
	put_str(w, "</th><td>");
	put_text(w, value);
	put_str(w, "</td></tr>\n");
}

static void put_html(struct writer *w, const struct http_head *request)
{
	put_str(w, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
		   "<title>Hello from adit</title>\n"
		   "<style>body{font-family:sans-serif;margin:2em}th{text-align:left;"
		   "padding-right:1em}</style></head>\n<body>\n<h1>The tunnel works</h1>\n"
		   "<p>This page is answered by aditd itself. The request as it arrived:</p>\n"
		   "<table>\n");
	put_row(w, SPAN_LIT("Method"), request->method);
	put_row(w, SPAN_LIT("URL"), request->target);
	put_row(w, SPAN_LIT("Host"), request->authority);
	put_str(w, "</table>\n<h2>Header</h2>\n<table>\n");
	for (unsigned int i = 0; i < request->field_count; i++)
		put_row(w, request->fields[i].name, request->fields[i].value);
	put_str(w, "</table>\n</body>\n</html>\n");
}

/* RFC 3339 with nanoseconds, in UTC. */
static void put_time(struct writer *w, nsec_t clock)
{
	char text[64], date[32];
	time_t seconds = (time_t)(clock / NSEC_PER_SEC);
	struct tm tm;
	if (!gmtime_r(&seconds, &tm) || !strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm))
		return;
	(void)snprintf(text, sizeof(text), "%s.%09" PRIu64 "Z", date, clock % NSEC_PER_SEC);
	put_str(w, text);
}

/* "2.4ms", "1h2m3.5s". */
static void put_duration(struct writer *w, nsec_t d)
{
	char text[64];
	uint64_t hours = d / (3600 * NSEC_PER_SEC), minutes = d / (60 * NSEC_PER_SEC) % 60;
	if (d < NSEC_PER_SEC) {
		(void)snprintf(text, sizeof(text), "%" PRIu64 ".%03" PRIu64 "ms", d / NSEC_PER_MSEC,
			       d / NSEC_PER_USEC % 1000);
		put_str(w, text);
		return;
	}
	if (hours) {
		(void)snprintf(text, sizeof(text), "%" PRIu64 "h", hours);
		put_str(w, text);
	}
	if (hours || minutes) {
		(void)snprintf(text, sizeof(text), "%" PRIu64 "m", minutes);
		put_str(w, text);
	}
	(void)snprintf(text, sizeof(text), "%" PRIu64 ".%03" PRIu64 "s", d / NSEC_PER_SEC % 60,
		       d / NSEC_PER_MSEC % 1000);
	put_str(w, text);
}

int hello_write_page(const struct http_head *request, const struct hello_times *times,
		     struct bufq *page, const char **ret_type)
{
	struct writer w = { .page = page };
	struct span path = span_first(request->target, span_find(request->target, '?'));
	const char *type = "text/html; charset=utf-8";
	if (span_eq_str(path, "/_health")) {
		type = "text/plain; charset=utf-8";
		put_str(&w, "ok");
	} else if (span_eq_str(path, "/uptime")) {
		type = "application/json";
		put_str(&w, "{\"startTime\":\"");
		put_time(&w, times->started_clock);
		put_str(&w, "\",\"uptime\":\"");
		put_duration(&w, times->uptime);
		put_str(&w, "\"}");
	} else {
		put_html(&w, request);
	}
	if (w.error)
		return w.error;
	*ret_type = type;
	return 0;
}
