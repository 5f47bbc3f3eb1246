/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An adit-edge whose UDP clients are a load: this stands in the place of daemon/edge/front_udp, and
 * no socket but QUIC's costs anything. Run by selftests/bench/datapath; the method is that of a
 * peer which has its datagrams at hand.
 *
 * Ways are the listeners of the configuration, one for each [udp NAME], in order; nobody listens
 * there. Commands are datagrams to 127.0.0.1 at the port in LOAD_PORT, answered where they come
 * from:
 *
 *   load WAY WAYS FLOWS SIZE BURST UNDER_WAY   flows to so many ways from WAY on in turn. "warm"
 * when an echo of each has come, or "N of FLOWS flows came up", and that is all. Then the load goes
 * on. measure USEC RATE                          a JSON object when it is over, and with it the
 * load
 *
 * Each flow has as many lanes as there may be datagrams under way for it, or one. A lane sends
 * BURST datagrams, waits for all of them (or 200 ms: the rest is lost) and goes to the end of the
 * queue, at most UNDER_WAY datagrams being under way. With a RATE so many a second go out, unless
 * CABLE of them are under way, and what hasn't come 200 ms after the end is lost.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/edge/front_udp.h"
#include "util/cleanup.h"

enum {
	SAMPLES = 1 << 20,
	LANES_MAX = 16384,
	DATAGRAM_MAX = 1400,
	COLD_BATCH = 64, /* flows that are tried in a tick */
	CATCH_UP = 64,
	CABLE = 256,   /* frames that the kernel keeps for the reader of a veth */
	PORTS = 60000, /* of an imaginary client */
};

static const nsec_t TICK = 5 * NSEC_PER_MSEC, LOST = 200 * NSEC_PER_MSEC, WARM = 40 * NSEC_PER_SEC,
		    PAUSE = NSEC_PER_SEC; /* before cold flows are tried again */

/* In front of every datagram. */
struct stamp {
	uint32_t lane;
	uint32_t turn;
	nsec_t at;
};

struct lane {
	unsigned int way;
	struct ip_port client;
	uint32_t turn;
	unsigned int waiting; /* echoes of this turn */
	nsec_t sent_at;
	bool is_warm;     /* the first of a flow: it had an echo */
	struct list node; /* in queue or waiting */
};

enum load_phase : uint8_t { LOAD_IDLE, LOAD_WARM, LOAD_HOT, LOAD_MEASURE, LOAD_END };

struct load {
	enum load_phase phase;
	struct lane *lanes;
	unsigned int lane_count, flows, size, burst, under_way;
	unsigned int warm, cold_next; /* flows that had an echo; the next to be tried */
	unsigned int outstanding;
	uint32_t turns;
	struct list queue;   /* lanes that may send */
	struct list waiting; /* … that wait, the oldest first */
	nsec_t cold_at, begun, end;
	double rate;
	uint64_t sent, received, skipped, sample_count;
	uint32_t *samples; /* usec */
};

struct front_udp {
	struct front_udp_params p;
	struct udp_clients clients;
	const struct edge_tunnel **tunnels; /* by way; of the roster in force */
	struct front_udp_stats stats;
	int fd; /* for commands; -EBADF but on the first worker */
	struct sockaddr_in asker;
	struct loop_io io;
	struct loop_task task;
	struct timer tick;
	unsigned int clients_made; /* imaginary ones */
	struct load load;
};

struct udp_clients *front_udp_clients(struct front_udp *f)
{
	return &f->clients;
}

const struct front_udp_stats *front_udp_get_stats(const struct front_udp *f)
{
	return &f->stats;
}

static void answer(struct front_udp *f, const char *text)
{
	(void)sendto(f->fd, text, strlen(text), 0, (const struct sockaddr *)&f->asker,
		     sizeof(f->asker));
}

/* ---- sending ---- */

static void send_burst(struct front_udp *f, struct lane *lane, nsec_t now)
{
	struct load *l = &f->load;
	uint8_t bytes[DATAGRAM_MAX] = {};
	const struct stamp stamp = { (uint32_t)(lane - l->lanes), ++l->turns, now };
	const struct udp_arrival a = { .way = lane->way,
				       .client = lane->client,
				       .bytes = span_of(bytes, l->size) };
	memcpy(bytes, &stamp, sizeof(stamp));
	lane->turn = stamp.turn;
	lane->sent_at = now;
	for (unsigned int i = 0; i < l->burst; i++)
		(void)udp_clients_take(&f->clients, &a);
	l->sent += l->burst;
}

