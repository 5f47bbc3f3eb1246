/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets of a private network's device and what becomes of them, with a pair of sockets as the
 * device and a pipe that writes down what a daemon would get. Which link there is says the test.
 */
#include "daemon/edge/front_net.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "daemon/edge/edge_conn.h"
#include "daemon/wire/icmp.h"
#include "daemon/wire/ip_udp.h"
#include "util/cleanup.h"

enum { VNET = 10, KEPT = 100, GSO_UDP = 5, CLIENT_PORT = 4000, DEST_PORT = 53 };

struct fixture {
	struct worker_set *set;
	struct metric_registry *reg;
	struct worker *worker;
	struct edge_conf conf;
	struct conf_edge_tunnel tunnel;
	struct roster *roster;
	struct edge_tunnel *shared;
	struct edge_link *el; /* NULL: the tunnel has none */
	struct flow_caller flows;
	struct call_port port;
	struct datagram_pipe pipe;
	size_t max; /* of the pipe */
	struct front_net *front;
	struct udp_clients *peers[1];
	int kernel; /* the device's other end */
	unsigned int sent;
	struct {
		uint8_t bytes[1500];
		size_t len;
	} datagrams[KEPT];
	uint8_t got[70000]; /* from the device, with its header */
	size_t got_len;
};

static struct fixture fx;

/* ---- what the test stands for ---- */

struct edge_link *directory_pick_flows(struct directory *d UNUSED,
				       const struct edge_tunnel *tunnel UNUSED)
{
	return fx.el;
}

struct call_port *edge_conn_flow_port(struct edge_link *el)
{
	assert_ptr_equal(el, fx.el);
	return &fx.port;
}

const struct edge_tunnel *edge_conn_tunnel_of_port(struct call_port *port UNUSED)
{
	return fx.shared;
}

static int pipe_send(struct datagram_pipe *pipe UNUSED, enum datagram_kind kind UNUSED,
		     struct span datagram)
{
	if (datagram.len > fx.max)
		return -EMSGSIZE;
	assert_true(fx.sent < KEPT && datagram.len <= sizeof(fx.datagrams[0].bytes));
	memcpy(fx.datagrams[fx.sent].bytes, datagram.ptr, datagram.len);
	fx.datagrams[fx.sent++].len = datagram.len;
	return 0;
}

static size_t pipe_max(struct datagram_pipe *pipe UNUSED)
{
	return fx.max;
}

static const struct datagram_ops pipe_ops = { .send = pipe_send, .max = pipe_max };

/* ---- life ---- */

static const struct conf_prefix prefixes[] = { { { IP_FAMILY_V4, { 10, 20 } }, 16 },
					       { { IP_FAMILY_V6, { 0xfd, 0x20 } }, 32 } };
static const struct conf_edge_network network = { "lan", prefixes, 2, "home" };

static void make_roster(void)
{
	fx.shared = edge_tunnel_new();
	fx.el = edge_link_new(fx.shared);
	fx.roster = calloc(1, sizeof(*fx.roster) + sizeof(fx.roster->tunnels[0]));
	assert_true(fx.shared && fx.el && fx.roster);
	fx.el->worker = fx.worker;
	atomic_store(&fx.el->is_usable, true);
	fx.tunnel.name = "home";
	fx.conf = (struct edge_conf){
		.tunnels = &fx.tunnel,
		.tunnel_count = 1,
		.networks = &network,
		.network_count = 1,
		.common.limits = { .flows = 8,
				   .flow_registrations = 1000,
				   .flow_queue = 65536,
				   .icmp_answers = 4 },
	};
	fx.roster->conf = &fx.conf;
	fx.roster->tunnels[0].shared = fx.shared;
}

static void make_front(bool has_bursts)
{
	int fds[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, fds), 0);
	fx.kernel = fds[1];
	const struct front_net_params params = {
		.worker = fx.worker,
		.roster = fx.roster,
		.flows = &fx.flows,
		.peers = fx.peers,
		.fd = fds[0],
		.has_bursts = has_bursts,
	};
	assert_int_equal(front_net_new(&params, &fx.front), 0);
	fx.peers[0] = front_net_clients(fx.front);
	front_net_use_roster(fx.front, fx.roster);
	assert_int_equal(front_net_start(fx.front), 0);
}

static void turn(void)
{
	assert_true(loop_turn(fx.worker->loop, 0) >= 0);
}

