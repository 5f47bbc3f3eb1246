/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network of core_world.h.
 */
#include "selftests/lib/core_world.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "util/macro.h"

#define MSEC NSEC_PER_MSEC

enum { TURNS_MAX = 200 };

enum kind : uint8_t { HANDSHAKE, ANSWER, GIVE_UP, LOCAL_END, SUSPECT, HEARD };

/* xorshift: the same in every run. */
static uint64_t seed = 88172645463325252;

static uint64_t below(uint64_t bound)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return bound ? seed % bound : 0;
}

static void later(struct world *w, enum kind kind, uint64_t serial, nsec_t in)
{
	for (unsigned int i = 0; i < WORLD_EVENTS; i++) {
		if (w->events[i].at)
			continue;
		w->events[i] = (struct world_event){ w->now + in, serial, kind };
		return;
	}
	fail_msg("too many events");
}

static struct ip_port addr_of(unsigned int n)
{
	return (struct ip_port){ .ip = { IP_FAMILY_V4, { 192, 0, 2, (uint8_t)n } }, .port = 7844 };
}

static enum world_path path_of(const struct world *w, const struct world_conn *conn)
{
	return w->path[conn->protocol][conn->addr];
}

/* ---- operations ------------------------------------------------------------------------------ */

static unsigned int count_in(const struct world *w, unsigned int index, enum world_state from,
			     enum world_state to)
{
	unsigned int count = 0;
	for (uint64_t s = 1; s <= w->conn_count; s++)
		count += w->conns[s].index == index && w->conns[s].state >= from &&
			 w->conns[s].state <= to;
	return count;
}

static int op_dial(const struct core_dial *dial, void *user)
{
	struct world *w = user;
	if (w->has_no_memory)
		return -ENOMEM;
	assert_false(w->is_stopped);
	assert_true(dial->serial > w->conn_count && dial->serial < WORLD_CONNS);
	while (++w->conn_count < dial->serial) /* those that there was no memory for */
		w->conns[w->conn_count].state = WORLD_STATE_CLOSED;
	struct world_conn *conn = &w->conns[dial->serial];
	*conn = (struct world_conn){ .index = dial->index,
				     .protocol = dial->protocol,
				     .addr = dial->peer.ip.bytes[3],
				     .is_probe = dial->is_probe,
				     .dialled = w->now };
	assert_in_range(count_in(w, dial->index, WORLD_STATE_DIALING, WORLD_STATE_REGISTERING), 1,
			2);
	if (dial->is_only)
		assert_int_equal(count_in(w, dial->index, WORLD_STATE_DIALING, WORLD_STATE_UP), 1);
	switch (path_of(w, conn)) {
	case WORLD_DROP:
		later(w, GIVE_UP, dial->serial,
		      (dial->protocol == LINK_PROTOCOL_QUIC ? 5000 : 4000) * MSEC);
		break;
	case WORLD_REFUSE:
	case WORLD_EPERM:
	case WORLD_UNREACHABLE:
		later(w, GIVE_UP, dial->serial, MSEC);
		break;
	case WORLD_BAD_CERTIFICATE:
		later(w, GIVE_UP, dial->serial, 20 * MSEC);
		break;
	case WORLD_SLOW:
		later(w, HANDSHAKE, dial->serial, 300 * MSEC);
		break;
	case WORLD_OPEN:
	case WORLD_MUTE:
	case WORLD_SAYS:
		later(w, HANDSHAKE, dial->serial, 20 * MSEC);
		break;
	}
	return 0;
}

static void op_register(unsigned int index, uint64_t serial, unsigned int attempts, void *user)
{
	struct world *w = user;
	struct world_conn *conn = &w->conns[serial];
	assert_int_equal(conn->index, index);
	assert_int_equal(conn->state, WORLD_STATE_CONNECTED);
	assert_int_equal(count_in(w, index, WORLD_STATE_REGISTERING, WORLD_STATE_REGISTERING), 0);
	assert_in_range(attempts, 0, 255);
	conn->state = WORLD_STATE_REGISTERING;
	conn->attempts = attempts;
	later(w, ANSWER, serial, path_of(w, conn) == WORLD_MUTE ? 5000 * MSEC : 10 * MSEC);
}

static void op_close(unsigned int index, uint64_t serial, const char *why, void *user)
{
	struct world *w = user;
	assert_int_equal(w->conns[serial].index, index);
	w->conns[serial].state = WORLD_STATE_CLOSED;
	w->conns[serial].why = why;
	later(w, LOCAL_END, serial, MSEC);
}

static void op_drain(unsigned int index, uint64_t serial, void *user)
{
	struct world *w = user;
	assert_int_equal(w->conns[serial].index, index);
	assert_int_equal(w->conns[serial].state, WORLD_STATE_UP);
	w->conns[serial].state = WORLD_STATE_DRAINING;
}

static void op_probe(unsigned int index, void *user)
{
	struct world *w = user;
	w->probes_all++;
	w->probed_but = index;
}

static void op_refresh(void *user)
{
	((struct world *)user)->refreshes++;
}

