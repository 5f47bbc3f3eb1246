/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A daemon's connection at the edge over a link of the test's own: streams on which nothing becomes
 * whole, and how the links of the reference are sent away.
 */
#include "daemon/edge/edge_conn.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/conf/load.h"
#include "daemon/link/rpc_channel.h"
#include "selftests/lib/fake_stream.h"
#include "util/cleanup.h"

#define ID      "6ff42ae2-765d-4adf-8112-31c55c1551ef"
#define ACCOUNT "0123456789abcdef0123456789abcdef"
/* SHA-256 of 32 zero bytes. */
#define SHA_ZERO "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925"
#define SHA_ONES "af9613760f72635fbdb44a5a0a63c39f12af30f950a6ee5c971be188e89c4051"

enum { BUDGET = 4 << 20, WINDOW = 64 * 1024, DAEMONS = 16, TAG = 1, SERIES = 1000 };

/* A link that does nothing but remember. */
struct fake_link {
	struct link base; /* first */
	bool is_registered, is_drained, is_closed;
};

struct daemon_end {
	struct fake_link link;
	struct stream *control; /* the daemon's end */
	struct rpc_channel *rpc;
	unsigned int returns, exceptions;
};

struct fixture {
	struct worker_set *set;
	struct loop *loop;
	struct slab *slab;
	struct directory *directory;
	struct front_families front;
	struct tunnel_families links;
	struct roster *roster;
	_Atomic bool is_draining;
	struct metric_registry *registry;
	struct edge_conn_env env;
	_Atomic uint64_t serial;
	struct daemon_end daemons[DAEMONS];
};

static struct fake_link *fake_of(struct link *link)
{
	return (struct fake_link *)link;
}

static void fake_drain(struct link *link)
{
	fake_of(link)->is_drained = true;
}

static void fake_close(struct link *link, uint64_t code, const char *reason)
{
	(void)code;
	(void)reason;
	fake_of(link)->is_closed = true;
}

static void fake_set_registered(struct link *link)
{
	fake_of(link)->is_registered = true;
}

static void fake_get_stats(struct link *link, struct link_stats *ret)
{
	(void)link;
	*ret = (struct link_stats){};
}

static void fake_free(struct link *link)
{
	(void)link;
}

static const struct link_ops link_ops = {
	.protocol = "fake",
	.drain = fake_drain,
	.close = fake_close,
	.set_registered = fake_set_registered,
	.get_stats = fake_get_stats,
	.free = fake_free,
};

static void turn(struct fixture *f)
{
	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(loop_turn(f->loop, 0), 0);
}

static bool until(struct fixture *f, bool (*check)(struct fixture *f))
{
	nsec_t end = nsec_clock(CLOCK_MONOTONIC) + 5 * NSEC_PER_SEC;
	while (!check(f) && nsec_clock(CLOCK_MONOTONIC) < end)
		assert_int_equal(loop_turn(f->loop, NSEC_PER_MSEC), 0);
	return check(f);
}

/* The tunnel with this digest; without one (NULL) there is no tunnel. */
static struct roster *load(struct fixture *f, const char *digest, const struct roster *old)
{
	char secret[128];
	const char *const settings[] = { "log.level=info", "tunnel.home.id=" ID,
					 "tunnel.home.account=" ACCOUNT, secret };
	(void)snprintf(secret, sizeof(secret), "tunnel.home.secret-sha256=%s",
		       digest ? digest : "");
	struct conf_source src = { .set = settings,
				   .set_count = digest ? ARRAY_SIZE(settings) : 1 };
	struct roster *roster = NULL;
	struct conf_report report = {};
	struct edge_conf *conf = NULL;
	const char *reason = NULL;
	assert_int_equal(edge_conf_load(&src, &report, &conf), 0);
	conf_report_done(&report);
	struct roster_params params = {
		.conf = conf, .old = old, .front = &f->front, .links = &f->links, .worker_count = 1
	};
	assert_int_equal(roster_new(&params, &reason, &roster), 0);
	edge_conf_unref(conf);
	return roster;
}

