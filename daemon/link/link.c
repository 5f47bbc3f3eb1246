/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The part of a link that all transports share: calls go to the transport's table.
 */
#include "daemon/link/link.h"

#include <errno.h>

#include "util/macro.h"

const char *link_protocol_name(enum link_protocol protocol)
{
	static const char *const names[LINK_PROTOCOL_MAX_] = {
		[LINK_PROTOCOL_QUIC] = "quic",
		[LINK_PROTOCOL_HTTP2] = "http2",
	};
	return protocol < ARRAY_SIZE(names) ? names[protocol] : "unknown";
}

const char *link_end_name(enum link_end end)
{
	static const char *const names[LINK_END_MAX_] = {
		[LINK_END_NONE] = "none",
		[LINK_END_LOCAL] = "local",
		[LINK_END_PEER] = "peer",
		[LINK_END_IDLE] = "idle",
		[LINK_END_RESET] = "reset",
		[LINK_END_HANDSHAKE] = "handshake",
		[LINK_END_CERTIFICATE] = "certificate",
		[LINK_END_REFUSED] = "refused",
		[LINK_END_NETWORK] = "network",
		[LINK_END_PROTOCOL] = "protocol",
	};
	return end < ARRAY_SIZE(names) ? names[end] : "unknown";
}

int link_open_stream(struct link *link, struct stream **ret)
{
	if (!link_is_up(link))
		return -EPROTO;
	return link->ops->open_stream(link, ret);
}

int link_send_datagram(struct link *link, enum datagram_kind kind, struct span payload)
{
	return link->ops->send_datagram(link, kind, payload);
}

size_t link_max_datagram(const struct link *link)
{
	return link->ops->max_datagram(link);
}

void link_probe(struct link *link)
{
	link->ops->probe(link);
}

void link_drain(struct link *link)
{
	link->ops->drain(link);
}

void link_close(struct link *link, uint64_t code, const char *reason)
{
	link->ops->close(link, code, reason);
}

int link_migrate(struct link *link)
{
	return link->ops->migrate(link);
}

void link_set_registered(struct link *link)
{
	link->ops->set_registered(link);
}

void link_get_stats(struct link *link, struct link_stats *ret)
{
	link->ops->get_stats(link, ret);
}

void link_free(struct link *link)
{
	if (link)
		link->ops->free(link);
}
