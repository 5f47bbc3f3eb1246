/* SPDX-License-Identifier: Apache-2.0 */
/*
 * URIs and authorities taken apart without copying (RFC 3986), paths decoded for matching, hosts
 * normalised.
 */
#ifndef DAEMON_WIRE_URI_H
#define DAEMON_WIRE_URI_H

#include "util/packer.h"

/* Parts of an absolute URL or of a path with query; borrowed. ptr NULL = absent. */
struct uri {
	struct span scheme;    /* as written */
	struct span authority; /* whole: userinfo@host:port */
	struct span host;      /* brackets kept */
	struct span port;      /* digits; empty when only the colon is there */
	struct span path;      /* as written, percent-encoded */
	struct span query;     /* without '?' */
	struct span target;    /* path and query together, as sent to an origin */
};

/*
 * Takes apart "scheme://authority/path?query#fragment", "/path?query" or "" (docs/protocol.md
 * §10.3). The fragment is dropped. Refused: control characters, blanks, a bad percent escape in the
 * path, a port that isn't digits, an unclosed bracket, a scheme without "//".
 *
 * Returns 0 or -EBADMSG.
 */
[[nodiscard]] int uri_parse(struct span text, struct uri *ret);

/*
 * Appends the path with percent escapes decoded, as rules match it. Bytes are not changed otherwise
 * (no dot segments are removed). 0, -EBADMSG (bad escape), -ENOBUFS.
 */
[[nodiscard]] int uri_path_decode(struct span path, struct packer *p);

/*
 * The host that rules are matched with, from an authority: port taken off when it splits as
 * host:port (then brackets too), ASCII letters in lower case, one last dot removed. What doesn't
 * split stays whole ("a:1:2", a bare "[::1]").
 *
 * Returns 0 or -ENOBUFS.
 */
[[nodiscard]] int uri_host_normalize(struct span authority, struct packer *p);
/* The first half of that: host:port split and brackets removed, borrowed. */
struct span uri_host_strip_port(struct span authority);

#endif
