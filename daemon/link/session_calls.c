/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls about sessions of datagram version 2. Two streams have no order, so what undoes a call
 * isn't sent before the call is answered.
 */
#include "daemon/link/session_calls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/link/rpc_channel.h"
#include "daemon/link/rpc_metrics.h"
#include "daemon/wire/dgram_v2_call.h"
#include "util/cleanup.h"

#define AGAIN (100 * NSEC_PER_MSEC)

struct session_call {
	struct session_calls *calls;
	bool is_registration;
	bool is_unwanted; /* a registration that is to be undone */
	struct dgram2_register reg;
	char text[SESSION_CALLS_TEXT_MAX];
	nsec_t since;
	struct rpc_channel *channel; /* NULL: it waits */
	struct timer deadline;
	struct list node;
	struct loop_garbage garbage;
};

static void call_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct session_call, garbage));
}

static struct loop *loop_of(const struct session_calls *c)
{
	return c->link->worker->loop;
}

static void call_unlink(struct session_call *call)
{
	struct session_calls *c = call->calls;
	timer_stop(&call->deadline);
	list_remove(&call->node);
	if (call->channel) {
		c->running_count--;
	} else {
		c->waiting_count--;
		c->waiting_registrations -= call->is_registration;
	}
}

static void call_free(struct session_call *call, bool polite)
{
	rpc_channel_close(TAKE_PTR(call->channel), polite);
	loop_defer_free(loop_of(call->calls), &call->garbage);
}

static void count_end(struct session_calls *c, nsec_t since, bool ok)
{
	struct worker *worker = c->link->worker;
	if (c->failed)
		*c->failed += !ok;
	rpc_metrics_count(c->metrics, worker->metrics, RPC_METHOD_END_UDP_SESSION,
			  nsec_sub(loop_now(worker->loop), since), ok);
}

static void call_over(struct session_call *call, enum session_answer answer)
{
	struct session_calls *c = call->calls;
	bool ok = answer == SESSION_ANSWER_ACCEPTED;
	call_unlink(call);
	if (!call->is_registration) {
		count_end(c, call->since, ok);
	} else if (!call->is_unwanted) {
		c->ops->on_registered(c, &call->reg.id, answer);
	} else if (answer != SESSION_ANSWER_REFUSED) {
		session_calls_unregister(c, &call->reg.id, call->text);
	}
	call_free(call, true);
	loop_task_post(loop_of(c), &c->work, LOOP_PHASE_WORK);
}

static enum session_answer read_answer(const struct session_call *call,
				       const struct rpc_reply *reply)
{
	struct tunnel_udp_registered answer;
	if (reply->outcome == RPC_OUTCOME_LOST)
		return SESSION_ANSWER_NONE;
	if (reply->outcome != RPC_OUTCOME_RESULTS)
		return SESSION_ANSWER_REFUSED;
	if (!call->is_registration)
		return SESSION_ANSWER_ACCEPTED;
	if (tunnel_udp_registered_decode(reply->results, &answer) < 0 || answer.error.len > 0)
		return SESSION_ANSWER_REFUSED;
	return SESSION_ANSWER_ACCEPTED;
}

static void on_return(void *user, uint64_t tag, const struct rpc_reply *reply)
{
	(void)tag;
	struct session_call *call = user;
	call_over(call, read_answer(call, reply));
}

static void on_end(void *user, enum rpc_channel_end end)
{
	(void)end;
	call_over(user, SESSION_ANSWER_NONE);
}

static const struct rpc_channel_ops channel_ops = {
	.on_return = on_return,
	.on_end = on_end,
};

static void on_deadline(struct timer *timer)
{
	call_over(CONTAINER_OF(timer, struct session_call, deadline), SESSION_ANSWER_NONE);
}

/* ---- beginning ---- */

static int say_hello(struct rpc_channel *ch)
{
	uint8_t signature[PREAMBLE_SIGNATURE_LEN];
	struct packer p = packer_over(signature, sizeof(signature));
	preamble_write(&p, PREAMBLE_KIND_RPC);
	int r = rpc_channel_prefix(ch, packer_span(&p));
	return r < 0 ? r : rpc_channel_bootstrap(ch);
}

static int send_call(struct rpc_channel *ch, const struct session_call *call)
{
	struct dgram2_register_room room;
	struct tunnel_udp_register reg;
	const struct tunnel_udp_unregister end = { .session_id = dgram_id_span(&call->reg.id),
						   .message = span_str(call->text) };
	struct rpc_channel_call params = {
		.interface_id = RPC_IFACE_SESSION,
		.method_id = RPC_UNREGISTER_UDP_SESSION,
		.params = tunnel_udp_unregister_body(&end),
	};
	if (call->is_registration) {
		dgram2_register_params(&call->reg, &room, &reg);
		params.method_id = RPC_REGISTER_UDP_SESSION;
		params.params = tunnel_udp_register_body(&reg);
	}
	int r = say_hello(ch);
	return r < 0 ? r : rpc_channel_call(ch, &params);
}

