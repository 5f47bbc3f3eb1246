/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other half of the translator of path expressions: escapes and classes of characters.
 */
#include "daemon/conf/pattern_priv.h"

#include <stdio.h>

#include "daemon/conf/utf8.h"
#include "daemon/wire/hex.h"

/* ---- single characters ---- */

/* Behind "\x": two digits, or any number of them in braces. */
static uint32_t hex_char(struct translator *t)
{
	bool is_braced = translate_take(t, "{");
	uint32_t code = 0;
	size_t digits = 0;
	while (t->in.len && hex_digit(t->in.ptr[0]) >= 0 && (is_braced || digits < 2)) {
		code = code * 16 + (uint32_t)hex_digit(t->in.ptr[0]);
		if (code > UTF8_MAX) {
			translate_fail(t, "a character over 10FFFF");
			return 0;
		}
		t->in = span_skip(t->in, 1);
		digits++;
	}
	if (is_braced ? digits == 0 || !translate_take(t, "}") : digits != 2) {
		translate_fail(t, "\\x needs two hexadecimal digits or {digits}");
		return 0;
	}
	return code;
}

/* "\0", "\012", and "\12" with at least two digits; a single other digit is a back-reference. */
static uint32_t octal_char(struct translator *t, uint32_t first)
{
	uint32_t code = first - '0';
	bool has_more = t->in.len && t->in.ptr[0] >= '0' && t->in.ptr[0] <= '7';
	if (first > '7' || (first != '0' && !has_more)) {
		translate_fail(t, "a back-reference");
		return 0;
	}
	for (int i = 0; i < 2 && t->in.len && t->in.ptr[0] >= '0' && t->in.ptr[0] <= '7'; i++) {
		code = code * 8 + (uint32_t)(t->in.ptr[0] - '0');
		t->in = span_skip(t->in, 1);
	}
	return code;
}

uint32_t translate_escaped_char(struct translator *t)
{
	static const struct {
		char letter;
		uint8_t code;
	} letters[] = {
		{ 'a', 7 }, { 'f', 12 }, { 'n', 10 }, { 'r', 13 }, { 't', 9 }, { 'v', 11 }
	};
	if (!translate_take(t, "\\")) {
		translate_fail(t, "it ends too early");
		return 0;
	}
	uint32_t c = translate_take_char(t);
	if (c >= '0' && c <= '9')
		return octal_char(t, c);
	if (c == 'x')
		return hex_char(t);
	for (size_t i = 0; i < ARRAY_SIZE(letters); i++)
		if (c == (uint32_t)letters[i].letter)
			return letters[i].code;
	bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
	if (is_letter || c >= 0x80)
		translate_fail(t, "an escape that RE2 doesn't have");
	return c;
}

/* ---- Unicode properties ---- */

static bool is_category(struct span name)
{
	struct span rest =
		SPAN_LIT("Any C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe "
			 "Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs");
	for (size_t at = span_find(rest, ' '); rest.len; at = span_find(rest, ' ')) {
		if (span_eq(span_first(rest, at), name) && name.len)
			return true;
		rest = span_skip(rest, at + 1);
	}
	return false;
}

