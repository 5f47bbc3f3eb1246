/* SPDX-License-Identifier: Apache-2.0 */
/*
 * INI text to section instances and entries. inih takes lines from reader_next(), which sees every
 * line first: what inih would cut, merge or guess at is reported there and handed on as an empty
 * line, so that on_entry() gets only what was meant, and always knows its line and its section
 * instance.
 */
#include "daemon/conf/ini.h"

#include <stdarg.h>

#include <ini.h>

#include "daemon/conf/arena.h"
#include "daemon/conf/load.h"
#include "daemon/conf/utf8.h"

constexpr size_t NAME_MAX_LEN = 32;

/* One run of the parser over one text. */
struct reader {
	struct span rest; /* lines not read yet */
	const struct ini_source *source;
	unsigned int line; /* of the line that inih works on */
	struct conf_report *report;
	struct ini_file *out;
	struct ini_section *section; /* NULL: before the first header */
	bool is_skipping;            /* the header was refused: its keys are not looked at */
	bool is_continuation;        /* the line begins with a blank */
	const char *key;             /* the last one of this section, or NULL */
	bool key_is_list; /* without a key: the last one was refused, drop what continues it */
	int error;        /* 0 or -ENOMEM */
};

void conf_global_init(void)
{
	ini_max_line = (int)INI_LINE_MAX + 3; /* CR, LF, NUL */
	ini_allow_no_value = true;
}

void ini_file_done(struct ini_file *f)
{
	conf_arena_free(f->arena);
	*f = (struct ini_file){};
}

PRINTF_LIKE(2, 3)
static void fault(struct reader *r, const char *format, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, format);
	(void)vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	conf_report_add(r->report, CONF_SEVERITY_ERROR, r->source->file, r->line, "%s", text);
}

/* ---- lines ---- */

/* The reason why a line can't be text, or NULL. */
static const char *text_fault(struct span line)
{
	if (utf8_valid_len(line) < line.len)
		return "the line is not UTF-8";
	for (size_t i = 0; i < line.len; i++)
		if ((line.ptr[i] < 0x20 && line.ptr[i] != '\t') || line.ptr[i] == 0x7f)
			return "a control character in the line";
	return NULL;
}

static bool is_blank_or_comment(struct span s)
{
	s = span_trim(s);
	return s.len == 0 || s.ptr[0] == ';' || s.ptr[0] == '#';
}

/* True for "[…]" and nothing but blanks or a comment behind it. */
static bool looks_like_header(struct span s)
{
	size_t end = span_find(s, ']');
	return s.len && s.ptr[0] == '[' && end < s.len &&
	       is_blank_or_comment(span_skip(s, end + 1));
}

/* ---- headers ---- */

static bool is_name(struct span s, size_t max, const char *more)
{
	if (s.len == 0 || s.len > max)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		uint8_t c = s.ptr[i];
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
			continue;
		if (i == 0 || !c || !strchr(more, c))
			return false;
	}
	return true;
}

static void section_begin(struct reader *r, struct span kind, struct span name)
{
	struct ini_section *s = conf_array_add(r->out->arena, (void *)&r->out->sections,
					       &r->out->section_count, sizeof(*s));
	if (s)
		*s = (struct ini_section){
			.kind = conf_strdup(r->out->arena, kind),
			.name = name.len ? conf_strdup(r->out->arena, name) : NULL,
			.line = r->line,
		};
	if (!s || !s->kind || (name.len && !s->name))
		r->error = -ENOMEM;
	r->section = s;
	r->is_skipping = s == NULL;
}

/* Takes a header line ("[" in column 0). False: refused, its keys will be skipped. */
static bool header_take(struct reader *r, struct span line)
{
	r->key = NULL;
	r->key_is_list = false;
	r->is_skipping = true;
	size_t end = span_find(line, ']');
	if (end == line.len) {
		fault(r, "section header without \"]\"");
		return false;
	}
	struct span inner = span_trim(span_first(span_skip(line, 1), end - 1));
	if (inner.len > INI_HEADER_MAX || end - 1 > INI_HEADER_MAX) {
		fault(r, "section header of %zu bytes; at most %zu", end - 1, INI_HEADER_MAX);
		return false;
	}
	if (!is_blank_or_comment(span_skip(line, end + 1))) {
		fault(r, "text behind a section header; only a comment may follow \"]\"");
		return false;
	}
	size_t blank = 0;
	while (blank < inner.len && inner.ptr[blank] != ' ' && inner.ptr[blank] != '\t')
		blank++;
	struct span kind = span_first(inner, blank);
	struct span name = span_trim(span_skip(inner, blank));
	if (!is_name(kind, NAME_MAX_LEN, "-")) {
		fault(r, "[%.*s]: not a section; [KIND] or [KIND NAME] in lower case",
		      (int)inner.len, (const char *)inner.ptr);
		return false;
	}
	if (name.len && !is_name(name, NAME_MAX_LEN, "_.-")) {
		fault(r, "[%.*s]: not a name: %.*s; a name is [a-z0-9][a-z0-9_.-]{0,31}",
		      (int)inner.len, (const char *)inner.ptr, (int)name.len,
		      (const char *)name.ptr);
		return false;
	}
	section_begin(r, kind, name);
	return true;
}

