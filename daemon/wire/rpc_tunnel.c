/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tunnel's methods: one reader and one writer for each struct of docs/protocol.md §5. A writer
 * creates objects in the order in which the reference does (§4.4), which isn't always slot order.
 */
#include "daemon/wire/rpc_tunnel.h"

#include <assert.h>
#include <errno.h>

#define BODY(data, ptrs, function, value) \
	((struct rpc_body){               \
		.data_words = (data), .ptr_count = (ptrs), .fill = (function), .arg = (value) })

/* ---- registerConnection ---- */

static void fill_features(struct capnp_builder *b, struct capnp_ref client,
			  const struct tunnel_register *v)
{
	assert(v->feature_count <= TUNNEL_FEATURES_MAX);
	if (v->feature_count == 0)
		return;
	struct capnp_ref list = capnp_put_ptr_list(b, client, 1, (uint16_t)v->feature_count);
	for (unsigned int i = 0; i < v->feature_count; i++)
		capnp_put_text(b, list, i, v->features[i]);
}

static void fill_register(struct capnp_builder *b, struct capnp_ref s, const void *arg)
{
	const struct tunnel_register *v = arg;

	capnp_set_u8(b, s, 0, v->conn_index);
	struct capnp_ref auth = capnp_put_struct(b, s, 0, 0, 2);
	capnp_put_text(b, auth, 0, v->account_tag);
	capnp_put_data(b, auth, 1, v->secret);
	capnp_put_data(b, s, 1, v->tunnel_id);

	struct capnp_ref options = capnp_put_struct(b, s, 2, 1, 2);
	capnp_set_bit(b, options, 0, v->replace_existing);
	capnp_set_u8(b, options, 1, v->compression_quality);
	capnp_set_u8(b, options, 2, v->previous_attempts);
	struct capnp_ref client = capnp_put_struct(b, options, 0, 0, 4);
	capnp_put_data(b, client, 0, v->client_id);
	fill_features(b, client, v);
	capnp_put_text(b, client, 2, v->version);
	capnp_put_text(b, client, 3, v->arch);
	capnp_put_data(b, options, 1, v->origin_local_ip);
}

struct rpc_body tunnel_register_body(const struct tunnel_register *v)
{
	return BODY(1, 3, fill_register, v);
}

int tunnel_register_decode(const struct capnp_struct *s, struct tunnel_register *ret)
{
	struct capnp_struct auth = capnp_get_struct(s, 0);
	struct capnp_struct options = capnp_get_struct(s, 2);
	struct capnp_struct client = capnp_get_struct(&options, 0);
	struct capnp_list features = capnp_get_list(&client, 1);
	struct tunnel_register v = {
		.conn_index = capnp_u8(s, 0),
		.account_tag = capnp_get_text(&auth, 0),
		.secret = capnp_get_data(&auth, 1),
		.tunnel_id = capnp_get_data(s, 1),
		.client_id = capnp_get_data(&client, 0),
		.version = capnp_get_text(&client, 2),
		.arch = capnp_get_text(&client, 3),
		.origin_local_ip = capnp_get_data(&options, 1),
		.replace_existing = capnp_bit(&options, 0),
		.compression_quality = capnp_u8(&options, 1),
		.previous_attempts = capnp_u8(&options, 2),
	};

	if (features.count > TUNNEL_FEATURES_MAX)
		return -E2BIG;
	for (uint32_t i = 0; i < features.count; i++)
		v.features[v.feature_count++] = capnp_list_text(&features, i);

	int r = capnp_msg_finish(s->msg);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}

static void fill_registered(struct capnp_builder *b, struct capnp_ref s, const void *arg)
{
	const struct tunnel_registered *v = arg;
	struct capnp_ref response = capnp_put_struct(b, s, 0, 1, 1);

	capnp_set_u16(b, response, 0, v->verdict);
	if (v->verdict == TUNNEL_VERDICT_DETAILS) {
		struct capnp_ref details = capnp_put_struct(b, response, 0, 1, 2);
		capnp_set_bit(b, details, 0, v->is_remotely_managed);
		capnp_put_data(b, details, 0, v->connection_id);
		capnp_put_text(b, details, 1, v->location);
	} else {
		struct capnp_ref error = capnp_put_struct(b, response, 0, 2, 1);
		capnp_set_u64(b, error, 0, (uint64_t)v->retry_after_ns);
		capnp_set_bit(b, error, 64, v->should_retry);
		capnp_put_text(b, error, 0, v->cause);
	}
}

struct rpc_body tunnel_registered_body(const struct tunnel_registered *v)
{
	return BODY(0, 1, fill_registered, v);
}

int tunnel_registered_decode(const struct capnp_struct *s, struct tunnel_registered *ret)
{
	struct capnp_struct response = capnp_get_struct(s, 0);
	struct capnp_struct u = capnp_get_struct(&response, 0);
	struct tunnel_registered v = { .verdict = (enum tunnel_verdict)capnp_u16(&response, 0) };

	if (v.verdict == TUNNEL_VERDICT_DETAILS) {
		v.connection_id = capnp_get_data(&u, 0);
		v.location = capnp_get_text(&u, 1);
		v.is_remotely_managed = capnp_bit(&u, 0);
	} else if (v.verdict == TUNNEL_VERDICT_ERROR) {
		v.cause = capnp_get_text(&u, 0);
		v.retry_after_ns = (int64_t)capnp_u64(&u, 0);
		v.should_retry = capnp_bit(&u, 64);
	}

	int r = capnp_msg_finish(s->msg);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}

