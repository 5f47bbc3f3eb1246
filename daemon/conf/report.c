/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was found while a configuration was read. A report is small and short-lived, so every text
 * is an allocation of its own.
 */
#include "daemon/conf/report.h"

#include <stdarg.h>
#include <string.h>

void conf_report_done(struct conf_report *r)
{
	if (!r)
		return;
	for (size_t i = 0; i < r->count; i++) {
		free(r->messages[i].file);
		free(r->messages[i].text);
	}
	free(r->messages);
	*r = (struct conf_report){};
}

/* Room for one more message, or false. */
static bool report_grow(struct conf_report *r)
{
	if (r->count >= CONF_REPORT_MAX)
		return false;
	if ((r->count & (r->count - 1)) != 0)
		return true;
	size_t cap = r->count ? r->count * 2 : 1;
	struct conf_message *m = realloc(r->messages, cap * sizeof(*m));
	if (!m)
		return false;
	r->messages = m;
	return true;
}

#ifndef __clang__
/* gcc 14 loses sight of what is stored in an array that realloc() has made: conf_report_done()
 * frees it. */
#pragma GCC diagnostic ignored "-Wanalyzer-malloc-leak"
#endif

void conf_report_add(struct conf_report *r, enum conf_severity severity, const char *file,
		     unsigned int line, const char *format, ...)
{
	if (severity == CONF_SEVERITY_ERROR)
		r->errors++;
	if (!report_grow(r)) {
		r->lost++;
		return;
	}

	va_list ap;
	va_start(ap, format);
	_cleanup_(freep) char *text = NULL;
	if (vasprintf(&text, format, ap) < 0)
		text = NULL; /* what it holds then is undefined */
	va_end(ap);
	_cleanup_(freep) char *name = file ? strdup(file) : NULL;
	if (!text || (file && !name)) {
		r->lost++;
		return;
	}
	r->messages[r->count++] = (struct conf_message){
		.severity = severity, .file = TAKE_PTR(name), .line = line, .text = TAKE_PTR(text)
	};
}

const char *conf_message_print(const struct conf_message *m, char *buf, size_t size)
{
	const char *word = m->severity == CONF_SEVERITY_ERROR ? "error" : "warning";
	if (!m->file)
		(void)snprintf(buf, size, "%s: %s", word, m->text);
	else if (!m->line)
		(void)snprintf(buf, size, "%s: %s: %s", m->file, word, m->text);
	else
		(void)snprintf(buf, size, "%s:%u: %s: %s", m->file, m->line, word, m->text);
	return buf;
}

void conf_report_print(const struct conf_report *r, const char *program, FILE *out)
{
	char line[2048];
	for (size_t i = 0; i < r->count; i++)
		(void)fprintf(out, "%s\n", conf_message_print(&r->messages[i], line, sizeof(line)));
	if (r->lost)
		(void)fprintf(out, "%s: %zu more messages\n", program, r->lost);
}