static void op_wait(unsigned int index, nsec_t wait, void *user)
{
	((struct world *)user)->waits[index] = wait;
}

static void op_step(unsigned int index, enum index_state from, enum index_event event,
		    enum index_state to, void *user)
{
	(void)from;
	(void)event;
	struct world *w = user;
	if (w->core)
		assert_int_equal(supervisor_core_state(w->core, index), to);
}

static void op_arm(nsec_t at, void *user)
{
	((struct world *)user)->armed = at;
}

static const struct core_ops ops = {
	.dial = op_dial,
	.register_now = op_register,
	.close = op_close,
	.drain = op_drain,
	.probe_all_but = op_probe,
	.refresh_addresses = op_refresh,
	.on_wait = op_wait,
	.on_step = op_step,
	.arm = op_arm,
};

/* ---- events ---------------------------------------------------------------------------------- */

static void give_up(struct world *w, uint64_t serial, struct world_conn *conn)
{
	struct link_close_info info = { .end = LINK_END_HANDSHAKE, .error = -ETIMEDOUT };
	switch (path_of(w, conn)) {
	case WORLD_REFUSE:
		info = (struct link_close_info){ .end = LINK_END_REFUSED, .error = -ECONNREFUSED };
		break;
	case WORLD_EPERM:
		info = (struct link_close_info){ .end = LINK_END_NETWORK, .error = -EPERM };
		break;
	case WORLD_UNREACHABLE:
		info = (struct link_close_info){ .end = LINK_END_NETWORK, .error = -ENETUNREACH };
		break;
	case WORLD_BAD_CERTIFICATE:
		info = (struct link_close_info){ .end = LINK_END_CERTIFICATE };
		break;
	case WORLD_OPEN:
	case WORLD_SLOW:
	case WORLD_DROP:
	case WORLD_MUTE:
	case WORLD_SAYS:
		break;
	}
	conn->state = WORLD_STATE_CLOSED;
	supervisor_core_closed(w->core, conn->index, serial, &info, w->now);
}

static void answer(struct world *w, uint64_t serial, struct world_conn *conn)
{
	enum world_path path = path_of(w, conn);
	const struct link_close_info local = { .end = LINK_END_LOCAL };
	struct control_result result = { .cause = CONTROL_CAUSE_TIMEOUT };
	if (path != WORLD_MUTE && path != WORLD_SAYS && path != WORLD_DROP) {
		conn->state = WORLD_STATE_UP;
		conn->up = w->now;
		supervisor_core_registered(w->core, conn->index, serial, w->now);
		return;
	}
	if (path == WORLD_SAYS)
		result = w->answer;
	conn->state = WORLD_STATE_CLOSED;
	supervisor_core_refused(w->core, conn->index, serial, &result, w->now);
	supervisor_core_closed(w->core, conn->index, serial, &local, w->now);
}

static void deliver(struct world *w, const struct world_event *event)
{
	struct world_conn *conn = &w->conns[event->serial];
	const struct link_close_info local = { .end = LINK_END_LOCAL };
	if (w->is_stopped)
		return;
	switch ((enum kind)event->kind) {
	case HANDSHAKE:
		if (conn->state != WORLD_STATE_DIALING)
			return;
		if (path_of(w, conn) == WORLD_DROP) {
			later(w, GIVE_UP, event->serial, 4000 * MSEC);
			return;
		}
		conn->state = WORLD_STATE_CONNECTED;
		supervisor_core_connected(w->core, conn->index, event->serial, w->now);
		return;
	case ANSWER:
		if (conn->state == WORLD_STATE_REGISTERING)
			answer(w, event->serial, conn);
		return;
	case GIVE_UP:
		if (conn->state == WORLD_STATE_DIALING)
			give_up(w, event->serial, conn);
		return;
	case LOCAL_END:
		supervisor_core_closed(w->core, conn->index, event->serial, &local, w->now);
		return;
	case SUSPECT:
		if (conn->state != WORLD_STATE_UP || path_of(w, conn) != WORLD_DROP)
			return;
		conn->is_suspect = true;
		supervisor_core_suspect(w->core, conn->index, event->serial, w->now);
		return;
	case HEARD:
		if (conn->state != WORLD_STATE_UP || !conn->is_suspect ||
		    path_of(w, conn) == WORLD_DROP)
			return;
		conn->is_suspect = false;
		supervisor_core_heard(w->core, conn->index, event->serial, w->now);
		return;
	}
}

static struct world_event *next_event(struct world *w)
{
	struct world_event *first = NULL;
	for (unsigned int i = 0; i < WORLD_EVENTS; i++)
		if (w->events[i].at && (!first || w->events[i].at < first->at))
			first = &w->events[i];
	return first;
}