/* ---- updateLocalConfiguration, unregisterConnection ---- */

static void fill_local_config(struct capnp_builder *b, struct capnp_ref s, const void *arg)
{
	const struct span *config = arg;
	capnp_put_data(b, s, 0, *config);
}

struct rpc_body tunnel_local_config_body(const struct span *config)
{
	return BODY(0, 1, fill_local_config, config);
}

int tunnel_local_config_decode(const struct capnp_struct *s, struct span *ret)
{
	struct span config = capnp_get_data(s, 0);
	int r = capnp_msg_finish(s->msg);
	if (r < 0)
		return r;
	*ret = config;
	return 0;
}

struct rpc_body tunnel_empty_body(void)
{
	return (struct rpc_body){};
}

/* ---- UDP sessions ---- */

static void fill_udp_register(struct capnp_builder *b, struct capnp_ref s, const void *arg)
{
	const struct tunnel_udp_register *v = arg;
	capnp_set_u16(b, s, 0, v->dst_port);
	capnp_set_u64(b, s, 8, (uint64_t)v->idle_hint_ns);
	capnp_put_data(b, s, 0, v->session_id);
	capnp_put_data(b, s, 1, v->dst_ip);
	capnp_put_text(b, s, 2, v->trace);
}

struct rpc_body tunnel_udp_register_body(const struct tunnel_udp_register *v)
{
	return BODY(2, 3, fill_udp_register, v);
}

int tunnel_udp_register_decode(const struct capnp_struct *s, struct tunnel_udp_register *ret)
{
	struct tunnel_udp_register v = {
		.session_id = capnp_get_data(s, 0),
		.dst_ip = capnp_get_data(s, 1),
		.dst_port = capnp_u16(s, 0),
		.idle_hint_ns = (int64_t)capnp_u64(s, 8),
		.trace = capnp_get_text(s, 2),
	};
	int r = capnp_msg_finish(s->msg);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}

static void fill_udp_registered(struct capnp_builder *b, struct capnp_ref s, const void *arg)
{
	const struct tunnel_udp_registered *v = arg;
	struct capnp_ref response = capnp_put_struct(b, s, 0, 0, 2);
	capnp_put_text(b, response, 0, v->error);
	capnp_put_data(b, response, 1, v->spans);
}

struct rpc_body tunnel_udp_registered_body(const struct tunnel_udp_registered *v)
{
	return BODY(0, 1, fill_udp_registered, v);
}

int tunnel_udp_registered_decode(const struct capnp_struct *s, struct tunnel_udp_registered *ret)
{
	struct capnp_struct response = capnp_get_struct(s, 0);
	struct tunnel_udp_registered v = {
		.error = capnp_get_text(&response, 0),
		.spans = capnp_get_data(&response, 1),
	};
	int r = capnp_msg_finish(s->msg);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}

static void fill_udp_unregister(struct capnp_builder *b, struct capnp_ref s, const void *arg)
{
	const struct tunnel_udp_unregister *v = arg;
	capnp_put_data(b, s, 0, v->session_id);
	capnp_put_text(b, s, 1, v->message);
}

struct rpc_body tunnel_udp_unregister_body(const struct tunnel_udp_unregister *v)
{
	return BODY(0, 2, fill_udp_unregister, v);
}

int tunnel_udp_unregister_decode(const struct capnp_struct *s, struct tunnel_udp_unregister *ret)
{
	struct tunnel_udp_unregister v = {
		.session_id = capnp_get_data(s, 0),
		.message = capnp_get_text(s, 1),
	};
	int r = capnp_msg_finish(s->msg);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}

/* ---- configuration ---- */

static void fill_config(struct capnp_builder *b, struct capnp_ref s, const void *arg)
{
	const struct tunnel_config *v = arg;
	capnp_set_u32(b, s, 0, (uint32_t)v->version);
	capnp_put_data(b, s, 0, v->config);
}

struct rpc_body tunnel_config_body(const struct tunnel_config *v)
{
	return BODY(1, 1, fill_config, v);
}

int tunnel_config_decode(const struct capnp_struct *s, struct tunnel_config *ret)
{
	struct tunnel_config v = {
		.version = (int32_t)capnp_u32(s, 0),
		.config = capnp_get_data(s, 0),
	};
	int r = capnp_msg_finish(s->msg);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}

static void fill_config_applied(struct capnp_builder *b, struct capnp_ref s, const void *arg)
{
	const struct tunnel_config_applied *v = arg;
	struct capnp_ref response = capnp_put_struct(b, s, 0, 1, 1);
	capnp_set_u32(b, response, 0, (uint32_t)v->latest_version);
	capnp_put_text(b, response, 0, v->error);
}

struct rpc_body tunnel_config_applied_body(const struct tunnel_config_applied *v)
{
	return BODY(0, 1, fill_config_applied, v);
}

int tunnel_config_applied_decode(const struct capnp_struct *s, struct tunnel_config_applied *ret)
{
	struct capnp_struct response = capnp_get_struct(s, 0);
	struct tunnel_config_applied v = {
		.latest_version = (int32_t)capnp_u32(&response, 0),
		.error = capnp_get_text(&response, 0),
	};
	int r = capnp_msg_finish(s->msg);
	if (r < 0)
		return r;
	*ret = v;
	return 0;
}
