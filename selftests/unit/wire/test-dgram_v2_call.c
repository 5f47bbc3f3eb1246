/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of version 2 against the recorded ones (selftests/data/datagrams.json, v2_rpc_* and
 * v3_rpc_*): what they mean to us, and that ours are the same bytes. Whole sessions are replayed by
 * test-rpc_session. Set aside: texts of refusals of version 3 (not-applicable), and the results
 * of a successful registration (wire-lenient).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "data/datagrams.h"

#include "daemon/wire/dgram_v2_call.h"
#include "daemon/wire/endpoint.h"
#include "daemon/wire/preamble.h"
#include "daemon/wire/uuid.h"
#include "util/macro.h"

static uint8_t frame_buf[1024];

static const struct vector_case *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++)
		if (strcmp(vector_cases[i].name, name) == 0)
			return &vector_cases[i];
	fail_msg("no vector %s", name);
	return NULL;
}

static struct rpc_message decode(const struct vector_case *c, struct capnp_msg *m)
{
	struct rpc_message msg = {};
	assert_int_equal(rpc_decode(vector_span(c), m, &msg), 0);
	return msg;
}

static void check_id(const struct vector_case *c, const struct dgram_id *id)
{
	struct uuid want;
	assert_int_equal(uuid_parse(span_str(vector_get(c, "session_id")), &want), 0);
	assert_true(span_eq(uuid_span(&want), dgram_id_span(id)));
}

/* The same call, built by us in the form that was recorded: target and question as there. */
static void check_call_again(const struct vector_case *c, const struct rpc_message *msg,
			     const struct rpc_body *body)
{
	struct capnp_builder b;
	struct span frame;
	capnp_build_init(&b, frame_buf, sizeof(frame_buf));
	rpc_write_call(&b, &(struct rpc_call){ .question_id = msg->id,
					       .target = msg->target,
					       .target_id = msg->target_id,
					       .interface_id = RPC_IFACE_SESSION,
					       .method_id = msg->method_id,
					       .body = *body });
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	assert_true(span_eq(frame, vector_span(c)));
}

static void check_results_again(const struct vector_case *c, uint32_t id,
				const struct rpc_body *body)
{
	struct capnp_builder b;
	struct span frame;
	capnp_build_init(&b, frame_buf, sizeof(frame_buf));
	rpc_write_results(&b, id, body);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	assert_true(span_eq(frame, vector_span(c)));
}

static void test_signature_and_bootstrap(void **state)
{
	(void)state;
	uint8_t signature[PREAMBLE_MAX];
	struct packer p = packer_over(signature, sizeof(signature));
	preamble_write(&p, PREAMBLE_KIND_RPC);
	assert_true(span_eq(packer_span(&p), vector_span(find("v2_rpc_signature"))));

	struct capnp_msg m;
	const struct vector_case *c = find("v2_rpc_bootstrap");
	struct rpc_message msg = decode(c, &m);
	struct capnp_builder b;
	struct span frame;
	assert_int_equal(msg.kind, RPC_KIND_BOOTSTRAP);
	capnp_build_init(&b, frame_buf, sizeof(frame_buf));
	rpc_write_bootstrap(&b, msg.id);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	assert_true(span_eq(frame, vector_span(c)));
}

static void check_register_call(const char *name, const char *dest, nsec_t idle)
{
	struct capnp_msg m;
	const struct vector_case *c = find(name);
	struct rpc_message msg = decode(c, &m);
	struct tunnel_udp_register params = {};
	struct dgram2_register r = {};
	const char *reason = NULL;
	assert_int_equal(msg.kind, RPC_KIND_CALL);
	assert_true(msg.interface_id == RPC_IFACE_SESSION);
	assert_int_equal(msg.method_id, RPC_REGISTER_UDP_SESSION);
	assert_int_equal(tunnel_udp_register_decode(&msg.payload.content, &params), 0);
	assert_true(span_eq_str(params.trace, vector_get(c, "trace_context")));
	assert_int_equal(params.idle_hint_ns,
			 strtoll(vector_get(c, "close_after_idle_hint_ns"), NULL, 10));
	assert_int_equal(dgram2_register_read(&params, &r, &reason), 0);
	check_id(c, &r.id);
	assert_int_equal(r.is_traced, params.trace.len != 0);
	assert_int_equal(r.idle, idle);
	struct ip_port want;
	assert_int_equal(ip_port_parse(span_str(dest), &want), 0);
	assert_true(ip_port_eq(&r.dest, &want));

	struct dgram2_register_room room;
	struct tunnel_udp_register ours;
	r.idle = params.idle_hint_ns ? r.idle : 0;
	dgram2_register_params(&r, &room, &ours);
	struct rpc_body body = tunnel_udp_register_body(&ours);
	check_call_again(c, &msg, &body);
}