/* One thing that happens until then. False: nothing does, it is that time now. */
static bool turn(struct world *w, nsec_t until)
{
	struct world_event *event = next_event(w);
	nsec_t at = MIN(event ? event->at : NSEC_NEVER, w->armed);
	if (at > until) {
		w->now = until;
		return false;
	}
	w->turns = at <= w->now ? w->turns + 1 : 0;
	assert_in_range(w->turns, 0, TURNS_MAX);
	w->now = MAX(w->now, at);
	if (event && event->at == at) {
		const struct world_event copy = *event;
		event->at = 0;
		deliver(w, &copy);
	} else {
		w->armed = NSEC_NEVER;
		supervisor_core_timer(w->core, w->now);
	}
	return true;
}

void world_run(struct world *w, nsec_t time)
{
	nsec_t until = w->now + time;
	while (turn(w, until))
		;
}

nsec_t world_run_until_up(struct world *w, unsigned int count, nsec_t most)
{
	nsec_t start = w->now;
	while (supervisor_core_up_count(w->core) < count)
		if (!turn(w, start + most))
			return NSEC_NEVER;
	return w->now - start;
}

/* ---- life ------------------------------------------------------------------------------------ */

void world_set_addresses(struct world *w, unsigned int bits)
{
	struct edge_addr set[WORLD_ADDRS];
	size_t count = 0;
	for (unsigned int n = 0; n < WORLD_ADDRS; n++)
		if (bits & (1U << n))
			set[count++] = (struct edge_addr){ addr_of(n), (uint8_t)(n % 2) };
	supervisor_core_set_addresses(w->core, set, count, w->now);
}

struct world *world_new(enum conf_protocol protocol, unsigned int connections, unsigned int addrs)
{
	struct world *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->now = WORLD_START;
	w->armed = NSEC_NEVER;
	w->connections = connections;
	const struct core_params params = {
		.connections = connections,
		.transport = transport_choose(protocol, NULL, 0),
		.random_below = below,
		.ops = &ops,
		.user = w,
	};
	w->core = supervisor_core_new(&params, w->now);
	assert_non_null(w->core);
	if (addrs)
		world_set_addresses(w, (1U << addrs) - 1);
	return w;
}

void world_free(struct world *w)
{
	supervisor_core_free(w->core);
	free(w);
}

void world_stop(struct world *w)
{
	supervisor_core_stop(w->core);
	w->is_stopped = true;
	assert_true(w->armed == NSEC_NEVER);
}

void world_set_path(struct world *w, enum link_protocol protocol, enum world_path path)
{
	for (unsigned int n = 0; n < WORLD_ADDRS; n++)
		w->path[protocol][n] = path;
}

void world_set_both(struct world *w, enum world_path path)
{
	world_set_path(w, LINK_PROTOCOL_QUIC, path);
	world_set_path(w, LINK_PROTOCOL_HTTP2, path);
}

/* ---- questions ------------------------------------------------------------------------------- */

struct world_conn *world_link(struct world *w, unsigned int index)
{
	uint64_t serial = supervisor_core_link(w->core, index)->serial;
	return serial ? &w->conns[serial] : NULL;
}

unsigned int world_links(const struct world *w, enum link_protocol protocol)
{
	unsigned int count = 0;
	for (unsigned int i = 0; i < w->connections; i++) {
		const struct core_link *link = supervisor_core_link(w->core, i);
		count += link->serial && link->protocol == protocol;
	}
	return count;
}

unsigned int world_dials(const struct world *w, int index, nsec_t since)
{
	unsigned int count = 0;
	for (uint64_t s = 1; s <= w->conn_count; s++)
		count += w->conns[s].dialled >= since &&
			 (index < 0 || w->conns[s].index == (unsigned int)index);
	return count;
}

void world_suspect(struct world *w, unsigned int index)
{
	struct world_conn *conn = world_link(w, index);
	conn->is_suspect = true;
	supervisor_core_suspect(w->core, index, (uint64_t)(conn - w->conns), w->now);
}

void world_heard(struct world *w, unsigned int index)
{
	struct world_conn *conn = world_link(w, index);
	conn->is_suspect = false;
	supervisor_core_heard(w->core, index, (uint64_t)(conn - w->conns), w->now);
}

void world_close(struct world *w, unsigned int index, enum link_end end)
{
	struct world_conn *conn = world_link(w, index);
	const struct link_close_info info = { .end = end };
	conn->state = WORLD_STATE_CLOSED;
	supervisor_core_closed(w->core, index, (uint64_t)(conn - w->conns), &info, w->now);
}

void world_away(struct world *w, unsigned int index)
{
	struct world_conn *conn = world_link(w, index);
	conn->state = WORLD_STATE_DRAINING;
	supervisor_core_away(w->core, index, (uint64_t)(conn - w->conns), w->now);
}

void world_cut(struct world *w, enum link_protocol protocol, bool is_cut)
{
	world_set_path(w, protocol, is_cut ? WORLD_DROP : WORLD_OPEN);
	for (uint64_t s = 1; s <= w->conn_count; s++)
		if (w->conns[s].state == WORLD_STATE_UP && w->conns[s].protocol == protocol)
			later(w, is_cut ? SUSPECT : HEARD, s, (is_cut ? 2000 : 100) * MSEC);
}
