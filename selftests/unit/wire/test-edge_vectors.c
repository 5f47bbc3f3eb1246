/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every case of edge-protocol.json: decoded, compared with its recorded fields, and built again
 * from what was decoded, which must give the recorded bytes. What isn't built by us byte for byte
 * is listed with its reason; so is what isn't run. The session behaviour is test-rpc_session.
 */
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "data/edge-protocol.h"

#include "daemon/wire/connect.h"
#include "daemon/wire/preamble.h"
#include "selftests/lib/rpc_methods.h"
#include "util/macro.h"

struct rule {
	const char *pattern; /* of fnmatch(3) */
	const char *reason;
};

/* Cases that no part of daemon/wire as it is has to read. */
static const struct rule not_run[] = {
	{ "handshake/clienthello-daemon", "TLS: of daemon/link" },
	{ "handshake/transport-parameters-daemon", "QUIC: of daemon/link" },
	{ "datagram-v2/*", "datagrams come with their own issue" },
	{ "packed/reference-pair", "packing is never used on the wire" },
};

/* Accepted on receipt, built differently by us. */
static const struct rule not_our_bytes[] = {
	{ "multi-segment/connect-request-64-byte-segments", "several segments; we write one" },
	{ "multi-segment/connect-request-exact-segments", "several segments; we write one" },
	{ "multi-segment/rpc-bootstrap/01-bootstrap", "several segments; we write one" },
	{ "evolution/*", "struct sizes of another schema version" },
	{ "malformed/version-not-checked", "wire-lenient: another version" },
	{ "malformed/null-root", "wire-lenient" },
	{ "malformed/root-is-list", "wire-lenient" },
	{ "malformed/text-without-nul", "wire-lenient" },
	{ "malformed/dest-is-capability", "wire-lenient" },
	{ "malformed/metadata-tag-count-smaller", "wire-lenient" },
	{ "malformed/response-null-root", "wire-lenient" },
	{ "rpc-robustness/*-call", "scripted call without capability table" },
	{ "rpc-robustness/message-*/01-*", "message kinds that we never send" },
	{ "rpc-robustness/return-unknown/01-return", "a canceled Return, which we never send" },
	{ "rpc-robustness/null-root/*-unimplemented", "null root" },
	{ "captured/http/header-key-*/edge", "header keys that are malformed on purpose" },
};

/* Streams that are broken on purpose: how reading ends. 0 in malformed/: accepted. */
static const struct {
	const char *name;
	int error;
} broken[] = {
	{ "captured/http/unknown-signature/edge", -EBADMSG },
	{ "captured/http/unknown-signature-with-fin/edge", -EBADMSG },
	{ "captured/http/fin-with-no-bytes-after-1-byte/edge", -ENODATA },
	{ "captured/http/truncated-capnp/edge", -ENODATA },
	{ "captured/http/too-many-segments/edge", -EBADMSG },
	{ "captured/http/no-bytes-at-all-for-1s-then-reset/edge", -ENODATA },
	{ "rpc-robustness/garbage/01-raw", -EBADMSG },
	{ "rpc-robustness/bad-root-pointer/01-", -EBADMSG },
	{ "rpc-robustness/garbage/full-edge", -EBADMSG },
	{ "rpc-robustness/bad-root-pointer/full-edge", -EBADMSG },
	/* The behaviour overrides and the rejections of malformed/ and packed/. */
	{ "malformed/unknown-signature", -EBADMSG },
	{ "malformed/short-signature", -ENODATA },
	{ "malformed/empty-stream", -ENODATA },
	{ "malformed/missing-version", -ENODATA },
	{ "malformed/truncated-message", -ENODATA },
	{ "malformed/truncated-header", -ENODATA },
	{ "malformed/too-many-segments", -EBADMSG },
	{ "malformed/segments-limit-edge", -ENODATA },
	{ "malformed/oversize", -EMSGSIZE },
	{ "malformed/size-limit-edge", -EMSGSIZE }, /* recorded: 64 MiB, ours: 256 KiB */
	{ "malformed/segment-size-negative", -EMSGSIZE },
	{ "malformed/empty-segment", -EBADMSG }, /* behaviour: recorded as a crash */
	{ "malformed/root-out-of-bounds", -EBADMSG },
	{ "malformed/metadata-list-out-of-bounds", -EBADMSG },
	{ "malformed/metadata-tag-count-too-large", -EBADMSG },
	{ "malformed/metadata-tag-not-struct", -EBADMSG },
	{ "malformed/far-pointer-unknown-segment", -EBADMSG },
	{ "malformed/dest-is-unknown-other-pointer", -EBADMSG },
	{ "malformed/response-truncated", -ENODATA },
	{ "malformed/response-wrong-signature", -EBADMSG },
	{ "malformed/response-unknown-signature", -EBADMSG },
	{ "packed/connect-request", -EBADMSG },
};

