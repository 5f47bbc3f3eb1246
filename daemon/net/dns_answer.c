/* SPDX-License-Identifier: Apache-2.0 */
/*
 * DNS questions and their answers as plain values. An answer is a fixed block, so asking allocates
 * once and what a server sends can't make it grow.
 */
#include "daemon/net/dns_answer.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <strings.h>

#include <ares.h>

#include "util/macro.h"

int dns_error_from_ares(int status)
{
	switch (status) {
	case ARES_SUCCESS:
		return 0;
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
	case ARES_EBADNAME:
	case ARES_ENONAME:
		return -ENOENT;
	case ARES_ETIMEOUT:
		return -ETIMEDOUT;
	case ARES_ENOMEM:
		return -ENOMEM;
	default:
		return -EAGAIN;
	}
}

int dns_type_to_ares(enum dns_type type)
{
	static const int types[DNS_TYPE_MAX_] = {
		[DNS_TYPE_A] = ARES_REC_TYPE_A,
		[DNS_TYPE_AAAA] = ARES_REC_TYPE_AAAA,
		[DNS_TYPE_SRV] = ARES_REC_TYPE_SRV,
		[DNS_TYPE_TXT] = ARES_REC_TYPE_TXT,
	};
	return types[type];
}

/* ---- reading ------------------------------------------------------------------------------- */

static void read_addr(const ares_dns_rr_t *rr, enum dns_type type, struct dns_answer *to)
{
	bool is_v6 = type == DNS_TYPE_AAAA;
	const void *bytes = is_v6 ? (const void *)ares_dns_rr_get_addr6(rr, ARES_RR_AAAA_ADDR)
				  : (const void *)ares_dns_rr_get_addr(rr, ARES_RR_A_ADDR);
	if (!bytes || to->count == DNS_ADDRS_MAX)
		return;
	to->addrs[to->count++] = ip_addr_from(is_v6 ? IP_FAMILY_V6 : IP_FAMILY_V4, bytes);
}

/* The root as a target says that the service isn't there; port 0 leads nowhere. */
static void read_srv(const ares_dns_rr_t *rr, struct dns_answer *to)
{
	struct dns_srv srv = {
		.priority = ares_dns_rr_get_u16(rr, ARES_RR_SRV_PRIORITY),
		.weight = ares_dns_rr_get_u16(rr, ARES_RR_SRV_WEIGHT),
		.port = ares_dns_rr_get_u16(rr, ARES_RR_SRV_PORT),
	};
	const char *target = ares_dns_rr_get_str(rr, ARES_RR_SRV_TARGET);
	size_t len = target ? strlen(target) : 0;
	if (len && target[len - 1] == '.')
		len--;
	if (len == 0 || len > DNS_NAME_MAX || srv.port == 0 || to->count == DNS_SRV_MAX)
		return;
	memcpy(srv.target, target, len);
	to->srv[to->count++] = srv;
}

static int read_text(const ares_dns_rr_t *rr, struct dns_answer *to)
{
	size_t len = 0;
	const unsigned char *bytes = ares_dns_rr_get_bin(rr, ARES_RR_TXT_DATA, &len);
	if (to->count++ > 0)
		return 0;
	if (len > DNS_TEXT_MAX)
		return -EMSGSIZE;
	to->text.len = len;
	if (len)
		memcpy(to->text.bytes, bytes, len);
	return 0;
}

static int read_record(const ares_dns_rr_t *rr, enum dns_type type, struct dns_answer *to)
{
	to->ttl_sec = MIN(to->ttl_sec, ares_dns_rr_get_ttl(rr));
	if ((int)ares_dns_rr_get_type(rr) != dns_type_to_ares(type))
		return 0; /* an alias on the way */
	switch (type) {
	case DNS_TYPE_A:
	case DNS_TYPE_AAAA:
		read_addr(rr, type, to);
		return 0;
	case DNS_TYPE_SRV:
		read_srv(rr, to);
		return 0;
	case DNS_TYPE_TXT:
		return read_text(rr, to);
	case DNS_TYPE_MAX_:
		break;
	}
	return -EINVAL;
}

int dns_answer_read(const struct ares_dns_record *message, enum dns_type type,
		    struct dns_answer *ret)
{
	ares_dns_rcode_t rcode = ares_dns_record_get_rcode(message);
	if (rcode == ARES_RCODE_NXDOMAIN)
		return -ENOENT;
	if (rcode != ARES_RCODE_NOERROR)
		return -EAGAIN;
	ret->type = type;
	ret->count = 0;
	ret->ttl_sec = UINT32_MAX;
	size_t n = ares_dns_record_rr_cnt(message, ARES_SECTION_ANSWER);
	for (size_t i = 0; i < n; i++) {
		const ares_dns_rr_t *rr =
			ares_dns_record_rr_get_const(message, ARES_SECTION_ANSWER, i);
		int r = rr ? read_record(rr, type, ret) : 0;
		if (r < 0)
			return r;
	}
	return ret->count ? 0 : -ENOENT;
}

/* ---- order of services --------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	const struct dns_srv *x = a;
	const struct dns_srv *y = b;
	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	/* A weight of 0 first, so that it has a small chance (RFC 2782); names for a fixed order.
	 */
	if ((x->weight == 0) != (y->weight == 0))
		return x->weight == 0 ? -1 : 1;
	int c = strcasecmp(x->target, y->target);
	return c ? c : (int)x->port - (int)y->port;
}

/* splitmix64: a lot that is drawn again gives the same. */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* The next of equals: the first whose sum of weights reaches a number drawn from 0 … sum. */
static unsigned int pick(const struct dns_srv *srv, unsigned int count, uint64_t *state)
{
	uint64_t sum = 0;
	for (unsigned int i = 0; i < count; i++)
		sum += srv[i].weight;
	uint64_t lot = draw(state) % (sum + 1);
	uint64_t running = 0;
	for (unsigned int i = 0; i < count; i++) {
		running += srv[i].weight;
		if (running >= lot)
			return i;
	}
	return 0;
}

static void order_equals(struct dns_srv *srv, unsigned int count, uint64_t *state)
{
	for (; count > 1; srv++, count--) {
		unsigned int i = pick(srv, count, state);
		struct dns_srv chosen = srv[i];
		memmove(srv + 1, srv, i * sizeof(*srv)); /* the others keep their order */
		srv[0] = chosen;
	}
}

void dns_srv_sort(struct dns_srv *srv, unsigned int count, uint64_t seed)
{
	if (count == 0)
		return;
	qsort(srv, count, sizeof(*srv), compare);
	for (unsigned int from = 0, to = 1; from < count; from = to++) {
		while (to < count && srv[to].priority == srv[from].priority)
			to++;
		order_equals(srv + from, to - from, &seed);
	}
}
