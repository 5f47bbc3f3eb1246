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
	char *text = NULL;
	int n = vasprintf(&text, format, ap);
	va_end(ap);
	char *name = file ? strdup(file) : NULL;
	if (n < 0 || (file && !name)) {
		if (n >= 0)
			free(text);
		free(name);
		r->lost++;
		return;
	}
	r->messages[r->count++] = (struct conf_message){
		.severity = severity, .file = name, .line = line, .text = text
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
