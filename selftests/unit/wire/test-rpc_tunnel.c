/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tunnel's structs: round trips of every field, limits, and the capnp tool as a reader that we
 * didn't write. (The bytes themselves: test-edge_vectors.)
 */
#include <errno.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/wire/connect.h"
#include "daemon/wire/preamble.h"
#include "daemon/wire/rpc_tunnel.h"
#include "util/macro.h"

static uint8_t buf[16384];

/* A message whose root is the struct alone. */
static struct span build(const struct rpc_body *body)
{
	struct capnp_builder b;
	struct span frame;
	capnp_build_init(&b, buf, sizeof(buf));
	struct capnp_ref root = capnp_build_root(&b, body->data_words, body->ptr_count);
	if (body->fill)
		body->fill(&b, root, body->arg);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	return frame;
}

static struct capnp_struct root_of(const struct rpc_body *body, struct capnp_msg *m)
{
	assert_int_equal(capnp_msg_open(build(body), m), 0);
	return capnp_root(m);
}

static struct tunnel_register registration(void)
{
	return (struct tunnel_register){
		.conn_index = 3,
		.account_tag = SPAN_LIT("account"),
		.secret = SPAN_LIT("0123456789abcdef"),
		.tunnel_id = SPAN_LIT("TTTTTTTTTTTTTTTT"),
		.client_id = SPAN_LIT("CCCCCCCCCCCCCCCC"),
		.features = { SPAN_LIT("one"), SPAN_LIT("two") },
		.feature_count = 2,
		.version = SPAN_LIT("1.0"),
		.arch = SPAN_LIT("linux_amd64"),
		.origin_local_ip = SPAN_LIT("\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\1"),
		.replace_existing = true,
		.compression_quality = 9,
		.previous_attempts = 255,
	};
}

static void test_register(void **state)
{
	(void)state;
	struct tunnel_register in = registration();
	struct tunnel_register out;
	struct capnp_msg m;
	struct rpc_body body = tunnel_register_body(&in);
	struct capnp_struct s = root_of(&body, &m);
	assert_int_equal(tunnel_register_decode(&s, &out), 0);
	assert_int_equal(out.conn_index, 3);
	assert_true(span_eq(out.account_tag, in.account_tag));
	assert_true(span_eq(out.secret, in.secret));
	assert_true(span_eq(out.tunnel_id, in.tunnel_id));
	assert_true(span_eq(out.client_id, in.client_id));
	assert_int_equal(out.feature_count, 2);
	assert_true(span_eq_str(out.features[1], "two"));
	assert_true(span_eq(out.version, in.version));
	assert_true(span_eq(out.arch, in.arch));
	assert_true(span_eq(out.origin_local_ip, in.origin_local_ip));
	assert_true(out.replace_existing);
	assert_int_equal(out.compression_quality, 9);
	assert_int_equal(out.previous_attempts, 255);
}

static void test_features_limit(void **state)
{
	(void)state;
	for (uint16_t count = TUNNEL_FEATURES_MAX; count <= TUNNEL_FEATURES_MAX + 1; count++) {
		struct capnp_builder b;
		struct span frame;
		struct capnp_msg m;
		struct tunnel_register out;
		capnp_build_init(&b, buf, sizeof(buf));
		struct capnp_ref root = capnp_build_root(&b, 1, 3);
		struct capnp_ref options = capnp_put_struct(&b, root, 2, 1, 2);
		struct capnp_ref client = capnp_put_struct(&b, options, 0, 0, 4);
		(void)capnp_put_ptr_list(&b, client, 1, count);
		assert_int_equal(capnp_build_finish(&b, &frame), 0);
		assert_int_equal(capnp_msg_open(frame, &m), 0);
		struct capnp_struct s = capnp_root(&m);
		assert_int_equal(tunnel_register_decode(&s, &out),
				 count <= TUNNEL_FEATURES_MAX ? 0 : -E2BIG);
	}
}

