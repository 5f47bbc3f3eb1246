/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads any method's params or results and gives a body that writes the same again: for tests that
 * decode a recorded message and build it anew. A header, because emulated tests link no helpers.
 */
#ifndef SELFTESTS_LIB_RPC_METHODS_H
#define SELFTESTS_LIB_RPC_METHODS_H

#include <errno.h>

#include "daemon/wire/rpc_tunnel.h"
#include "util/macro.h"

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

#define RPC_METHODS_COPIER(name, member, decode, body)                                   \
	static inline int name(const struct capnp_struct *s, union rpc_methods_store *u, \
			       struct rpc_body *ret)                                     \
	{                                                                                \
		int r = decode(s, &u->member);                                           \
		*ret = r < 0 ? (struct rpc_body){} : body(&u->member);                   \
		return r;                                                                \
	}

RPC_METHODS_COPIER(copy_register, reg, tunnel_register_decode, tunnel_register_body)
RPC_METHODS_COPIER(copy_registered, registered, tunnel_registered_decode, tunnel_registered_body)
RPC_METHODS_COPIER(copy_local_config, local_config, tunnel_local_config_decode,
		   tunnel_local_config_body)
RPC_METHODS_COPIER(copy_udp_register, udp_register, tunnel_udp_register_decode,
		   tunnel_udp_register_body)
RPC_METHODS_COPIER(copy_udp_registered, udp_registered, tunnel_udp_registered_decode,
		   tunnel_udp_registered_body)
RPC_METHODS_COPIER(copy_udp_unregister, udp_unregister, tunnel_udp_unregister_decode,
		   tunnel_udp_unregister_body)
RPC_METHODS_COPIER(copy_config, config, tunnel_config_decode, tunnel_config_body)
RPC_METHODS_COPIER(copy_config_applied, config_applied, tunnel_config_applied_decode,
		   tunnel_config_applied_body)

static inline int copy_empty(const struct capnp_struct *s, union rpc_methods_store *u,
			     struct rpc_body *ret)
{
	(void)u;
	*ret = tunnel_empty_body();
	return capnp_msg_finish(s->msg);
}
#undef RPC_METHODS_COPIER

struct rpc_methods_entry {
	uint64_t interface_id;
	uint16_t method_id;
	int (*copy[2])(const struct capnp_struct *s, union rpc_methods_store *u,
		       struct rpc_body *ret); /* by enum rpc_half */
};

/* Which half of which method. */
struct rpc_methods_id {
	uint64_t interface_id;
	uint16_t method_id;
	enum rpc_half half;
};

/* 0, -EBADMSG, or -EOPNOTSUPP for a method that nobody has. store is borrowed by *ret. */
static inline int rpc_methods_copy(struct rpc_methods_id id, const struct capnp_struct *s,
				   union rpc_methods_store *store, struct rpc_body *ret)
{
	static const struct rpc_methods_entry methods[] = {
		{ RPC_IFACE_REGISTRATION,
		  RPC_REGISTER_CONNECTION,
		  { copy_register, copy_registered } },
		{ RPC_IFACE_REGISTRATION, RPC_UNREGISTER_CONNECTION, { copy_empty, copy_empty } },
		{ RPC_IFACE_REGISTRATION,
		  RPC_UPDATE_LOCAL_CONFIGURATION,
		  { copy_local_config, copy_empty } },
		{ RPC_IFACE_SESSION,
		  RPC_REGISTER_UDP_SESSION,
		  { copy_udp_register, copy_udp_registered } },
		{ RPC_IFACE_SESSION,
		  RPC_UNREGISTER_UDP_SESSION,
		  { copy_udp_unregister, copy_empty } },
		{ RPC_IFACE_CONFIGURATION,
		  RPC_UPDATE_CONFIGURATION,
		  { copy_config, copy_config_applied } },
	};
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (methods[i].interface_id == id.interface_id &&
		    methods[i].method_id == id.method_id)
			return methods[i].copy[id.half](s, store, ret);
	return -EOPNOTSUPP;
}

#endif
