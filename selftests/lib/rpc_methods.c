/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The methods of the tunnel as a table of "decode, then give the body".
 */
#include "selftests/lib/rpc_methods.h"

#include <errno.h>

#include "util/macro.h"

#define COPIER(name, member, decode, body)                                        \
	static int name(const struct capnp_struct *s, union rpc_methods_store *u, \
			struct rpc_body *ret)                                     \
	{                                                                         \
		int r = decode(s, &u->member);                                    \
		*ret = r < 0 ? (struct rpc_body){} : body(&u->member);            \
		return r;                                                         \
	}

COPIER(copy_register, reg, tunnel_register_decode, tunnel_register_body)
COPIER(copy_registered, registered, tunnel_registered_decode, tunnel_registered_body)
COPIER(copy_local_config, local_config, tunnel_local_config_decode, tunnel_local_config_body)
COPIER(copy_udp_register, udp_register, tunnel_udp_register_decode, tunnel_udp_register_body)
COPIER(copy_udp_registered, udp_registered, tunnel_udp_registered_decode,
       tunnel_udp_registered_body)
COPIER(copy_udp_unregister, udp_unregister, tunnel_udp_unregister_decode,
       tunnel_udp_unregister_body)
COPIER(copy_config, config, tunnel_config_decode, tunnel_config_body)
COPIER(copy_config_applied, config_applied, tunnel_config_applied_decode,
       tunnel_config_applied_body)

static int copy_empty(const struct capnp_struct *s, union rpc_methods_store *u,
		      struct rpc_body *ret)
{
	(void)u;
	*ret = tunnel_empty_body();
	return capnp_msg_finish(s->msg);
}

static const struct {
	uint64_t interface_id;
	uint16_t method_id;
	int (*copy[2])(const struct capnp_struct *s, union rpc_methods_store *u,
		       struct rpc_body *ret); /* by enum rpc_half */
} methods[] = {
	{ RPC_IFACE_REGISTRATION, RPC_REGISTER_CONNECTION, { copy_register, copy_registered } },
	{ RPC_IFACE_REGISTRATION, RPC_UNREGISTER_CONNECTION, { copy_empty, copy_empty } },
	{ RPC_IFACE_REGISTRATION,
	  RPC_UPDATE_LOCAL_CONFIGURATION,
	  { copy_local_config, copy_empty } },
	{ RPC_IFACE_SESSION, RPC_REGISTER_UDP_SESSION, { copy_udp_register, copy_udp_registered } },
	{ RPC_IFACE_SESSION, RPC_UNREGISTER_UDP_SESSION, { copy_udp_unregister, copy_empty } },
	{ RPC_IFACE_CONFIGURATION, RPC_UPDATE_CONFIGURATION, { copy_config, copy_config_applied } },
};

int rpc_methods_copy(uint64_t interface_id, uint16_t method_id, enum rpc_half half,
		     const struct capnp_struct *s, union rpc_methods_store *store,
		     struct rpc_body *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		if (methods[i].interface_id == interface_id && methods[i].method_id == method_id)
			return methods[i].copy[half](s, store, ret);
	return -EOPNOTSUPP;
}