static void test_register_calls(void **state)
{
	(void)state;
	check_register_call("v2_rpc_register_call_ipv6_traced", "[::1]:9000", 210 * NSEC_PER_SEC);
	check_register_call("v2_rpc_register_call_ipv4", "127.0.0.1:9000", 2 * NSEC_PER_SEC);
}

/* Row 2: no hint of a peer harms. */
static void test_idle_hints(void **state)
{
	(void)state;
	static const struct {
		int64_t hint;
		nsec_t want;
	} cases[] = {
		{ 0, 210 * NSEC_PER_SEC },
		{ -1, 210 * NSEC_PER_SEC },
		{ INT64_MIN, 210 * NSEC_PER_SEC },
		{ 1, NSEC_PER_SEC },
		{ 7, NSEC_PER_SEC },
		{ 8, NSEC_PER_SEC },
		{ 999999999, NSEC_PER_SEC },
		{ 1500000000, 1500000000 },
		{ INT64_MAX, INT64_MAX },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct tunnel_udp_register in = { .session_id = SPAN_LIT("0123456789abcdef"),
						  .dst_ip = SPAN_LIT("\x7f\0\0\1"),
						  .idle_hint_ns = cases[i].hint };
		struct dgram2_register r = {};
		const char *reason = NULL;
		assert_int_equal(dgram2_register_read(&in, &r, &reason), 0);
		assert_int_equal(r.idle, cases[i].want);
	}
	struct dgram2_register r = { .idle = NSEC_NEVER, .dest.ip.family = IP_FAMILY_V4 };
	struct dgram2_register_room room;
	struct tunnel_udp_register out;
	dgram2_register_params(&r, &room, &out);
	assert_true(out.idle_hint_ns == INT64_MAX);
	assert_int_equal(out.trace.len, 0);
	assert_int_equal(out.dst_ip.len, 16);
}

static void test_bad_parameters(void **state)
{
	(void)state;
	static const struct {
		struct tunnel_udp_register in;
		int want;
	} cases[] = {
		{ { .session_id = SPAN_LIT("0123456789abcdef"), .dst_ip = SPAN_LIT("\1\2\3\4") },
		  0 },
		{ { .session_id = SPAN_LIT("0123456789abcde"), .dst_ip = SPAN_LIT("\1\2\3\4") },
		  -EBADMSG },
		{ { .session_id = SPAN_LIT("0123456789abcdefg"), .dst_ip = SPAN_LIT("\1\2\3\4") },
		  -EBADMSG },
		{ { .dst_ip = SPAN_LIT("\1\2\3\4") }, -EBADMSG },
		{ { .session_id = SPAN_LIT("0123456789abcdef") }, -EBADMSG },
		{ { .session_id = SPAN_LIT("0123456789abcdef"), .dst_ip = SPAN_LIT("\1\2\3") },
		  -EINVAL },
		{ { .session_id = SPAN_LIT("0123456789abcdef"),
		    .dst_ip = SPAN_LIT("123456789012345") },
		  -EINVAL },
		{ { .session_id = SPAN_LIT("0123456789abcdef"),
		    .dst_ip = SPAN_LIT("12345678901234567") },
		  -EINVAL },
		/* Tracing is nothing that a session would fail for. */
		{ { .session_id = SPAN_LIT("0123456789abcdef"),
		    .dst_ip = SPAN_LIT("\1\2\3\4"),
		    .trace = SPAN_LIT("a:b:c") },
		  0 },
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct dgram2_register r = { .dest.port = 7 };
		const char *reason = NULL;
		assert_int_equal(dgram2_register_read(&cases[i].in, &r, &reason), cases[i].want);
		assert_int_equal(reason != NULL, cases[i].want < 0);
		assert_int_equal(r.dest.port, cases[i].want < 0 ? 7 : 0);
		assert_false(r.is_traced);
	}
}