static int begin(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	assert_non_null(f);
	assert_int_equal(metric_registry_new(SERIES, &f->registry), 0);
	assert_int_equal(front_families_define(&f->front, f->registry), 0);
	assert_int_equal(tunnel_families_define(&f->links, f->registry), 0);
	f->roster = load(f, SHA_ZERO, NULL);
	struct worker_params params = { .count = 1, .memory = BUDGET, .metrics = f->registry };
	assert_int_equal(worker_set_new(&params, &f->set), 0);
	struct worker *worker = worker_set_get(f->set, 0);
	f->loop = worker->loop;
	f->slab = worker->slab;
	assert_int_equal(directory_new(worker, &f->directory), 0);
	f->env = (struct edge_conn_env){
		.worker = worker,
		.set = f->set,
		.directories = &f->directory,
		.roster = f->roster,
		.is_draining = &f->is_draining,
		.next_serial = &f->serial,
		.grace = 3600 * NSEC_PER_SEC,
		.rpc_timeout = 3600 * NSEC_PER_SEC,
		.control_timeout = 3600 * NSEC_PER_SEC,
	};
	edge_conn_env_init(&f->env);
	*state = f;
	return 0;
}

static int end(void **state)
{
	struct fixture *f = *state;
	edge_conn_env_done(&f->env);
	for (unsigned int i = 0; i < DAEMONS; i++)
		rpc_channel_close(f->daemons[i].rpc, false);
	turn(f);
	directory_free(f->directory);
	worker_set_free(f->set);
	roster_unref(f->roster);
	metric_registry_free(f->registry);
	free(f);
	return 0;
}

static void on_return(void *user, uint64_t tag, const struct rpc_reply *reply)
{
	struct daemon_end *d = user;
	d->returns += tag == TAG && reply->outcome == RPC_OUTCOME_RESULTS;
	d->exceptions += tag == TAG && reply->outcome == RPC_OUTCOME_EXCEPTION;
}

static void on_end(void *user, enum rpc_channel_end end)
{
	(void)user;
	(void)end;
}

static const struct rpc_channel_ops client_ops = { .on_return = on_return, .on_end = on_end };

static void dial(struct fixture *f, struct daemon_end *d)
{
	d->link.base =
		(struct link){ .ops = &link_ops, .sink = &edge_conn_sink, .worker = f->env.worker };
	d->link.base.user = edge_conn_accept(&d->link.base, &f->env);
	assert_non_null(d->link.base.user);
}

/* Another stream that the daemon opens; its own end. */
static struct stream *open_stream(struct fixture *f, struct daemon_end *d, uint64_t id)
{
	struct stream *edge = NULL, *own = NULL;
	assert_int_equal(fake_pair_new(f->loop, f->slab, WINDOW, &edge, &own), 0);
	edge_conn_sink.on_stream(&d->link.base, edge, id, d->link.base.user);
	return own;
}

/* Calls as the reference (without a feature of ours), or as one of ours. */
static void call_register(struct fixture *f, struct daemon_end *d, bool is_adit)
{
	static const uint8_t secret[32], connector[16] = { 1 }, address[16];
	struct uuid id;
	assert_int_equal(uuid_parse(SPAN_LIT(ID), &id), 0);
	struct tunnel_register reg = {
		.conn_index = (uint8_t)(d - f->daemons),
		.account_tag = SPAN_LIT(ACCOUNT),
		.secret = span_of(secret, sizeof(secret)),
		.tunnel_id = uuid_span(&id),
		.client_id = span_of(connector, sizeof(connector)),
		.features = { SPAN_LIT("adit_1") },
		.feature_count = is_adit,
		.version = SPAN_LIT("test"),
		.arch = SPAN_LIT("test"),
		.origin_local_ip = span_of(address, sizeof(address)),
	};
	struct rpc_channel_call call = {
		.interface_id = RPC_IFACE_REGISTRATION,
		.method_id = RPC_REGISTER_CONNECTION,
		.params = tunnel_register_body(&reg),
		.tag = TAG,
	};
	d->control = open_stream(f, d, 0);
	assert_int_equal(rpc_channel_new(f->loop, d->control, &client_ops, d, &d->rpc), 0);
	assert_int_equal(rpc_channel_bootstrap(d->rpc), 0);
	assert_int_equal(rpc_channel_call(d->rpc, &call), 0);
	turn(f);
}

