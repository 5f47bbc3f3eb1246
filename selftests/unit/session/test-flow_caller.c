/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flows at the edge, over a pipe that writes down what a daemon would get: what is bundled, held,
 * repeated, bounded; how a flow goes from link to link. In version 2: what is asked for and ended
 * by calls.
 */
#include "daemon/session/flow_caller.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/base/random.h"
#include "daemon/wire/dgram_v2.h"
#include "daemon/wire/dgram_v2_call.h"
#include "util/cleanup.h"

enum { KEPT = 200, IDLE_SEC = 60 };

struct fake {
	struct datagram_pipe pipe;
	struct call_port port;
	size_t max;
	int error;
	unsigned int count;
	struct {
		uint8_t bytes[1500];
		size_t len;
	} sent[KEPT];
	/* version 2 */
	int call_error;
	unsigned int asked, ended;
	struct dgram2_register reg;
	struct dgram_id end;
};

struct fixture {
	struct worker_set *set;
	struct metric_registry *reg;
	struct worker *worker;
	struct flow_caller caller;
	struct fake link, other;
	struct flow_call call;
	struct fake *refuge; /* where a lost flow is bound to */
	bool was_up;         /* of the next flow */
	unsigned int payloads, idles, losses, refusals, packets;
	uint8_t last[1500];
	size_t last_len;
};

static const struct ip_port dest = { .ip = { .family = IP_FAMILY_V4, .bytes = { 192, 0, 2, 1 } },
				     .port = 53 };

static int fake_send(struct datagram_pipe *pipe, struct span datagram)
{
	struct fake *f = CONTAINER_OF(pipe, struct fake, pipe);
	if (f->error < 0)
		return f->error;
	if (datagram.len > f->max)
		return -EMSGSIZE;
	assert_true(f->count < KEPT && datagram.len <= sizeof(f->sent[0].bytes));
	memcpy(f->sent[f->count].bytes, datagram.ptr, datagram.len);
	f->sent[f->count++].len = datagram.len;
	return 0;
}

static size_t fake_max(struct datagram_pipe *pipe)
{
	return CONTAINER_OF(pipe, struct fake, pipe)->max;
}

static const struct datagram_ops fake_ops = { .send = fake_send, .max = fake_max };

static void fake_open(struct fake *f, bool is_ours)
{
	*f = (struct fake){ .pipe.ops = &fake_ops, .max = 1435 };
	call_port_open(&f->port, &f->pipe, is_ours);
}

static struct fixture *fixture_of(struct flow_call *c)
{
	return CONTAINER_OF(c, struct fixture, call);
}

static void on_payload(struct flow_call *c, struct span payload)
{
	struct fixture *fx = fixture_of(c);
	fx->payloads++;
	fx->last_len = payload.len;
	if (payload.len > 0)
		memcpy(fx->last, payload.ptr, payload.len);
}

static void on_idle(struct flow_call *c)
{
	fixture_of(c)->idles++;
	flow_call_close(c);
}

static void on_lost(struct flow_call *c)
{
	struct fixture *fx = fixture_of(c);
	fx->losses++;
	if (fx->refuge)
		flow_call_bind(c, &fx->refuge->port);
}

static void on_refused(struct flow_call *c)
{
	fixture_of(c)->refusals++;
}

static const struct flow_call_user user = {
	.on_refused = on_refused,
	.on_payload = on_payload,
	.on_idle = on_idle,
	.on_lost = on_lost,
};

static int open_call(struct fixture *fx)
{
	struct dgram_id id;
	random_bytes(id.bytes, sizeof(id.bytes));
	const struct flow_call_params params = { .user = &user,
						 .dest = &dest,
						 .id = &id,
						 .was_up = fx->was_up,
						 .idle = IDLE_SEC * NSEC_PER_SEC };
	return flow_call_open(&fx->caller, &fx->call, &params);
}

static int start(void **state)
{
	static struct fixture fx;
	fx = (struct fixture){};
	assert_int_equal(metric_registry_new(1000, &fx.reg), 0);
	struct worker_params workers = { .count = 1, .memory = 8 << 20, .metrics = fx.reg };
	assert_int_equal(worker_set_new(&workers, &fx.set), 0);
	fx.worker = worker_set_get(fx.set, 0);
	flow_caller_init(&fx.caller, fx.worker, 64 * 1024);
	fake_open(&fx.link, true);
	fake_open(&fx.other, true);
	assert_int_equal(open_call(&fx), 0);
	*state = &fx;
	return 0;
}

