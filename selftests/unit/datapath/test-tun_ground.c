/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The routed mode of two workers: their queues are socket pairs here, and the kernel's route to an
 * origin is the test's. Packets go out and come in with the header of virtio-net.
 */
#include "daemon/datapath/tun_ground.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/virtio_net.h>

#include <cmocka.h>

#include "daemon/datapath/path.h"
#include "daemon/wire/endpoint.h"
#include "daemon/wire/ip_udp.h"
#include "util/cleanup.h"
#include "util/endian.h"
#include "util/macro.h"

enum { WORKERS = 2, PATHS = 4, FRAME_MAX = 4096 };

struct end {
	struct flow_path path;
	unsigned int received, sent, failed, errors;
	int error;
	size_t last_len, max;
};

static struct world {
	struct worker_set *set;
	struct worker *workers[WORKERS];
	struct datapath *datapaths[WORKERS];
	struct tun_ground *grounds[WORKERS];
	void *users[WORKERS];
	struct owners *owners;
	struct tun_plan plan;
	int network[WORKERS];  /* the other ends of the queues */
	struct ip_addr source; /* of the kernel's route to anywhere */
	struct end ends[PATHS];
	unsigned int icmp; /* packets that were nobody's datagrams */
	uint8_t frame[FRAME_MAX];
} w;

int __wrap_udp_find_source(const struct ip_port *peer, const char *bind_interface, uint32_t fwmark,
			   struct ip_addr *ret, uint32_t *ret_mtu);

int __wrap_udp_find_source(const struct ip_port *peer UNUSED, const char *bind_interface UNUSED,
			   uint32_t fwmark UNUSED, struct ip_addr *ret, uint32_t *ret_mtu UNUSED)
{
	*ret = w.source;
	return 0;
}

/* ---- a user ---- */

static void on_datagram(struct flow_path *path, uint8_t *data, size_t len)
{
	struct end *e = CONTAINER_OF(path, struct end, path);
	memset(data - PATH_HEADROOM, 0xee, PATH_HEADROOM); /* it is ours */
	e->received++;
	e->last_len = len;
}

static void on_error(struct flow_path *path, const struct udp_error *error)
{
	struct end *e = CONTAINER_OF(path, struct end, path);
	e->errors++;
	e->error = error->error;
}

static void on_sent(struct flow_path *path, unsigned int count, int error)
{
	struct end *e = CONTAINER_OF(path, struct end, path);
	*(error == 0 ? &e->sent : &e->failed) += count;
}

static size_t max_of(struct flow_path *path)
{
	const struct end *e = CONTAINER_OF(path, struct end, path);
	return e->max ? e->max : SIZE_MAX;
}

static const struct path_user user = {
	.on_datagram = on_datagram,
	.on_error = on_error,
	.on_sent = on_sent,
	.max = max_of,
};

static void on_icmp(void *arg UNUSED, const struct tun_icmp *icmp UNUSED)
{
	w.icmp++;
}

/* ---- the ground ---- */

static struct ip_addr addr(const char *text)
{
	struct ip_addr a = {};
	assert_int_equal(ip_addr_parse(span_str(text), &a), 0);
	return a;
}

static int start(void **state UNUSED)
{
	w = (struct world){ .source = addr("192.0.2.1") };
	w.plan = (struct tun_plan){ .v4 = { addr("10.9.0.0"), 24 },
				    .v6 = { addr("fd09::"), 112 },
				    .keeps_source = true,
				    .workers = WORKERS,
				    .port_first = TUN_PLAN_PORT_FIRST,
				    .ports = TUN_PLAN_PORTS };
	const struct worker_params params = { .count = WORKERS, .memory = 8 << 20 };
	assert_int_equal(worker_set_new(&params, &w.set), 0);
	assert_int_equal(owners_new(64, &w.owners), 0);
	for (unsigned int i = 0; i < WORKERS; i++) {
		int fds[2];
		assert_int_equal(
			socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds),
			0);
		w.network[i] = fds[1];
		w.workers[i] = worker_set_get(w.set, i);
		const struct tun_ground_params ground = { .worker = w.workers[i],
							  .plan = &w.plan,
							  .fd = fds[0],
							  .has_bursts = true,
							  .owners = w.owners,
							  .grounds = w.users };
		assert_int_equal(datapath_new(w.workers[i], &w.datapaths[i]), 0);
		assert_int_equal(tun_ground_new(&ground, &w.grounds[i]), 0);
		w.users[i] = w.grounds[i];
		datapath_use_tun(w.datapaths[i], w.grounds[i]);
		tun_ground_set_limits(w.grounds[i], 100);
		tun_ground_set_icmp(w.grounds[i], on_icmp, NULL);
	}
	return 0;
}