/* 0; -EAGAIN: the peer grants no stream now; another negative errno: it can't be made. */
static int call_start(struct session_call *call)
{
	struct session_calls *c = call->calls;
	struct stream *stream = NULL;
	struct rpc_channel *ch = NULL;
	int r = link_open_stream(c->link, &stream);
	if (r == 0)
		r = rpc_channel_new(loop_of(c), stream, &channel_ops, call, &ch);
	if (r < 0)
		return r;
	list_remove(&call->node);
	list_append(&c->running, &call->node);
	c->waiting_count--;
	c->waiting_registrations -= call->is_registration;
	c->running_count++;
	call->channel = ch;
	call->since = loop_now(loop_of(c));
	timer_start(loop_of(c), &call->deadline, nsec_add(call->since, c->timeout));
	return send_call(ch, call);
}

static void on_work(struct loop_task *task)
{
	struct session_calls *c = CONTAINER_OF(task, struct session_calls, work);
	while (!list_is_empty(&c->waiting) && c->running_count < SESSION_CALLS_AT_ONCE) {
		struct session_call *call = LIST_ENTRY(c->waiting.next, struct session_call, node);
		int r = call_start(call);
		if (r == -EAGAIN) {
			timer_start(loop_of(c), &c->again, nsec_add(loop_now(loop_of(c)), AGAIN));
			return;
		}
		if (r < 0)
			call_over(call, SESSION_ANSWER_NONE);
	}
}

static void on_again(struct timer *timer)
{
	on_work(&CONTAINER_OF(timer, struct session_calls, again)->work);
}

static int call_add(struct session_calls *c, const struct session_call *what)
{
	struct loop *loop = loop_of(c);
	if (c->waiting_count >= SESSION_CALLS_WAITING)
		return -ENOBUFS;
	struct session_call *call = malloc(sizeof(*call));
	if (!call)
		return -ENOMEM;
	*call = *what;
	call->calls = c;
	call->since = loop_now(loop);
	call->deadline.on_expire = on_deadline;
	call->garbage.release = call_release;
	list_append(&c->waiting, &call->node);
	c->waiting_count++;
	c->waiting_registrations += call->is_registration;
	loop_task_post(loop, &c->work, LOOP_PHASE_WORK);
	return 0;
}

int session_calls_register(struct session_calls *c, const struct dgram2_register *reg)
{
	return call_add(c, &(struct session_call){ .is_registration = true, .reg = *reg });
}

static struct session_call *find_registration(const struct list *list, const struct dgram_id *id)
{
	LIST_FOREACH(node, list)
	{
		struct session_call *call = LIST_ENTRY(node, struct session_call, node);
		if (call->is_registration && dgram_id_eq(&call->reg.id, id))
			return call;
	}
	return NULL;
}

void session_calls_unregister(struct session_calls *c, const struct dgram_id *id, const char *text)
{
	struct session_call end = { .reg.id = *id };
	struct session_call *first =
		c->waiting_registrations ? find_registration(&c->waiting, id) : NULL;
	(void)snprintf(end.text, sizeof(end.text), "%s", text);
	if (first) {
		call_unlink(first);
		call_free(first, false);
		return;
	}
	first = find_registration(&c->running, id);
	if (first) {
		first->is_unwanted = true;
		memcpy(first->text, end.text, sizeof(first->text));
		return;
	}
	if (call_add(c, &end) < 0)
		count_end(c, loop_now(loop_of(c)), false);
}

/* ---- life ---- */

void session_calls_init(struct session_calls *c, struct link *link,
			const struct session_calls_ops *ops, const struct rpc_metrics *metrics)
{
	*c = (struct session_calls){ .link = link,
				     .ops = ops,
				     .metrics = metrics,
				     .timeout = SESSION_CALLS_TIMEOUT_SEC * NSEC_PER_SEC };
	list_init(&c->running);
	list_init(&c->waiting);
	c->work.run = on_work;
	c->again.on_expire = on_again;
}

static void drop_all(struct list *list)
{
	LIST_FOREACH(node, list)
	{
		struct session_call *call = LIST_ENTRY(node, struct session_call, node);
		call_unlink(call);
		call_free(call, false);
	}
}

void session_calls_done(struct session_calls *c)
{
	if (!c->link)
		return;
	drop_all(&c->running);
	drop_all(&c->waiting);
	loop_task_cancel(&c->work);
	timer_stop(&c->again);
	c->link = NULL;
}
