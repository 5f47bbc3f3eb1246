/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Why an exchange failed: one list for logs, metrics, error pages and ABORT frames (spec §9).
 */
#ifndef DAEMON_PROXY_REASON_H
#define DAEMON_PROXY_REASON_H

#include "daemon/origin/origin.h"

struct relay;

/* Numbered from 1 in the table's order; new ones go to the end. */
enum proxy_reason : uint8_t {
	PROXY_REASON_NONE,
	PROXY_REASON_NO_SUCH_HOST,
	PROXY_REASON_TUNNEL_OFFLINE,
	PROXY_REASON_TUNNEL_LOST,
	PROXY_REASON_ORIGIN_REFUSED,
	PROXY_REASON_ORIGIN_UNREACHABLE,
	PROXY_REASON_ORIGIN_TLS,
	PROXY_REASON_ORIGIN_PROTOCOL,
	PROXY_REASON_ORIGIN_TIMEOUT,
	PROXY_REASON_ORIGIN_RESET,
	PROXY_REASON_OVERLOADED,
	PROXY_REASON_ACCESS_DENIED,
	PROXY_REASON_RULE_COST,
	PROXY_REASON_VISITOR_GONE,
	PROXY_REASON_BAD_REQUEST,
	PROXY_REASON_HEADER_TOO_LARGE,
	PROXY_REASON_BODY_TOO_LARGE,
	PROXY_REASON_HEADER_TIMEOUT,
	PROXY_REASON_MAX_,
};

struct proxy_reason_info {
	const char *name;         /* in logs, metrics and Adit-Error */
	unsigned int status;      /* what the visitor gets when no head is out yet */
	unsigned int retry_after; /* seconds; 0: no Retry-After field */
	const char *title;        /* of the error page */
	const char *advice;       /* one sentence for the visitor: which side, what to do */
};

/* The row of a reason; borrowed. */
const struct proxy_reason_info *proxy_reason_info(enum proxy_reason reason);
/* The reason of this name (as in a daemon's error text), or NONE. */
enum proxy_reason proxy_reason_find(const char *name, unsigned int len);
/* The reason with which a stream was reset (stream.error_code); fallback where the code says none.
 */
enum proxy_reason proxy_reason_of_reset(uint64_t code, enum proxy_reason fallback);
/* Why a relay ended whose side a is the visitor's and whose side b the origin's; NONE: well. */
enum proxy_reason proxy_reason_of_relay(const struct relay *relay);
/* Why an origin gave no answer. */
enum proxy_reason proxy_reason_of_failure(enum origin_failure failure);

#endif