static int end(void **state)
{
	struct fixture *fx = *state;
	struct slab_stats stats;
	flow_call_close(&fx->call);
	call_port_close(&fx->link.port);
	call_port_close(&fx->other.port);
	assert_int_equal(fx->caller.calls.count, 0);
	flow_caller_done(&fx->caller);
	slab_get_stats(fx->worker->slab, &stats);
	assert_int_equal(stats.in_use, 0);
	worker_set_free(fx->set);
	metric_registry_free(fx->reg);
	return 0;
}

static void give(struct fixture *fx, struct fake *from, const void *bytes, size_t len)
{
	_cleanup_(freep) uint8_t *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	flow_caller_datagram(&fx->caller, &from->port, span_of(copy, len));
}

static void respond(struct fixture *fx, struct fake *from, enum dgram3_code code)
{
	uint8_t buf[64];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_response r = { .id = fx->call.id, .code = code };
	assert_int_equal(dgram3_response_write(&p, &r), 0);
	give(fx, from, buf, packer_span(&p).len);
}

static void answer(struct fixture *fx, struct fake *from, struct span bytes)
{
	uint8_t buf[1600];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_payload d = { .id = fx->call.id, .payload = bytes };
	assert_int_equal(dgram3_payload_write(&p, &d, 1500), 0);
	give(fx, from, buf, packer_span(&p).len);
}

static void assert_registration(const struct fixture *fx, const struct fake *f, unsigned int at,
				struct span payload)
{
	struct dgram3_register r;
	assert_true(f->count > at);
	assert_int_equal(dgram3_register_read(span_of(f->sent[at].bytes, f->sent[at].len), &r), 0);
	assert_true(dgram_id_eq(&r.id, &fx->call.id));
	assert_true(ip_port_eq(&r.dest, &dest));
	assert_int_equal(r.idle_sec, IDLE_SEC + 5);
	assert_true(span_eq(r.payload, payload));
}

static void assert_payload(const struct fixture *fx, const struct fake *f, unsigned int at,
			   struct span bytes)
{
	struct dgram3_payload d;
	assert_true(f->count > at);
	assert_int_equal(dgram3_payload_read(span_of(f->sent[at].bytes, f->sent[at].len), 1500, &d),
			 0);
	assert_true(dgram_id_eq(&d.id, &fx->call.id));
	assert_true(span_eq(d.payload, bytes));
}

static int make_session(struct call_port *port, const struct dgram2_register *reg)
{
	struct fake *f = CONTAINER_OF(port, struct fake, port);
	if (f->call_error < 0)
		return f->call_error;
	f->asked++;
	f->reg = *reg;
	return 0;
}

static void end_session(struct call_port *port, const struct dgram_id *id, const char *text)
{
	struct fake *f = CONTAINER_OF(port, struct fake, port);
	assert_true(text[0] != '\0');
	f->ended++;
	f->end = *id;
}

static void speak_v2(struct fake *f)
{
	static const struct call_port_user calls = { .make_session = make_session,
						     .end_session = end_session };
	f->port.v2 = &calls;
}

static void answered(struct fixture *fx, struct fake *f, enum call_event event)
{
	const struct dgram_id id = f->reg.id;
	flow_caller_answered(&fx->caller, &f->port, &id, event);
}

/* From the daemon, for the session that this link was asked for last. */
static void answer_v2(struct fixture *fx, struct fake *from, struct span bytes)
{
	uint8_t buf[1600];
	struct packer p = packer_over(buf, sizeof(buf));
	packer_bytes(&p, bytes);
	packer_bytes(&p, dgram_id_span(&from->reg.id));
	packer_u8(&p, DGRAM2_TYPE_PAYLOAD);
	give(fx, from, buf, packer_span(&p).len);
}

static void assert_payload_v2(const struct fake *f, unsigned int at, struct span bytes)
{
	struct dgram2 d;
	assert_true(f->count > at);
	assert_int_equal(dgram2_read(span_of(f->sent[at].bytes, f->sent[at].len), &d), 0);
	assert_int_equal(d.type, DGRAM2_TYPE_PAYLOAD);
	assert_true(dgram_id_eq(&d.id, &f->reg.id));
	assert_true(span_eq(d.content, bytes));
}