static void turns(void)
{
	for (unsigned int i = 0; i < 6; i++)
		assert_int_equal(loop_turn(w.workers[i % WORKERS]->loop, 0), 0);
}

static int end(void **state UNUSED)
{
	for (unsigned int i = 0; i < PATHS; i++)
		flow_path_close(&w.ends[i].path);
	turns();
	for (unsigned int i = 0; i < WORKERS; i++) {
		assert_int_equal(datapath_get_stats(w.datapaths[i])->paths[PATH_KIND_TUN], 0);
		datapath_free(w.datapaths[i]);
		tun_ground_free(w.grounds[i]);
		(void)fd_close(w.network[i]);
	}
	worker_set_free(w.set);
	owners_free(w.owners);
	return 0;
}

static struct ip_port at(const char *text, uint16_t port)
{
	return (struct ip_port){ .ip = addr(text), .port = port };
}

static struct flow_path *open_path(unsigned int i, const char *host)
{
	const struct ip_port remote = at(host, 53);
	struct flow_path *path = &w.ends[i].path;
	assert_int_equal(flow_path_open(w.datapaths[0], path, &user, &remote), 0);
	return path;
}

/* The next packet that was written on a queue, with its header before it. */
static struct span take_frame(unsigned int queue, struct virtio_net_hdr *ret)
{
	ssize_t n = read(w.network[queue], w.frame, sizeof(w.frame));
	assert_true(n > (ssize_t)sizeof(*ret));
	memcpy(ret, w.frame, sizeof(*ret));
	return span_of(w.frame + sizeof(*ret), (size_t)n - sizeof(*ret));
}

static void expect_no_frame(unsigned int queue)
{
	assert_true(read(w.network[queue], w.frame, sizeof(w.frame)) < 0 && errno == EAGAIN);
}

static void feed_burst(unsigned int queue, struct span packet, uint16_t segment_len)
{
	uint8_t bytes[FRAME_MAX];
	struct virtio_net_hdr h = {};
	if (segment_len) {
		h.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4;
		h.gso_size = segment_len;
	}
	memcpy(bytes, &h, sizeof(h));
	memcpy(bytes + sizeof(h), packet.ptr, packet.len);
	assert_int_equal(write(w.network[queue], bytes, sizeof(h) + packet.len),
			 sizeof(h) + packet.len);
	turns();
}

static void feed(unsigned int queue, struct span packet)
{
	feed_burst(queue, packet, 0);
}

static uint8_t made[FRAME_MAX];

/* A datagram as a remote sends it. */
static struct span udp(const struct ip_port *src, const struct ip_port *dst, size_t len)
{
	static const uint8_t payload[3000];
	struct packer p = packer_over(made, sizeof(made));
	const struct ip_head ip = {
		.src = src->ip, .dst = dst->ip, .ttl = 9, .dont_fragment = true
	};
	const struct ip_udp u = { .src_port = src->port,
				  .dst_port = dst->port,
				  .payload = span_of(payload, len) };
	assert_int_equal(ip_udp_write(&p, &ip, &u), 0);
	return packer_span(&p);
}