static void ask(struct fixture *f, struct daemon_end *d, bool is_adit)
{
	dial(f, d);
	call_register(f, d, is_adit);
}

static void enlist(struct fixture *f, struct daemon_end *d, bool is_adit)
{
	ask(f, d, is_adit);
	assert_int_equal(d->returns, 1);
	assert_true(d->link.is_registered);
}

/* ---- streams ---- */

static bool has_one_timeout(struct fixture *f)
{
	return f->env.rpc_timeouts == 1;
}

static int said(struct stream *s)
{
	uint8_t got[256];
	size_t len = 0;
	return fake_stream_take(s, got, sizeof(got), &len);
}

/* A message that is begun and never whole, on a stream of its own: that stream ends. */
static void test_rpc_stream_without_progress(void **state)
{
	struct fixture *f = *state;
	struct daemon_end *d = &f->daemons[0];
	static const uint8_t head[8] = { 0, 0, 0, 0, 4 };
	uint8_t signature[PREAMBLE_MAX];
	struct packer p = packer_over(signature, sizeof(signature));
	preamble_write(&p, PREAMBLE_KIND_RPC);
	enlist(f, d, true);
	f->env.rpc_timeout = 30 * NSEC_PER_MSEC;
	struct stream *begun = open_stream(f, d, 4);
	fake_stream_put(begun, packer_span(&p).ptr, packer_span(&p).len);
	fake_stream_put(begun, head, sizeof(head));
	assert_true(until(f, has_one_timeout));
	assert_int_equal(said(begun), -ECONNRESET);
	stream_close(begun);

	/* One that says nothing at all. */
	f->env.rpc_timeouts = 0;
	struct stream *silent = open_stream(f, d, 8);
	assert_true(until(f, has_one_timeout));
	assert_int_equal(said(silent), -ECONNRESET);
	stream_close(silent);

	assert_false(d->link.is_closed);
	assert_int_equal(directory_count(f->directory, f->roster->tunnels[0].shared), 1);
}

/* Before registration there is no such stream. */
static void test_rpc_stream_of_a_stranger(void **state)
{
	struct fixture *f = *state;
	dial(f, &f->daemons[0]);
	struct stream *s = open_stream(f, &f->daemons[0], 4);
	turn(f);
	assert_int_equal(said(s), -ECONNRESET);
	stream_close(s);
	assert_int_equal(f->env.rpc_timeouts, 0);
}

/* The control stream may be silent for as long as it likes, but not in the middle of a message. */
static void test_control_stream_without_progress(void **state)
{
	struct fixture *f = *state;
	struct daemon_end *d = &f->daemons[0];
	static const uint8_t head[8] = { 0, 0, 0, 0, 4 };
	f->env.control_timeout = 30 * NSEC_PER_MSEC;
	enlist(f, d, true);
	nsec_t since = nsec_clock(CLOCK_MONOTONIC);
	while (nsec_clock(CLOCK_MONOTONIC) < since + 4 * f->env.control_timeout)
		assert_int_equal(loop_turn(f->loop, NSEC_PER_MSEC), 0);
	assert_int_equal(f->env.rpc_timeouts, 0);
	fake_stream_put(d->control, head, sizeof(head));
	assert_true(until(f, has_one_timeout));
	turn(f);
	assert_int_equal(directory_count(f->directory, f->roster->tunnels[0].shared),
			 0); /* no new requests */
}

/* ---- refusals ---- */

static bool is_first_closed(struct fixture *f)
{
	return f->daemons[0].link.is_closed;
}

/* Who doesn't go by itself is closed, and not before it had the time. */
static void test_refused_daemon_stays(void **state)
{
	struct fixture *f = *state;
	struct daemon_end *d = &f->daemons[0];
	atomic_store(&f->is_draining, true);
	nsec_t since = nsec_clock(CLOCK_MONOTONIC);
	ask(f, d, true);
	assert_int_equal(d->returns, 1);
	assert_false(d->link.is_registered || d->link.is_closed);
	assert_true(until(f, is_first_closed));
	assert_true(nsec_clock(CLOCK_MONOTONIC) - since >= NSEC_PER_SEC * 9 / 10);
}

