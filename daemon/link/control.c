/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control stream, client side. Calls are told apart by their tags; each has one deadline, and a
 * call that misses it is given up so that the session stays usable.
 */
#include "daemon/link/control.h"

#include <stdlib.h>

#include "daemon/link/rpc_channel.h"
#include "daemon/link/rpc_metrics.h"
#include "daemon/wire/rpc_tunnel.h"
#include "daemon/wire/token.h"
#include "util/cleanup.h"

enum control_call : uint8_t {
	CONTROL_CALL_REGISTER = 1,
	CONTROL_CALL_CONFIG,
	CONTROL_CALL_UNREGISTER,
	CONTROL_CALL_MAX_,
};

struct control {
	struct rpc_channel *channel;
	struct loop *loop;
	const struct control_events *events;
	void *user;
	uint8_t index;
	nsec_t timeout;
	struct span local_config;
	bool sends_config;                         /* registered as the one that does */
	bool is_config_stale;                      /* another has come while a call was waiting */
	struct timer deadlines[CONTROL_CALL_MAX_]; /* [0]: the local configuration is due */
	nsec_t since[CONTROL_CALL_MAX_];           /* of a call that waits for its answer, else 0 */
	const struct rpc_metrics *metrics;
	struct metric_shard *shard;
	struct loop_garbage garbage;
};

const char *control_cause_name(enum control_cause cause)
{
	static const char *const names[] = {
		[CONTROL_CAUSE_NONE] = "none",           [CONTROL_CAUSE_RETRY] = "refused-for-now",
		[CONTROL_CAUSE_PERMANENT] = "refused",   [CONTROL_CAUSE_DUPLICATE] = "duplicate",
		[CONTROL_CAUSE_EXCEPTION] = "exception", [CONTROL_CAUSE_TIMEOUT] = "timeout",
		[CONTROL_CAUSE_LOST] = "lost",
	};
	return names[cause];
}

/* Copies what the edge wrote as printable ASCII. */
static void copy_text(char *to, size_t cap, struct span from)
{
	size_t n = MIN(from.len, cap - 1);
	for (size_t i = 0; i < n; i++)
		to[i] = (char)(from.ptr[i] >= ' ' && from.ptr[i] < 0x7f ? from.ptr[i] : '?');
	to[n] = '\0';
}

static void read_refusal(const struct tunnel_registered *answer, struct control_result *result)
{
	copy_text(result->text, sizeof(result->text), answer->cause);
	if (span_eq_str(answer->cause, TUNNEL_CAUSE_DUPLICATE))
		result->cause = CONTROL_CAUSE_DUPLICATE;
	else
		result->cause =
			answer->should_retry ? CONTROL_CAUSE_RETRY : CONTROL_CAUSE_PERMANENT;
	if (answer->retry_after_ns > 0)
		result->retry_after = (nsec_t)answer->retry_after_ns;
}

static void read_answer(const struct capnp_struct *results, struct control_result *result)
{
	struct tunnel_registered answer;
	result->cause = CONTROL_CAUSE_EXCEPTION;
	if (tunnel_registered_decode(results, &answer) < 0) {
		copy_text(result->text, sizeof(result->text),
			  SPAN_LIT("malformed answer to registration"));
	} else if (answer.verdict == TUNNEL_VERDICT_ERROR) {
		read_refusal(&answer, result);
	} else if (answer.verdict != TUNNEL_VERDICT_DETAILS) {
		copy_text(result->text, sizeof(result->text),
			  SPAN_LIT("unknown kind of answer to registration"));
	} else if (uuid_from_span(answer.connection_id, &result->connection_id) < 0) {
		copy_text(result->text, sizeof(result->text),
			  SPAN_LIT("connection id is not 16 bytes"));
	} else {
		copy_text(result->location, sizeof(result->location), answer.location);
		result->is_remotely_managed = answer.is_remotely_managed;
		result->cause = CONTROL_CAUSE_NONE;
	}
}

static int call_begin(struct control *c, const struct rpc_channel_call *call)
{
	c->since[call->tag] = loop_now(c->loop);
	return rpc_channel_call(c->channel, call);
}

