/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One log event as bytes. A line is built from whole pieces: a piece that doesn't fit is left out
 * and the line says that it was cut, so JSON stays JSON. Values of peers are escaped: no control
 * character and no malformed UTF-8 reaches a terminal.
 */
#include "daemon/base/log_format.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "util/endian.h"
#include "util/macro.h"

enum {
	JOURNAL_KEY_LEN = 60, /* journald takes 64 */
};

/* A bounded text under construction. */
struct text {
	char *buf;
	size_t cap;
	size_t len;
	bool is_cut; /* something didn't fit */
};

static void put(struct text *t, struct span s)
{
	if (t->is_cut || s.len > t->cap - t->len) {
		t->is_cut = true;
		return;
	}
	if (s.len)
		memcpy(t->buf + t->len, s.ptr, s.len);
	t->len += s.len;
}

static void put_str(struct text *t, const char *s)
{
	put(t, span_str(s));
}

PRINTF_LIKE(2, 3) static void put_format(struct text *t, const char *format, ...)
{
	char buf[128];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(buf, sizeof(buf), format, args);
	va_end(args);
	put(t, span_of(buf, n < 0 ? 0 : MIN((size_t)n, sizeof(buf) - 1)));
}

/* ---- levels -------------------------------------------------------------------------------- */

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
	[LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

const char *log_level_name(enum log_level level)
{
	const char *name = level < ARRAY_SIZE(level_names) ? level_names[level] : NULL;
	return name ? name : "unknown";
}

bool log_level_parse(struct span name, enum log_level *ret)
{
	for (unsigned int i = LOG_LEVEL_ERROR; i < ARRAY_SIZE(level_names); i++) {
		if (span_eq_str(name, level_names[i])) {
			*ret = (enum log_level)i;
			return true;
		}
	}
	return false;
}

/* ---- values -------------------------------------------------------------------------------- */

/* Length of the well-formed UTF-8 sequence at the start of s (RFC 3629 §4), or 0. */
static size_t utf8_len(struct span s)
{
	uint8_t c = s.ptr[0];
	size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
	if (len < 2 || len > s.len)
		return len > s.len ? 0 : len;
	for (size_t i = 1; i < len; i++)
		if ((s.ptr[i] & 0xc0) != 0x80)
			return 0;
	uint8_t d = s.ptr[1];
	bool is_bad = (c == 0xe0 && d < 0xa0) || (c == 0xed && d > 0x9f) ||
		      (c == 0xf0 && d < 0x90) || (c == 0xf4 && d > 0x8f);
	return is_bad ? 0 : len;
}

enum escaping : uint8_t {
	ESCAPING_PLAIN,  /* nothing around it: control characters and bad bytes only */
	ESCAPING_QUOTED, /* also the quotation mark and the backslash */
	ESCAPING_JSON,
};

/* Puts the character at the start of s. Returns how many bytes of s it took. */
static size_t put_char(struct text *t, struct span s, enum escaping escaping)
{
	uint8_t c = s.ptr[0];
	size_t len = utf8_len(s);
	/* U+0080 … U+009F are control characters, too: some terminals obey them. */
	bool is_c1 = len == 2 && c == 0xc2 && s.ptr[1] < 0xa0;

	if (len && !is_c1 && c >= 0x20 && c != 0x7f) {
		if (escaping != ESCAPING_PLAIN && (c == '"' || c == '\\'))
			put_format(t, "\\%c", c);
		else
			put(t, span_first(s, len));
		return len;
	}
	if (c == '\n' || c == '\r' || c == '\t')
		put_format(t, "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
	else if (escaping == ESCAPING_JSON && len && c != '\0') /* many parsers refuse \u0000 */
		put_format(t, "\\u%04x", is_c1 ? s.ptr[1] : c);
	else
		/* JSON has no bytes: the text of the escape is what can be shown. */
		put_format(t, escaping == ESCAPING_JSON ? "\\\\x%02x" : "\\x%02x", c);
	return len ? len : 1;
}

/* Puts s escaped, LOG_VALUE_LEN bytes at most; "…" stands for the rest. */
static void put_escaped(struct text *t, struct span s, enum escaping escaping)
{
	static const struct span more = SPAN_LIT("\xe2\x80\xa6");
	size_t limit = t->len + LOG_VALUE_LEN - more.len;

	while (s.len && t->len < limit && !t->is_cut)
		s = span_skip(s, put_char(t, s, escaping));
	if (s.len)
		put(t, more);
}

static struct span format_addr(const struct ip_port *addr, char buf[64])
{
	char ip[INET6_ADDRSTRLEN] = "?";
	int n;
	if (addr->ip.family == IP_FAMILY_V4) {
		(void)inet_ntop(AF_INET, addr->ip.bytes, ip, sizeof(ip));
		n = snprintf(buf, 64, "%s:%u", ip, addr->port);
	} else if (addr->ip.family == IP_FAMILY_V6) {
		(void)inet_ntop(AF_INET6, addr->ip.bytes, ip, sizeof(ip));
		n = addr->scope ? snprintf(buf, 64, "[%s%%%u]:%u", ip, addr->scope, addr->port)
				: snprintf(buf, 64, "[%s]:%u", ip, addr->port);
	} else {
		n = snprintf(buf, 64, "none");
	}
	return span_of(buf, (size_t)n);
}

/* The value as bytes, not escaped; numbers are written to buf. */
static struct span field_value(const struct log_field *f, char buf[64])
{
	switch (f->kind) {
	case LOG_FIELD_STR:
		return f->str;
	case LOG_FIELD_U64:
		return span_of(buf, (size_t)snprintf(buf, 64, "%llu", (unsigned long long)f->u64));
	case LOG_FIELD_I64:
		return span_of(buf, (size_t)snprintf(buf, 64, "%lld", (long long)f->i64));
	case LOG_FIELD_ERRNO: {
		const char *text = strerrordesc_np(f->err < 0 ? -f->err : f->err);
		if (text)
			return span_str(text);
		return span_of(buf, (size_t)snprintf(buf, 64, "error %d", f->err));
	}
	case LOG_FIELD_ADDR:
		return f->addr ? format_addr(f->addr, buf) : SPAN_LIT("none");
	}
	return (struct span){};
}

static bool is_number(const struct log_field *f)
{
	return f->kind == LOG_FIELD_U64 || f->kind == LOG_FIELD_I64;
}

/* A bare word needs no quotation marks in text. */
static bool is_word(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] >= 0x7f || s.ptr[i] == '"' || s.ptr[i] == '\\' ||
		    s.ptr[i] == '=')
			return false;
	return s.len != 0;
}