/* Waits, at most a moment, for the flow's timer. */
static void turn_until(struct fixture *fx, const unsigned int *counter, unsigned int value)
{
	for (unsigned int i = 0; i < 200 && *counter < value; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
	assert_true(*counter >= value);
}

static void hurry(struct fixture *fx)
{
	timer_start(fx->worker->loop, &fx->call.timer, loop_now(fx->worker->loop));
	assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
}

/* ---- tests ---- */

static void test_bundled_then_up(void **state)
{
	struct fixture *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	assert_int_equal(fx->link.count, 0); /* nothing to say yet */
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_send(&fx->call, SPAN_LIT("two"));
	flow_call_send(&fx->call, span_of(NULL, 0));
	assert_int_equal(fx->link.count, 1);
	assert_registration(fx, &fx->link, 0, SPAN_LIT("one"));
	turn_until(fx, &fx->link.count, 2);
	assert_registration(fx, &fx->link, 1, SPAN_LIT("one"));
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	assert_payload(fx, &fx->link, 2, SPAN_LIT("two"));
	assert_payload(fx, &fx->link, 3, span_of(NULL, 0));
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_payload(fx, &fx->link, 4, SPAN_LIT("three"));
	respond(fx, &fx->link, DGRAM3_CODE_OK); /* of the repeat */
	assert_int_equal(fx->link.count, 5);
	answer(fx, &fx->link, SPAN_LIT("yes"));
	assert_int_equal(fx->payloads, 1);
	assert_memory_equal(fx->last, "yes", 3);
	assert_int_equal(fx->caller.repeats, 1);
}

static void test_foreign_gets_nothing_bundled(void **state)
{
	struct fixture *fx = *state;
	fx->link.port.is_ours = false;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	assert_registration(fx, &fx->link, 0, span_of(NULL, 0));
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	assert_payload(fx, &fx->link, 1, SPAN_LIT("one"));
}

/* What a registration doesn't take goes behind it; what nothing takes is counted. */
static void test_sizes(void **state)
{
	struct fixture *fx = *state;
	static const uint8_t bytes[1400];
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, span_of(bytes, 1255));
	assert_registration(fx, &fx->link, 0, span_of(NULL, 0));
	flow_call_send(&fx->call, span_of(bytes, 1380));
	flow_call_send(&fx->call, span_of(bytes, 1381));
	assert_int_equal(fx->caller.drops[CALL_DROP_TOO_BIG], 1);
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	assert_payload(fx, &fx->link, 1, span_of(bytes, 1255));
	assert_payload(fx, &fx->link, 2, span_of(bytes, 1380));
	fx->link.max = 17 + 500;
	flow_call_send(&fx->call, span_of(bytes, 500));
	flow_call_send(&fx->call, span_of(bytes, 501));
	assert_int_equal(fx->caller.drops[CALL_DROP_TOO_BIG], 2);
	fx->link.max = 1435;
	fx->link.port.is_ours = false;
	flow_call_send(&fx->call, span_of(bytes, 1280));
	flow_call_send(&fx->call, span_of(bytes, 1281));
	assert_int_equal(fx->caller.drops[CALL_DROP_TOO_BIG], 3);
	assert_int_equal(fx->link.count, 5);
	fx->link.error = -ENOBUFS;
	flow_call_send(&fx->call, span_of(bytes, 1));
	fx->link.error = -EPROTO;
	flow_call_send(&fx->call, span_of(bytes, 1));
	assert_int_equal(fx->caller.drops[CALL_DROP_LINK_FULL], 1);
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_LINK], 1);
}

static void test_held_bounds(void **state)
{
	struct fixture *fx = *state;
	static const uint8_t bytes[1000];
	fx->caller.held_max = 3 * 1002;
	flow_call_bind(&fx->call, &fx->link.port);
	for (unsigned int i = 0; i < 5; i++)
		flow_call_send(&fx->call, span_of(bytes, 1000));
	assert_int_equal(fx->caller.drops[CALL_DROP_HELD], 2);
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	assert_int_equal(fx->link.count, 3); /* one with the registration */
	flow_call_bind(&fx->call, &fx->other.port);
	for (unsigned int i = 0; i < 70; i++)
		flow_call_send(&fx->call, SPAN_LIT("x"));
	assert_int_equal(fx->caller.drops[CALL_DROP_HELD], 2 + 70 - 64);
}

