/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads any method's params or results and gives a body that writes the same again: for tests that
 * decode a recorded message and build it anew.
 */
#ifndef SELFTESTS_LIB_RPC_METHODS_H
#define SELFTESTS_LIB_RPC_METHODS_H

#include "daemon/wire/rpc_tunnel.h"

enum rpc_half : uint8_t {
	RPC_HALF_PARAMS,
	RPC_HALF_RESULTS,
};

/* Where the decoded struct lives while its body is used. */
union rpc_methods_store {
	struct tunnel_register reg;
	struct tunnel_registered registered;
	struct span local_config;
	struct tunnel_udp_register udp_register;
	struct tunnel_udp_registered udp_registered;
	struct tunnel_udp_unregister udp_unregister;
	struct tunnel_config config;
	struct tunnel_config_applied config_applied;
};

/* 0, -EBADMSG, or -EOPNOTSUPP for a method that nobody has. store is borrowed by *ret. */
int rpc_methods_copy(uint64_t interface_id, uint16_t method_id, enum rpc_half half,
		     const struct capnp_struct *s, union rpc_methods_store *store,
		     struct rpc_body *ret);

#endif
