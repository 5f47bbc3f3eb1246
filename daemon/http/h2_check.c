/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header blocks. Checked here rather than by nghttp2, for the peers that matter differ from its
 * ideas: a CONNECT may come for any purpose, bytes above 0x7f pass, and what is only forbidden or
 * too large is answered and not reset (docs/protocol.md).
 */
#include "daemon/http/h2_check.h"

#include <errno.h>

#include "util/macro.h"

enum {
	FIELDS_MIN = 32, /* the list begins with so many and doubles */
	FIELD_COST = 32, /* RFC 9113 §6.5.2 */
};

static const struct span pseudo_names[H2_PSEUDO_MAX_] = {
	[H2_PSEUDO_METHOD] = SPAN_LIT(":method"),       [H2_PSEUDO_SCHEME] = SPAN_LIT(":scheme"),
	[H2_PSEUDO_AUTHORITY] = SPAN_LIT(":authority"), [H2_PSEUDO_PATH] = SPAN_LIT(":path"),
	[H2_PSEUDO_STATUS] = SPAN_LIT(":status"),
};

void h2_block_begin(struct h2_block *b, enum h2_block_kind kind,
		    const struct h2_block_limits *limits, struct arena *arena)
{
	*b = (struct h2_block){ .kind = kind, .limits = *limits, .arena = arena };
}

/* ---- fields -------------------------------------------------------------------------------- */

/* RFC 9113 §8.2.1: a token without capitals. */
static bool is_name(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z')
			return false;
	return http_token_is_valid(name);
}

/* RFC 9113 §8.2.2. */
static bool is_forbidden(struct span name, struct span value)
{
	static const struct span names[] = {
		SPAN_LIT("connection"),        SPAN_LIT("keep-alive"), SPAN_LIT("proxy-connection"),
		SPAN_LIT("transfer-encoding"), SPAN_LIT("upgrade"),
	};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (span_eq(name, names[i]))
			return true;
	return span_eq_str(name, "te") && !span_eq_nocase(value, SPAN_LIT("trailers"));
}

static void check_length(struct h2_block *b, struct span value)
{
	uint64_t length;
	if (http_length_parse(value, &length) < 0 || (b->has_length && b->length != length)) {
		b->is_malformed = true;
		return;
	}
	b->length = length;
	b->has_length = true;
}

/* Room for one more. */
static bool grow(struct h2_block *b)
{
	if (b->count < b->cap)
		return true;
	unsigned int cap = MAX(2 * b->cap, (unsigned int)FIELDS_MIN);
	struct http_field *fields = arena_calloc(b->arena, cap, sizeof(*fields));
	if (!fields)
		return false;
	for (unsigned int i = 0; i < b->count; i++)
		fields[i] = b->fields[i];
	b->fields = fields;
	b->cap = cap;
	return true;
}

static void add_regular(struct h2_block *b, struct span name, struct span value)
{
	if (!is_name(name) || !http_value_is_valid(value)) {
		b->is_malformed = true;
		return;
	}
	if (span_eq_str(name, "content-length"))
		check_length(b, value);
	b->is_forbidden |= is_forbidden(name, value);

	struct http_field copy;
	if (!grow(b) || arena_copy(b->arena, name, &copy.name) < 0 ||
	    arena_copy(b->arena, value, &copy.value) < 0) {
		b->is_out_of_memory = true;
		return;
	}
	b->fields[b->count++] = copy;
}

static bool belongs(enum h2_pseudo which, enum h2_block_kind kind)
{
	if (kind == H2_BLOCK_TRAILERS)
		return false;
	return (which == H2_PSEUDO_STATUS) == (kind == H2_BLOCK_RESPONSE);
}

static void add_pseudo(struct h2_block *b, struct span name, struct span value)
{
	unsigned int i = 0;
	while (i < H2_PSEUDO_MAX_ && !span_eq(name, pseudo_names[i]))
		i++;
	bool is_late = b->count > 0;
	if (i == H2_PSEUDO_MAX_ || !belongs((enum h2_pseudo)i, b->kind) || b->pseudo[i].ptr ||
	    is_late || !http_value_is_valid(value)) {
		b->is_malformed = true;
		return;
	}
	/* With an empty value it still counts as present. */
	uint8_t *copy = arena_alloc(b->arena, value.len + 1);
	if (!copy) {
		b->is_out_of_memory = true;
		return;
	}
	if (value.len)
		memcpy(copy, value.ptr, value.len);
	b->pseudo[i] = span_of(copy, value.len);
}

void h2_block_add(struct h2_block *b, struct span name, struct span value)
{
	if (b->kind == H2_BLOCK_IGNORED || b->is_malformed || b->is_too_large)
		return;
	bool is_pseudo = name.len && name.ptr[0] == ':';
	b->size += name.len + value.len + FIELD_COST;
	if (b->size > b->limits.size_max || name.len + value.len > b->limits.line_max ||
	    (!is_pseudo && b->count == b->limits.field_max)) {
		b->is_too_large = true;
		return;
	}
	if (is_pseudo)
		add_pseudo(b, name, value);
	else
		add_regular(b, name, value);
}

/* ---- the whole ----------------------------------------------------------------------------- */

static bool is_absent(struct span s)
{
	return !s.ptr;
}

/* RFC 9113 §8.3.1, §8.5; a CONNECT comes with its :authority alone. */
static bool request_is_valid(const struct span *p)
{
	struct span method = p[H2_PSEUDO_METHOD];
	struct span scheme = p[H2_PSEUDO_SCHEME];
	if (is_absent(method) || !http_token_is_valid(method))
		return false;
	if (span_eq_str(method, "CONNECT"))
		return is_absent(scheme) && is_absent(p[H2_PSEUDO_PATH]) &&
		       p[H2_PSEUDO_AUTHORITY].len;
	if (!span_eq_str(scheme, "http") && !span_eq_str(scheme, "https"))
		return false;
	return p[H2_PSEUDO_PATH].len;
}

static int parse_status(struct span s, unsigned int *ret)
{
	unsigned int status = 0;
	if (s.len != 3)
		return -EBADMSG;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] < '0' || s.ptr[i] > '9')
			return -EBADMSG;
		status = status * 10 + (s.ptr[i] - '0');
	}
	if (status < 100)
		return -EBADMSG;
	*ret = status;
	return 0;
}

int h2_block_end(const struct h2_block *b, struct h2_head *ret)
{
	const struct span *p = b->pseudo;
	unsigned int status = 0;
	if (b->is_malformed)
		return -EBADMSG;
	if (b->is_out_of_memory)
		return -ENOMEM;
	/* What didn't fit in can be a pseudo field. */
	if (b->kind == H2_BLOCK_REQUEST && !b->is_too_large && !request_is_valid(p))
		return -EBADMSG;
	if (b->kind == H2_BLOCK_RESPONSE && !b->is_too_large &&
	    parse_status(p[H2_PSEUDO_STATUS], &status) < 0)
		return -EBADMSG;

	*ret = (struct h2_head){
		.method = p[H2_PSEUDO_METHOD],
		.scheme = p[H2_PSEUDO_SCHEME],
		.authority = p[H2_PSEUDO_AUTHORITY],
		.path = p[H2_PSEUDO_PATH],
		.status = status,
		.fields = b->fields,
		.field_count = b->count,
	};
	if (b->is_too_large)
		return -E2BIG;
	return b->is_forbidden ? -EPERM : 0;
}