static void test_refused_and_again(void **state)
{
	struct fixture *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_send(&fx->call, SPAN_LIT("two"));
	respond(fx, &fx->link, DGRAM3_CODE_TOO_MANY);
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 2);
	assert_int_equal(fx->refusals, 1);
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 3);
	assert_int_equal(fx->link.count, 1);
	fx->call.refused = 0; /* long ago */
	if (loop_now(fx->worker->loop) < 2 * NSEC_PER_SEC)
		skip();
	flow_call_send(&fx->call, SPAN_LIT("four"));
	assert_registration(fx, &fx->link, 1, SPAN_LIT("four"));
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	flow_call_send(&fx->call, SPAN_LIT("five"));
	assert_payload(fx, &fx->link, 2, SPAN_LIT("five"));
}

static void test_unanswered(void **state)
{
	struct fixture *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	for (unsigned int i = 0; i < 6; i++)
		hurry(fx);
	assert_int_equal(fx->link.count, 6);
	assert_int_equal(fx->caller.unanswered, 1);
	assert_int_equal(fx->caller.refusals, 1);
	assert_int_equal(fx->refusals, 1);
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 1);
	hurry(fx);
	assert_int_equal(fx->link.count, 6);
	respond(fx, &fx->link, DGRAM3_CODE_OK); /* it comes after all */
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_payload(fx, &fx->link, 6, SPAN_LIT("two"));
}

/* A flow that has lived is asked for without a payload: it may live still, and would ignore it. */
static void test_another_link(void **state)
{
	struct fixture *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	call_port_close(&fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("lost"));
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_LINK], 1);
	flow_call_bind(&fx->call, &fx->other.port);
	flow_call_bind(&fx->call, &fx->other.port);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_registration(fx, &fx->other, 0, span_of(NULL, 0));
	respond(fx, &fx->other, DGRAM3_CODE_OK);
	assert_payload(fx, &fx->other, 1, SPAN_LIT("two"));
	assert_int_equal(fx->other.count, 2);
}

/* What a link says of a flow that has left it says nothing about the one that it is on now. */
static void test_answer_of_the_link_before(void **state)
{
	struct fixture *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_bind(&fx->call, &fx->other.port);
	assert_registration(fx, &fx->other, 0, SPAN_LIT("one"));
	respond(fx, &fx->link, DGRAM3_CODE_TOO_MANY);
	assert_int_equal(fx->caller.refusals, 0);
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->other.count, 1); /* it waits still */
	respond(fx, &fx->other, DGRAM3_CODE_OK);
	assert_payload(fx, &fx->other, 1, SPAN_LIT("two"));
}

/* What waits when its link ends goes by another. */
static void test_lost_while_waiting(void **state)
{
	struct fixture *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	call_port_close(&fx->link.port);
	hurry(fx);
	assert_int_equal(fx->losses, 1);
	fx->refuge = &fx->other;
	hurry(fx);
	assert_registration(fx, &fx->other, 0, SPAN_LIT("one"));
	respond(fx, &fx->other, DGRAM3_CODE_OK);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_payload(fx, &fx->other, 1, SPAN_LIT("two"));
}

/* A flow that is closed while payloads wait, and made again, has nothing of the one before. */
static void test_made_again(void **state)
{
	struct fixture *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_send(&fx->call, SPAN_LIT("two"));
	struct dgram_id before = fx->call.id;
	flow_call_close(&fx->call);
	assert_int_equal(open_call(fx), 0);
	assert_false(dgram_id_eq(&fx->call.id, &before));
	flow_call_bind(&fx->call, &fx->other.port);
	assert_int_equal(fx->other.count, 0);
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_registration(fx, &fx->other, 0, SPAN_LIT("three"));
	respond(fx, &fx->other, DGRAM3_CODE_OK);
	assert_int_equal(fx->other.count, 1);
}

/* One that a daemon may have from another worker: a repeat's payload isn't sent on there. */
static void test_known_gets_nothing_bundled(void **state)
{
	struct fixture *fx = *state;
	flow_call_close(&fx->call);
	fx->was_up = true;
	assert_int_equal(open_call(fx), 0);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	assert_registration(fx, &fx->link, 0, span_of(NULL, 0));
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	assert_payload(fx, &fx->link, 1, SPAN_LIT("one"));
}

