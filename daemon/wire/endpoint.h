/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Addresses as people write them: host:port, 1.2.3.4:port, [v6]:port, unix:path; parse and print.
 * No names are resolved.
 */
#ifndef DAEMON_WIRE_ENDPOINT_H
#define DAEMON_WIRE_ENDPOINT_H

#include "util/addr.h"
#include "util/packer.h"

#define ENDPOINT_HOST_MAX 253
#define ENDPOINT_PATH_MAX 107 /* sun_path without its NUL */
#define ENDPOINT_TEXT_MAX 264 /* longest print of any endpoint, with NUL */
#define ADDR_TEXT_MAX     46  /* longest print of an address, with NUL */

enum endpoint_kind : uint8_t {
	ENDPOINT_KIND_NONE,
	ENDPOINT_KIND_IP,   /* addr */
	ENDPOINT_KIND_NAME, /* name and addr.port */
	ENDPOINT_KIND_UNIX, /* name is the path */
};

struct endpoint {
	enum endpoint_kind kind;
	struct ip_port addr;
	struct span name; /* borrowed from the text */
};

/*
 * Reads one endpoint. A port from 0 to 65535 is required except for unix: (0 is for "choose one").
 * Names: letters, digits, '-', '_', '.'; labels of 1 to 63, at most 253, one last dot allowed.
 * A scope of a link-local address must be a number ("fe80::1%2").
 *
 * Returns 0 or -EINVAL with a reason (static text).
 */
[[nodiscard]] int endpoint_parse(struct span text, struct endpoint *ret, const char **ret_reason);
/* Takes the next element off a list separated by blanks or commas; false at its end. */
bool endpoint_list_next(struct span *list, struct span *ret_item);
void endpoint_print(struct packer *p, const struct endpoint *e);

/* 1.2.3.4 or v6 without brackets. 0 or -EINVAL. */
[[nodiscard]] int ip_addr_parse(struct span text, struct ip_addr *ret);
/* The shortest form of RFC 5952. */
void ip_addr_print(struct packer *p, const struct ip_addr *a);
/* IP:port or [IP%scope]:port; literal addresses only. 0 or -EINVAL. */
[[nodiscard]] int ip_port_parse(struct span text, struct ip_port *ret);
void ip_port_print(struct packer *p, const struct ip_port *a);

#endif
