/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The UDP flows of one link at the edge.
 */
#include "daemon/edge/flow_link.h"

#include <errno.h>

#include "daemon/wire/dgram_v2_call.h"
#include "daemon/wire/rpc_session.h"

/* ---- what flows ask for ---- */

static int make_session(struct call_port *port, const struct dgram2_register *reg)
{
	return session_calls_register(&CONTAINER_OF(port, struct flow_link, port)->calls, reg);
}

static void end_session(struct call_port *port, const struct dgram_id *id, const char *text)
{
	session_calls_unregister(&CONTAINER_OF(port, struct flow_link, port)->calls, id, text);
}

static const struct call_port_user v2_user = {
	.make_session = make_session,
	.end_session = end_session,
};

/* ---- what the daemon says ---- */

static void on_registered(struct session_calls *calls, const struct dgram_id *id,
			  enum session_answer answer)
{
	static const enum call_event events[] = {
		[SESSION_ANSWER_ACCEPTED] = CALL_EVENT_ACCEPTED,
		[SESSION_ANSWER_REFUSED] = CALL_EVENT_REFUSED,
		[SESSION_ANSWER_NONE] = CALL_EVENT_UNANSWERED,
	};
	struct flow_link *fl = CONTAINER_OF(calls, struct flow_link, calls);
	flow_caller_answered(fl->flows, &fl->port, id, events[answer]);
}

static const struct session_calls_ops calls_ops = { .on_registered = on_registered };

int flow_link_serve(struct flow_link *fl, struct rpc_session *session, uint32_t answer_id,
		    const struct rpc_message *call)
{
	struct tunnel_udp_unregister in;
	struct dgram_id id;
	const char *error = "malformed unregistration";
	if (!flow_link_is_open(fl) || !fl->port.v2 || call->interface_id != RPC_IFACE_SESSION ||
	    call->method_id != RPC_UNREGISTER_UDP_SESSION)
		return -EOPNOTSUPP;
	if (tunnel_udp_unregister_decode(&call->payload.content, &in) < 0 ||
	    dgram2_unregister_read(&in, &id, &error) < 0) {
		(void)rpc_session_return_exception(session, answer_id, span_str(error));
		return 0;
	}
	flow_caller_ended(fl->flows, &fl->port, &id);
	struct rpc_body body = tunnel_empty_body();
	(void)rpc_session_return(session, answer_id, &body);
	return 0;
}

void flow_link_take(struct flow_link *fl, struct span datagram)
{
	flow_caller_datagram(fl->flows, &fl->port, datagram);
}

/* ---- life ---- */

void flow_link_open(struct flow_link *fl, struct link *link, struct flow_caller *flows,
		    bool is_ours, bool is_v3)
{
	fl->flows = flows;
	link_pipe_init(&fl->pipe, link);
	session_calls_init(&fl->calls, link, &calls_ops, NULL);
	fl->calls.failed = &flows->untold;
	call_port_open(&fl->port, &fl->pipe.pipe, is_ours);
	if (!is_v3)
		fl->port.v2 = &v2_user;
}

void flow_link_close(struct flow_link *fl)
{
	call_port_close(&fl->port);
	session_calls_done(&fl->calls);
}

bool flow_link_is_open(const struct flow_link *fl)
{
	return fl->port.pipe != NULL;
}