/* After silence the flow is asked for before the payload, once in a while. */
static void test_silence(void **state)
{
	struct fixture *fx = *state;
	if (nsec_clock(CLOCK_MONOTONIC) < 10 * NSEC_PER_SEC)
		skip();
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	fx->call.heard = 0;
	flow_call_send(&fx->call, SPAN_LIT("two"));
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_registration(fx, &fx->link, 1, span_of(NULL, 0));
	assert_payload(fx, &fx->link, 2, SPAN_LIT("two"));
	assert_payload(fx, &fx->link, 3, SPAN_LIT("three"));
	respond(fx, &fx->link, DGRAM3_CODE_UNREACHABLE); /* it can't be made again */
	flow_call_send(&fx->call, SPAN_LIT("four"));
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 1);
}

static void test_idle(void **state)
{
	struct fixture *fx = *state;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	respond(fx, &fx->link, DGRAM3_CODE_OK);
	fx->call.idle = 30 * NSEC_PER_MSEC;
	hurry(fx);
	answer(fx, &fx->link, SPAN_LIT("a"));
	turn_until(fx, &fx->idles, 1);
	assert_null(fx->call.caller);
	assert_int_equal(fx->caller.calls.count, 0);
}

static void test_malformed(void **state)
{
	struct fixture *fx = *state;
	static const uint8_t icmp[] = { 0x02, 0x45 };
	uint8_t big[17 + 1381] = { 0x01 };
	uint64_t bad = 0;
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	for (size_t len = 1; len < 17; len++, bad++)
		give(fx, &fx->link, big, len);
	give(fx, &fx->link, big, sizeof(big));
	give(fx, &fx->link, big, 0);
	give(fx, &fx->link, fx->link.sent[0].bytes, fx->link.sent[0].len); /* a registration */
	big[0] = 0x03;
	for (size_t len = 1; len < 20; len++, bad++)
		give(fx, &fx->link, big, len);
	big[0] = 0x07;
	give(fx, &fx->link, big, 20);
	assert_int_equal(fx->caller.drops[CALL_DROP_MALFORMED], bad + 4);
	give(fx, &fx->link, icmp, sizeof(icmp));
	assert_int_equal(fx->caller.drops[CALL_DROP_ICMP], 1);
	big[0] = 0x01;
	give(fx, &fx->link, big, 20);
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_FLOW], 1);
	assert_int_equal(fx->payloads, 0);
	assert_int_equal(fx->call.state, CALL_STATE_WAITING);
}

/* ---- version 2 ---- */

static void test_v2_held_then_up(void **state)
{
	struct fixture *fx = *state;
	static const uint8_t bytes[1400];
	speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	assert_int_equal(fx->link.asked, 0);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	flow_call_send(&fx->call, span_of(NULL, 0));
	flow_call_send(&fx->call, span_of(bytes, 1281));
	hurry(fx);
	assert_int_equal(fx->link.asked, 1); /* calls don't get lost */
	assert_int_equal(fx->link.count, 0);
	assert_true(ip_port_eq(&fx->link.reg.dest, &dest));
	assert_int_equal(fx->link.reg.idle, (IDLE_SEC + 5) * NSEC_PER_SEC);
	assert_false(fx->link.reg.is_traced);
	answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	assert_payload_v2(&fx->link, 0, SPAN_LIT("one"));
	assert_payload_v2(&fx->link, 1, span_of(NULL, 0));
	assert_int_equal(fx->link.count, 2);
	assert_int_equal(fx->caller.drops[CALL_DROP_TOO_BIG], 1);
	flow_call_send(&fx->call, span_of(bytes, 1280));
	assert_payload_v2(&fx->link, 2, span_of(bytes, 1280));
	answer_v2(fx, &fx->link, SPAN_LIT("yes"));
	assert_int_equal(fx->payloads, 1);
	assert_memory_equal(fx->last, "yes", 3);
	fx->call.heard = 0; /* silence means nothing here: the daemon would say */
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->link.count, 4);
	assert_int_equal(fx->link.asked, 1);
	flow_call_close(&fx->call);
	assert_int_equal(fx->link.ended, 1);
	assert_true(dgram_id_eq(&fx->link.end, &fx->link.reg.id));
	assert_int_equal(fx->caller.registrations, 1);
	assert_int_equal(fx->caller.repeats, 0);
}

