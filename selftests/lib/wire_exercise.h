/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives decoders of daemon/wire with any bytes and checks what must hold whatever they are: used
 * by the mutation tests and by the fuzzers, which is why it is all in a header.
 */
#ifndef SELFTESTS_LIB_WIRE_EXERCISE_H
#define SELFTESTS_LIB_WIRE_EXERCISE_H

#include <stdlib.h>

#include "daemon/wire/connect.h"
#include "daemon/wire/preamble.h"
#include "daemon/wire/rpc_session.h"
#include "daemon/wire/rpc_tunnel.h"

static uint8_t exercise_buf[CAPNP_CONNECT_MAX];
static volatile uint8_t exercise_sink;

/* Stops the program where a debugger or libFuzzer sees it. */
#define EXERCISE_CHECK(claim)    \
	do {                     \
		if (!(claim))    \
			abort(); \
	} while (0)

/* Touches every byte, so that a sanitizer sees a span that reaches too far. */
static inline void exercise_touch(struct span s)
{
	uint8_t x = 0;
	for (size_t i = 0; i < s.len; i++)
		x ^= s.ptr[i];
	exercise_sink = x;
}

static inline int exercise_preamble(struct span in)
{
	struct preamble_reader whole = {};
	struct preamble_reader bytes = {};
	struct span rest = in;
	int a = preamble_read(&whole, &rest);
	int b = -EAGAIN;

	/* One byte at a time must end the same, at the same place. */
	size_t used = 0;
	while (b == -EAGAIN && used < in.len) {
		struct span one = span_of(in.ptr + used, 1);
		b = preamble_read(&bytes, &one);
		used += 1 - one.len;
	}
	EXERCISE_CHECK(a == b && whole.kind == bytes.kind);
	EXERCISE_CHECK(a < 0 || in.len - rest.len == used);
	return a;
}

/* Builds the same entries again and reads them back. */
static inline void exercise_rebuild_request(struct connect_request *q)
{
	struct connect_writer w;
	struct connect_iter it = {};
	struct connect_meta e;
	struct span built;
	uint32_t count = 0;
	while (connect_next(&q->meta, &it, &e))
		count++;

	connect_writer_init(&w, exercise_buf, sizeof(exercise_buf));
	connect_request_begin(&w, q->type, q->dest, count);
	it = (struct connect_iter){};
	while (connect_next(&q->meta, &it, &e)) {
		exercise_touch(e.name);
		exercise_touch(e.value);
		if (e.is_header)
			connect_add_header(&w, e.name, e.value);
		else
			connect_add(&w, e.name, e.value);
	}
	/* Overlapping texts can be more than what they were read from. */
	int r = connect_finish(&w, &built);
	EXERCISE_CHECK(r == 0 || r == -ENOBUFS);
	if (r < 0)
		return;

	struct connect_request again;
	EXERCISE_CHECK(connect_request_decode(span_skip(built, PREAMBLE_MAX), &again) == 0);
	EXERCISE_CHECK(again.type == q->type && span_eq(again.dest, q->dest));
	EXERCISE_CHECK(again.meta.count == count && !again.meta.bad_key.ptr);
	EXERCISE_CHECK(span_eq(again.method, q->method) && span_eq(again.host, q->host));
}

static inline int exercise_request(struct span frame)
{
	struct connect_request q;
	int r = connect_request_decode(frame, &q);
	if (r < 0)
		return r;
	exercise_touch(q.dest);
	exercise_touch(q.method);
	exercise_touch(q.host);
	exercise_touch(q.meta.bad_key);
	exercise_rebuild_request(&q);
	return 0;
}

static inline int exercise_response(struct span frame)
{
	struct connect_response p;
	struct connect_iter it = {};
	struct connect_meta e;
	uint32_t headers = 0;
	int r = connect_response_decode(frame, &p);
	if (r < 0)
		return r;
	exercise_touch(p.error);
	while (connect_next(&p.meta, &it, &e)) {
		headers += e.is_header;
		exercise_touch(e.name);
		exercise_touch(e.value);
	}
	EXERCISE_CHECK(headers == p.meta.header_count);
	EXERCISE_CHECK(p.status == 0 || (p.status >= 100 && p.status <= 999));
	return 0;
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
		exercise_touch(u.udp_register.dst_ip);
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

/* Copies the whole message, which follows every pointer in it. */
static inline int exercise_copy(struct span frame)
{
	struct capnp_msg m;
	struct capnp_builder b;
	struct span copy;
	int r = capnp_msg_open(frame, &m);
	if (r < 0)
		return r;
	struct capnp_struct root = capnp_root(&m);
	capnp_build_init(&b, exercise_buf, sizeof(exercise_buf));
	capnp_put_copy(&b, (struct capnp_ref){ .at = 8, .ptr_count = 1 }, 0, &root);
	r = capnp_msg_finish(&m);
	if (r < 0 || capnp_build_finish(&b, &copy) < 0)
		return r;

	struct capnp_msg again;
	EXERCISE_CHECK(capnp_msg_open(copy, &again) == 0);
	root = capnp_root(&again);
	EXERCISE_CHECK(capnp_msg_finish(&again) == 0);
	return 0;
}

#endif
