/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failure to status, page and word (spec §9): one table. Texts never name the origin's address.
 */
#include "daemon/proxy/reason.h"

#include <errno.h>
#include <string.h>

#include "daemon/flow/relay.h"
#include "util/macro.h"

/* clang-format off */
static const struct proxy_reason_info table[PROXY_REASON_MAX_] = {
	[PROXY_REASON_NONE] = { "none", 500, 0, "Error", "" },
	[PROXY_REASON_NO_SUCH_HOST] = { "no-such-host", 404, 0, "No such host", "Nothing is published under this name here." },
	[PROXY_REASON_TUNNEL_OFFLINE] = { "tunnel-offline", 503, 5, "Tunnel offline", "The tunnel behind this name is not connected. Try again in a moment." },
	[PROXY_REASON_TUNNEL_LOST] = { "tunnel-lost", 502, 0, "Tunnel lost", "The tunnel behind this name broke off during the request." },
	[PROXY_REASON_ORIGIN_REFUSED] = { "origin-refused", 502, 0, "Service refused", "The service behind the tunnel does not accept connections." },
	[PROXY_REASON_ORIGIN_UNREACHABLE] = { "origin-unreachable", 502, 0, "Service unreachable", "The tunnel could not reach the service behind it." },
	[PROXY_REASON_ORIGIN_TLS] = { "origin-tls", 502, 0, "Service TLS error", "The service behind the tunnel could not be verified." },
	[PROXY_REASON_ORIGIN_PROTOCOL] = { "origin-protocol", 502, 0, "Bad answer", "The service behind the tunnel gave an answer that is not HTTP." },
	[PROXY_REASON_ORIGIN_TIMEOUT] = { "origin-timeout", 504, 0, "Service timeout", "The service behind the tunnel did not answer in time." },
	[PROXY_REASON_ORIGIN_RESET] = { "origin-reset", 502, 0, "Service broke off", "The service behind the tunnel broke the connection off." },
	[PROXY_REASON_OVERLOADED] = { "overloaded", 503, 1, "Overloaded", "Too much is going on right now. Try again in a moment." },
	[PROXY_REASON_ACCESS_DENIED] = { "access-denied", 403, 0, "Access denied", "You may not see this." },
	[PROXY_REASON_RULE_COST] = { "rule-cost", 503, 0, "Rule too costly", "A path expression of the tunnel was too costly for this address." },
	[PROXY_REASON_VISITOR_GONE] = { "visitor-gone", 499, 0, "Visitor gone", "" },
	[PROXY_REASON_BAD_REQUEST] = { "bad-request", 400, 0, "Bad request", "The request was not understood." },
	[PROXY_REASON_HEADER_TOO_LARGE] = { "header-too-large", 431, 0, "Header too large", "The request's header fields are too large." },
	[PROXY_REASON_BODY_TOO_LARGE] = { "body-too-large", 413, 0, "Body too large", "The request's body is too large." },
	[PROXY_REASON_HEADER_TIMEOUT] = { "header-timeout", 408, 0, "Request timeout", "The request took too long to arrive." },
};
/* clang-format on */

const struct proxy_reason_info *proxy_reason_info(enum proxy_reason reason)
{
	return &table[reason < PROXY_REASON_MAX_ ? reason : PROXY_REASON_NONE];
}

enum proxy_reason proxy_reason_find(const char *name, unsigned int len)
{
	for (unsigned int i = 1; i < ARRAY_SIZE(table); i++)
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0)
			return (enum proxy_reason)i;
	return PROXY_REASON_NONE;
}

/* Others reset with any number; of ours only this one is sent without an ABORT frame. */
enum proxy_reason proxy_reason_of_reset(uint64_t code, enum proxy_reason fallback)
{
	return code == PROXY_REASON_OVERLOADED ? PROXY_REASON_OVERLOADED : fallback;
}

enum proxy_reason proxy_reason_of_relay(const struct relay *relay)
{
	const struct pump *up = &relay->a_to_b, *down = &relay->b_to_a;
	if (down->state == PUMP_STATE_SOURCE_FAILED)
		return down->error == -ETIMEDOUT
			       ? PROXY_REASON_ORIGIN_TIMEOUT
			       : proxy_reason_of_reset(down->code, PROXY_REASON_ORIGIN_RESET);
	if (up->state == PUMP_STATE_SOURCE_FAILED)
		return proxy_reason_of_reset(up->code, PROXY_REASON_VISITOR_GONE);
	return PROXY_REASON_NONE;
}

enum proxy_reason proxy_reason_of_failure(enum origin_failure failure)
{
	switch (failure) {
	case ORIGIN_FAILURE_REFUSED:
		return PROXY_REASON_ORIGIN_REFUSED;
	case ORIGIN_FAILURE_TLS:
		return PROXY_REASON_ORIGIN_TLS;
	case ORIGIN_FAILURE_TIMEOUT:
		return PROXY_REASON_ORIGIN_TIMEOUT;
	case ORIGIN_FAILURE_PROTOCOL:
		return PROXY_REASON_ORIGIN_PROTOCOL;
	case ORIGIN_FAILURE_RESET:
		return PROXY_REASON_ORIGIN_RESET;
	case ORIGIN_FAILURE_OVERLOADED:
		return PROXY_REASON_OVERLOADED;
	case ORIGIN_FAILURE_NONE:
	case ORIGIN_FAILURE_UNREACHABLE:
	case ORIGIN_FAILURE_MAX_:
		break;
	}
	return PROXY_REASON_ORIGIN_UNREACHABLE;
}