/* An error about a datagram that a path has sent. */
static struct span error_about(const struct flow_path *path, enum icmp_kind kind, uint8_t code,
			       uint32_t mtu)
{
	static uint8_t room[FRAME_MAX];
	struct span quote = udp(flow_path_local(path), &path->remote, 100);
	struct packer p = packer_over(room, sizeof(room));
	const struct icmp_error e = { .src = path->remote.ip,
				      .dst = flow_path_local(path)->ip,
				      .kind = kind,
				      .code = code,
				      .mtu = mtu,
				      .quote = quote };
	assert_int_equal(icmp_error_write(&p, &e), 0);
	return packer_span(&p);
}

static uint64_t drops(unsigned int worker, enum tun_drop reason)
{
	return tun_ground_get_stats(w.grounds[worker])->drops[reason];
}

/* ---- tests ---- */

static void check_there_and_back(const char *host, size_t head)
{
	struct virtio_net_hdr h;
	struct ip_packet ip;
	struct ip_udp u;
	struct flow_path *path = open_path(0, host);
	const struct ip_port local = *flow_path_local(path);
	assert_true(tun_plan_contains(&w.plan, &local.ip) && local.port >= TUN_PLAN_PORT_FIRST);
	assert_int_equal(flow_path_kind(path), PATH_KIND_TUN);
	for (unsigned int i = 0; i < 3; i++)
		flow_path_send(path, span_of("abcdef", i < 2 ? 6 : 2));
	flow_path_send(path, span_of("alone", 5));
	turns();
	struct span packet = take_frame(0, &h);
	assert_int_equal(h.gso_type, VIRTIO_NET_HDR_GSO_UDP_L4);
	assert_true(h.flags == VIRTIO_NET_HDR_F_NEEDS_CSUM && h.gso_size == 6);
	assert_int_equal(h.csum_start, head);
	assert_int_equal(ip_read(packet, &ip) || ip_udp_read(&ip, &u), 0);
	assert_true(ip_addr_eq(&ip.src, &local.ip) && ip_addr_eq(&ip.dst, &path->remote.ip));
	assert_true(u.src_port == local.port && u.dst_port == 53);
	assert_true(span_eq_str(u.payload, "abcdefabcdefab"));
	packet = take_frame(0, &h);
	assert_int_equal(h.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_int_equal(packet.len, head + 8 + 5);
	expect_no_frame(0);
	assert_int_equal(w.ends[0].sent, 4);

	feed(0, udp(&path->remote, &local, 7));
	assert_true(w.ends[0].received == 1 && w.ends[0].last_len == 7);
	feed_burst(0, udp(&path->remote, &local, 250), 100);
	assert_true(w.ends[0].received == 4 && w.ends[0].last_len == 50);
	feed(0, udp(&path->remote, &local, 0));
	assert_true(w.ends[0].received == 5 && w.ends[0].last_len == 0);
	assert_true(ip_port_eq(&local, flow_path_local(path)));
	flow_path_close(path);
}

static void test_there_and_back(void **state UNUSED)
{
	check_there_and_back("10.1.0.9", 20);
	w.ends[0] = (struct end){};
	check_there_and_back("fd01::9", 40);
}

/* What is on this host, behind the device, or of a family without a prefix. */
static void test_reach(void **state UNUSED)
{
	const struct ip_port own = at("192.0.2.1", 53), behind = at("10.9.0.200", 53);
	assert_false(tun_ground_reaches(w.grounds[0], &behind.ip));
	assert_int_equal(flow_path_open(w.datapaths[0], &w.ends[0].path, &user, &own),
			 -EADDRNOTAVAIL); /* a socket's: the address isn't here */
	w.plan.v6 = (struct tun_prefix){};
	const struct ip_addr six = addr("fd01::9");
	assert_false(tun_ground_reaches(w.grounds[0], &six));
}

static void test_not_ours(void **state UNUSED)
{
	const struct flow_path *path = open_path(0, "10.1.0.9");
	const struct ip_port *local = flow_path_local(path);
	struct ip_port other = path->remote, nobody = *local, outside = *local;
	uint8_t cut[FRAME_MAX];
	other.port++;
	nobody.port ^= 1;
	outside.ip = addr("10.9.1.1");
	feed(0, udp(&other, local, 1));
	assert_int_equal(drops(0, TUN_DROP_STRANGER), 1);
	feed(0, udp(&path->remote, &nobody, 1));
	feed(0, udp(&path->remote, &outside, 1));
	assert_int_equal(drops(0, TUN_DROP_STRAY), 2);
	struct span s = udp(&path->remote, local, 40);
	memcpy(cut, s.ptr, s.len);
	for (size_t len = 1; len < s.len; len++)
		feed(0, span_of(cut, len));
	assert_int_equal(drops(0, TUN_DROP_MALFORMED), s.len - 1);
	store_be16(cut + 6, 0x2000); /* more pieces follow */
	feed(0, span_of(cut, s.len));
	assert_int_equal(drops(0, TUN_DROP_FRAGMENT), 1);
	store_be16(cut + 6, 0);
	cut[9] = IP_PROTOCOL_TCP;
	feed(0, span_of(cut, s.len));
	assert_int_equal(drops(0, TUN_DROP_PROTOCOL), 1);
	assert_int_equal(w.ends[0].received, 0);
	assert_int_equal(tun_ground_get_stats(w.grounds[0])->read[0], 0);
}

static void test_errors(void **state UNUSED)
{
	static const struct {
		enum icmp_kind kind;
		uint8_t code;
		int error;
	} rows[] = {
		{ ICMP_KIND_UNREACHABLE, 3, -ECONNREFUSED },
		{ ICMP_KIND_UNREACHABLE, 0, -ENETUNREACH },
		{ ICMP_KIND_UNREACHABLE, 1, -EHOSTUNREACH },
		{ ICMP_KIND_UNREACHABLE, 13, -EHOSTUNREACH },
		{ ICMP_KIND_TOO_BIG, 0, -EMSGSIZE },
		{ ICMP_KIND_TIME_EXCEEDED, 0, -EHOSTUNREACH },
		{ ICMP_KIND_BAD_PARAMETER, 0, -EPROTO },
	};
	struct flow_path *path = open_path(0, "10.1.0.9");
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		feed(0, error_about(path, rows[i].kind, rows[i].code, 1000));
		assert_int_equal(w.ends[0].errors, i + 1);
		assert_int_equal(w.ends[0].error, rows[i].error);
	}
	/* About something else that was sent from there. */
	struct flow_path lie = *path;
	lie.remote.port++;
	feed(0, error_about(&lie, ICMP_KIND_UNREACHABLE, 3, 0));
	assert_int_equal(drops(0, TUN_DROP_STRANGER), 1);
	/* To somebody else than its sender. */
	uint8_t copy[FRAME_MAX];
	struct span s = error_about(path, ICMP_KIND_UNREACHABLE, 3, 0);
	memcpy(copy, s.ptr, s.len);
	copy[19] ^= 1;
	feed(0, span_of(copy, s.len));
	assert_int_equal(drops(0, TUN_DROP_MALFORMED), 1);
	assert_int_equal(w.ends[0].errors, ARRAY_SIZE(rows));
	assert_int_equal(w.icmp, 0);
}

