/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What helps to find a packet's worker. All of them compute the same (include/abi/steer.h); nothing
 * relies on it, as a packet is looked at again by whoever gets it.
 */
#include "daemon/link/quic_steer.h"

#include "daemon/link/quic_cid.h"
#include "daemon/net/port_steer.h"

const char *quic_steering_name(enum quic_steering steering)
{
	static const char *const names[] = {
		[QUIC_STEERING_FILTER] = "filter",
		[QUIC_STEERING_PROGRAM] = "program",
		[QUIC_STEERING_NONE] = "none",
	};
	return names[steering];
}

enum quic_steering quic_steer(const int *fds, unsigned int workers, const struct ip_port *addr,
			      const struct log *log)
{
	static const char text[] = "packets find their worker";
	int r = quic_cid_attach_steering(fds[0], workers);
	if (r == 0) {
		log_info(log, "link", text, KV_ADDR("address", addr), KV_STR("by", "filter"));
		return QUIC_STEERING_FILTER;
	}
	const char *why = NULL;
	int again = port_steer_attach(fds, workers, &why);
	if (again == 0) {
		log_notice(log, "link", text, KV_ADDR("address", addr), KV_STR("by", "program"),
			   KV_STR("reason", "the kernel takes no classic filter"), KV_ERR(r));
		return QUIC_STEERING_PROGRAM;
	}
	log_warning(log, "link",
		    "packets don't find their worker by themselves: workers hand them on",
		    KV_ADDR("address", addr), KV_STR("reason", why), KV_ERR(again),
		    KV_I64("filter_error", r));
	return QUIC_STEERING_NONE;
}
