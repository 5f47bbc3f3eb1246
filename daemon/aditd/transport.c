/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order of transports.
 */
#include "daemon/aditd/transport.h"

#define FNV_OFFSET UINT32_C(2166136261)
#define FNV_PRIME  UINT32_C(16777619)

unsigned int transport_threshold(struct span account_tag)
{
	uint32_t hash = FNV_OFFSET;
	for (size_t i = 0; i < account_tag.len; i++)
		hash = (hash ^ account_tag.ptr[i]) * FNV_PRIME;
	return hash % 100;
}

static enum link_protocol order(const struct transport_percent *percent, unsigned int threshold)
{
	if (!percent || percent->quic > (int)threshold)
		return LINK_PROTOCOL_QUIC;
	return percent->http2 > (int)threshold ? LINK_PROTOCOL_HTTP2 : LINK_PROTOCOL_QUIC;
}

struct transport_choice transport_choose(enum conf_protocol protocol,
					 const struct transport_percent *percent,
					 unsigned int threshold)
{
	switch (protocol) {
	case CONF_PROTOCOL_AUTO:
		return (struct transport_choice){ .first = order(percent, threshold),
						  .has_other = true };
	case CONF_PROTOCOL_HTTP2:
		return (struct transport_choice){ .first = LINK_PROTOCOL_HTTP2 };
	case CONF_PROTOCOL_QUIC:
		break;
	}
	return (struct transport_choice){ .first = LINK_PROTOCOL_QUIC };
}
