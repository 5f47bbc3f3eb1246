/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts of single values to typed values. Strict: no blanks, signs or leading zeros that change
 * nothing are guessed at, and every multiplication is checked.
 */
#include "daemon/conf/value.h"

#include <errno.h>
#include <stdckdint.h>

#include "daemon/wire/base64.h"
#include "daemon/wire/endpoint.h"
#include "util/macro.h"

/* Takes the digits at the front off text. False: none, or too large. */
static bool take_digits(struct span *text, uint64_t *ret)
{
	uint64_t v = 0;
	size_t n = 0;
	for (; n < text->len && text->ptr[n] >= '0' && text->ptr[n] <= '9'; n++)
		if (ckd_mul(&v, v, 10U) || ckd_add(&v, v, (uint64_t)(text->ptr[n] - '0')))
			return false;
	*text = span_skip(*text, n);
	*ret = v;
	return n > 0;
}

int conf_parse_uint(struct span text, uint64_t *ret)
{
	uint64_t v;
	if (!take_digits(&text, &v) || text.len)
		return -EINVAL;
	*ret = v;
	return 0;
}

/* Takes a unit of time off text; 0: there is none. "ms" is tried before "m". */
static nsec_t take_time_unit(struct span *text)
{
	static const struct {
		struct span word;
		nsec_t value;
	} units[] = {
		{ SPAN_LIT("ns"), 1 },
		{ SPAN_LIT("us"), NSEC_PER_USEC },
		{ SPAN_LIT("ms"), NSEC_PER_MSEC },
		{ SPAN_LIT("s"), NSEC_PER_SEC },
		{ SPAN_LIT("m"), 60 * NSEC_PER_SEC },
		{ SPAN_LIT("h"), 3600 * NSEC_PER_SEC },
	};
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (span_starts_with(*text, units[i].word)) {
			*text = span_skip(*text, units[i].word.len);
			return units[i].value;
		}
	return 0;
}

int conf_parse_duration(struct span text, nsec_t *ret)
{
	if (span_eq_str(text, "0")) {
		*ret = 0;
		return 0;
	}
	nsec_t sum = 0;
	do {
		uint64_t number;
		if (!take_digits(&text, &number))
			return -EINVAL;
		nsec_t unit = take_time_unit(&text);
		if (!unit || ckd_mul(&number, number, unit) || ckd_add(&sum, sum, number))
			return -EINVAL;
	} while (text.len);
	*ret = sum;
	return 0;
}

int conf_parse_size(struct span text, uint64_t *ret)
{
	uint64_t v;
	if (!take_digits(&text, &v))
		return -EINVAL;
	unsigned int shift = span_eq_str(text, "K")   ? 10
			     : span_eq_str(text, "M") ? 20
			     : span_eq_str(text, "G") ? 30
						      : 0;
	if (text.len && !shift)
		return -EINVAL;
	if (ckd_mul(&v, v, UINT64_C(1) << shift))
		return -EINVAL;
	*ret = v;
	return 0;
}

int conf_parse_bool(struct span text, bool *ret)
{
	if (!span_eq_str(text, "yes") && !span_eq_str(text, "no"))
		return -EINVAL;
	*ret = span_eq_str(text, "yes");
	return 0;
}

int conf_parse_prefix(struct span text, struct conf_prefix *ret)
{
	struct conf_prefix p = {};
	size_t slash = span_find(text, '/');
	uint64_t bits;
	if (slash == text.len || ip_addr_parse(span_first(text, slash), &p.ip) < 0 ||
	    conf_parse_uint(span_skip(text, slash + 1), &bits) < 0)
		return -EINVAL;
	size_t len = ip_family_len(p.ip.family);
	if (bits > len * 8)
		return -EINVAL;
	p.bits = (uint8_t)bits;
	for (size_t i = 0; i < len; i++) {
		size_t keep = bits > i * 8 ? MIN(bits - i * 8, (size_t)8) : 0;
		p.ip.bytes[i] &= (uint8_t)(0xff00U >> keep);
	}
	*ret = p;
	return 0;
}

int conf_parse_pin(struct span text, uint8_t ret[32])
{
	uint8_t pin[32 + 3];
	struct packer p = packer_over(pin, sizeof(pin));
	if (!span_starts_with(text, SPAN_LIT("sha256/")) ||
	    base64_decode(span_skip(text, 7), &p) < 0 || p.len != 32)
		return -EINVAL;
	memcpy(ret, pin, 32);
	return 0;
}

bool conf_prefix_contains(const struct conf_prefix *prefix, const struct ip_addr *addr)
{
	struct ip_addr a = ip_addr_unmap(*addr);
	return ip_addr_is_in(&a, &prefix->ip, prefix->bits);
}

bool conf_prefix_is_routable(const struct conf_prefix *p)
{
	static const struct conf_prefix none[] = {
		{ { IP_FAMILY_V4, {} }, 8 },
		{ { IP_FAMILY_V4, { 127 } }, 8 },
		{ { IP_FAMILY_V4, { 169, 254 } }, 16 },
		{ { IP_FAMILY_V4, { 224 } }, 3 },
		{ { IP_FAMILY_V6, {} }, 127 },
		{ { IP_FAMILY_V6, { 0xfe, 0x80 } }, 10 },
		{ { IP_FAMILY_V6, { 0xff } }, 8 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		if (p->ip.family == none[i].ip.family && (conf_prefix_contains(p, &none[i].ip) ||
							  conf_prefix_contains(&none[i], &p->ip)))
			return false;
	return true;
}
