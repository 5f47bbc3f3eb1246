/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP field names and values. Character classes are one table, looked up a byte at a time.
 */
#include "daemon/wire/http_field.h"

#include <errno.h>

#include "util/macro.h"

static bool is_token_byte(uint8_t c)
{
	/* RFC 9110 §5.6.2: letters, digits and these. */
	static const bool other[256] = {
		['!'] = true, ['#'] = true, ['$'] = true,  ['%'] = true, ['&'] = true,
		['*'] = true, ['+'] = true, ['\''] = true, ['-'] = true, ['.'] = true,
		['^'] = true, ['_'] = true, ['`'] = true,  ['|'] = true, ['~'] = true,
	};
	uint8_t lower = span_lower_byte(c);
	return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || other[c];
}

bool http_token_is_valid(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!is_token_byte(s.ptr[i]))
			return false;
	return s.len > 0;
}

bool http_value_is_valid(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if ((s.ptr[i] < ' ' && s.ptr[i] != '\t') || s.ptr[i] == 0x7f)
			return false;
	return span_trim(s).len == s.len;
}

bool http_field_is_hop_by_hop(struct span name)
{
	static const struct span names[] = {
		SPAN_LIT("connection"),
		SPAN_LIT("keep-alive"),
		SPAN_LIT("proxy-connection"),
		SPAN_LIT("proxy-authenticate"),
		SPAN_LIT("proxy-authorization"),
		SPAN_LIT("te"),
		SPAN_LIT("trailer"),
		SPAN_LIT("transfer-encoding"),
		SPAN_LIT("upgrade"),
		SPAN_LIT("http2-settings"),
	};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (span_eq_nocase(name, names[i]))
			return true;
	return false;
}

bool http_list_next(struct span *list, struct span *ret_item)
{
	while (list->len > 0) {
		size_t end = span_find(*list, ',');
		struct span item = span_trim(span_first(*list, end));
		*list = span_skip(*list, end + 1);
		if (item.len == 0)
			continue;
		*ret_item = item;
		return true;
	}
	return false;
}

bool http_connection_lists(struct span connection, struct span name)
{
	struct span item;
	while (http_list_next(&connection, &item))
		if (span_eq_nocase(item, name))
			return true;
	return false;
}

void http_name_canonical(struct packer *p, struct span name)
{
	bool is_first = true; /* of a word */
	if (!http_token_is_valid(name)) {
		packer_bytes(p, name);
		return;
	}
	for (size_t i = 0; i < name.len; i++) {
		uint8_t c = span_lower_byte(name.ptr[i]);
		if (is_first && c >= 'a' && c <= 'z')
			c = (uint8_t)(c - 'a' + 'A');
		packer_u8(p, c);
		is_first = c == '-';
	}
}

void http_name_lower(struct packer *p, struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		packer_u8(p, span_lower_byte(name.ptr[i]));
}

int http_length_parse(struct span value, uint64_t *ret)
{
	uint64_t v = 0;
	if (value.len == 0)
		return -EBADMSG;
	for (size_t i = 0; i < value.len; i++) {
		if (value.ptr[i] < '0' || value.ptr[i] > '9')
			return -EBADMSG;
		uint64_t digit = (uint64_t)(value.ptr[i] - '0');
		if (v > (INT64_MAX - digit) / 10)
			return -EBADMSG;
		v = v * 10 + digit;
	}
	*ret = v;
	return 0;
}