/* 2026-11-21T17:22:01.123Z (RFC 3339). */
static void put_time(struct text *t, nsec_t realtime)
{
	time_t sec = (time_t)(realtime / NSEC_PER_SEC);
	struct tm tm = {};
	(void)gmtime_r(&sec, &tm);
	put_format(t, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1,
		   tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		   (unsigned int)(realtime / NSEC_PER_MSEC % 1000));
}

/* ---- text ---------------------------------------------------------------------------------- */

/* clang-format off */
static const char *const level_colors[] = {
	[LOG_LEVEL_ERROR] = "\x1b[31m",
	[LOG_LEVEL_WARNING] = "\x1b[33m",
	[LOG_LEVEL_NOTICE] = "\x1b[1m",
	[LOG_LEVEL_INFO] = "",
	[LOG_LEVEL_DEBUG] = "\x1b[2m",
};
/* clang-format on */

/* message key=value …; a field that doesn't fit ends the line with " …". */
static void put_message(struct text *t, const struct log_event *event)
{
	static const struct span more = SPAN_LIT(" \xe2\x80\xa6");
	t->cap -= more.len;
	put_escaped(t, span_str(event->message), ESCAPING_PLAIN);
	for (unsigned int i = 0; i < event->field_count && !t->is_cut; i++) {
		char buf[64];
		const struct log_field *f = &event->fields[i];
		struct span value = field_value(f, buf);
		bool is_bare = is_word(value);
		size_t before = t->len;

		put_format(t, " %s=%s", f->key, is_bare ? "" : "\"");
		put_escaped(t, value, ESCAPING_QUOTED);
		put_str(t, is_bare ? "" : "\"");
		if (t->is_cut)
			t->len = before;
	}
	t->cap += more.len;
	if (t->is_cut) {
		t->is_cut = false;
		put(t, more);
	}
}