/* Who ends the control stream has nothing to wait for. */
static void test_refused_daemon_goes(void **state)
{
	struct fixture *f = *state;
	struct daemon_end *d = &f->daemons[0];
	atomic_store(&f->is_draining, true);
	ask(f, d, true);
	assert_false(d->link.is_closed);
	rpc_channel_close(TAKE_PTR(d->rpc), true);
	turn(f);
	assert_true(d->link.is_closed);
}

static void use_order(struct fixture *f, const char *kind)
{
	struct refuse *r = NULL;
	const struct refuse_params params = { .kind = kind, .count = 1, .retry_after_ns = -1 };
	assert_int_equal(refuse_new(&params, &r), 0);
	edge_conn_use_refuse(&f->env, r);
	refuse_unref(r);
}

/* By order: one registration, and its place is free again. */
static void test_refused_by_order(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *kind;
		unsigned int returns, exceptions;
		bool is_registered, is_closed;
	} cases[] = {
		{ "permanent", 1, 0, false, false },
		{ "exception", 0, 1, false, false },
		{ "silent", 0, 0, true, false }, /* the daemon's patience is what ends, not ours */
		{ "close", 0, 0, false, true },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++) {
		struct daemon_end *d = &f->daemons[i];
		use_order(f, cases[i].kind);
		ask(f, d, true);
		assert_int_equal(d->returns, cases[i].returns);
		assert_int_equal(d->exceptions, cases[i].exceptions);
		assert_int_equal(d->link.is_registered, cases[i].is_registered);
		assert_int_equal(d->link.is_closed, cases[i].is_closed);
		assert_int_equal(f->env.refusals[ENROLL_REFUSAL_ORDERED], i + 1);
		assert_int_equal(atomic_load(&f->roster->tunnels[0].shared->connections), 0);
	}
	enlist(f, &f->daemons[ARRAY_SIZE(cases)], true);
}

/* ---- strangers ---- */

static void accept_stranger(struct fixture *f, struct daemon_end *d)
{
	const struct ip_addr ip = { IP_FAMILY_V4, { 127, 0, 0, 1 } };
	d->link.base =
		(struct link){ .ops = &link_ops, .sink = &edge_conn_sink, .worker = f->env.worker };
	d->link.base.user = edge_conn_accept_stranger(&d->link.base, &f->env, &ip);
	assert_non_null(d->link.base.user);
}

/* It counts until it has registered, or ended without; the end says how far it came. */
static void test_stranger(void **state)
{
	struct fixture *f = *state;
	struct strangers strangers;
	strangers_init(&strangers, &(struct strangers_limits){ 4, 4, 1 });
	f->env.strangers = &strangers;
	f->env.register_timeout = 0;
	struct daemon_end *mute = &f->daemons[0], *good = &f->daemons[1];
	accept_stranger(f, mute);
	assert_int_equal(strangers_count(&strangers), 1);
	struct stream *control = open_stream(f, mute, 0);
	edge_conn_sink.on_state(&mute->link.base, LINK_STATE_CLOSED, mute->link.base.user);
	assert_int_equal(f->env.register_timeouts, 1);
	assert_int_equal(f->env.handshake_failed, 0);
	stream_close(control);

	accept_stranger(f, good);
	call_register(f, good, true);
	assert_true(good->link.is_registered);
	assert_int_equal(strangers_count(&strangers), 0);
	assert_int_equal(f->env.register_timeouts, 1);
	edge_conn_env_done(&f->env);
	f->env.strangers = NULL;
	edge_conn_env_init(&f->env);
}

/* ---- another configuration ---- */

/* The same tunnel keeps its links; without it, or with another secret, they are sent away. */
static void test_new_roster(void **state)
{
	struct fixture *f = *state;
	static const char *const digests[] = { NULL, SHA_ONES };
	for (unsigned int i = 0; i < ARRAY_SIZE(digests); i++) {
		struct daemon_end *d = &f->daemons[i];
		enlist(f, d, true);
		struct roster *same = load(f, SHA_ZERO, f->roster);
		edge_conn_use_roster(&f->env, same);
		assert_false(d->link.is_drained);
		struct roster *other = load(f, digests[i], same);
		edge_conn_use_roster(&f->env, other);
		assert_true(d->link.is_drained);
		turn(f);
		assert_int_equal(directory_count(f->directory, f->roster->tunnels[0].shared), 0);
		/* Back to the one of the fixture. */
		edge_conn_use_roster(&f->env, f->roster);
		roster_unref(same);
		roster_unref(other);
	}
}