static void end_front(void)
{
	front_net_stop(fx.front);
	turn();
	front_net_free(TAKE_PTR(fx.front));
	(void)close(fx.kernel);
}

static int start(void **state UNUSED)
{
	fx = (struct fixture){ .max = 1435, .pipe.ops = &pipe_ops };
	assert_int_equal(metric_registry_new(1000, &fx.reg), 0);
	const struct worker_params workers = { .count = 1, .memory = 8 << 20, .metrics = fx.reg };
	assert_int_equal(worker_set_new(&workers, &fx.set), 0);
	fx.worker = worker_set_get(fx.set, 0);
	flow_caller_init(&fx.flows, fx.worker, 65536);
	call_port_open(&fx.port, &fx.pipe, true);
	make_roster();
	make_front(true);
	return 0;
}

static int end(void **state UNUSED)
{
	end_front();
	call_port_close(&fx.port);
	flow_caller_done(&fx.flows);
	edge_link_unref(fx.el);
	edge_tunnel_unref(fx.shared);
	free(fx.roster);
	worker_set_free(fx.set);
	metric_registry_free(fx.reg);
	return 0;
}

/* ---- the device ---- */

/* segment_len: the packet is a burst. */
static void give(struct span packet, uint16_t segment_len)
{
	uint8_t buf[VNET + 9000] = { [1] = segment_len ? GSO_UDP : 0 };
	memcpy(buf + 4, &segment_len, sizeof(segment_len));
	memcpy(buf + VNET, packet.ptr, packet.len);
	assert_int_equal(send(fx.kernel, buf, VNET + packet.len, 0), VNET + packet.len);
	turn();
}

/* The next packet that was written; false: none. */
static bool take(struct ip_packet *ret)
{
	ssize_t n = recv(fx.kernel, fx.got, sizeof(fx.got), 0);
	if (n < VNET)
		return false;
	fx.got_len = (size_t)n;
	assert_int_equal(ip_read(span_of(fx.got + VNET, fx.got_len - VNET), ret), 0);
	return true;
}

static struct ip_addr addr_of(enum ip_family family, bool is_client)
{
	struct ip_addr a = { .family = family };
	a.bytes[0] = family == IP_FAMILY_V6 ? 0xfd : 10;
	a.bytes[1] = is_client ? 0x90 : family == IP_FAMILY_V6 ? 0x20 : 20;
	a.bytes[ip_family_len(family) - 1] = 7;
	return a;
}

static struct span udp_packet(enum ip_family family, uint16_t port, struct span payload)
{
	static uint8_t buf[9000];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct ip_head head = { .src = addr_of(family, true),
				      .dst = addr_of(family, false),
				      .ttl = 9,
				      .dont_fragment = true };
	const struct ip_udp udp = { .src_port = port, .dst_port = DEST_PORT, .payload = payload };
	assert_int_equal(ip_udp_write(&p, &head, &udp), 0);
	return packer_span(&p);
}

static struct span echo_packet(bool is_reply, size_t len)
{
	static uint8_t buf[9000];
	static const uint8_t data[8000];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct icmp_echo e = { .src = addr_of(IP_FAMILY_V6, !is_reply),
				     .dst = addr_of(IP_FAMILY_V6, is_reply),
				     .ttl = 9,
				     .is_reply = is_reply,
				     .id = 1,
				     .data = span_of(data, len) };
	assert_int_equal(icmp_echo_write(&p, &e), 0);
	return packer_span(&p);
}

static uint64_t dropped(enum net_drop reason)
{
	return front_net_get_stats(fx.front)->drops[reason];
}

/* ---- the daemon ---- */

static struct dgram3_register registration(unsigned int at)
{
	struct dgram3_register r = {};
	assert_true(fx.sent > at);
	struct span s = span_of(fx.datagrams[at].bytes, fx.datagrams[at].len);
	assert_int_equal(dgram3_register_read(s, &r), 0);
	return r;
}

static void respond(const struct dgram_id *id, enum dgram3_code code)
{
	uint8_t buf[64];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_response r = { .id = *id, .code = code };
	assert_int_equal(dgram3_response_write(&p, &r), 0);
	flow_caller_datagram(&fx.flows, &fx.port, packer_span(&p));
}