/* Counted once, by whoever says first what became of the call. */
static void call_over(struct control *c, enum control_call call, bool ok)
{
	static const enum rpc_method methods[CONTROL_CALL_MAX_] = {
		[CONTROL_CALL_REGISTER] = RPC_METHOD_REGISTER_CONNECTION,
		[CONTROL_CALL_CONFIG] = RPC_METHOD_UPDATE_LOCAL_CONFIGURATION,
		[CONTROL_CALL_UNREGISTER] = RPC_METHOD_UNREGISTER_CONNECTION,
	};
	timer_stop(&c->deadlines[call]);
	if (c->since[call] == 0)
		return;
	rpc_metrics_count(c->metrics, c->shard, methods[call],
			  nsec_sub(loop_now(c->loop), c->since[call]), ok);
	c->since[call] = 0;
}

/* Not from inside an answer's callback: the frame in hand is still being read. */
static void config_is_due(struct control *c)
{
	if (c->sends_config && c->local_config.len > 0)
		timer_start(c->loop, &c->deadlines[0], loop_now(c->loop));
}

static void config_ended(struct control *c, bool ok)
{
	call_over(c, CONTROL_CALL_CONFIG, ok);
	if (c->is_config_stale)
		config_is_due(c);
	c->is_config_stale = false;
	c->events->on_config_sent(c, ok, c->user);
}

static void send_local_config(struct control *c)
{
	struct rpc_channel_call call = {
		.interface_id = RPC_IFACE_REGISTRATION,
		.method_id = RPC_UPDATE_LOCAL_CONFIGURATION,
		.params = tunnel_local_config_body(&c->local_config),
		.params_max = c->local_config.len,
		.tag = CONTROL_CALL_CONFIG,
	};
	int r = call_begin(c, &call);
	if (r < 0)
		config_ended(c, false);
	else
		timer_start(c->loop, &c->deadlines[CONTROL_CALL_CONFIG],
			    loop_now(c->loop) + c->timeout);
}

void control_set_local_config(struct control *c, struct span json)
{
	bool is_same = span_eq(json, c->local_config);
	c->local_config = json;
	if (is_same)
		return;
	if (timer_is_armed(&c->deadlines[CONTROL_CALL_CONFIG]))
		c->is_config_stale = true;
	else
		config_is_due(c);
}

static void registration_ended(struct control *c, const struct control_result *result)
{
	call_over(c, CONTROL_CALL_REGISTER, result->cause == CONTROL_CAUSE_NONE);
	c->sends_config = result->cause == CONTROL_CAUSE_NONE && c->index == 0 &&
			  !result->is_remotely_managed;
	config_is_due(c);
	c->events->on_registered(c, result, c->user);
}

static void on_return(void *user, uint64_t tag, const struct rpc_reply *reply)
{
	struct control *c = user;
	bool ok = reply->outcome == RPC_OUTCOME_RESULTS;
	if (tag >= CONTROL_CALL_MAX_)
		return;
	if (tag == CONTROL_CALL_CONFIG) {
		config_ended(c, ok);
	} else if (tag == CONTROL_CALL_UNREGISTER) {
		call_over(c, CONTROL_CALL_UNREGISTER, ok);
		c->events->on_unregistered(c, c->user);
	} else {
		struct control_result result = { .cause = CONTROL_CAUSE_EXCEPTION };
		if (ok)
			read_answer(reply->results, &result);
		else if (reply->outcome == RPC_OUTCOME_LOST)
			result.cause = CONTROL_CAUSE_LOST;
		else
			copy_text(result.text, sizeof(result.text), reply->reason);
		registration_ended(c, &result);
	}
}

static void on_end(void *user, enum rpc_channel_end end)
{
	struct control *c = user;
	c->events->on_end(c, end == RPC_CHANNEL_END_FIN, c->user);
}

static const struct rpc_channel_ops channel_ops = {
	.on_return = on_return,
	.on_end = on_end,
};

static void on_register_deadline(struct timer *timer)
{
	struct control *c = CONTAINER_OF(timer, struct control, deadlines[CONTROL_CALL_REGISTER]);
	rpc_channel_cancel(c->channel, CONTROL_CALL_REGISTER);
	struct control_result result = { .cause = CONTROL_CAUSE_TIMEOUT };
	copy_text(result.text, sizeof(result.text), SPAN_LIT("no answer to registration"));
	registration_ended(c, &result);
}

static void on_config_due(struct timer *timer)
{
	send_local_config(CONTAINER_OF(timer, struct control, deadlines[0]));
}