/* IPv6: what a hop has said is too big leaves in pieces, each with room for its headers. */
static void test_pieces(void **state UNUSED)
{
	static const uint8_t payload[4000];
	struct virtio_net_hdr h;
	struct ip_packet ip;
	struct flow_path *path = open_path(0, "fd01::9");
	feed(0, error_about(path, ICMP_KIND_TOO_BIG, 0, 1200)); /* less than there may be */
	flow_path_send(path, span_of(payload, 1380));
	flow_path_send(path, span_of(payload, 1232));
	flow_path_send(path, span_of(payload, 4000)); /* no link has carried it */
	turns();
	size_t got = 0;
	for (unsigned int i = 0; i < 2; i++) {
		struct span packet = take_frame(0, &h);
		assert_true(packet.len <= 1280 && h.gso_type == 0 && h.flags == 0);
		assert_int_equal(ip_read(packet, &ip), 0);
		assert_true(ip.is_fragment && ip.fragment_offset == got);
		assert_int_equal(packet.ptr[IP6_HEAD_LEN + 3] & 1, i == 0); /* more follow */
		got += packet.len - IP6_HEAD_LEN - 8;
	}
	assert_int_equal(got, 1380 + UDP_HEAD_LEN);
	assert_int_equal(take_frame(0, &h).len, 1280);
	assert_true(h.flags != 0);
	expect_no_frame(0);
	assert_true(w.ends[0].sent == 2 && w.ends[0].failed == 1);
}

