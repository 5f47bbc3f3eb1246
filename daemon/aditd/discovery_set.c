/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole set of edge addresses. The text is read strictly: a file that was cut, mixed up or edited
 * is no answer, and what is asked instead is DNS.
 */
#include "daemon/aditd/discovery_set.h"

#include <errno.h>

#include "daemon/wire/endpoint.h"

#define HEAD "adit edge addresses 1"
#define FROM "from "
#define END  "end"

static const struct edge_addr *find(const struct edge_set *set, const struct ip_port *addr)
{
	for (unsigned int i = 0; i < set->count; i++)
		if (ip_port_eq(&set->addrs[i].addr, addr))
			return &set->addrs[i];
	return NULL;
}

void edge_set_add(struct edge_set *set, const struct ip_port *addr, uint8_t region)
{
	if (set->count < EDGE_ADDRS_MAX && !find(set, addr))
		set->addrs[set->count++] = (struct edge_addr){ .addr = *addr, .region = region };
}

bool edge_set_eq(const struct edge_set *a, const struct edge_set *b)
{
	if (a->count != b->count)
		return false;
	for (unsigned int i = 0; i < a->count; i++) {
		const struct edge_addr *other = find(b, &a->addrs[i].addr);
		if (!other || other->region != a->addrs[i].region)
			return false;
	}
	return true;
}

void edge_set_keep(struct edge_set *set, const struct edge_set *old, uint8_t bits)
{
	for (unsigned int i = 0; i < old->count; i++) {
		const struct edge_addr *a = &old->addrs[i];
		if (bits & edge_set_bit(a->region, a->addr.ip.family))
			edge_set_add(set, &a->addr, a->region);
	}
}

/* ---- text ---------------------------------------------------------------------------------- */

void edge_set_print(const struct edge_set *set, struct span source, struct packer *p)
{
	packer_str(p, HEAD "\n" FROM);
	packer_bytes(p, source);
	packer_u8(p, '\n');
	for (unsigned int i = 0; i < set->count; i++) {
		packer_u8(p, (uint8_t)('0' + set->addrs[i].region));
		packer_u8(p, ' ');
		ip_port_print(p, &set->addrs[i].addr);
		packer_u8(p, '\n');
	}
	packer_str(p, END "\n");
}

/* The next line without its end; false where none ends. */
static bool next_line(struct span *text, struct span *ret)
{
	size_t len = span_find(*text, '\n');
	if (len == text->len)
		return false;
	*ret = span_first(*text, len);
	*text = span_skip(*text, len + 1);
	return true;
}

static int parse_addr(struct span line, struct edge_set *to)
{
	struct ip_port addr;
	if (line.len < 3 || line.ptr[0] < '0' || line.ptr[0] >= '0' + EDGE_REGIONS ||
	    line.ptr[1] != ' ' || ip_port_parse(span_skip(line, 2), &addr) < 0 || addr.port == 0)
		return -EBADMSG;
	unsigned int before = to->count;
	edge_set_add(to, &addr, (uint8_t)(line.ptr[0] - '0'));
	return to->count > before ? 0 : -EBADMSG;
}

int edge_set_parse(struct span text, struct span source, struct edge_set *ret)
{
	struct edge_set set = {};
	struct span line;
	if (!next_line(&text, &line) || !span_eq_str(line, HEAD) || !next_line(&text, &line) ||
	    !span_starts_with(line, SPAN_LIT(FROM)))
		return -EBADMSG;
	bool is_ours = span_eq(span_skip(line, sizeof(FROM) - 1), source);
	while (next_line(&text, &line) && !span_eq_str(line, END)) {
		int r = parse_addr(line, &set);
		if (r < 0)
			return r;
	}
	if (!span_eq_str(line, END) || text.len || set.count == 0)
		return -EBADMSG;
	if (!is_ours)
		return -ESTALE;
	*ret = set;
	return 0;
}
