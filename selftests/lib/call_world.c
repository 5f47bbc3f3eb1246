/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flow at the edge. No thread: the test turns the loop.
 */
#include "selftests/lib/call_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "daemon/base/random.h"
#include "daemon/wire/dgram_v2.h"
#include "util/cleanup.h"

const struct ip_port calls_dest = { .ip = { .family = IP_FAMILY_V4, .bytes = { 192, 0, 2, 1 } },
				    .port = 53 };

static int fake_send(struct datagram_pipe *pipe, enum datagram_kind kind UNUSED,
		     struct span datagram)
{
	struct fake_daemon *f = CONTAINER_OF(pipe, struct fake_daemon, pipe);
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
	return CONTAINER_OF(pipe, struct fake_daemon, pipe)->max;
}

static const struct datagram_ops fake_ops = { .send = fake_send, .max = fake_max };

static void calls_fake_open(struct fake_daemon *f, bool is_ours)
{
	*f = (struct fake_daemon){ .pipe.ops = &fake_ops, .max = 1435 };
	call_port_open(&f->port, &f->pipe, is_ours);
}

static struct call_world *world_of(struct flow_call *c)
{
	return CONTAINER_OF(c, struct call_world, call);
}

static void on_payload(struct flow_call *c, struct span payload)
{
	struct call_world *fx = world_of(c);
	fx->payloads++;
	fx->last_len = payload.len;
	if (payload.len > 0)
		memcpy(fx->last, payload.ptr, payload.len);
}

static void on_idle(struct flow_call *c)
{
	world_of(c)->idles++;
	flow_call_close(c);
}

static void on_lost(struct flow_call *c)
{
	struct call_world *fx = world_of(c);
	fx->losses++;
	if (fx->refuge)
		flow_call_bind(c, &fx->refuge->port);
}

static void on_refused(struct flow_call *c)
{
	world_of(c)->refusals++;
}

static const struct flow_call_user user = {
	.on_refused = on_refused,
	.on_payload = on_payload,
	.on_idle = on_idle,
	.on_lost = on_lost,
};

int calls_open_call(struct call_world *fx)
{
	struct dgram_id id;
	random_bytes(id.bytes, sizeof(id.bytes));
	const struct flow_call_params params = { .user = &user,
						 .dest = &calls_dest,
						 .id = &id,
						 .was_up = fx->was_up,
						 .idle = IDLE_SEC * NSEC_PER_SEC };
	return flow_call_open(&fx->caller, &fx->call, &params);
}

int calls_start(void **state)
{
	static struct call_world fx;
	fx = (struct call_world){};
	assert_int_equal(metric_registry_new(1000, &fx.reg), 0);
	struct worker_params workers = { .count = 1, .memory = 8 << 20, .metrics = fx.reg };
	assert_int_equal(worker_set_new(&workers, &fx.set), 0);
	fx.worker = worker_set_get(fx.set, 0);
	flow_caller_init(&fx.caller, fx.worker, 64 * 1024);
	calls_fake_open(&fx.link, true);
	calls_fake_open(&fx.other, true);
	assert_int_equal(calls_open_call(&fx), 0);
	*state = &fx;
	return 0;
}

int calls_end(void **state)
{
	struct call_world *fx = *state;
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

void calls_give(struct call_world *fx, struct fake_daemon *from, const void *bytes, size_t len)
{
	_cleanup_(freep) uint8_t *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	if (len)
		memcpy(copy, bytes, len);
	flow_caller_datagram(&fx->caller, &from->port, span_of(copy, len));
}

void calls_respond(struct call_world *fx, struct fake_daemon *from, enum dgram3_code code)
{
	uint8_t buf[64];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_response r = { .id = fx->call.id, .code = code };
	assert_int_equal(dgram3_response_write(&p, &r), 0);
	calls_give(fx, from, buf, packer_span(&p).len);
}

void calls_answer(struct call_world *fx, struct fake_daemon *from, struct span bytes)
{
	uint8_t buf[1600];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_payload d = { .id = fx->call.id, .payload = bytes };
	assert_int_equal(dgram3_payload_write(&p, &d, 1500), 0);
	calls_give(fx, from, buf, packer_span(&p).len);
}

void calls_assert_registration(const struct call_world *fx, const struct fake_daemon *f,
			       unsigned int at, struct span payload)
{
	struct dgram3_register r;
	assert_true(f->count > at);
	assert_int_equal(dgram3_register_read(span_of(f->sent[at].bytes, f->sent[at].len), &r), 0);
	assert_true(dgram_id_eq(&r.id, &fx->call.id));
	assert_true(ip_port_eq(&r.dest, &calls_dest));
	assert_int_equal(r.idle_sec, IDLE_SEC + 5);
	assert_true(span_eq(r.payload, payload));
}

void calls_assert_payload(const struct call_world *fx, const struct fake_daemon *f, unsigned int at,
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
	struct fake_daemon *f = CONTAINER_OF(port, struct fake_daemon, port);
	if (f->call_error < 0)
		return f->call_error;
	f->asked++;
	f->reg = *reg;
	return 0;
}

static void end_session(struct call_port *port, const struct dgram_id *id, const char *text)
{
	struct fake_daemon *f = CONTAINER_OF(port, struct fake_daemon, port);
	assert_true(text[0] != '\0');
	f->ended++;
	f->end = *id;
}

void calls_speak_v2(struct fake_daemon *f)
{
	static const struct call_port_user calls = { .make_session = make_session,
						     .end_session = end_session };
	f->port.v2 = &calls;
}

void calls_answered(struct call_world *fx, struct fake_daemon *f, enum call_event event)
{
	const struct dgram_id id = f->reg.id;
	flow_caller_answered(&fx->caller, &f->port, &id, event);
}

void calls_answer_v2(struct call_world *fx, struct fake_daemon *from, struct span bytes)
{
	uint8_t buf[1600];
	struct packer p = packer_over(buf, sizeof(buf));
	packer_bytes(&p, bytes);
	packer_bytes(&p, dgram_id_span(&from->reg.id));
	packer_u8(&p, DGRAM2_TYPE_PAYLOAD);
	calls_give(fx, from, buf, packer_span(&p).len);
}

void calls_assert_payload_v2(const struct fake_daemon *f, unsigned int at, struct span bytes)
{
	struct dgram2 d;
	assert_true(f->count > at);
	assert_int_equal(dgram2_read(span_of(f->sent[at].bytes, f->sent[at].len), &d), 0);
	assert_int_equal(d.type, DGRAM2_TYPE_PAYLOAD);
	assert_true(dgram_id_eq(&d.id, &f->reg.id));
	assert_true(span_eq(d.content, bytes));
}

void calls_turn_until(struct call_world *fx, const unsigned int *counter, unsigned int value)
{
	for (unsigned int i = 0; i < 200 && *counter < value; i++)
		assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
	assert_true(*counter >= value);
}

void calls_hurry(struct call_world *fx)
{
	timer_start(fx->worker->loop, &fx->call.timer, loop_now(fx->worker->loop));
	assert_int_equal(loop_turn(fx->worker->loop, 10 * NSEC_PER_MSEC), 0);
}