/* Scripts are letters and "_"; PCRE2 knows which exist. */
static bool is_script(struct span name)
{
	if (name.len < 2 || name.len > 32 || name.ptr[0] < 'A' || name.ptr[0] > 'Z')
		return false;
	for (size_t i = 1; i < name.len; i++)
		if (!((name.ptr[i] >= 'a' && name.ptr[i] <= 'z') ||
		      (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z') || name.ptr[i] == '_'))
			return false;
	return true;
}

/* Behind "\p" or "\P": one letter, or {Name}, or {^Name}. */
static void property(struct translator *t, bool is_negated)
{
	struct span name = span_first(t->in, 1);
	if (translate_take(t, "{")) {
		if (translate_take(t, "^"))
			is_negated = !is_negated;
		name = span_first(t->in, span_find(t->in, '}'));
		t->in = span_skip(t->in, name.len + 1);
	} else {
		t->in = span_skip(t->in, 1);
	}
	/* sc: because PCRE2 takes a bare script for its extensions, which RE2 doesn't have. */
	bool is_known = is_category(name);
	if (!is_known && !is_script(name)) {
		translate_fail(t, "unknown Unicode property");
		return;
	}
	char text[64];
	(void)snprintf(text, sizeof(text), "\\%c{%s%.*s}", is_negated ? 'P' : 'p',
		       is_known ? "" : "sc:", (int)name.len, (const char *)name.ptr);
	translate_put(t, text);
}

/* ---- classes ---- */

bool translate_class_escape(struct translator *t, bool is_in_class)
{
	/* \s without the vertical tab; \w written out so that (?i) folds it as RE2 does. */
	static const struct {
		const char *escape;
		const char *outside;
		const char *inside;
	} classes[] = {
		{ "\\d", "[0-9]", "0-9" },
		{ "\\D", "[^0-9]", "\\D" },
		{ "\\w", "[0-9A-Za-z_]", "0-9A-Za-z_" },
		{ "\\W", "[^0-9A-Za-z_]", "\\W" },
		{ "\\s", "[\\x{9}\\x{a}\\x{c}\\x{d}\\x{20}]", "\\x{9}\\x{a}\\x{c}\\x{d}\\x{20}" },
		{ "\\S", "[^\\x{9}\\x{a}\\x{c}\\x{d}\\x{20}]",
		  "\\x{0}-\\x{8}\\x{b}\\x{e}-\\x{1f}\\x{21}-\\x{10ffff}" },
	};
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		if (translate_take(t, classes[i].escape)) {
			translate_put(t, is_in_class ? classes[i].inside : classes[i].outside);
			return true;
		}
	bool is_negated = span_starts_with(t->in, SPAN_LIT("\\P"));
	if (!translate_take(t, "\\p") && !translate_take(t, "\\P"))
		return false;
	property(t, is_negated);
	return true;
}

/* "[:alpha:]" and "[:^alpha:]" inside a class. False: the "[" is text. */
static bool posix_class(struct translator *t)
{
	static const char *const names[] = { "alnum", "alpha", "ascii", "blank", "cntrl",
					     "digit", "graph", "lower", "print", "punct",
					     "space", "upper", "word",  "xdigit" };
	size_t end = 2;
	while (end + 1 < t->in.len && !(t->in.ptr[end] == ':' && t->in.ptr[end + 1] == ']'))
		end++;
	if (!span_starts_with(t->in, SPAN_LIT("[:")) || end + 1 >= t->in.len)
		return false;
	bool is_negated = t->in.ptr[2] == '^';
	struct span name = span_skip(span_first(t->in, end), is_negated ? 3 : 2);
	t->in = span_skip(t->in, end + 2);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (span_eq_str(name, names[i])) {
			char text[32];
			(void)snprintf(text, sizeof(text), "[:%s%s:]", is_negated ? "^" : "",
				       names[i]);
			translate_put(t, text);
			return true;
		}
	translate_fail(t, "unknown class of characters");
	return true;
}

static uint32_t class_char(struct translator *t)
{
	if (t->in.len && t->in.ptr[0] == '\\')
		return translate_escaped_char(t);
	return translate_take_char(t);
}

/* "c" or "c-c". */
static void range(struct translator *t)
{
	uint32_t low = class_char(t);
	uint32_t high = low;
	if (t->in.len >= 2 && t->in.ptr[0] == '-' && t->in.ptr[1] != ']') {
		t->in = span_skip(t->in, 1);
		high = class_char(t);
	}
	if (high < low) {
		translate_fail(t, "a range out of order");
		return;
	}
	translate_put_char(t, low);
	if (high > low) {
		translate_put(t, "-");
		translate_put_char(t, high);
	}
}

void translate_class(struct translator *t)
{
	(void)translate_take(t, "[");
	translate_put(t, translate_take(t, "^") ? "[^" : "[");
	bool is_first = true; /* then "]" is text */
	while (t->in.len && (is_first || t->in.ptr[0] != ']')) {
		is_first = false;
		if (!posix_class(t) && !translate_class_escape(t, true))
			range(t);
	}
	if (!t->error && !translate_take(t, "]"))
		translate_fail(t, "\"[\" without \"]\"");
	translate_put(t, "]");
}
