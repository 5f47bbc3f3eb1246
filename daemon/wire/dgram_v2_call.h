/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls that make and end sessions of version 2: what registerUdpSession and
 * unregisterUdpSession mean, at both ends (docs/protocol.md §11.4). The structs and their bytes are
 * daemon/wire/rpc_tunnel.h.
 */
#ifndef DAEMON_WIRE_DGRAM_V2_CALL_H
#define DAEMON_WIRE_DGRAM_V2_CALL_H

#include "daemon/wire/dgram.h"
#include "daemon/wire/rpc_tunnel.h"
#include "daemon/wire/trace.h"
#include "util/addr.h"

/* The refusal by which others know that a daemon has too many flows; compared exactly. */
#define DGRAM2_ERROR_TOO_MANY \
	"failed to start udp session due to rate limiting: too many active flows"

struct dgram2_register {
	struct dgram_id id;
	struct ip_port dest; /* IPv4 also when it came mapped */
	nsec_t idle;         /* 0 in a call that we make: the daemon's default */
	bool is_traced;
	struct trace trace;
};

/* What a call of ours borrows from until its frame is built. */
struct dgram2_register_room {
	uint8_t address[16];
	uint8_t trace[TRACE_TEXT_MAX];
};

/*
 * What the parameters of a registration mean. An idle time that is 0 or less becomes the default,
 * any other is at least one second; a trace that can't be read is none.
 *
 * Returns 0, -EBADMSG to be answered with an exception (wrong id, no address), -EINVAL to be
 * answered with an error in the results (an address of another length); *ret_reason is its text,
 * static.
 */
[[nodiscard]] int dgram2_register_read(const struct tunnel_udp_register *in,
				       struct dgram2_register *ret, const char **ret_reason);
/*
 * Parameters for a registration, borrowed from room and r. An IPv4 address goes out in its mapped
 * form, as others send it.
 */
void dgram2_register_params(const struct dgram2_register *r, struct dgram2_register_room *room,
			    struct tunnel_udp_register *ret);
/* The id of a session that ended. 0, or -EBADMSG to be answered with an exception. */
[[nodiscard]] int dgram2_unregister_read(const struct tunnel_udp_unregister *in,
					 struct dgram_id *ret, const char **ret_reason);

#endif