/* ---- keys ---- */

/* Forgets a key whose line was refused; what continues it must not continue the one before. */
static void key_drop(struct reader *r)
{
	r->key = NULL;
	r->key_is_list = true;
}

/* Checks an indented line. False: refused. */
static bool continuation_check(struct reader *r, struct span text)
{
	if (looks_like_header(text)) {
		fault(r, "section headers begin in column 0");
		r->is_skipping = true;
		return false;
	}
	if (r->is_skipping)
		return false;
	if (!r->key && r->key_is_list)
		return false;
	if (!r->key) {
		fault(r, "keys begin in column 0");
		return false;
	}
	if (!r->key_is_list) {
		fault(r, "keys begin in column 0; an indented line continues %s, which is no list",
		      r->key);
		return false;
	}
	return true;
}

/* Checks a line that should be "key = value". False: refused. */
static bool key_line_check(struct reader *r, struct span line)
{
	if (r->is_skipping)
		return false;
	size_t equals = span_find(line, '=');
	if (span_find(line, ':') < equals) {
		key_drop(r);
		fault(r, "\":\" before \"=\": %.*s; key = value", (int)span_first(line, 60).len,
		      (const char *)line.ptr);
		return false;
	}
	return true;
}

/* Looks at a line before inih does. True: hand it on. */
static bool line_take(struct reader *r, struct span line)
{
	if (line.len > INI_LINE_MAX) {
		fault(r, "line of %zu bytes; at most %zu", line.len, INI_LINE_MAX);
		key_drop(r);
		r->is_skipping = r->is_skipping || line.ptr[0] == '[';
		return false;
	}
	const char *why = text_fault(line);
	if (why) {
		fault(r, "%s", why);
		return false;
	}
	if (is_blank_or_comment(line))
		return false;
	r->is_continuation = line.ptr[0] == ' ' || line.ptr[0] == '\t';
	if (r->is_continuation)
		return continuation_check(r, span_trim(line));
	if (line.ptr[0] == '[')
		return header_take(r, line);
	return key_line_check(r, line);
}

/* Takes the next line off the text, without its end. */
static struct span line_next(struct reader *r)
{
	size_t end = span_find(r->rest, '\n');
	struct span line = span_first(r->rest, end);
	r->rest = span_skip(r->rest, end + 1);
	if (line.len && line.ptr[line.len - 1] == '\r')
		line.len--;
	return line;
}

/* inih's reader: one line with its end and a NUL, NULL at the end of the text. */
static char *reader_next(char *buf, int size, void *stream)
{
	struct reader *r = stream;
	if (r->rest.len == 0 || r->error)
		return NULL;
	struct span line = line_next(r);
	r->line++;
	if (r->line == 1 && span_starts_with(line, SPAN_LIT("\xef\xbb\xbf")))
		line = span_skip(line, 3);
	if (!line_take(r, line) || line.len + 2 > (size_t)size)
		line.len = 0;
	if (line.len)
		memcpy(buf, line.ptr, line.len);
	memcpy(buf + line.len, "\n", 2);
	return buf;
}

/* inih's handler: one entry. A returned 0 would only be counted as an error of inih's. */
static int on_entry(void *userdata, const char *section, const char *name, const char *value)
{
	struct reader *r = userdata;
	(void)section; /* cut at 49 bytes and without its instance: the reader knows better */
	if (!r->section) {
		fault(r, "%s: a key before the first section", name);
		return 1;
	}
	if (!value) {
		key_drop(r);
		fault(r, "[%s] %s: no \"=\"; key = value", r->section->kind, name);
		return 1;
	}
	if (!r->is_continuation) {
		r->key = conf_strdup(r->out->arena, span_str(name));
		r->key_is_list =
			r->key && r->source->is_list(r->source->userdata, r->section->kind, r->key);
	}
	struct ini_entry *e = conf_array_add(r->out->arena, (void *)&r->section->entries,
					     &r->section->entry_count, sizeof(*e));
	char *copy = conf_strdup(r->out->arena, span_str(value));
	if (!r->key || !e || !copy) {
		r->error = -ENOMEM;
		return 0;
	}
	*e = (struct ini_entry){ .key = r->key, .value = copy, .line = r->line };
	return 1;
}

int ini_parse_text(struct span text, const struct ini_source *source, struct conf_report *report,
		   struct ini_file *ret)
{
	struct ini_file out = { .arena = conf_arena_new() };
	if (!out.arena)
		return -ENOMEM;
	struct reader r = {
		.rest = text,
		.source = source,
		.report = report,
		.out = &out,
	};

	int refused = ini_parse_stream(reader_next, &r, on_entry, &r);
	if (refused < 0 || r.error) {
		ini_file_done(&out);
		return -ENOMEM;
	}
	if (refused > 0) {
		/* Nothing is known that gets here: the reader has refused it all before. */
		r.line = (unsigned int)refused;
		fault(&r, "not understood; [KIND NAME], key = value, or a comment");
	}
	*ret = out;
	return 0;
}