/* ---- going away ---- */

/* A doubt that comes or goes while the link drains is told to those who still use it. */
static void test_doubt_while_draining(void **state)
{
	struct fixture *f = *state;
	struct daemon_end *d = &f->daemons[0];
	struct link *link = &d->link.base;
	enlist(f, d, true);
	const struct edge_link *el =
		directory_pick(f->directory, f->roster->tunnels[0].shared, NULL);
	assert_non_null(el);
	edge_conn_drain_all(&f->env);
	assert_true(d->link.is_drained);
	link->suspicion = LINK_SUSPICION_SILENT;
	edge_conn_sink.on_state(link, LINK_STATE_DRAINING, link->user);
	assert_int_equal(edge_link_suspicion(el), LINK_SUSPICION_SILENT);
	link->suspicion = LINK_SUSPICION_NONE;
	edge_conn_sink.on_state(link, LINK_STATE_DRAINING, link->user);
	assert_int_equal(edge_link_suspicion(el), LINK_SUSPICION_NONE);
}

static void test_drain_step(void **state)
{
	(void)state;
	static const struct {
		unsigned int links, workers;
		nsec_t grace, step;
	} cases[] = {
		{ 0, 1, 30 * NSEC_PER_SEC, NSEC_PER_SEC },
		{ 4, 1, 30 * NSEC_PER_SEC, NSEC_PER_SEC },
		{ 15, 1, 30 * NSEC_PER_SEC, NSEC_PER_SEC },
		{ 30, 1, 30 * NSEC_PER_SEC, NSEC_PER_SEC / 2 },
		{ 4, 2, 30 * NSEC_PER_SEC, 2 * NSEC_PER_SEC },
		{ 30, 2, 30 * NSEC_PER_SEC, NSEC_PER_SEC / 2 },
		{ 1500, 4, 30 * NSEC_PER_SEC, 10 * NSEC_PER_MSEC },
		{ 64, 1, 0, 0 },
	};
	for (unsigned int i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(
			edge_conn_drain_step(cases[i].links, cases[i].workers, cases[i].grace),
			cases[i].step);
}

static unsigned int drained(const struct fixture *f)
{
	unsigned int n = 0;
	for (unsigned int i = 0; i < DAEMONS; i++)
		n += f->daemons[i].link.is_drained;
	return n;
}

static bool are_all_drained(struct fixture *f)
{
	return drained(f) == DAEMONS;
}

/* Ours hear it at once; those of the reference go one after the other, within half of the grace. */
static void test_drain(void **state)
{
	struct fixture *f = *state;
	for (unsigned int i = 0; i < DAEMONS; i++)
		enlist(f, &f->daemons[i], i < 2);
	f->env.grace = 2 * 14 * 20 * NSEC_PER_MSEC;
	edge_conn_drain_all(&f->env);
	assert_int_equal(drained(f), 2);
	assert_true(until(f, are_all_drained));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_roster, begin, end),
		cmocka_unit_test_setup_teardown(test_refused_daemon_stays, begin, end),
		cmocka_unit_test_setup_teardown(test_refused_daemon_goes, begin, end),
		cmocka_unit_test_setup_teardown(test_refused_by_order, begin, end),
		cmocka_unit_test_setup_teardown(test_stranger, begin, end),
		cmocka_unit_test_setup_teardown(test_rpc_stream_without_progress, begin, end),
		cmocka_unit_test_setup_teardown(test_rpc_stream_of_a_stranger, begin, end),
		cmocka_unit_test_setup_teardown(test_control_stream_without_progress, begin, end),
		cmocka_unit_test_setup_teardown(test_doubt_while_draining, begin, end),
		cmocka_unit_test(test_drain_step),
		cmocka_unit_test_setup_teardown(test_drain, begin, end),
	};
	conf_global_init();
	return cmocka_run_group_tests_name("edge_conn", tests, NULL, NULL);
}