static void send_closed(struct front_udp *f, nsec_t now)
{
	struct load *l = &f->load;
	while (!list_is_empty(&l->queue) && l->outstanding + l->burst <= l->under_way) {
		struct lane *lane = LIST_ENTRY(list_pop(&l->queue), struct lane, node);
		list_append(&l->waiting, &lane->node);
		lane->waiting = l->burst;
		l->outstanding += l->burst;
		send_burst(f, lane, now);
	}
}

/* Whoever wasn't let run doesn't catch up in one go; neither does a daemon that wasn't, which would
 * send more at once than the cable to the origin holds. */
static void send_open(struct front_udp *f, nsec_t now)
{
	struct load *l = &f->load;
	uint64_t due =
		(uint64_t)((double)(now - l->begun) / (double)NSEC_PER_SEC * l->rate) - l->skipped;
	if (due > l->sent + CATCH_UP) {
		l->skipped += due - l->sent - CATCH_UP;
		due = l->sent + CATCH_UP;
	}
	while (l->sent < due && l->sent - l->received < CABLE)
		send_burst(f, &l->lanes[l->sent / l->burst % l->flows], now);
	if (l->sent < due)
		l->skipped += due - l->sent;
}

static void on_task(struct loop_task *task)
{
	struct front_udp *f = CONTAINER_OF(task, struct front_udp, task);
	struct load *l = &f->load;
	nsec_t now = nsec_clock(CLOCK_MONOTONIC);
	if (l->phase == LOAD_HOT || (l->phase == LOAD_MEASURE && l->rate <= 0)) {
		send_closed(f, now);
	} else if (l->phase == LOAD_MEASURE) {
		send_open(f, now);
		loop_task_post(f->p.worker->loop, &f->task, LOOP_PHASE_WORK);
	}
}

static void send_soon(struct front_udp *f)
{
	loop_task_post(f->p.worker->loop, &f->task, LOOP_PHASE_WORK);
}

/* ---- echoes ---- */

static void take_turn(struct load *l, struct lane *lane)
{
	l->outstanding--;
	if (--lane->waiting > 0)
		return;
	list_remove(&lane->node);
	list_append(&l->queue, &lane->node);
}

static void on_answer(void *user, struct udp_client *c UNUSED, struct span payload)
{
	struct front_udp *f = user;
	struct load *l = &f->load;
	struct stamp stamp;
	if (payload.len < sizeof(stamp))
		return;
	memcpy(&stamp, payload.ptr, sizeof(stamp));
	if (stamp.lane >= l->lane_count)
		return;
	struct lane *lane = &l->lanes[stamp.lane];
	if (l->phase == LOAD_WARM && lane->turn == stamp.turn && !lane->is_warm) {
		lane->is_warm = true;
		l->warm++;
	}
	if (l->phase >= LOAD_MEASURE && stamp.at >= l->begun) {
		nsec_t took = nsec_sub(nsec_clock(CLOCK_MONOTONIC), stamp.at);
		l->received++;
		l->samples[l->sample_count++ % SAMPLES] = (uint32_t)(took / NSEC_PER_USEC);
	}
	if (lane->turn == stamp.turn && lane->waiting)
		take_turn(l, lane);
	send_soon(f);
}

static void expire(struct load *l, nsec_t now)
{
	LIST_FOREACH(node, &l->waiting)
	{
		struct lane *lane = LIST_ENTRY(node, struct lane, node);
		if (now - lane->sent_at <= LOST)
			return;
		l->outstanding -= lane->waiting;
		lane->waiting = 0;
		list_remove(&lane->node);
		list_append(&l->queue, &lane->node);
	}
}

/* ---- phases ---- */

static void load_clear(struct load *l)
{
	free(TAKE_PTR(l->lanes));
	l->lane_count = 0;
	l->phase = LOAD_IDLE;
}

static void make_lanes(struct front_udp *f, unsigned int way, unsigned int ways)
{
	struct load *l = &f->load;
	list_init(&l->queue);
	list_init(&l->waiting);
	for (unsigned int i = 0; i < l->lane_count; i++) {
		struct lane *lane = &l->lanes[i];
		unsigned int client = f->clients_made + i % l->flows;
		lane->way = way + i % l->flows % ways;
		lane->client = (struct ip_port){
			.ip = { .family = IP_FAMILY_V4,
				.bytes = { 10, 77, (uint8_t)(client / PORTS >> 8),
					   (uint8_t)(client / PORTS) } },
			.port = (uint16_t)(1 + client % PORTS),
		};
		list_append(&l->queue, &lane->node);
	}
	f->clients_made += l->flows;
}