static void test_registered(void **state)
{
	(void)state;
	struct tunnel_registered in = { .verdict = TUNNEL_VERDICT_ERROR,
					.cause = SPAN_LIT(TUNNEL_CAUSE_DUPLICATE),
					.retry_after_ns = -7,
					.should_retry = true };
	struct tunnel_registered out;
	struct capnp_msg m;
	struct rpc_body body = tunnel_registered_body(&in);
	struct capnp_struct s = root_of(&body, &m);
	assert_int_equal(tunnel_registered_decode(&s, &out), 0);
	assert_int_equal(out.verdict, TUNNEL_VERDICT_ERROR);
	assert_true(span_eq_str(out.cause, "EDUPCONN"));
	assert_int_equal(out.retry_after_ns, -7);
	assert_true(out.should_retry);

	in = (struct tunnel_registered){ .verdict = TUNNEL_VERDICT_DETAILS,
					 .connection_id = SPAN_LIT("0123456789abcdef"),
					 .location = SPAN_LIT("LHR"),
					 .is_remotely_managed = true };
	s = root_of(&body, &m);
	assert_int_equal(tunnel_registered_decode(&s, &out), 0);
	assert_int_equal(out.verdict, TUNNEL_VERDICT_DETAILS);
	assert_true(span_eq(out.connection_id, in.connection_id));
	assert_true(span_eq_str(out.location, "LHR"));
	assert_true(out.is_remotely_managed);

	/* A verdict of another version carries nothing. */
	struct capnp_builder b;
	struct span frame;
	capnp_build_init(&b, buf, sizeof(buf));
	struct capnp_ref root = capnp_build_root(&b, 0, 1);
	capnp_set_u16(&b, capnp_put_struct(&b, root, 0, 1, 1), 0, 2);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	assert_int_equal(capnp_msg_open(frame, &m), 0);
	s = capnp_root(&m);
	assert_int_equal(tunnel_registered_decode(&s, &out), 0);
	assert_int_equal(out.verdict, 2);
	assert_int_equal(out.cause.len, 0);
}

static void test_sessions_and_configuration(void **state)
{
	(void)state;
	struct capnp_msg m;
	struct tunnel_udp_register reg = { .session_id = SPAN_LIT("0123456789abcdef"),
					   .dst_ip = SPAN_LIT("\x0a\0\0\x35"),
					   .dst_port = 53,
					   .idle_hint_ns = INT64_MIN,
					   .trace = SPAN_LIT("a:b:0:1") };
	struct tunnel_udp_register reg2;
	struct rpc_body body = tunnel_udp_register_body(&reg);
	struct capnp_struct s = root_of(&body, &m);
	assert_int_equal(tunnel_udp_register_decode(&s, &reg2), 0);
	assert_true(span_eq(reg2.dst_ip, reg.dst_ip) && reg2.dst_port == 53);
	assert_true(reg2.idle_hint_ns == INT64_MIN);
	assert_true(span_eq(reg2.trace, reg.trace));

	struct tunnel_udp_registered done = { .error = SPAN_LIT("no"), .spans = SPAN_LIT("") };
	struct tunnel_udp_registered done2;
	body = tunnel_udp_registered_body(&done);
	s = root_of(&body, &m);
	assert_int_equal(tunnel_udp_registered_decode(&s, &done2), 0);
	assert_true(span_eq_str(done2.error, "no"));
	assert_non_null(done2.spans.ptr);

	struct tunnel_udp_unregister gone = { .session_id = SPAN_LIT("x"),
					      .message = SPAN_LIT("idle") };
	struct tunnel_udp_unregister gone2;
	body = tunnel_udp_unregister_body(&gone);
	s = root_of(&body, &m);
	assert_int_equal(tunnel_udp_unregister_decode(&s, &gone2), 0);
	assert_true(span_eq(gone2.session_id, gone.session_id));
	assert_true(span_eq(gone2.message, gone.message));

	struct tunnel_config conf = { .version = -5, .config = SPAN_LIT("{}") };
	struct tunnel_config conf2;
	body = tunnel_config_body(&conf);
	s = root_of(&body, &m);
	assert_int_equal(tunnel_config_decode(&s, &conf2), 0);
	assert_true(conf2.version == -5 && span_eq_str(conf2.config, "{}"));

	struct tunnel_config_applied applied = { .latest_version = -1, .error = SPAN_LIT("e") };
	struct tunnel_config_applied applied2;
	body = tunnel_config_applied_body(&applied);
	s = root_of(&body, &m);
	assert_int_equal(tunnel_config_applied_decode(&s, &applied2), 0);
	assert_true(applied2.latest_version == -1 && span_eq_str(applied2.error, "e"));

	struct span local = SPAN_LIT("{\"ingress\":[]}");
	struct span local2;
	body = tunnel_local_config_body(&local);
	s = root_of(&body, &m);
	assert_int_equal(tunnel_local_config_decode(&s, &local2), 0);
	assert_true(span_eq(local, local2));
}