static void answer(const struct dgram_id *id, const char *bytes, size_t len)
{
	uint8_t buf[1500];
	struct packer p = packer_over(buf, sizeof(buf));
	const struct dgram3_payload d = { .id = *id, .payload = span_of(bytes, len) };
	assert_int_equal(dgram3_payload_write(&p, &d, 1380), 0);
	flow_caller_datagram(&fx.flows, &fx.port, packer_span(&p));
}

static struct dgram_id open_flow(uint16_t port)
{
	unsigned int at = fx.sent;
	give(udp_packet(IP_FAMILY_V4, port, SPAN_LIT("q")), 0);
	struct dgram_id id = registration(at).id;
	respond(&id, DGRAM3_CODE_OK);
	return id;
}

/* ---- UDP ---- */

/* There and back, with the ports and addresses of each other. */
static void test_there_and_back(void **state UNUSED)
{
	for (enum ip_family family = IP_FAMILY_V4; family <= IP_FAMILY_V6; family += 2) {
		struct ip_packet ip;
		struct ip_udp udp;
		unsigned int at = fx.sent;
		give(udp_packet(family, CLIENT_PORT, SPAN_LIT("question")), 0);
		struct dgram3_register r = registration(at);
		struct ip_addr dst = addr_of(family, false), src = addr_of(family, true);
		assert_true(ip_addr_eq(&r.dest.ip, &dst));
		assert_int_equal(r.dest.port, DEST_PORT);
		assert_true(span_eq(r.payload, SPAN_LIT("question")));
		struct dgram_id id = r.id;
		respond(&id, DGRAM3_CODE_OK);
		answer(&id, "answer", 6);
		assert_false(take(&ip)); /* at the end of the turn */
		turn();
		assert_true(take(&ip));
		assert_int_equal(ip_udp_read(&ip, &udp), 0);
		assert_true(ip_addr_eq(&ip.src, &dst) && ip_addr_eq(&ip.dst, &src));
		assert_int_equal(ip.ttl, 64);
		assert_int_equal(udp.src_port, DEST_PORT);
		assert_int_equal(udp.dst_port, CLIENT_PORT);
		assert_true(span_eq(udp.payload, SPAN_LIT("answer")));
		assert_int_equal(fx.got[0], 1); /* the checksum is to be completed */
		assert_int_equal(fx.got[1], 0);
		uint16_t sum = ip_sum_fold(ip_sum_pseudo(&dst, &src, IP_PROTOCOL_UDP, 8 + 6));
		assert_int_equal(udp.checksum, sum);
	}
}

/* A burst that comes in is cut: the last piece may be shorter. */
static void test_burst_in(void **state UNUSED)
{
	struct dgram_id id = open_flow(CLIENT_PORT);
	unsigned int at = fx.sent;
	give(udp_packet(IP_FAMILY_V4, CLIENT_PORT, SPAN_LIT("aaabbbc")), 3);
	static const char *const pieces[] = { "aaa", "bbb", "c" };
	assert_int_equal(fx.sent, at + 3);
	for (unsigned int i = 0; i < 3; i++) {
		struct dgram3_payload d;
		struct span s = span_of(fx.datagrams[at + i].bytes, fx.datagrams[at + i].len);
		assert_int_equal(dgram3_payload_read(s, 1380, &d), 0);
		assert_true(dgram_id_eq(&d.id, &id));
		assert_true(span_eq_str(d.payload, pieces[i]));
	}
	assert_int_equal(front_net_get_stats(fx.front)->rx_bursts, 1);
	assert_int_equal(front_net_get_stats(fx.front)->rx_datagrams, 4);
}

/* What leaves in which packet: "3*4" is a burst of three datagrams, cut at 4 bytes. */
static void assert_written(const char *const *wanted)
{
	struct ip_packet ip;
	turn();
	for (; *wanted; wanted++) {
		struct ip_udp udp;
		char text[32];
		uint16_t cut = 0;
		assert_true(take(&ip));
		assert_int_equal(ip_udp_read(&ip, &udp), 0);
		memcpy(&cut, fx.got + 4, sizeof(cut));
		assert_int_equal(fx.got[1], cut ? GSO_UDP : 0);
		(void)snprintf(text, sizeof(text), "%zu/%u", udp.payload.len, cut);
		assert_string_equal(text, *wanted);
	}
	assert_false(take(&ip));
}

