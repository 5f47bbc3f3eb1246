/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts of single values to typed values: durations, sizes, numbers, prefixes, pins. Pure.
 * Addresses are read by daemon/wire/endpoint.h.
 */
#ifndef DAEMON_CONF_VALUE_H
#define DAEMON_CONF_VALUE_H

#include "util/addr.h"
#include "util/span.h"
#include "util/time.h"

/* host:port. addr.ip.family is NONE when host is a name; addr.port is always set. */
struct conf_addr {
	const char *host; /* name or address without brackets, lower case */
	struct ip_port addr;
};

struct conf_prefix {
	struct ip_addr ip; /* host bits are zero */
	uint8_t bits;      /* 0–32 or 0–128 */
};

/* All of these return 0 or -EINVAL and write ret only on success; the text needs no NUL. */

/* "250ms", "30s", "5m", "1h", also "1h30m"; "0" needs no unit. */
[[nodiscard]] int conf_parse_duration(struct span text, nsec_t *ret);
/* Bytes: "64K", "16M", "2G" (binary), or without a unit. */
[[nodiscard]] int conf_parse_size(struct span text, uint64_t *ret);
/* Decimal digits only. */
[[nodiscard]] int conf_parse_uint(struct span text, uint64_t *ret);
/* "yes" or "no". */
[[nodiscard]] int conf_parse_bool(struct span text, bool *ret);
/* "10.0.0.0/8", "2001:db8::/32"; host bits are cleared. */
[[nodiscard]] int conf_parse_prefix(struct span text, struct conf_prefix *ret);
/* "sha256/BASE64" with exactly 32 bytes. */
[[nodiscard]] int conf_parse_pin(struct span text, uint8_t ret[32]);

/* Does the address (IPv4-mapped counts as IPv4) lie in the prefix? */
bool conf_prefix_contains(const struct conf_prefix *prefix, const struct ip_addr *addr);
/* Can it be a network elsewhere? Not with loopback, link-local or multicast addresses in it. */
bool conf_prefix_is_routable(const struct conf_prefix *p);

#endif
