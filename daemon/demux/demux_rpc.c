/* SPDX-License-Identifier: Apache-2.0 */
/*
 * RPC streams that an edge opens. A call about UDP sessions concerns the link of its stream, which
 * may have ended since; configuration comes from the local file, so a pushed one is answered,
 * truthfully, with a refusal (docs/protocol.md §8.2-§8.4).
 */
#include "daemon/demux/demux_rpc.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/link/rpc_channel.h"
#include "daemon/session/v2.h"
#include "util/cleanup.h"
#include "util/macro.h"

struct demux_rpc {
	struct demux *demux;
	struct rpc_channel *channel;
	uint64_t port;
	struct timer deadline;
	struct list node;
	struct loop_garbage garbage;
};

static void rpc_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct demux_rpc, garbage));
}

static void rpc_done(struct demux_rpc *rpc, bool polite)
{
	timer_stop(&rpc->deadline);
	rpc_channel_close(TAKE_PTR(rpc->channel), polite);
	list_remove(&rpc->node);
	loop_defer_free(rpc->demux->proxy->worker->loop, &rpc->garbage);
}

/* Each answers, and returns whether what was asked for is so now. */

static bool return_exception(struct demux_rpc *rpc, uint32_t answer_id, const char *text)
{
	(void)rpc_session_return_exception(&rpc->channel->session, answer_id, span_str(text));
	return false;
}

/* The link's port; NULL: it has ended. */
static struct flow_port *port_of(const struct demux_rpc *rpc)
{
	return rpc->demux->flows ? flow_port_find(rpc->demux->flows, rpc->port) : NULL;
}

static struct flow_counters *counters_of(const struct flow_port *port)
{
	return &port->table->by_index[port->index];
}

/* NULL: the session is there now; else why not. */
static const char *make_session(struct flow_port *port, const struct dgram2_register *reg)
{
	if (port && port->v2)
		return v2_register(port, reg);
	if (port)
		counters_of(port)->unsupported_register++;
	return "this connection doesn't speak datagram version 2";
}

static bool on_register_udp(struct demux_rpc *rpc, uint32_t answer_id,
			    const struct capnp_struct *params)
{
	struct tunnel_udp_register in;
	struct dgram2_register reg;
	const char *error = "malformed registration";
	int r = tunnel_udp_register_decode(params, &in);
	if (r == 0)
		r = dgram2_register_read(&in, &reg, &error);
	if (r == -EBADMSG)
		return return_exception(rpc, answer_id, error);
	if (r == 0)
		error = make_session(port_of(rpc), &reg);
	const struct tunnel_udp_registered answer = { .error = span_str(error ? error : "") };
	struct rpc_body body = tunnel_udp_registered_body(&answer);
	(void)rpc_session_return(&rpc->channel->session, answer_id, &body);
	return !error;
}

static bool on_unregister_udp(struct demux_rpc *rpc, uint32_t answer_id,
			      const struct capnp_struct *params)
{
	struct tunnel_udp_unregister in;
	struct dgram_id id;
	const char *error = "malformed unregistration";
	struct flow_port *port = port_of(rpc);
	if (port && !port->v2) {
		counters_of(port)->unsupported_unregister++;
		return return_exception(rpc, answer_id,
					"this connection doesn't speak datagram version 2");
	}
	if (tunnel_udp_unregister_decode(params, &in) < 0 ||
	    dgram2_unregister_read(&in, &id, &error) < 0)
		return return_exception(rpc, answer_id, error);
	if (port)
		v2_unregister(port, &id);
	struct rpc_body body = tunnel_empty_body();
	(void)rpc_session_return(&rpc->channel->session, answer_id, &body);
	return true;
}

static bool on_update_config(struct demux_rpc *rpc, uint32_t answer_id,
			     const struct capnp_struct *params)
{
	struct tunnel_config config;
	struct rpc_session *session = &rpc->channel->session;
	rpc->demux->stats.configs_refused++;
	if (tunnel_config_decode(params, &config) < 0)
		return return_exception(rpc, answer_id, "malformed configuration");
	struct tunnel_config_applied answer = {
		.latest_version = -1,
		.error = SPAN_LIT("the configuration of this tunnel is its local file"),
	};
	struct rpc_body body = tunnel_config_applied_body(&answer);
	(void)rpc_session_return(session, answer_id, &body);
	return false;
}

static const struct method {
	uint64_t interface_id;
	uint16_t method_id;
	enum rpc_method counted_as;
	bool (*answer)(struct demux_rpc *rpc, uint32_t answer_id,
		       const struct capnp_struct *params);
} methods[] = {
	{ RPC_IFACE_SESSION, RPC_REGISTER_UDP_SESSION, RPC_METHOD_REGISTER_UDP_SESSION,
	  on_register_udp },
	{ RPC_IFACE_SESSION, RPC_UNREGISTER_UDP_SESSION, RPC_METHOD_UNREGISTER_UDP_SESSION,
	  on_unregister_udp },
	{ RPC_IFACE_CONFIGURATION, RPC_UPDATE_CONFIGURATION, RPC_METHOD_UPDATE_CONFIGURATION,
	  on_update_config },
};

static const struct method *find_method(const struct rpc_message *call)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(methods); i++)
		if (call->interface_id == methods[i].interface_id &&
		    call->method_id == methods[i].method_id)
			return &methods[i];
	return NULL;
}

static int on_call(void *user, uint32_t answer_id, const struct rpc_message *call)
{
	struct demux_rpc *rpc = user;
	struct demux *d = rpc->demux;
	const struct method *method = find_method(call);
	nsec_t since = nsec_clock(CLOCK_MONOTONIC);
	bool ok = method && method->answer(rpc, answer_id, &call->payload.content);
	rpc_metrics_count(d->rpc_metrics, d->proxy->worker->metrics,
			  method ? method->counted_as : RPC_METHOD_OTHER,
			  nsec_clock(CLOCK_MONOTONIC) - since, ok);
	return method ? 0 : -EOPNOTSUPP;
}

static void on_end(void *user, enum rpc_channel_end end)
{
	(void)end;
	rpc_done(user, false);
}

static const struct rpc_channel_ops channel_ops = {
	.on_call = on_call,
	.on_end = on_end,
};

static void on_deadline(struct timer *timer)
{
	rpc_done(CONTAINER_OF(timer, struct demux_rpc, deadline), true);
}

void demux_rpc_start(struct demux *d, struct stream *stream, struct bufq *rest, uint64_t port)
{
	struct loop *loop = d->proxy->worker->loop;
	struct demux_rpc *rpc = calloc(1, sizeof(*rpc));
	if (!rpc) {
		stream_close(stream);
		return;
	}
	rpc->demux = d;
	rpc->port = port;
	rpc->deadline.on_expire = on_deadline;
	rpc->garbage.release = rpc_release;
	if (rpc_channel_new(loop, stream, &channel_ops, rpc, &rpc->channel) < 0) {
		free(rpc);
		return;
	}
	rpc_channel_give(rpc->channel, rest);
	rpc_channel_set_frame_max(rpc->channel, CAPNP_CONFIG_RPC_MAX);
	list_append(&d->rpc, &rpc->node);
	timer_start(loop, &rpc->deadline, loop_now(loop) + DEMUX_RPC_TIMEOUT_SEC * NSEC_PER_SEC);
}

void demux_rpc_done(struct demux *d)
{
	LIST_FOREACH(node, &d->rpc)
	rpc_done(LIST_ENTRY(node, struct demux_rpc, node), true);
}