static void test_burst_out(void **state UNUSED)
{
	struct dgram_id a = open_flow(CLIENT_PORT), b = open_flow(CLIENT_PORT + 1);
	for (unsigned int i = 0; i < 3; i++)
		answer(&a, "four", 4);
	assert_written((const char *const[]){ "12/4", NULL });
	answer(&a, "four", 4);
	answer(&a, "two", 2); /* the last of its burst */
	answer(&a, "two", 2);
	answer(&a, "three", 3); /* larger than what began */
	assert_written((const char *const[]){ "6/4", "2/0", "3/0", NULL });
	answer(&a, "", 0); /* alone, whatever is around it */
	answer(&a, "", 0);
	answer(&a, "1", 1);
	assert_written((const char *const[]){ "0/0", "0/0", "1/0", NULL });
	answer(&a, "four", 4);
	answer(&b, "four", 4); /* another client */
	answer(&a, "four", 4);
	assert_written((const char *const[]){ "4/0", "4/0", "4/0", NULL });
	for (unsigned int i = 0; i < 65; i++)
		answer(&a, "x", 1);
	assert_written((const char *const[]){ "64/1", "1/0", NULL });
	static const char big[1380];
	for (unsigned int i = 0; i < 47; i++)
		answer(&a, big, sizeof(big));
	assert_written((const char *const[]){ "63480/1380", "1380/0", NULL });
	assert_int_equal(front_net_get_stats(fx.front)->tx_datagrams, 3 + 4 + 3 + 3 + 65 + 47);
}

/* A kernel without USO gets one datagram a packet. */
static void test_no_bursts(void **state UNUSED)
{
	end_front();
	make_front(false);
	struct dgram_id id = open_flow(CLIENT_PORT);
	answer(&id, "four", 4);
	answer(&id, "four", 4);
	assert_written((const char *const[]){ "4/0", "4/0", NULL });
}

static void test_device_full(void **state UNUSED)
{
	static const char big[1380];
	struct dgram_id id = open_flow(CLIENT_PORT);
	for (unsigned int i = 0; i < 2000 && dropped(NET_DROP_FULL) == 0; i++) {
		answer(&id, big, sizeof(big));
		turn();
	}
	assert_true(dropped(NET_DROP_FULL) > 0);
}

/* More clients than there may be, and none of them when nobody is connected. */
static void test_limits(void **state UNUSED)
{
	const struct udp_clients_stats *stats = &front_net_clients(fx.front)->stats;
	for (uint16_t i = 0; i < 10; i++)
		give(udp_packet(IP_FAMILY_V4, (uint16_t)(CLIENT_PORT + i), SPAN_LIT("q")), 0);
	assert_int_equal(stats->too_many, 2);
	assert_int_equal(fx.sent, 8);
}

/* ---- errors ---- */

static void assert_error(enum icmp_kind kind, uint32_t mtu)
{
	struct ip_packet ip, quote;
	struct icmp_message m;
	assert_true(take(&ip));
	assert_int_equal(icmp_read(&ip, &m), 0);
	assert_true(icmp_checksum_ok(&ip));
	assert_int_equal(m.kind, kind);
	assert_int_equal(m.mtu, mtu);
	assert_int_equal(ip_read(m.data, &quote), 0);
	assert_true(ip_addr_eq(&quote.src, &ip.dst) && ip_addr_eq(&quote.dst, &ip.src));
	assert_int_equal(fx.got[0], 0);
}

static void test_unreachable(void **state UNUSED)
{
	struct ip_packet ip;
	struct edge_link *el = TAKE_PTR(fx.el);
	give(udp_packet(IP_FAMILY_V4, CLIENT_PORT, SPAN_LIT("aaabbbc")), 3); /* one error for all */
	assert_error(ICMP_KIND_UNREACHABLE, 0);
	give(echo_packet(false, 8), 0);
	assert_error(ICMP_KIND_UNREACHABLE, 0);
	assert_false(take(&ip));
	/* The rate is 4 a second. */
	for (unsigned int i = 0; i < 5; i++)
		give(echo_packet(false, 8), 0);
	assert_int_equal(front_net_get_stats(fx.front)->errors, 4);
	assert_int_equal(dropped(NET_DROP_ERRORS), 3);
	fx.el = el;
}