/* So many numbers, which follow the first word. */
static bool read_numbers(const char *text, unsigned long long *ret, unsigned int count)
{
	const char *at = strchr(text, ' ');
	for (unsigned int i = 0; at && i < count; i++) {
		char *end = NULL;
		ret[i] = strtoull(at, &end, 10);
		at = end != at && ret[i] <= UINT32_MAX ? end : NULL;
	}
	return at && *at == '\0';
}

static bool load_begin(struct front_udp *f, const char *text)
{
	struct load *l = &f->load;
	unsigned long long n[6];
	load_clear(l);
	if (!read_numbers(text, n, ARRAY_SIZE(n)))
		return false;
	unsigned int way = (unsigned int)n[0], ways = (unsigned int)n[1];
	l->flows = (unsigned int)n[2];
	l->size = (unsigned int)n[3];
	l->burst = (unsigned int)n[4];
	l->under_way = (unsigned int)n[5];
	if (l->flows == 0 || l->flows > LANES_MAX || ways == 0 || l->burst == 0 ||
	    l->size < sizeof(struct stamp) || l->size > DATAGRAM_MAX ||
	    (uint64_t)way + ways > f->p.roster->conf->udp_port_count)
		return false;
	uint64_t lanes = (uint64_t)l->flows * MAX(l->under_way / l->burst / l->flows, 1U);
	if (lanes > LANES_MAX)
		return false;
	l->lane_count = (unsigned int)lanes;
	l->lanes = calloc(l->lane_count, sizeof(*l->lanes));
	if (!l->lanes)
		return false;
	make_lanes(f, way, ways);
	l->warm = l->cold_next = l->outstanding = 0;
	l->phase = LOAD_WARM;
	l->cold_at = loop_now(f->p.worker->loop);
	l->end = nsec_add(l->cold_at, WARM);
	return true;
}

/* Lets each flow be registered, without a flood: who asks too much at once is asked again later. */
static void warm_some(struct front_udp *f, nsec_t now)
{
	struct load *l = &f->load;
	unsigned int burst = l->burst;
	l->burst = 1;
	for (unsigned int n = 0; n < COLD_BATCH && l->cold_next < l->flows; l->cold_next++)
		if (!l->lanes[l->cold_next].is_warm) {
			send_burst(f, &l->lanes[l->cold_next], now);
			n++;
		}
	l->burst = burst;
	if (l->cold_next < l->flows)
		return;
	l->cold_next = 0;
	l->cold_at = nsec_add(now, PAUSE);
}

static void tick_warm(struct front_udp *f, nsec_t now)
{
	struct load *l = &f->load;
	char text[64];
	if (l->warm == l->flows) {
		l->phase = LOAD_HOT;
		answer(f, "warm");
		send_soon(f);
	} else if (now >= l->end) {
		(void)snprintf(text, sizeof(text), "%u of %u flows came up", l->warm, l->flows);
		answer(f, text);
		load_clear(l);
	} else if (now >= l->cold_at) {
		warm_some(f, now);
	}
}

static int compare(const void *a, const void *b)
{
	const uint32_t *x = a, *y = b;
	return *x < *y ? -1 : *x > *y;
}

static void report(struct front_udp *f)
{
	struct load *l = &f->load;
	char text[160];
	size_t n = MIN(l->sample_count, (uint64_t)SAMPLES);
	qsort(l->samples, n, sizeof(l->samples[0]), compare);
	(void)snprintf(text, sizeof(text),
		       "{\"sent\": %llu, \"received\": %llu, \"p50\": %u, \"p99\": %u}",
		       (unsigned long long)l->sent, (unsigned long long)l->received,
		       n ? l->samples[n / 2] : 0, n ? l->samples[n * 99 / 100] : 0);
	answer(f, text);
	load_clear(l);
}

static void on_tick(struct timer *timer)
{
	struct front_udp *f = CONTAINER_OF(timer, struct front_udp, tick);
	struct load *l = &f->load;
	nsec_t now = loop_now(f->p.worker->loop);
	if (l->phase == LOAD_WARM)
		tick_warm(f, now);
	if (l->phase == LOAD_HOT || (l->phase == LOAD_MEASURE && l->rate <= 0)) {
		expire(l, now);
		send_soon(f);
	}
	if (l->phase == LOAD_MEASURE && now >= l->end)
		l->phase = LOAD_END;
	bool is_over = l->rate <= 0 && l->outstanding == 0;
	if (l->phase == LOAD_END && (is_over || now >= nsec_add(l->end, LOST)))
		report(f);
	if (l->phase == LOAD_IDLE)
		return;
	nsec_t next = nsec_add(now, TICK);
	timer_start(f->p.worker->loop, &f->tick,
		    l->phase == LOAD_MEASURE ? MIN(next, l->end) : next);
}