static void test_registered(void **state)
{
	(void)state;
	struct capnp_msg m;
	struct tunnel_udp_registered v = { .error = SPAN_LIT("x") };
	struct rpc_message msg = decode(find("v2_rpc_register_return_ok"), &m);
	assert_int_equal(msg.kind, RPC_KIND_RETURN);
	assert_int_equal(msg.returned, RPC_RETURN_RESULTS);
	assert_int_equal(tunnel_udp_registered_decode(&msg.payload.content, &v), 0);
	assert_int_equal(v.error.len, 0);
	assert_int_equal(v.spans.len, 0);

	const struct vector_case *c = find("v2_rpc_register_return_rate_limited");
	msg = decode(c, &m);
	assert_int_equal(tunnel_udp_registered_decode(&msg.payload.content, &v), 0);
	assert_true(span_eq_str(v.error, vector_get(c, "err")));
	assert_true(span_eq_str(v.error, DGRAM2_ERROR_TOO_MANY));
	struct tunnel_udp_registered ours = { .error = SPAN_LIT(DGRAM2_ERROR_TOO_MANY) };
	struct rpc_body body = tunnel_udp_registered_body(&ours);
	check_results_again(c, msg.id, &body);

	/* Version 3 refuses registrations in the results, the end of sessions by an exception. */
	msg = decode(find("v3_rpc_register_return_unsupported"), &m);
	assert_int_equal(msg.returned, RPC_RETURN_RESULTS);
	assert_int_equal(tunnel_udp_registered_decode(&msg.payload.content, &v), 0);
	assert_true(v.error.len > 0);
	msg = decode(find("v3_rpc_unregister_return_unsupported"), &m);
	assert_int_equal(msg.returned, RPC_RETURN_EXCEPTION);
	assert_true(msg.reason.len > 0);
}

static void check_unregister_call(const char *name)
{
	struct capnp_msg m;
	const struct vector_case *c = find(name);
	struct rpc_message msg = decode(c, &m);
	struct tunnel_udp_unregister params = {};
	struct dgram_id id;
	const char *reason = NULL;
	assert_true(msg.interface_id == RPC_IFACE_SESSION);
	assert_int_equal(msg.method_id, RPC_UNREGISTER_UDP_SESSION);
	assert_int_equal(tunnel_udp_unregister_decode(&msg.payload.content, &params), 0);
	assert_true(span_eq_str(params.message, vector_get(c, "message")));
	assert_int_equal(dgram2_unregister_read(&params, &id, &reason), 0);
	check_id(c, &id);

	struct tunnel_udp_unregister ours = { .session_id = dgram_id_span(&id),
					      .message = params.message };
	struct rpc_body body = tunnel_udp_unregister_body(&ours);
	check_call_again(c, &msg, &body);
}

static void test_unregister(void **state)
{
	(void)state;
	check_unregister_call("v2_rpc_unregister_call");
	check_unregister_call("v2_rpc_daemon_unregister_call");

	struct capnp_msg m;
	const struct vector_case *c = find("v2_rpc_unregister_return");
	struct rpc_message msg = decode(c, &m);
	assert_int_equal(msg.returned, RPC_RETURN_RESULTS);
	struct rpc_body body = tunnel_empty_body();
	check_results_again(c, msg.id, &body);

	struct tunnel_udp_unregister bad = { .session_id = SPAN_LIT("short") };
	struct dgram_id id;
	const char *reason = NULL;
	assert_int_equal(dgram2_unregister_read(&bad, &id, &reason), -EBADMSG);
	assert_non_null(reason);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signature_and_bootstrap),
		cmocka_unit_test(test_register_calls),
		cmocka_unit_test(test_idle_hints),
		cmocka_unit_test(test_bad_parameters),
		cmocka_unit_test(test_registered),
		cmocka_unit_test(test_unregister),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