static void test_silent(void **state UNUSED)
{
	struct ip_packet ip;
	struct edge_link *el = TAKE_PTR(fx.el);
	fx.conf.common.limits.icmp_answers = 0;
	front_net_use_roster(fx.front, fx.roster);
	give(echo_packet(false, 8), 0);
	assert_false(take(&ip));
	assert_int_equal(dropped(NET_DROP_ERRORS), 1);
	fx.el = el;
}

static void test_refused(void **state UNUSED)
{
	give(udp_packet(IP_FAMILY_V6, CLIENT_PORT, SPAN_LIT("q")), 0);
	struct dgram_id id = registration(0).id;
	respond(&id, DGRAM3_CODE_UNREACHABLE);
	assert_error(ICMP_KIND_UNREACHABLE, 0);
}

static void test_too_big(void **state UNUSED)
{
	static const uint8_t big[1381];
	struct ip_packet ip;
	(void)open_flow(CLIENT_PORT);
	give(udp_packet(IP_FAMILY_V4, CLIENT_PORT, span_of(big, 1380)), 0);
	assert_false(take(&ip));
	give(udp_packet(IP_FAMILY_V4, CLIENT_PORT, span_of(big, 1381)), 0);
	assert_error(ICMP_KIND_TOO_BIG, 1380 + 28);
	unsigned int sent = fx.sent;
	give(echo_packet(false, 1280 - 48), 0);
	assert_int_equal(fx.sent, sent + 1);
	give(echo_packet(false, 1281 - 48), 0);
	assert_error(ICMP_KIND_TOO_BIG, 1280);
	fx.max = 1000; /* IPv6 can't be told less */
	give(echo_packet(false, 1100), 0);
	assert_error(ICMP_KIND_TOO_BIG, 1280);
	assert_int_equal(dropped(NET_DROP_TOO_BIG), 3);
}

/* ---- ICMP ---- */

static void give_daemon(struct span packet)
{
	uint8_t buf[1400];
	struct packer p = packer_over(buf, sizeof(buf));
	assert_int_equal(dgram3_icmp_write(&p, packet), 0);
	flow_caller_datagram(&fx.flows, &fx.port, packer_span(&p));
}

static void test_echo(void **state UNUSED)
{
	struct ip_packet ip;
	struct span packet = {};
	give_daemon(echo_packet(true, 8));
	assert_int_equal(dropped(NET_DROP_FOREIGN), 1);
	struct span asked = echo_packet(false, 8);
	give(asked, 0);
	assert_int_equal(
		dgram3_icmp_read(span_of(fx.datagrams[0].bytes, fx.datagrams[0].len), &packet), 0);
	assert_true(span_eq(packet, asked));
	give_daemon(echo_packet(true, 8));
	assert_true(take(&ip));
	assert_int_equal(ip.ttl, 9);
	assert_int_equal(front_net_get_stats(fx.front)->tx_packets, 1);
}

/* Cut anywhere, with every byte of the headers at values that are wrong: counted or carried. */
static void test_damaged(void **state UNUSED)
{
	static const uint8_t values[] = { 0, 1, 4, 17, 58, 0x45, 0x60, 0x7f, 0xff };
	const struct span packets[] = { udp_packet(IP_FAMILY_V6, CLIENT_PORT, SPAN_LIT("payload")),
					echo_packet(false, 4) };
	fx.conf.common.limits.icmp_answers = 0;
	front_net_use_roster(fx.front, fx.roster);
	for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
		for (size_t len = 1; len < packets[i].len; len++)
			give(span_first(packets[i], len), 0);
		for (size_t at = 0; at < 48; at++)
			for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
				uint8_t copy[100];
				memcpy(copy, packets[i].ptr, packets[i].len);
				copy[at] = values[v];
				fx.sent = 0;
				give(span_of(copy, packets[i].len), (uint16_t)(v % 2));
			}
	}
	assert_true(dropped(NET_DROP_MALFORMED) > 100);
	assert_true(dropped(NET_DROP_STRAY) > 0);
	assert_true(dropped(NET_DROP_PROTOCOL) > 0);
	assert_true(dropped(NET_DROP_ICMP_KIND) > 0);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		T(test_there_and_back), T(test_burst_in), T(test_burst_out),   T(test_no_bursts),
		T(test_device_full),    T(test_limits),   T(test_unreachable), T(test_silent),
		T(test_refused),        T(test_too_big),  T(test_echo),        T(test_damaged),
	};
	return cmocka_run_group_tests_name("front_net", tests, NULL, NULL);
}