static void test_v2_refused(void **state)
{
	struct fixture *fx = *state;
	if (nsec_clock(CLOCK_MONOTONIC) < 3 * NSEC_PER_SEC)
		skip();
	speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	static const enum call_event events[] = { CALL_EVENT_REFUSED, CALL_EVENT_UNANSWERED };
	for (unsigned int i = 0; i < ARRAY_SIZE(events); i++) {
		flow_call_send(&fx->call, SPAN_LIT("x"));
		assert_int_equal(fx->link.asked, i + 1);
		answered(fx, &fx->link, events[i]);
		assert_int_equal(fx->caller.refusals, i + 1);
		flow_call_send(&fx->call, SPAN_LIT("dropped"));
		assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 2 * (i + 1));
		fx->call.refused = 0; /* long ago */
	}
	assert_int_equal(fx->caller.unanswered, 1);
	fx->link.call_error = -ENOBUFS; /* too many wait */
	flow_call_send(&fx->call, SPAN_LIT("x"));
	hurry(fx);
	assert_int_equal(fx->link.asked, 2);
	fx->link.call_error = 0;
	hurry(fx);
	assert_int_equal(fx->link.asked, 3);
	answered(fx, &fx->link, CALL_EVENT_REFUSED);
	assert_int_equal(fx->caller.refusals, 3);
	assert_int_equal(fx->caller.registrations, 3);
	flow_call_close(&fx->call);
	assert_int_equal(fx->link.ended, 0); /* there is none to end */
}

/* Each session has an id of its own; what is said of an earlier one concerns nobody. */
static void test_v2_ended(void **state)
{
	struct fixture *fx = *state;
	speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	answer_v2(fx, &fx->link, SPAN_LIT("a"));
	struct dgram_id first = fx->link.reg.id;
	flow_caller_ended(&fx->caller, &fx->other.port, &first); /* another link's */
	flow_caller_ended(&fx->caller, &fx->link.port, &first);
	flow_caller_ended(&fx->caller, &fx->link.port, &first);
	assert_int_equal(fx->caller.ended, 1);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->link.asked, 2);
	assert_false(dgram_id_eq(&fx->link.reg.id, &first));
	flow_caller_answered(&fx->caller, &fx->link.port, &first, CALL_EVENT_REFUSED);
	flow_caller_ended(&fx->caller, &fx->link.port, &first);
	answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	assert_payload_v2(&fx->link, 1, SPAN_LIT("two"));
	/* This one brought nothing: its payloads are dropped for a while. */
	first = fx->link.reg.id;
	flow_caller_ended(&fx->caller, &fx->link.port, &first);
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_int_equal(fx->link.asked, 2);
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 1);
	assert_int_equal(fx->caller.ended, 2);
	assert_int_equal(fx->link.ended, 0);
}

/* The end overtakes the answer: there is no session, whatever the answer says. */
static void test_v2_ended_before_the_answer(void **state)
{
	struct fixture *fx = *state;
	speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	struct dgram_id id = fx->link.reg.id;
	flow_caller_ended(&fx->caller, &fx->link.port, &id);
	answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_int_equal(fx->link.count, 0);
	assert_int_equal(fx->caller.drops[CALL_DROP_REFUSED], 2);
}

static void test_v2_another_link(void **state)
{
	struct fixture *fx = *state;
	speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	flow_call_bind(&fx->call, &fx->other.port); /* of version 3 */
	assert_int_equal(fx->link.ended, 1);
	answer_v2(fx, &fx->link, SPAN_LIT("late"));
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_FLOW], 1);
	flow_call_send(&fx->call, SPAN_LIT("two"));
	assert_registration(fx, &fx->other, 0, span_of(NULL, 0));
	respond(fx, &fx->other, DGRAM3_CODE_OK);
	assert_payload(fx, &fx->other, 1, SPAN_LIT("two"));
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("three"));
	assert_int_equal(fx->link.asked, 2);
	call_port_close(&fx->link.port); /* nobody answers any more */
	fx->refuge = &fx->other;
	speak_v2(&fx->other);
	hurry(fx);
	assert_int_equal(fx->other.asked, 1);
	answered(fx, &fx->other, CALL_EVENT_ACCEPTED);
	assert_payload_v2(&fx->other, 2, SPAN_LIT("three"));
	assert_int_equal(fx->link.ended, 1);
}

