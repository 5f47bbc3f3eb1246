/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC sessions and the tunnel's structs under any bytes (selftests/lib/wire_exercise.h).
 */
#ifndef SELFTESTS_LIB_RPC_EXERCISE_H
#define SELFTESTS_LIB_RPC_EXERCISE_H

#include <errno.h>

#include "daemon/wire/dgram_v2_call.h"
#include "daemon/wire/rpc_session.h"
#include "daemon/wire/rpc_tunnel.h"
#include "selftests/lib/wire_exercise.h"

/* What can be understood goes out again with the same meaning. */
static inline void exercise_udp_register(const struct tunnel_udp_register *in)
{
	struct dgram2_register a, b;
	struct dgram2_register_room room;
	struct tunnel_udp_register out;
	const char *reason = NULL;
	exercise_touch(in->dst_ip);
	if (dgram2_register_read(in, &a, &reason) < 0) {
		EXERCISE_CHECK(reason != NULL);
		return;
	}
	dgram2_register_params(&a, &room, &out);
	EXERCISE_CHECK(dgram2_register_read(&out, &b, &reason) == 0);
	EXERCISE_CHECK(dgram_id_eq(&a.id, &b.id) && ip_port_eq(&a.dest, &b.dest));
	EXERCISE_CHECK(a.idle == b.idle && a.is_traced == b.is_traced);
	EXERCISE_CHECK(memcmp(&a.trace, &b.trace, sizeof(a.trace)) == 0);
}

/* Reads the struct as each of the tunnel's, whatever it was meant to be. */
static inline void exercise_structs(const struct capnp_struct *s)
{
	union {
		struct tunnel_register reg;
		struct tunnel_registered registered;
		struct tunnel_udp_register udp_register;
		struct tunnel_udp_registered udp_registered;
		struct tunnel_udp_unregister udp_unregister;
		struct tunnel_config config;
		struct tunnel_config_applied applied;
		struct span local;
	} u;
	if (tunnel_register_decode(s, &u.reg) == 0)
		for (unsigned int i = 0; i < u.reg.feature_count; i++)
			exercise_touch(u.reg.features[i]);
	if (tunnel_registered_decode(s, &u.registered) == 0)
		exercise_touch(u.registered.cause);
	if (tunnel_udp_register_decode(s, &u.udp_register) == 0)
		exercise_udp_register(&u.udp_register);
	if (tunnel_udp_registered_decode(s, &u.udp_registered) == 0)
		exercise_touch(u.udp_registered.spans);
	if (tunnel_udp_unregister_decode(s, &u.udp_unregister) == 0)
		exercise_touch(u.udp_unregister.message);
	if (tunnel_config_decode(s, &u.config) == 0)
		exercise_touch(u.config.config);
	if (tunnel_config_applied_decode(s, &u.applied) == 0)
		exercise_touch(u.applied.error);
	if (tunnel_local_config_decode(s, &u.local) == 0)
		exercise_touch(u.local);
}

/* A session that answers everything at once, as client or as server. */
struct exercise_rpc {
	struct rpc_session session;
	unsigned int returns;
	unsigned int asked;
};

static inline int exercise_emit(void *ctx, struct span frame)
{
	struct capnp_msg m;
	struct rpc_message msg;
	(void)ctx;
	EXERCISE_CHECK(rpc_decode(frame, &m, &msg) == 0);
	return 0;
}

static inline void exercise_on_return(void *ctx, uint64_t tag, const struct rpc_reply *reply)
{
	struct exercise_rpc *x = ctx;
	EXERCISE_CHECK(tag >= 1 && tag <= 2);
	x->returns++;
	exercise_touch(reply->reason);
	if (reply->results)
		exercise_structs(reply->results);
}

static inline int exercise_on_call(void *ctx, uint32_t answer_id, const struct rpc_message *call)
{
	struct exercise_rpc *x = ctx;
	struct rpc_body body = tunnel_empty_body();
	exercise_structs(&call->payload.content);
	if (call->method_id == 0)
		return -EOPNOTSUPP;
	if (call->method_id == 1)
		(void)rpc_session_return(&x->session, answer_id, &body);
	return 0; /* the others stay unanswered */
}

static inline void exercise_session_start(struct exercise_rpc *x, bool is_client)
{
	static const struct rpc_session_ops server = {
		.emit = exercise_emit,
		.on_return = exercise_on_return,
		.on_call = exercise_on_call,
	};
	static const struct rpc_session_ops client = {
		.emit = exercise_emit,
		.on_return = exercise_on_return,
	};
	*x = (struct exercise_rpc){};
	rpc_session_init(&x->session, is_client ? &client : &server, x, exercise_buf,
			 sizeof(exercise_buf));
	if (!is_client)
		return;
	struct rpc_body body = tunnel_empty_body();
	EXERCISE_CHECK(rpc_session_bootstrap(&x->session) == 0);
	for (x->asked = 0; x->asked < 2; x->asked++)
		EXERCISE_CHECK(rpc_session_call(&x->session, RPC_IFACE_REGISTRATION, 1, &body,
						x->asked + 1) == 0);
}

static inline void exercise_session_end(struct exercise_rpc *x)
{
	rpc_session_close(&x->session);
	rpc_session_lost(&x->session);
	EXERCISE_CHECK(x->returns == x->asked); /* each call ends, once */
}

/* One frame into a fresh session of either role. */
static inline int exercise_rpc(struct span frame)
{
	int r = 0;
	for (int is_client = 0; is_client < 2; is_client++) {
		struct exercise_rpc x;
		exercise_session_start(&x, is_client);
		r = rpc_session_input(&x.session, frame);
		EXERCISE_CHECK((r < 0) == !x.session.is_open);
		exercise_session_end(&x);
	}
	return r;
}

#endif