/* A struct whose only pointer leads outside makes every reader fail. */
static void test_malformed(void **state)
{
	(void)state;
	struct capnp_builder b;
	struct span frame;
	capnp_build_init(&b, buf, sizeof(buf));
	(void)capnp_build_root(&b, 0, 1);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	store_le64(buf + 16, (UINT64_C(1) << 48) | (100 << 2));
	union {
		struct tunnel_register reg;
		struct tunnel_registered registered;
		struct tunnel_udp_registered udp;
		struct tunnel_config_applied applied;
		struct tunnel_config config;
		struct span local;
	} u;
	for (int i = 0; i < 6; i++) {
		struct capnp_msg m;
		assert_int_equal(capnp_msg_open(frame, &m), 0);
		struct capnp_struct s = capnp_root(&m);
		int r = i == 0   ? tunnel_register_decode(&s, &u.reg)
			: i == 1 ? tunnel_registered_decode(&s, &u.registered)
			: i == 2 ? tunnel_udp_registered_decode(&s, &u.udp)
			: i == 3 ? tunnel_config_applied_decode(&s, &u.applied)
			: i == 4 ? tunnel_config_decode(&s, &u.config)
				 : tunnel_local_config_decode(&s, &u.local);
		assert_int_equal(r, -EBADMSG);
	}
}

/* ---- the capnp tool ---- */

static int memory_file(struct span content)
{
	int fd = memfd_create("capnp", 0);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content.ptr, content.len), (ssize_t)content.len);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* Runs `capnp MODE selftests/data/tunnel.capnp TYPE`; its output as text. False: no such tool. */
static bool run_capnp(struct span in, const char *const *args, char *ret, size_t cap)
{
	posix_spawn_file_actions_t files;
	pid_t pid = 0;
	int status = 0;
	/* Under emulation a spawn reports no missing program: look first. */
	if (access("/usr/bin/capnp", X_OK) < 0)
		return false;
	int from = memory_file(in);
	int to = memory_file((struct span){});
	char *argv[8];
	int n = 0;
	for (argv[n++] = strdup("capnp"); args[n - 1]; n++)
		argv[n] = strdup(args[n - 1]);
	argv[n] = NULL;

	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, from, 0);
	posix_spawn_file_actions_adddup2(&files, to, 1);
	int r = posix_spawnp(&pid, "capnp", &files, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&files);
	for (int i = 0; i < n; i++)
		free(argv[i]);
	if (r == 0) {
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
		ssize_t len = pread(to, ret, cap - 1, 0);
		assert_true(len >= 0);
		ret[len] = '\0';
	}
	close(from);
	close(to);
	return r == 0;
}

static void check_decodes(struct span frame, const char *type, const char *want)
{
	char text[4096];
	const char *const args[] = { "decode", "--short", "selftests/data/tunnel.capnp", type,
				     NULL };
	if (!run_capnp(frame, args, text, sizeof(text)))
		return;
	text[strcspn(text, "\n")] = '\0';
	assert_string_equal(text, want);
}

static void test_tool_reads_structs(void **state)
{
	(void)state;
	if (access("selftests/data/tunnel.capnp", R_OK) < 0)
		skip();
	struct tunnel_register in = registration();
	struct rpc_body body = tunnel_register_body(&in);
	check_decodes(
		build(&body), "RegisterParams",
		"(auth = (accountTag = \"account\", tunnelSecret = \"0123456789abcdef\"), "
		"tunnelId = \"TTTTTTTTTTTTTTTT\", connIndex = 3, options = (client = (clientId = "
		"\"CCCCCCCCCCCCCCCC\", features = [\"one\", \"two\"], version = \"1.0\", arch = "
		"\"linux_amd64\"), originLocalIp = "
		"\"\\000\\000\\000\\000\\000\\000\\000\\000\\000\\000\\377\\377\\177\\000\\000\\001\", "
		"replaceExisting = true, compressionQuality = 9, numPreviousAttempts = 255))");
	struct tunnel_registered no = { .cause = SPAN_LIT("no"), .retry_after_ns = 5 };
	body = tunnel_registered_body(&no);
	check_decodes(build(&body), "RegisterResults",
		      "(result = (error = (cause = \"no\", retryAfter = 5, shouldRetry = false)))");
	struct tunnel_config_applied applied = { .latest_version = -1, .error = SPAN_LIT("e") };
	body = tunnel_config_applied_body(&applied);
	check_decodes(build(&body), "UpdateConfigurationResults",
		      "(result = (latestAppliedVersion = -1, err = \"e\"))");
	struct tunnel_udp_register udp = { .session_id = SPAN_LIT("s"),
					   .dst_ip = SPAN_LIT("d"),
					   .dst_port = 53,
					   .idle_hint_ns = 9 };
	body = tunnel_udp_register_body(&udp);
	check_decodes(build(&body), "RegisterUdpSessionParams",
		      "(sessionId = \"s\", dstIp = \"d\", dstPort = 53, closeAfterIdleHint = 9)");
}