size_t log_format_text(char buf[LOG_LINE_LEN], const struct log_event *event, nsec_t realtime,
		       bool color)
{
	struct text t = { .buf = buf, .cap = LOG_LINE_LEN - 8 }; /* the end always fits */
	const char *start =
		color && event->level < ARRAY_SIZE(level_colors) ? level_colors[event->level] : "";
	put_time(&t, realtime);
	put_format(&t, " %s%-7s %s: ", start ? start : "", log_level_name(event->level),
		   event->area);
	put_message(&t, event);
	t.cap = LOG_LINE_LEN;
	put_str(&t, color ? "\x1b[0m\n" : "\n");
	return t.len;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

static void put_member(struct text *t, const char *key, struct span value, bool is_bare)
{
	size_t before = t->len;
	put_str(t, ",\"");
	put_escaped(t, span_str(key), ESCAPING_JSON);
	put_str(t, is_bare ? "\":" : "\":\"");
	put_escaped(t, value, ESCAPING_JSON);
	put_str(t, is_bare ? "" : "\"");
	if (t->is_cut)
		t->len = before;
}

size_t log_format_json(char buf[LOG_LINE_LEN], const struct log_event *event, nsec_t realtime)
{
	static const struct span cut = SPAN_LIT(",\"truncated\":true");
	struct text t = { .buf = buf, .cap = LOG_LINE_LEN - cut.len - 2 };

	put_str(&t, "{\"time\":\"");
	put_time(&t, realtime);
	put_str(&t, "\"");
	put_member(&t, "level", span_str(log_level_name(event->level)), false);
	put_member(&t, "area", span_str(event->area), false);
	put_member(&t, "message", span_str(event->message), false);
	for (unsigned int i = 0; i < event->field_count && !t.is_cut; i++) {
		char number[64];
		const struct log_field *f = &event->fields[i];
		put_member(&t, f->key, field_value(f, number), is_number(f));
	}
	t.cap = LOG_LINE_LEN;
	if (t.is_cut) {
		t.is_cut = false;
		put(&t, cut);
	}
	put_str(&t, "}\n");
	return t.len;
}

/* ---- journal ------------------------------------------------------------------------------- */

/* Upper case, digits and underscores, a letter first (journald drops everything else). */
static void put_journal_key(struct text *t, const char *key)
{
	if (!((*key >= 'a' && *key <= 'z') || (*key >= 'A' && *key <= 'Z')))
		put_str(t, "F_");
	size_t len = strnlen(key, JOURNAL_KEY_LEN);
	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)key[i];
		if (c >= 'a' && c <= 'z')
			c = (uint8_t)(c - 'a' + 'A');
		else if (!(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9'))
			c = '_';
		put(t, span_of(&c, 1));
	}
}

/* Values are escaped and so have no line feed: KEY=VALUE is enough. */
static void put_journal_field(struct text *t, const char *key, struct span value)
{
	size_t before = t->len;
	put_journal_key(t, key);
	put_str(t, "=");
	put_escaped(t, value, ESCAPING_PLAIN);
	put_str(t, "\n");
	if (t->is_cut)
		t->len = before;
}

size_t log_format_journal(char buf[LOG_JOURNAL_LEN], const struct log_event *event,
			  const char *ident)
{
	struct text t = { .buf = buf, .cap = LOG_JOURNAL_LEN };
	char line[LOG_LINE_LEN];
	struct text message = { .buf = line, .cap = sizeof(line) };

	put_message(&message, event);
	put_str(&t, "MESSAGE=");
	put(&t, span_of(line, message.len));
	put_format(&t, "\nPRIORITY=%u\n", event->level);
	put_journal_field(&t, "SYSLOG_IDENTIFIER", span_str(ident));
	put_journal_field(&t, "ADIT_AREA", span_str(event->area));
	for (unsigned int i = 0; i < event->field_count && !t.is_cut; i++) {
		char number[64];
		const struct log_field *f = &event->fields[i];
		put_journal_field(&t, f->key, field_value(f, number));
		if (f->kind == LOG_FIELD_ERRNO)
			put_format(&t, "ERRNO=%d\n", f->err < 0 ? -f->err : f->err);
	}
	return t.len;
}