static void test_answer_too_big(void **state UNUSED)
{
	struct virtio_net_hdr h;
	struct ip_packet ip;
	struct icmp_message m;
	const struct flow_path *path = open_path(0, "10.1.0.9");
	w.ends[0].max = 1000;
	feed(0, udp(&path->remote, flow_path_local(path), 1001));
	assert_int_equal(w.ends[0].received, 1); /* to be counted there */
	struct span packet = take_frame(0, &h);
	assert_int_equal(ip_read(packet, &ip) || icmp_read(&ip, &m), 0);
	assert_true(m.kind == ICMP_KIND_TOO_BIG && m.mtu == 1028);
	assert_true(ip_addr_eq(&ip.dst, &path->remote.ip) && tun_plan_contains(&w.plan, &ip.src));
	struct ip_packet quote;
	assert_int_equal(ip_read(m.data, &quote), 0);
	assert_true(ip_addr_eq(&quote.src, &path->remote.ip)); /* not what was written over it */
	feed(0, udp(&path->remote, flow_path_local(path), 1000));
	tun_ground_set_limits(w.grounds[0], 0);
	feed(0, udp(&path->remote, flow_path_local(path), 1001));
	expect_no_frame(0);
	assert_int_equal(drops(0, TUN_DROP_ERRORS), 1);
}

/* As many flows as there are ports, each with another; then the answer is a refusal. */
static void test_ports(void **state UNUSED)
{
	w.plan.ports = 1;
	w.plan.v4.bits = 29; /* one address for each worker */
	const struct flow_path *path = open_path(0, "10.1.0.9");
	const struct ip_port remote = path->remote;
	assert_int_equal(flow_path_open(w.datapaths[0], &w.ends[1].path, &user, &remote),
			 -EADDRNOTAVAIL);
	assert_int_equal(flow_path_open(w.datapaths[1], &w.ends[2].path, &user, &remote), 0);
	assert_false(ip_port_eq(flow_path_local(path), flow_path_local(&w.ends[2].path)));
	flow_path_close(&w.ends[0].path);
	assert_int_equal(flow_path_open(w.datapaths[0], &w.ends[1].path, &user, &remote), 0);
	/* It is taken as long as it is elsewhere. */
	assert_int_equal(flow_path_detach(&w.ends[1].path), 0);
	assert_int_equal(flow_path_open(w.datapaths[0], &w.ends[0].path, &user, &remote),
			 -EADDRNOTAVAIL);
	assert_int_equal(flow_path_attach(w.datapaths[1], &w.ends[1].path), 0);
	assert_int_equal(flow_path_open(w.datapaths[0], &w.ends[0].path, &user, &remote),
			 -EADDRNOTAVAIL);
	flow_path_close(&w.ends[1].path);
	assert_int_equal(flow_path_open(w.datapaths[0], &w.ends[0].path, &user, &remote), 0);
}

