/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of status answers as text.
 */
#ifndef DAEMON_ADMIN_ROW_H
#define DAEMON_ADMIN_ROW_H

#include "daemon/link/link.h"

enum { ADMIN_ADDR_MAX = 264 };

/* "address:port" into buf; "" for no address. Returns buf. */
const char *admin_addr(const struct ip_port *addr, char buf[ADMIN_ADDR_MAX]);
/* "validated", "testing", "failed" */
const char *admin_ecn(const struct link_stats *stats);
/* Lost packets per million sent. */
uint64_t admin_loss_ppm(const struct link_stats *stats);
/* CLOCK_REALTIME microseconds of a CLOCK_MONOTONIC time; 0 stays 0. */
uint64_t admin_realtime_usec(nsec_t monotonic);

#endif