static bool measure_begin(struct front_udp *f, const char *text)
{
	struct load *l = &f->load;
	unsigned long long n[2];
	if (l->phase != LOAD_HOT || !read_numbers(text, n, ARRAY_SIZE(n)))
		return false;
	l->rate = (double)n[1];
	l->phase = LOAD_MEASURE;
	l->begun = nsec_clock(CLOCK_MONOTONIC);
	l->end = nsec_add(l->begun, n[0] * NSEC_PER_USEC);
	l->sent = l->received = l->skipped = l->sample_count = 0;
	return true;
}

static void on_command(struct loop_io *io, uint32_t revents UNUSED)
{
	struct front_udp *f = CONTAINER_OF(io, struct front_udp, io);
	char text[256];
	socklen_t len = sizeof(f->asker);
	ssize_t n = recvfrom(f->fd, text, sizeof(text) - 1, 0, (struct sockaddr *)&f->asker, &len);
	if (n < 0)
		return;
	text[n] = '\0';
	bool is_load = strncmp(text, "load ", 5) == 0;
	bool is_measure = strncmp(text, "measure ", 8) == 0;
	bool is_ok = is_load ? load_begin(f, text) : is_measure && measure_begin(f, text);
	if (is_ok)
		timer_start(f->p.worker->loop, &f->tick, loop_now(f->p.worker->loop));
	else
		answer(f, "what?");
}

/* ---- the front ---- */

static struct udp_route on_route(void *user, unsigned int way)
{
	const struct front_udp *f = user;
	const struct conf_edge_port *port = &f->p.roster->conf->udp_ports[way];
	return (struct udp_route){
		.tunnel = f->tunnels[way],
		.dest = &port->dest->addr,
		.idle = port->idle,
	};
}

static const struct udp_clients_ops clients_ops = { .route = on_route, .answer = on_answer };

void front_udp_use_roster(struct front_udp *f, struct roster *roster)
{
	const struct edge_conf *conf = roster->conf;
	f->p.roster = roster;
	udp_clients_use_limits(&f->clients, &conf->common.limits);
	for (size_t i = 0; i < conf->udp_port_count; i++)
		f->tunnels[i] = roster_tunnel_named(roster, conf->udp_ports[i].tunnel);
}

static int open_commands(struct front_udp *f)
{
	const char *port = getenv("LOAD_PORT");
	const struct sockaddr_in at = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)strtoul(port ? port : "0", NULL, 10)),
	};
	f->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return f->fd < 0 || bind(f->fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : 0;
}

int front_udp_new(const struct front_udp_params *params, struct front_udp **ret,
		  struct ip_port *ret_at)
{
	size_t ways = params->roster->conf->udp_port_count;
	struct front_udp *f = calloc(1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	f->p = *params;
	f->fd = -EBADF;
	f->io.on_ready = on_command;
	f->task.run = on_task;
	f->tick.on_expire = on_tick;
	udp_clients_init(&f->clients, &(struct udp_clients_params){
					      .worker = params->worker,
					      .directory = params->directory,
					      .flows = params->flows,
					      .peers = params->peers,
					      .ops = &clients_ops,
					      .user = f,
				      });
	f->tunnels = (const struct edge_tunnel **)calloc(MAX(ways, (size_t)1), sizeof(*f->tunnels));
	f->load.samples = calloc(SAMPLES, sizeof(*f->load.samples));
	int r = f->tunnels && f->load.samples ? 0 : -ENOMEM;
	if (r == 0 && params->worker->index == 0)
		r = open_commands(f);
	if (r < 0) {
		*ret_at = (struct ip_port){};
		front_udp_free(f);
		return r;
	}
	*ret = f;
	return 0;
}

int front_udp_start(struct front_udp *f)
{
	udp_clients_start(&f->clients);
	return f->fd < 0 ? 0 : loop_io_start(f->p.worker->loop, &f->io, f->fd, EPOLLIN);
}

void front_udp_stop(struct front_udp *f)
{
	udp_clients_stop(&f->clients);
	loop_io_stop(&f->io);
	loop_task_cancel(&f->task);
	timer_stop(&f->tick);
}

void front_udp_free(struct front_udp *f)
{
	if (!f)
		return;
	udp_clients_done(&f->clients);
	load_clear(&f->load);
	if (f->fd >= 0)
		(void)close(f->fd);
	free(f->load.samples);
	free((void *)f->tunnels);
	free(f);
}
