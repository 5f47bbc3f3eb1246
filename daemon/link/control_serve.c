/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control stream, server side. A configuration may be large (4 MiB) and is accepted only from a
 * registered connection; everything before that is bounded by 64 KiB (spec §13).
 */
#include "daemon/link/control_serve.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/link/rpc_channel.h"
#include "util/cleanup.h"

struct control_serve {
	struct rpc_channel *channel;
	struct loop *loop;
	const struct control_serve_events *events;
	void *user;
	bool is_registered;
	struct loop_garbage garbage;
};

static int serve_register(struct control_serve *cs, uint32_t answer_id,
			  const struct capnp_struct *params)
{
	struct tunnel_register reg;
	struct tunnel_registered answer = {};
	int r = tunnel_register_decode(params, &reg);
	if (r == 0)
		r = cs->events->on_register(cs, &reg, &answer, cs->user);
	if (r == -ECANCELED)
		return 0;
	if (r < 0)
		return rpc_session_return_exception(&cs->channel->session, answer_id,
						    SPAN_LIT("malformed registration"));
	if (answer.verdict == TUNNEL_VERDICT_DETAILS) {
		cs->is_registered = true;
		rpc_channel_set_frame_max(cs->channel, CAPNP_CONFIG_RPC_MAX);
	}
	struct rpc_body body = tunnel_registered_body(&answer);
	return rpc_session_return(&cs->channel->session, answer_id, &body);
}

static int serve_config(struct control_serve *cs, uint32_t answer_id,
			const struct capnp_struct *params)
{
	struct span json = {};
	if (!cs->is_registered || tunnel_local_config_decode(params, &json) < 0)
		return rpc_session_return_exception(&cs->channel->session, answer_id,
						    SPAN_LIT("no configuration expected"));
	cs->events->on_local_config(cs, json, cs->user);
	struct rpc_body body = tunnel_empty_body();
	return rpc_session_return(&cs->channel->session, answer_id, &body);
}

static int on_call(void *user, uint32_t answer_id, const struct rpc_message *call)
{
	struct control_serve *cs = user;
	if (call->interface_id != RPC_IFACE_REGISTRATION)
		return -EOPNOTSUPP;
	switch (call->method_id) {
	case RPC_REGISTER_CONNECTION:
		(void)serve_register(cs, answer_id, &call->payload.content);
		return 0;
	case RPC_UPDATE_LOCAL_CONFIGURATION:
		(void)serve_config(cs, answer_id, &call->payload.content);
		return 0;
	case RPC_UNREGISTER_CONNECTION: {
		struct rpc_body body = tunnel_empty_body();
		(void)rpc_session_return(&cs->channel->session, answer_id, &body);
		cs->events->on_unregister(cs, cs->user);
		return 0;
	}
	default:
		return -EOPNOTSUPP;
	}
}

static void on_end(void *user, enum rpc_channel_end end)
{
	struct control_serve *cs = user;
	cs->events->on_end(cs, end, cs->user);
}

static const struct rpc_channel_ops channel_ops = {
	.on_call = on_call,
	.on_end = on_end,
};

static void serve_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct control_serve, garbage));
}

int control_serve_new(struct loop *loop, struct stream *stream,
		      const struct control_serve_events *events, void *user,
		      struct control_serve **ret)
{
	struct control_serve *cs = calloc(1, sizeof(*cs));
	if (!cs) {
		stream_close(stream);
		return -ENOMEM;
	}
	cs->loop = loop;
	cs->events = events;
	cs->user = user;
	cs->garbage.release = serve_release;
	int r = rpc_channel_new(loop, stream, &channel_ops, cs, &cs->channel);
	if (r < 0) {
		free(cs);
		return r;
	}
	*ret = cs;
	return 0;
}

void control_serve_set_timeout(struct control_serve *cs, nsec_t timeout)
{
	rpc_channel_set_timeout(cs->channel, timeout, false);
}

void control_serve_go_away(struct control_serve *cs)
{
	rpc_channel_close(TAKE_PTR(cs->channel), false);
}

void control_serve_free(struct control_serve *cs)
{
	if (!cs)
		return;
	rpc_channel_close(TAKE_PTR(cs->channel), false);
	loop_defer_free(cs->loop, &cs->garbage);
}