static void test_between_workers(void **state UNUSED)
{
	struct virtio_net_hdr h;
	struct flow_path *path = open_path(0, "10.1.0.9");
	const struct ip_port local = *flow_path_local(path), remote = path->remote;
	/* Read by the other worker. */
	feed(1, udp(&path->remote, &local, 5));
	assert_true(w.ends[0].received == 1 && w.ends[0].last_len == 5);
	feed_burst(1, udp(&path->remote, &local, 250), 100);
	assert_int_equal(w.ends[0].received, 4);
	feed(1, error_about(path, ICMP_KIND_UNREACHABLE, 3, 0));
	assert_int_equal(w.ends[0].errors, 1);
	assert_int_equal(tun_ground_get_stats(w.grounds[1])->crossed, 3);
	/* It goes there itself; on its way nobody has it. */
	assert_int_equal(flow_path_detach(path), 0);
	feed(0, udp(&path->remote, &local, 5));
	assert_int_equal(drops(0, TUN_DROP_MOVING), 1);
	assert_int_equal(flow_path_attach(w.datapaths[1], path), 0);
	assert_true(ip_port_eq(&local, flow_path_local(path)));
	feed(0, udp(&path->remote, &local, 5));
	feed(1, udp(&path->remote, &local, 5));
	assert_int_equal(w.ends[0].received, 6);
	assert_int_equal(tun_ground_get_stats(w.grounds[0])->crossed, 1);
	flow_path_send(path, span_of("x", 1));
	turns();
	(void)take_frame(1, &h);
	flow_path_close(path);
	feed(0, udp(&remote, &local, 5));
	assert_int_equal(drops(0, TUN_DROP_STRAY), 1);
}

static uint64_t all_drops(void)
{
	uint64_t sum = 0;
	for (unsigned int i = 0; i < TUN_DROP_MAX_; i++)
		sum += drops(0, (enum tun_drop)i);
	return sum;
}

/* Any bit of a good packet turned round: it is somebody's or it is counted. */
static void test_mutations(void **state UNUSED)
{
	const struct flow_path *path = open_path(0, "10.1.0.9");
	const struct end *e = &w.ends[0];
	for (unsigned int k = 0; k < 2; k++) {
		uint8_t packet[FRAME_MAX];
		struct span s = k ? error_about(path, ICMP_KIND_UNREACHABLE, 1, 0)
				  : udp(&path->remote, flow_path_local(path), 20);
		memcpy(packet, s.ptr, s.len);
		for (size_t bit = 0; bit < s.len * 8; bit++) {
			uint64_t before = e->received + e->errors + w.icmp + all_drops();
			packet[bit / 8] ^= (uint8_t)(1U << bit % 8);
			feed(0, span_of(packet, s.len));
			packet[bit / 8] ^= (uint8_t)(1U << bit % 8);
			assert_int_equal(e->received + e->errors + w.icmp + all_drops(),
					 before + 1);
		}
	}
	assert_true(e->received > 0 && e->errors > 0 && all_drops() > 100);
}

static void test_icmp(void **state UNUSED)
{
	uint8_t room[100];
	struct packer p = packer_over(room, sizeof(room));
	const struct icmp_echo echo = {
		.src = addr("10.1.0.9"), .dst = addr("10.9.0.77"), .is_reply = true, .ttl = 9
	};
	assert_int_equal(icmp_echo_write(&p, &echo), 0);
	feed(1, packer_span(&p));
	assert_int_equal(w.icmp, 1);
	tun_ground_set_icmp(w.grounds[1], NULL, NULL);
	feed(1, packer_span(&p));
	assert_int_equal(drops(1, TUN_DROP_FOREIGN), 1);
	for (unsigned int i = 0; i < TUN_DROP_MAX_; i++)
		assert_string_not_equal(tun_drop_name((enum tun_drop)i), "unknown");
	assert_string_equal(tun_drop_name(TUN_DROP_MAX_), "unknown");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
	static const struct CMUnitTest tests[] = {
		TEST(test_there_and_back),  TEST(test_reach),  TEST(test_not_ours),
		TEST(test_errors),          TEST(test_pieces), TEST(test_answer_too_big),
		TEST(test_mutations),       TEST(test_ports),  TEST(test_icmp),
		TEST(test_between_workers),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