static void test_v2_malformed(void **state)
{
	struct fixture *fx = *state;
	uint8_t bytes[60] = {};
	uint64_t bad = 0;
	speak_v2(&fx->link);
	flow_call_bind(&fx->call, &fx->link.port);
	flow_call_send(&fx->call, SPAN_LIT("one"));
	answered(fx, &fx->link, CALL_EVENT_ACCEPTED);
	for (size_t len = 0; len < 17; len++, bad++)
		give(fx, &fx->link, bytes, len);
	for (unsigned int type = 2; type < 256; type++, bad++) {
		bytes[59] = (uint8_t)type;
		give(fx, &fx->link, bytes, sizeof(bytes));
	}
	assert_int_equal(fx->caller.drops[CALL_DROP_MALFORMED], bad);
	bytes[59] = DGRAM2_TYPE_PACKET;
	give(fx, &fx->link, bytes, sizeof(bytes));
	assert_int_equal(fx->caller.drops[CALL_DROP_ICMP], 1);
	bytes[59] = DGRAM2_TYPE_PAYLOAD;
	give(fx, &fx->link, bytes, sizeof(bytes));
	assert_int_equal(fx->caller.drops[CALL_DROP_NO_FLOW], 1);
	assert_int_equal(fx->payloads, 0);
}

static void on_packet(void *packet_user, struct call_port *port, struct span packet)
{
	struct fixture *fx = packet_user;
	assert_ptr_equal(port, &fx->link.port);
	assert_true(span_eq(packet, SPAN_LIT("packet")));
	fx->packets++;
}

/* Whole packets, both ways and in both versions, by the front of each. */
static void test_packets(void **state)
{
	static const uint8_t big[DGRAM3_PACKET_MAX + 1];
	struct fixture *fx = *state;
	fx->caller.on_packet = on_packet;
	fx->caller.packet_user = fx;
	for (unsigned int v = 3; v >= 2; v--) {
		if (v == 2)
			speak_v2(&fx->link);
		fx->link.count = 0;
		assert_int_equal(call_port_send_packet(&fx->link.port, SPAN_LIT("packet")), 0);
		give(fx, &fx->link, fx->link.sent[0].bytes, fx->link.sent[0].len);
		assert_int_equal(fx->packets, 4 - v);
		struct span most = span_of(big, sizeof(big) - 1), more = span_of(big, sizeof(big));
		assert_int_equal(call_port_packet_max(&fx->link.port), most.len);
		assert_int_equal(call_port_send_packet(&fx->link.port, most), 0);
		assert_int_equal(call_port_send_packet(&fx->link.port, more), -EMSGSIZE);
	}
	fx->link.max = 101;
	assert_int_equal(call_port_packet_max(&fx->link.port), 100);
}

/* What the version allows, until the size of the path is known. */
static void test_payload_max(void **state)
{
	struct fixture *fx = *state;
	fx->link.max = 1217;
	assert_int_equal(flow_call_payload_max(&fx->call), DGRAM_PAYLOAD_MAX);
	flow_call_bind(&fx->call, &fx->link.port);
	assert_int_equal(flow_call_payload_max(&fx->call), DGRAM_PAYLOAD_MAX_ADIT);
	fx->call.bound = 0; /* long ago */
	assert_int_equal(flow_call_payload_max(&fx->call), 1200);
	fx->link.max = 1435;
	fx->link.port.is_ours = false;
	assert_int_equal(flow_call_payload_max(&fx->call), DGRAM_PAYLOAD_MAX);
	fx->link.max = 3;
	assert_int_equal(flow_call_payload_max(&fx->call), 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		T(test_bundled_then_up),
		T(test_foreign_gets_nothing_bundled),
		T(test_known_gets_nothing_bundled),
		T(test_sizes),
		T(test_held_bounds),
		T(test_refused_and_again),
		T(test_unanswered),
		T(test_another_link),
		T(test_answer_of_the_link_before),
		T(test_lost_while_waiting),
		T(test_made_again),
		T(test_silence),
		T(test_idle),
		T(test_malformed),
		T(test_v2_held_then_up),
		T(test_v2_refused),
		T(test_v2_ended),
		T(test_v2_ended_before_the_answer),
		T(test_v2_another_link),
		T(test_v2_malformed),
		T(test_packets),
		T(test_payload_max),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