static void on_config_deadline(struct timer *timer)
{
	struct control *c = CONTAINER_OF(timer, struct control, deadlines[CONTROL_CALL_CONFIG]);
	rpc_channel_cancel(c->channel, CONTROL_CALL_CONFIG);
	config_ended(c, false);
}

static void on_unregister_deadline(struct timer *timer)
{
	struct control *c = CONTAINER_OF(timer, struct control, deadlines[CONTROL_CALL_UNREGISTER]);
	rpc_channel_cancel(c->channel, CONTROL_CALL_UNREGISTER);
	call_over(c, CONTROL_CALL_UNREGISTER, false);
	c->events->on_unregistered(c, c->user);
}

/* Bootstrap and registerConnection, pipelined: one flight (docs/protocol.md §6.2). */
static int send_registration(struct control *c, const struct control_params *p)
{
	uint8_t local[16];
	ip_addr_to_mapped(&p->local, local);
	struct tunnel_register reg = {
		.conn_index = p->index,
		.account_tag = tunnel_credential_account(p->credential),
		.secret = tunnel_credential_secret(p->credential),
		.tunnel_id = uuid_span(&p->credential->tunnel_id),
		.client_id = uuid_span(&p->connector_id),
		.version = span_str(p->version),
#if defined(__aarch64__)
		.arch = SPAN_LIT("linux_arm64"),
#else
		.arch = SPAN_LIT("linux_amd64"),
#endif
		.origin_local_ip = span_of(local, sizeof(local)),
		.previous_attempts = p->previous_attempts,
	};
	for (; reg.feature_count < MIN(p->feature_count, (unsigned int)TUNNEL_FEATURES_MAX);
	     reg.feature_count++)
		reg.features[reg.feature_count] = span_str(p->features[reg.feature_count]);

	int r = rpc_channel_bootstrap(c->channel);
	if (r < 0)
		return r;
	struct rpc_channel_call call = {
		.interface_id = RPC_IFACE_REGISTRATION,
		.method_id = RPC_REGISTER_CONNECTION,
		.params = tunnel_register_body(&reg),
		.tag = CONTROL_CALL_REGISTER,
	};
	return call_begin(c, &call);
}

static void control_release(struct loop_garbage *garbage)
{
	free(CONTAINER_OF(garbage, struct control, garbage));
}

int control_new(struct link *link, const struct control_params *params, struct control **ret)
{
	struct control *c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->loop = link->worker->loop;
	c->events = params->events;
	c->user = params->user;
	c->index = params->index;
	c->timeout = params->timeout;
	c->local_config = params->local_config;
	c->metrics = params->metrics;
	c->shard = link->worker->metrics;
	c->garbage.release = control_release;
	c->deadlines[0].on_expire = on_config_due;
	c->deadlines[CONTROL_CALL_REGISTER].on_expire = on_register_deadline;
	c->deadlines[CONTROL_CALL_CONFIG].on_expire = on_config_deadline;
	c->deadlines[CONTROL_CALL_UNREGISTER].on_expire = on_unregister_deadline;

	struct stream *stream = NULL;
	int r = link_open_stream(link, &stream);
	if (r == 0)
		r = rpc_channel_new(c->loop, stream, &channel_ops, c, &c->channel);
	if (r == 0)
		r = send_registration(c, params);
	if (r < 0) {
		control_free(c);
		return r;
	}
	timer_start(c->loop, &c->deadlines[CONTROL_CALL_REGISTER], loop_now(c->loop) + c->timeout);
	*ret = c;
	return 0;
}

void control_unregister(struct control *c, nsec_t timeout)
{
	struct rpc_channel_call call = {
		.interface_id = RPC_IFACE_REGISTRATION,
		.method_id = RPC_UNREGISTER_CONNECTION,
		.params = tunnel_empty_body(),
		.tag = CONTROL_CALL_UNREGISTER,
	};
	int r = call_begin(c, &call);
	/* A session that is already over: the answer comes from the loop all the same. */
	timer_start(c->loop, &c->deadlines[CONTROL_CALL_UNREGISTER],
		    loop_now(c->loop) + (r < 0 ? 0 : timeout));
}

void control_free(struct control *c)
{
	if (!c)
		return;
	for (unsigned int i = 0; i < CONTROL_CALL_MAX_; i++)
		call_over(c, (enum control_call)i, false);
	rpc_channel_close(TAKE_PTR(c->channel), true);
	loop_defer_free(c->loop, &c->garbage);
}
