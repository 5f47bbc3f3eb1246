/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RE2 expressions (Go's flavour) to PCRE2 expressions that find the same. One pass, no tree: every
 * construct is checked as the reference checks it and written anew, in a form that PCRE2 can read
 * in one way only. Only whether something is found matters, so captures and laziness are of no
 * account.
 */
#include "daemon/conf/pattern.h"

#include <stdio.h>

#include "daemon/conf/pattern_priv.h"
#include "daemon/conf/utf8.h"

void translate_fail(struct translator *t, const char *reason)
{
	if (!t->error) {
		t->error = -EINVAL;
		t->reason = reason;
		t->fault_at = (size_t)(t->in.ptr - t->start);
	}
	t->in = (struct span){};
}

/* ---- output ---- */

void translate_put(struct translator *t, const char *text)
{
	size_t len = strlen(text);
	if (t->error)
		return;
	if (t->cap - t->len <= len) {
		size_t cap = (t->cap + len) * 2 + 64;
		char *grown = realloc(t->out, cap);
		if (!grown) {
			t->error = -ENOMEM;
			return;
		}
		t->out = grown;
		t->cap = cap;
	}
	for (size_t i = 0; i < len; i++)
		t->out[t->len++] = text[i];
	t->out[t->len] = '\0';
}

/* A character that stands for itself, inside a class or outside. */
void translate_put_char(struct translator *t, uint32_t code)
{
	char text[16];
	bool is_plain = (code >= '0' && code <= '9') || (code >= 'a' && code <= 'z') ||
			(code >= 'A' && code <= 'Z');
	(void)snprintf(text, sizeof(text), is_plain ? "%c" : "\\x{%x}", (unsigned int)code);
	translate_put(t, text);
}

/* Puts text before what was written from offset at on. */
static void insert(struct translator *t, size_t at, const char *text)
{
	size_t len = strlen(text);
	translate_put(t, text);
	if (t->error)
		return;
	memmove(t->out + at + len, t->out + at, t->len - len - at);
	memcpy(t->out + at, text, len);
}

/* ---- input ---- */

bool translate_take(struct translator *t, const char *text)
{
	struct span s = span_str(text);
	if (!span_starts_with(t->in, s))
		return false;
	t->in = span_skip(t->in, s.len);
	return true;
}

uint32_t translate_take_char(struct translator *t)
{
	uint32_t code = 0;
	size_t n = utf8_next(t->in, &code);
	if (n == 0)
		translate_fail(t, t->in.len ? "not UTF-8" : "it ends too early");
	else
		t->in = span_skip(t->in, n);
	return code;
}

/* ---- atoms and groups ---- */

/* The atom is complete: what it repeats counts for its group. */
static void atom_end(struct translator *t)
{
	struct translate_group *g = &t->groups[t->depth];
	if (t->atom.is_set && t->atom.product > g->product)
		g->product = t->atom.product;
	t->atom = (struct translate_atom){};
}

static void atom_begin(struct translator *t, bool is_assertion)
{
	atom_end(t);
	t->atom = (struct translate_atom){
		.is_set = true,
		.is_assertion = is_assertion,
		.start = t->len,
		.product = 1,
	};
}

static void literal(struct translator *t, uint32_t code)
{
	atom_begin(t, false);
	translate_put_char(t, code);
}

static void group_open(struct translator *t, const char *text)
{
	atom_end(t);
	if (t->depth + 1 >= ARRAY_SIZE(t->groups)) {
		translate_fail(t, "groups nested too deep");
		return;
	}
	t->groups[++t->depth] = (struct translate_group){ .start = t->len, .product = 1 };
	translate_put(t, text);
}

static void group_close(struct translator *t)
{
	atom_end(t);
	if (t->depth == 0) {
		translate_fail(t, "\")\" without \"(\"");
		return;
	}
	struct translate_group g = t->groups[t->depth--];
	translate_put(t, ")");
	t->atom = (struct translate_atom){ .is_set = true, .start = g.start, .product = g.product };
}

/* "(?P<name>" and "(?<name>": letters, digits and "_", each name once. */
static void group_named(struct translator *t)
{
	size_t end = span_find(t->in, '>');
	struct span name = span_first(t->in, end);
	for (size_t i = 0; i < name.len; i++)
		if (!((name.ptr[i] >= 'a' && name.ptr[i] <= 'z') ||
		      (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z') ||
		      (name.ptr[i] >= '0' && name.ptr[i] <= '9') || name.ptr[i] == '_'))
			end = t->in.len;
	if (end == t->in.len || name.len == 0) {
		translate_fail(t, "no group name");
		return;
	}
	for (size_t i = 0; i < t->name_count; i++)
		if (span_eq(t->names[i], name)) {
			translate_fail(t, "a group name twice");
			return;
		}
	if (t->name_count == ARRAY_SIZE(t->names)) {
		translate_fail(t, "too many group names");
		return;
	}
	t->names[t->name_count++] = name;
	t->in = span_skip(t->in, end + 1);
	group_open(t, "(");
}

/* Behind "(?": flags i m s U, "-" before those to clear, then ")" or ":" and a group. */
static void group_flags(struct translator *t)
{
	char text[16] = "(?";
	size_t len = 2;
	bool is_clearing = false;
	bool has_flag = true; /* since the beginning or the "-" */
	for (; t->in.len && len < sizeof(text) - 3; t->in = span_skip(t->in, 1)) {
		uint8_t c = t->in.ptr[0];
		if (c == ':' || c == ')')
			break;
		if (c == '-' && !is_clearing) {
			is_clearing = true;
			has_flag = false;
			text[len++] = '-';
		} else if (c == 'i' || c == 'm' || c == 's') {
			text[len++] = (char)c;
			has_flag = true;
		} else if (c == 'U') {
			has_flag = true; /* swaps laziness: finds the same */
		} else {
			translate_fail(
				t,
				"not a group of RE2: look-around, atomic, comment or conditional");
			return;
		}
	}
	if (!has_flag || t->in.len == 0 || (t->in.ptr[0] != ':' && t->in.ptr[0] != ')')) {
		translate_fail(t, "flags of a group");
		return;
	}
	if (text[len - 1] == '-')
		len--; /* "-U" */
	bool is_group = t->in.ptr[0] == ':';
	t->in = span_skip(t->in, 1);
	text[len++] = is_group ? ':' : ')';
	text[len] = '\0';
	if (is_group) {
		group_open(t, text);
	} else {
		atom_end(t);
		translate_put(t, text);
	}
}

static void group(struct translator *t)
{
	if (translate_take(t, "?P<") || translate_take(t, "?<")) {
		/* "(?<=" and "(?<!" fail on their name. */
		group_named(t);
	} else if (translate_take(t, "?")) {
		group_flags(t);
	} else {
		group_open(t, "(");
	}
}

/* ---- repetition ---- */

/* An operator that repeats the last atom count times at most (0 for * + ?, which don't count). */
static void repeat(struct translator *t, const char *op, unsigned int count, bool is_counted)
{
	if (!t->atom.is_set) {
		translate_fail(t, "nothing to repeat");
		return;
	}
	if (t->atom.is_repeated) {
		translate_fail(t, "a repetition of a repetition");
		return;
	}
	if (t->atom.is_assertion) {
		insert(t, t->atom.start, "(?:");
		translate_put(t, ")");
	}
	translate_put(t, op);
	if (translate_take(t, "?"))
		translate_put(t, "?");
	t->atom.is_repeated = true;
	if (!is_counted)
		return;
	if (count == 0)
		t->atom.product = 1;
	else
		t->atom.product *= count;
	if (t->atom.product > PATTERN_REPEAT_MAX)
		translate_fail(t, "repeated more than 1000 times in product");
}

/* Digits without a leading zero off s. False: there are none. Too many give PATTERN_REPEAT_MAX + 1.
 */
static bool take_count(struct span *s, unsigned int *ret)
{
	size_t n = 0;
	unsigned int v = 0;
	for (; n < s->len && s->ptr[n] >= '0' && s->ptr[n] <= '9'; n++)
		v = v > PATTERN_REPEAT_MAX ? v : v * 10 + (unsigned int)(s->ptr[n] - '0');
	if (n == 0 || (n > 1 && s->ptr[0] == '0'))
		return false;
	*s = span_skip(*s, n);
	*ret = v;
	return true;
}

/* "{n}", "{n,}" or "{n,m}"; anything else that begins with "{" is text. */
static void counted(struct translator *t)
{
	struct span s = span_skip(t->in, 1);
	unsigned int low = 0;
	unsigned int high = 0;
	bool is_ok = take_count(&s, &low);
	bool is_open = false;
	high = low;
	if (is_ok && span_starts_with(s, SPAN_LIT(","))) {
		s = span_skip(s, 1);
		is_open = s.len > 0 && s.ptr[0] == '}';
		is_ok = is_open || take_count(&s, &high);
	}
	if (!is_ok || s.len == 0 || s.ptr[0] != '}') {
		literal(t, translate_take_char(t));
		return;
	}
	if (low > PATTERN_REPEAT_MAX || high > PATTERN_REPEAT_MAX || low > high) {
		translate_fail(t, "a repeat count over 1000 or out of order");
		return;
	}
	t->in = span_skip(s, 1);
	char op[32];
	if (is_open)
		(void)snprintf(op, sizeof(op), "{%u,}", low);
	else
		(void)snprintf(op, sizeof(op), "{%u,%u}", low, high);
	repeat(t, op, high, true);
}

/* ---- the walk ---- */

/* "\Q…\E" or to the end. */
static void quoted(struct translator *t)
{
	while (t->in.len && !translate_take(t, "\\E"))
		literal(t, translate_take_char(t));
}

static void escape(struct translator *t)
{
	static const char *const assertions[] = { "\\A", "\\b", "\\B", "\\z" };
	for (size_t i = 0; i < ARRAY_SIZE(assertions); i++)
		if (translate_take(t, assertions[i])) {
			atom_begin(t, true);
			translate_put(t, assertions[i]);
			return;
		}
	if (translate_take(t, "\\Q")) {
		quoted(t);
		return;
	}
	atom_begin(t, false);
	if (!translate_class_escape(t, false))
		translate_put_char(t, translate_escaped_char(t));
}

static void step(struct translator *t)
{
	switch (t->in.ptr[0]) {
	case '\\':
		escape(t);
		return;
	case '[':
		atom_begin(t, false);
		translate_class(t);
		return;
	case '{':
		counted(t);
		return;
	default:
		break;
	}

	struct span rest = t->in;
	uint32_t c = translate_take_char(t);
	if (c == '(') {
		group(t);
	} else if (c == ')') {
		group_close(t);
	} else if (c == '|') {
		atom_end(t);
		translate_put(t, "|");
	} else if (c == '^' || c == '$') {
		atom_begin(t, true);
		translate_put(t, c == '^' ? "^" : "$");
	} else if (c == '.') {
		atom_begin(t, false);
		translate_put(t, ".");
	} else if (c == '*' || c == '+' || c == '?') {
		repeat(t, c == '*' ? "*" : c == '+' ? "+" : "?", 0, false);
	} else if (rest.len) {
		literal(t, c);
	}
}

int pattern_translate(struct span text, char **ret_text, struct pattern_error *ret_error)
{
	if (text.len > PATTERN_TEXT_MAX) {
		*ret_error = (struct pattern_error){ .reason = "too long" };
		return -EINVAL;
	}
	_cleanup_(freep) struct translator *t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->in = text;
	t->start = text.ptr;
	t->groups[0].product = 1;
	translate_put(t, "");

	/* Every step takes at least one byte or fails, which empties the input. */
	while (t->in.len && !t->error)
		step(t);
	if (!t->error && t->depth > 0)
		translate_fail(t, "\"(\" without \")\"");

	if (t->error) {
		free(t->out);
		if (t->error == -EINVAL)
			*ret_error = (struct pattern_error){ .reason = t->reason,
							     .offset = t->fault_at };
		return t->error;
	}
	*ret_text = t->out;
	return 0;
}