struct tally {
	unsigned int recorded;
	unsigned int overridden;
	unsigned int not_run;
};

/* Which call a Return answers: the recording of a session may hold the Returns before the calls. */
struct method {
	uint64_t interface_id;
	uint16_t method_id;
};

static uint8_t out[CAPNP_CONNECT_MAX];
static unsigned int same_bytes;
static unsigned int other_bytes;

static const char *reason_in(const struct rule *rules, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++)
		if (fnmatch(rules[i].pattern, name, 0) == 0)
			return rules[i].reason;
	return NULL;
}

static int expected_error(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
		if (strcmp(broken[i].name, name) == 0)
			return broken[i].error;
	return 0;
}

static bool has_prefix(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* ---- comparing ---- */

static void check_number(const struct vector_case *c, const char *key, uint64_t have)
{
	const char *want = vector_get(c, key);
	if (want && strtoull(want, NULL, 0) != have)
		fail_msg("%s: %s is %" PRIu64 ", recorded %s", c->name, key, have, want);
}

static void check_bool(const struct vector_case *c, const char *key, bool have)
{
	const char *want = vector_get(c, key);
	if (want && (strcmp(want, "true") == 0) != have)
		fail_msg("%s: %s is %d, recorded %s", c->name, key, have, want);
}

static void check_text(const struct vector_case *c, const char *key, struct span have)
{
	const char *want = vector_get(c, key);
	if (want && strcmp(want, "null") != 0 && !span_eq_str(have, want))
		fail_msg("%s: %s is \"%.*s\", recorded \"%s\"", c->name, key, (int)have.len,
			 (const char *)have.ptr, want);
}

static void check_bytes(const struct vector_case *c, struct span have, struct span want)
{
	const char *reason = reason_in(not_our_bytes, ARRAY_SIZE(not_our_bytes), c->name);
	bool is_same = span_eq(have, want);
	if (reason)
		other_bytes++;
	else
		same_bytes++;
	if (is_same == (reason != NULL))
		fail_msg("%s: built %zu bytes, recorded %zu: %s", c->name, have.len, want.len,
			 is_same ? "the same, though listed as different" : "different");
}

/* ---- RPC ---- */

/* The one message that a case is; false for whole streams, events and everything else. */
static bool read_single(const struct vector_case *c, struct capnp_msg *m, struct rpc_message *ret)
{
	const char *last = strrchr(c->name, '/') + 1;
	return c->len > PREAMBLE_SIGNATURE_LEN && !has_prefix(last, "full-") &&
	       rpc_decode(vector_span(c), m, ret) == 0;
}

struct wanted {
	enum rpc_kind kind;
	uint32_t id;
};

/* The n-th message of this kind and id in a session, up to the case stop (NULL: to the end). */
static unsigned int find_message(const struct vector_case *of, struct wanted w,
				 const struct vector_case *stop, unsigned int n, struct method *ret)
{
	const char *session = vector_get(of, "session");
	unsigned int count = 0;
	for (size_t i = 0; session && i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		struct capnp_msg m;
		struct rpc_message msg;
		if (c == stop)
			break;
		if (!vector_is(c, "session", session) || !read_single(c, &m, &msg) ||
		    msg.kind != w.kind || msg.id != w.id)
			continue;
		if (count++ == n && ret)
			*ret = (struct method){ msg.interface_id, msg.method_id };
	}
	return count;
}

/* An id is used again only after its Return, so the n-th Return answers the n-th question. */
static bool method_of(const struct vector_case *c, uint32_t id, struct method *ret)
{
	unsigned int earlier = find_message(c, (struct wanted){ RPC_KIND_RETURN, id }, c, 0, NULL);
	/* The bootstrap may have had the same id before. */
	unsigned int boots =
		find_message(c, (struct wanted){ RPC_KIND_BOOTSTRAP, id }, NULL, 0, NULL);
	if (earlier < boots)
		return false;
	return find_message(c, (struct wanted){ RPC_KIND_CALL, id }, NULL, earlier - boots, ret) >
	       earlier - boots;
}

/* False when nothing of ours builds such a message. */
static bool build_call(struct capnp_builder *b, const struct rpc_message *msg)
{
	union rpc_methods_store store;
	struct rpc_call call = { .question_id = msg->id,
				 .target = msg->target,
				 .target_id = msg->target_id,
				 .interface_id = msg->interface_id,
				 .method_id = msg->method_id };
	if (rpc_methods_copy(
		    (struct rpc_methods_id){ msg->interface_id, msg->method_id, RPC_HALF_PARAMS },
		    &msg->payload.content, &store, &call.body) < 0)
		return false;
	rpc_write_call(b, &call);
	return true;
}

static bool build_return(const struct vector_case *c, struct capnp_builder *b,
			 const struct rpc_message *msg)
{
	union rpc_methods_store store;
	struct rpc_body body;
	if (msg->returned == RPC_RETURN_EXCEPTION) {
		rpc_write_exception(b, msg->id, msg->reason);
		return true;
	}
	if (msg->returned != RPC_RETURN_RESULTS)
		return false;
	if (msg->payload.content_cap != UINT32_MAX) {
		rpc_write_capability(b, msg->id, rpc_cap_at(&msg->payload, 0).id);
		return true;
	}
	struct method method;
	if (!method_of(c, msg->id, &method) ||
	    rpc_methods_copy((struct rpc_methods_id){ method.interface_id, method.method_id,
						      RPC_HALF_RESULTS },
			     &msg->payload.content, &store, &body) < 0)
		return false;
	rpc_write_results(b, msg->id, &body);
	return true;
}

static bool build(const struct vector_case *c, struct capnp_builder *b,
		  const struct rpc_message *msg)
{
	struct capnp_struct echoed;
	switch (msg->kind) {
	case RPC_KIND_UNIMPLEMENTED:
		echoed = capnp_get_struct(&msg->root, 0);
		rpc_write_unimplemented(b, &echoed);
		return true;
	case RPC_KIND_ABORT:
		rpc_write_abort(b, msg->reason);
		return true;
	case RPC_KIND_CALL:
		return build_call(b, msg);
	case RPC_KIND_RETURN:
		return build_return(c, b, msg);
	case RPC_KIND_FINISH:
		rpc_write_finish(b, msg->id, msg->release_caps);
		return true;
	case RPC_KIND_RELEASE:
		rpc_write_release(b, msg->id, msg->reference_count);
		return true;
	case RPC_KIND_BOOTSTRAP:
		rpc_write_bootstrap(b, msg->id);
		return true;
	case RPC_KIND_RESOLVE:
	case RPC_KIND_DISEMBARGO:
		break;
	}
	return false;
}

static void check_message(const struct vector_case *c, const struct rpc_message *msg)
{
	check_number(c, "which_tag", msg->kind);
	if (msg->kind == RPC_KIND_CALL) {
		check_number(c, "interfaceId", msg->interface_id);
		check_number(c, "methodId", msg->method_id);
	}
	check_number(c,
		     msg->kind == RPC_KIND_RETURN    ? "answerId"
		     : msg->kind == RPC_KIND_RELEASE ? "id"
						     : "questionId",
		     msg->id);
	check_number(c, "referenceCount", msg->reference_count);
	check_bool(c, msg->kind == RPC_KIND_RETURN ? "releaseParamCaps" : "releaseResultCaps",
		   msg->release_caps);
	check_text(c, "reason", msg->reason);
	if (vector_is(c, "return_kind", "exception"))
		assert_int_equal(msg->returned, RPC_RETURN_EXCEPTION);
	if (vector_is(c, "return_kind", "results"))
		assert_int_equal(msg->returned, RPC_RETURN_RESULTS);
	if (vector_is(c, "return_kind", "canceled"))
		assert_int_equal(msg->returned, RPC_RETURN_CANCELED);
}

/* One frame: 0 or the error of reading it. c's fields are compared when it is the case itself. */
static int run_frame(const struct vector_case *c, struct span frame, bool is_whole_case)
{
	struct capnp_msg m;
	struct rpc_message msg;
	int r = rpc_decode(frame, &m, &msg);
	if (r < 0)
		return r;
	if (!is_whole_case)
		return 0;
	check_message(c, &msg);

	struct capnp_builder b;
	struct span built = {};
	capnp_build_init(&b, out, sizeof(out));
	if (build(c, &b, &msg)) {
		assert_int_equal(capnp_build_finish(&b, &built), 0);
		check_bytes(c, built, frame);
	} else if (reason_in(not_our_bytes, ARRAY_SIZE(not_our_bytes), c->name)) {
		other_bytes++;
	} else {
		fail_msg("%s: nothing builds it", c->name);
	}
	return 0;
}

/* RPC messages to the end of the stream. */
static int run_frames(const struct vector_case *c, struct span in, bool is_whole_case)
{
	while (in.len > 0) {
		size_t need = 0;
		int r = capnp_frame_need(in, CAPNP_RPC_MAX, &need);
		if (r < 0)
			return r;
		if (need > in.len)
			return -ENODATA;
		r = run_frame(c, span_first(in, need), is_whole_case);
		if (r < 0)
			return r;
		in = span_skip(in, need);
	}
	return 0;
}

/* ---- connect messages ---- */

/* Recorded either as {key, val} or, in go_parsed, as {Key, Val}. */
static void check_entry(const struct vector_case *c, uint32_t i, const struct connect_meta *e)
{
	char key[64];
	char whole[512];
	const char *prefix = e->is_header ? "HttpHeader:" : "";
	int n = snprintf(whole, sizeof(whole), "%s%.*s", prefix, (int)e->name.len,
			 (const char *)e->name.ptr);

	(void)snprintf(key, sizeof(key), "metadata/%u/key", i);
	check_text(c, key, span_of(whole, (size_t)n));
	(void)snprintf(key, sizeof(key), "metadata/%u/val", i);
	check_text(c, key, e->value);
	(void)snprintf(key, sizeof(key), "go_parsed/Metadata/%u/Key", i);
	check_text(c, key, span_of(whole, (size_t)n));
	(void)snprintf(key, sizeof(key), "go_parsed/Metadata/%u/Val", i);
	check_text(c, key, e->value);
}

static void copy_metadata(const struct vector_case *c, struct connect_metadata *m,
			  struct connect_writer *w)
{
	struct connect_iter it = {};
	struct connect_meta e;
	uint32_t i = 0;
	while (connect_next(m, &it, &e)) {
		check_entry(c, i++, &e);
		if (e.is_header)
			connect_add_header(w, e.name, e.value);
		else
			connect_add(w, e.name, e.value);
	}
	check_number(c, "metadata/#", m->count);
	check_number(c, "go_parsed/Metadata/#", m->count);
}

static void check_built(const struct vector_case *c, struct connect_writer *w, struct span want)
{
	struct span built = {};
	int r = connect_finish(w, &built);
	if (r < 0 && reason_in(not_our_bytes, ARRAY_SIZE(not_our_bytes), c->name)) {
		other_bytes++;
		return;
	}
	assert_int_equal(r, 0);
	check_bytes(c, built, want);
}

static int run_request(const struct vector_case *c, struct span frame, struct span whole)
{
	struct connect_request q;
	struct connect_writer w;
	int r = connect_request_decode(frame, &q);
	if (r < 0)
		return r;
	check_number(c, "type", q.type);
	check_text(c, "dest", q.dest);
	check_number(c, "go_parsed/Type", q.type);
	check_text(c, "go_parsed/Dest", q.dest);

	connect_writer_init(&w, out, sizeof(out));
	connect_request_begin(&w, q.type, q.dest, q.meta.count);
	copy_metadata(c, &q.meta, &w);
	check_built(c, &w, whole);
	return 0;
}

static int run_response(const struct vector_case *c, struct span frame, struct span whole)
{
	struct connect_response p;
	struct connect_writer w;
	int r = connect_response_decode(frame, &p);
	if (r < 0)
		return r;
	check_text(c, "error", p.error);

	connect_writer_init(&w, out, sizeof(out));
	connect_response_begin(&w, p.error, p.meta.count);
	copy_metadata(c, &p.meta, &w);
	check_built(c, &w, whole);
	return 0;
}

static int run_connect(const struct vector_case *c, struct span whole, struct span after_preamble)
{
	size_t need = 0;
	int r = capnp_frame_need(after_preamble, CAPNP_CONNECT_MAX, &need);
	if (r < 0)
		return r;
	if (need > after_preamble.len)
		return -ENODATA;
	struct span frame = span_first(after_preamble, need);
	whole = span_first(whole, whole.len - after_preamble.len + need);
	if (strcmp(c->direction, "daemon->edge") == 0)
		return run_response(c, frame, whole);
	return run_request(c, frame, whole);
}

/* ---- streams ---- */

/* Recorded without their preamble, or data streams whose preamble was left out of the case. */
static bool is_without_preamble(const struct vector_case *c)
{
	return has_prefix(c->name, "multi-segment/connect") || has_prefix(c->name, "evolution/") ||
	       has_prefix(c->name, "packed/");
}

/* A stream from its first byte: preamble, then what it announces; without one, RPC messages. */
static int run_stream(const struct vector_case *c, struct span in, bool is_whole_case)
{
	struct preamble_reader pre = {};
	struct span rest = in;
	/* The answering side of an RPC stream, and all of the control stream, have no preamble. */
	bool is_rpc = vector_get(c, "session") != NULL;
	if (is_rpc && in.ptr[0] != 0x52)
		return run_frames(c, in, is_whole_case);

	int r = preamble_read(&pre, &rest);
	if (r == -EAGAIN)
		return -ENODATA;
	if (r < 0)
		return r;
	if (pre.kind == PREAMBLE_KIND_DATA)
		return run_connect(c, in, rest);
	/* What must be a data stream is wrong with the RPC signature. */
	if (has_prefix(c->name, "malformed/"))
		return -EBADMSG;
	return run_frames(c, rest, is_whole_case);
}

static int run_case(const struct vector_case *c)
{
	struct span in = vector_heap_copy(vector_span(c));
	const char *last = strrchr(c->name, '/') + 1;
	int r = 0;

	if (strcmp(c->name, "malformed/missing-version") != 0 && in.len == PREAMBLE_SIGNATURE_LEN) {
		struct preamble_reader pre = {};
		struct span rest = in;
		r = preamble_read(&pre, &rest);
		assert_int_equal(rest.len, 0);
	} else if (strcmp(c->name, "preamble/data-stream") == 0) {
		struct preamble_reader pre = {};
		struct span rest = in;
		r = preamble_read(&pre, &rest);
		assert_int_equal(pre.kind, PREAMBLE_KIND_DATA);
	} else if (is_without_preamble(c) && !(in.len && in.ptr[0] == 0x0a)) {
		r = run_connect(c, in, in);
	} else {
		bool is_message = c->name[0] != '\0' &&
				  (strstr(last, "full-") == NULL && strcmp(last, "edge") != 0 &&
				   strcmp(last, "daemon") != 0);
		r = has_prefix(last, "full-") || is_message || in.len
			    ? run_stream(c, in, is_message)
			    : 0;
	}
	vector_heap_free(in);
	return r;
}

/* ---- the test ---- */

static const char *kind_of(const char *name, char buf[32])
{
	(void)snprintf(buf, 32, "%.*s", (int)strcspn(name, "/"), name);
	return buf;
}

/* The tally of a kind; kinds come in runs but may come again. */
static struct tally *tally_of(const char *name, char kinds[][32], struct tally *tallies)
{
	char kind[32];
	int i = 0;
	for (kind_of(name, kind); kinds[i][0] && strcmp(kinds[i], kind) != 0; i++)
		assert_true(i < 30);
	memcpy(kinds[i], kind, sizeof(kind));
	return &tallies[i];
}

static const char *not_run_reason(const struct vector_case *c)
{
	const char *reason = reason_in(not_run, ARRAY_SIZE(not_run), c->name);
	if (!reason && c->len == 0 && strcmp(c->name, "malformed/empty-stream") != 0)
		reason = "no bytes: an event, or a side that sent nothing";
	return reason;
}

static void test_every_case(void **state)
{
	(void)state;
	char kinds[32][32] = {};
	struct tally tallies[32] = {};
	struct tally sum = {};

	for (size_t i = 0; i < ARRAY_SIZE(vector_cases); i++) {
		const struct vector_case *c = &vector_cases[i];
		struct tally *t = tally_of(c->name, kinds, tallies);
		if (not_run_reason(c)) {
			t->not_run++;
			continue;
		}
		int r = run_case(c);
		if (r != expected_error(c->name))
			fail_msg("%s: %d, expected %d", c->name, r, expected_error(c->name));
		if (vector_override(c))
			t->overridden++;
		else
			t->recorded++;
	}

	print_message("%-20s recorded  overridden  not run\n", "kind");
	for (int i = 0; kinds[i][0]; i++) {
		print_message("%-20s %8u  %10u  %7u\n", kinds[i], tallies[i].recorded,
			      tallies[i].overridden, tallies[i].not_run);
		sum.recorded += tallies[i].recorded;
		sum.overridden += tallies[i].overridden;
		sum.not_run += tallies[i].not_run;
	}
	print_message("%-20s %8u  %10u  %7u\n", "all", sum.recorded, sum.overridden, sum.not_run);
	print_message("built byte for byte: %u messages; read only (listed with a reason): %u\n",
		      same_bytes, other_bytes);
	for (size_t i = 0; i < ARRAY_SIZE(not_run); i++)
		print_message("not run: %s: %s\n", not_run[i].pattern, not_run[i].reason);
	assert_int_equal(sum.recorded + sum.overridden + sum.not_run, ARRAY_SIZE(vector_cases));
}

/* A pattern that matches nothing is stale. */
static void test_lists_are_fresh(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(not_our_bytes); k++) {
		bool is_used = false;
		for (size_t i = 0; i < ARRAY_SIZE(vector_cases) && !is_used; i++)
			is_used = fnmatch(not_our_bytes[k].pattern, vector_cases[i].name, 0) == 0;
		if (!is_used)
			fail_msg("%s names nothing", not_our_bytes[k].pattern);
	}
	for (size_t k = 0; k < ARRAY_SIZE(broken); k++) {
		bool is_used = false;
		for (size_t i = 0; i < ARRAY_SIZE(vector_cases) && !is_used; i++)
			is_used = strcmp(broken[k].name, vector_cases[i].name) == 0;
		if (!is_used)
			fail_msg("%s names nothing", broken[k].name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_case),
		cmocka_unit_test(test_lists_are_fresh),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