static void test_tool_reads_messages(void **state)
{
	(void)state;
	if (access("selftests/data/tunnel.capnp", R_OK) < 0)
		skip();
	struct capnp_builder b;
	struct span frame;
	struct rpc_call call = { .question_id = 1,
				 .target = RPC_TARGET_PROMISED_ANSWER,
				 .interface_id = 2,
				 .method_id = 3,
				 .body = tunnel_empty_body() };
	capnp_build_init(&b, buf, sizeof(buf));
	rpc_write_call(&b, &call);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	check_decodes(
		frame, "Message",
		"(call = (questionId = 1, target = (promisedAnswer = (questionId = 0, transform = "
		"[])), interfaceId = 2, methodId = 3, params = (content = <opaque pointer>, "
		"capTable = []), sendResultsTo = (caller = void), allowThirdPartyTailCall = "
		"false))");
	capnp_build_init(&b, buf, sizeof(buf));
	rpc_write_finish(&b, 7, false);
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	check_decodes(frame, "Message", "(finish = (questionId = 7, releaseResultCaps = false))");
	capnp_build_init(&b, buf, sizeof(buf));
	rpc_write_exception(&b, 4, SPAN_LIT("why"));
	assert_int_equal(capnp_build_finish(&b, &frame), 0);
	check_decodes(frame, "Message",
		      "(return = (answerId = 4, releaseParamCaps = false, exception = (reason = "
		      "\"why\", obsolete = false, type = 0)))");

	struct connect_writer w;
	connect_writer_init(&w, buf, sizeof(buf));
	connect_request_begin(&w, CONNECT_TYPE_TCP, SPAN_LIT("1.2.3.4:5"), 1);
	connect_add_header(&w, SPAN_LIT("N"), SPAN_LIT("v"));
	assert_int_equal(connect_finish(&w, &frame), 0);
	check_decodes(span_skip(frame, PREAMBLE_MAX), "ConnectRequest",
		      "(dest = \"1.2.3.4:5\", type = 2, metadata = [(key = \"HttpHeader:N\", val = "
		      "\"v\")])");
}

/* The tool spreads a message over segments of one word; we read it. */
static void test_tool_writes_segments(void **state)
{
	(void)state;
	static char out[16384];
	const char *const args[] = { "encode", "--segment-size=1", "selftests/data/tunnel.capnp",
				     "ConnectRequest", NULL };
	if (access("selftests/data/tunnel.capnp", R_OK) < 0)
		skip();
	struct span text =
		SPAN_LIT("(dest = \"/x\", type = 1, metadata = ["
			 "(key = \"HttpMethod\", val = \"PUT\"),"
			 "(key = \"HttpHeader:A\", val = \"a long value of several words\")])");
	if (!run_capnp(text, args, out, sizeof(out)))
		skip();
	size_t need = 0;
	struct connect_request q;
	assert_int_equal(capnp_frame_need(span_of(out, sizeof(out)), sizeof(out), &need), 0);
	assert_true(load_le32((const uint8_t *)out) >= 4);
	assert_int_equal(connect_request_decode(span_of(out, need), &q), 0);
	assert_int_equal(q.type, CONNECT_TYPE_WEBSOCKET);
	assert_true(span_eq_str(q.dest, "/x"));
	assert_true(span_eq_str(q.method, "PUT"));
	assert_int_equal(q.meta.header_count, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_register),
		cmocka_unit_test(test_features_limit),
		cmocka_unit_test(test_registered),
		cmocka_unit_test(test_sessions_and_configuration),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_tool_reads_structs),
		cmocka_unit_test(test_tool_reads_messages),
		cmocka_unit_test(test_tool_writes_segments),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
