/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Path expressions, compiled and run by PCRE2. PCRE2 back-tracks, so every match has a limit of
 * steps; what it would read differently from RE2 was rewritten by pattern_translate() before it
 * gets here.
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "daemon/conf/pattern.h"

#include <pcre2.h>

#include "daemon/conf/utf8.h"

/* Longest path that is looked at, and what one match may take. */
constexpr size_t PATH_MAX_LEN = 1048576;
constexpr uint32_t HEAP_MAX_KIB = 1024;
constexpr size_t JIT_STACK_FIRST = 32768;
constexpr size_t JIT_STACK_LAST = 524288;

struct pattern {
	pcre2_code *code;
};

struct pattern_scratch {
	pcre2_match_data *data;
	pcre2_match_context *context;
	pcre2_jit_stack *stack; /* NULL where JIT isn't allowed */
	uint8_t *buf;           /* a path made valid */
	size_t cap;
};

/* Newline is "\n" and nesting as deep as RE2's, whatever the library was built with. */
static pcre2_compile_context *context_new(void)
{
	pcre2_compile_context *x = pcre2_compile_context_create(NULL);
	if (!x)
		return NULL;
	(void)pcre2_set_newline(x, PCRE2_NEWLINE_LF);
	(void)pcre2_set_parens_nest_limit(x, PATTERN_DEPTH_MAX + 1);
	return x;
}

static int compile(const char *text, pcre2_code **ret, struct pattern_error *ret_error)
{
	/* "(" then costs what "(?:" does, which PCRE2 can nest less deep. */
	static const uint32_t options = PCRE2_NO_AUTO_CAPTURE | PCRE2_UTF | PCRE2_DOLLAR_ENDONLY |
					PCRE2_ALT_CIRCUMFLEX | PCRE2_NEVER_BACKSLASH_C;
	pcre2_compile_context *x = context_new();
	if (!x)
		return -ENOMEM;
	int error;
	PCRE2_SIZE at;
	pcre2_code *code =
		pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, options, &error, &at, x);
	pcre2_compile_context_free(x);
	if (code) {
		*ret = code;
		return 0;
	}
	if (error == PCRE2_ERROR_HEAP_FAILED)
		return -ENOMEM;
	*ret_error = (struct pattern_error){
		.reason = error == PCRE2_ERROR_PATTERN_TOO_LARGE
				  ? "too large when repeats are written out"
			  : error == PCRE2_ERROR_UNKNOWN_UNICODE_PROPERTY
				  ? "unknown Unicode property"
				  : "not compilable",
	};
	return -EINVAL;
}

int pattern_new(struct span text, struct pattern **ret, struct pattern_error *ret_error)
{
	struct pattern_error error = {};
	_cleanup_(freep) char *translated = NULL;
	pcre2_code *code = NULL;
	int r = pattern_translate(text, &translated, &error);
	if (r == 0)
		r = compile(translated, &code, &error);
	if (r < 0) {
		if (ret_error && r == -EINVAL)
			*ret_error = error;
		return r;
	}

	struct pattern *p = malloc(sizeof(*p));
	if (!p) {
		pcre2_code_free(code);
		return -ENOMEM;
	}
	/* Fails under MemoryDenyWriteExecute=; then the pattern is interpreted. */
	(void)pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);
	p->code = code;
	*ret = p;
	return 0;
}

void pattern_free(struct pattern *p)
{
	if (!p)
		return;
	pcre2_code_free(p->code);
	free(p);
}

struct pattern_scratch *pattern_scratch_new(void)
{
	_cleanup_(pattern_scratch_freep) struct pattern_scratch *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->data = pcre2_match_data_create(1, NULL);
	s->context = pcre2_match_context_create(NULL);
	if (!s->data || !s->context)
		return NULL;
	(void)pcre2_set_match_limit(s->context, PATTERN_STEPS_MAX);
	(void)pcre2_set_heap_limit(s->context, HEAP_MAX_KIB);
	s->stack = pcre2_jit_stack_create(JIT_STACK_FIRST, JIT_STACK_LAST, NULL);
	if (s->stack)
		pcre2_jit_stack_assign(s->context, NULL, s->stack);
	return TAKE_PTR(s);
}

void pattern_scratch_free(struct pattern_scratch *s)
{
	if (!s)
		return;
	pcre2_jit_stack_free(s->stack);
	pcre2_match_context_free(s->context);
	pcre2_match_data_free(s->data);
	free(s->buf);
	free(s);
}

/* Copies a path with each byte that is no UTF-8 replaced by U+FFFD. */
static int path_repair(struct pattern_scratch *s, struct span path, struct span *ret)
{
	static const struct span replacement = SPAN_LIT("\xef\xbf\xbd");
	size_t need = path.len * replacement.len;
	if (need > s->cap) {
		uint8_t *grown = realloc(s->buf, need);
		if (!grown)
			return -ENOMEM;
		s->buf = grown;
		s->cap = need;
	}
	size_t len = 0;
	while (path.len) {
		size_t n = utf8_next(path, NULL);
		struct span piece = n ? span_first(path, n) : replacement;
		memcpy(s->buf + len, piece.ptr, piece.len);
		len += piece.len;
		path = span_skip(path, n ? n : 1);
	}
	*ret = span_of(s->buf, len);
	return 0;
}

int pattern_match(const struct pattern *p, struct pattern_scratch *s, struct span path)
{
	if (path.len > PATH_MAX_LEN)
		return -E2BIG;
	if (utf8_valid_len(path) < path.len) {
		int r = path_repair(s, path, &path);
		if (r < 0)
			return r;
	}

	PCRE2_SPTR subject = path.len ? path.ptr : (PCRE2_SPTR) "";
	int r = pcre2_match(p->code, subject, path.len, 0, PCRE2_NO_UTF_CHECK, s->data, s->context);
	if (r >= 0)
		return 1;
	if (r == PCRE2_ERROR_NOMATCH)
		return 0;
	/* What is left are limits: steps, depth, heap, JIT stack. */
	return r == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -E2BIG;
}
