/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values of status answers as text.
 */
#include "daemon/admin/row.h"

#include "daemon/wire/endpoint.h"

const char *admin_addr(const struct ip_port *addr, char buf[ADMIN_ADDR_MAX])
{
	buf[0] = '\0';
	if (addr->ip.family == IP_FAMILY_NONE)
		return buf;
	struct packer p = packer_over(buf, ADMIN_ADDR_MAX - 1);
	ip_port_print(&p, addr);
	buf[p.len] = '\0';
	return buf;
}

const char *admin_ecn(const struct link_stats *stats)
{
	return stats->ecn > 0 ? "validated" : stats->ecn < 0 ? "failed" : "testing";
}

uint64_t admin_loss_ppm(const struct link_stats *stats)
{
	return stats->tx_packets ? stats->lost_packets * 1000000 / stats->tx_packets : 0;
}

uint64_t admin_realtime_usec(nsec_t monotonic)
{
	if (monotonic == 0)
		return 0;
	nsec_t age = nsec_sub(nsec_clock(CLOCK_MONOTONIC), monotonic);
	return (nsec_clock(CLOCK_REALTIME) - age) / NSEC_PER_USEC;
}
