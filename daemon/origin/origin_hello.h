/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pages of service hello_world (spec ingress-and-origins §4.4).
 */
#ifndef DAEMON_ORIGIN_ORIGIN_HELLO_H
#define DAEMON_ORIGIN_ORIGIN_HELLO_H

#include "daemon/base/bufq.h"
#include "daemon/http/head.h"

struct hello_times {
	nsec_t started_clock; /* CLOCK_REALTIME */
	nsec_t uptime;
};

/*
 * Appends the page for this request: what came, escaped; /_health; /uptime. Every method gets one.
 * *ret_type is static text. Returns 0 or -ENOBUFS (the page may have begun).
 */
[[nodiscard]] int hello_write_page(const struct http_head *request, const struct hello_times *times,
				   struct bufq *page, const char **ret_type);

#endif
