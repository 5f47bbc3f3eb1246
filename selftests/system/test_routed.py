# SPDX-License-Identifier: Apache-2.0
"""W10: the routed mode of aditd ([datapath] tun): client, edge, the daemon's host that routes, router, origin
two hops away (lib.routed). Every test says which path carried its packets. Needs root."""
import contextlib
import errno
import json
import random
import re
import socket
import struct

import pytest

from lib import leftover, needs, netns, routed
from lib.dgram3 import OK, carry, register
from lib.icmp import Pings, REPLY, packet, raw_socket, request
from lib.pings import counts, hops, is_answered, ping
from lib.private_net import DENIED
from lib.routed import (DAEMON_LAN, DEVICE, FAR, FAR_V6, KEPT, KEPT_V6, NEAR, NEAR_V6, OWN, OWN_V6, PREFIX,
                        PREFIX_V6, carried, drops)
from lib.short_cut import HERE, HERE_V6, THERE, THERE_V6
from lib.sockets import Listener
from lib.sockopts import discover_mtu, hear_errors, mtu, segments
from lib.udp_client import ask, client
from lib.udp_origin import UdpEcho, bound
from lib.wait import lasts, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.carried(aditd="tun", edge="tun")]
PINGS = pytest.mark.carried(aditd="tun-icmp", edge="tun-icmp")

NOBODY = 64123


@pytest.fixture(name="ground", scope="module")
def fixture_ground(tmp_path_factory):
    needs.namespaces()
    for tool in ("ping", "traceroute"):
        needs.tool(tool)
    with routed.routed(tmp_path_factory.mktemp("net"), connections=4) as made:
        made.serve()
        for host in (FAR, FAR_V6):      # neighbours are learned slowly at first
            until(lambda h=host: is_answered(made.client, h, count=1), 10, f"a way to {host}")
        yield made


@contextlib.contextmanager
def echo_at(ground, host):
    with ground.far.inside():
        made = UdpEcho(host)
    with made:
        yield made


def flows(ground):
    return json.loads(ground.daemon.adit("--json", "status", "--flows").stdout)["flows"]


# ---- UDP ----

@pytest.mark.parametrize("host, prefix", [(FAR, "10.91.0."), (FAR_V6, "fd91::")])
def test_flows(ground, host, prefix):
    """Flows of clients on either worker: each datagram once, by the device and by no socket; each flow an
    address of the prefix and a port, which stay."""
    with echo_at(ground, host) as echo, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(echo.port, host, ground.client)) for _ in range(40)]
        before, crossed = carried(ground), ground.daemon.counter("adit_tun_crossings_total")
        for turn in range(5):
            for number, connection in enumerate(clients):
                connection.send(b"%d %d" % (turn, number))
            for number, connection in enumerate(clients):
                assert connection.recv(100) == b"%d %d" % (turn, number)
        assert [a - b for a, b in zip(carried(ground), before)] == [200, 200]
        assert ground.daemon.counter("adit_tun_crossings_total") - crossed < 100, "the kernel learns"
        page = ground.daemon.metrics()
        assert page.sum("adit_anchors") == 0 and carried(ground, "anchor") == [0, 0]
        assert page.sum("adit_flows", path="tun", kind="udp") >= 40
        assert len(echo.peers) == 40 and set(echo.peers.values()) == {5}
        assert all(at.startswith(prefix) and at not in (OWN, OWN_V6) for at, _ in echo.peers)
        rows = [k for k in flows(ground) if k["destination"].endswith(f":{echo.port}")]
        assert {(k["path"], k["why"]) for k in rows} == {("tun", "routed mode")}
        sources = {f"[{at}]:{port}" if ":" in at else f"{at}:{port}" for at, port in echo.peers}
        assert {k["source"] for k in rows} == sources


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_sizes(ground, host):
    with echo_at(ground, host) as echo, client(echo.port, host, ground.client) as connection:
        for size in (1380, 1280, 100, 1, 0):
            ask(connection, bytes(size))
        assert len(echo.peers) == 1


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_bursts(ground, host):
    """W8.3: what comes in a run leaves as one packet that the kernel cuts, and back."""
    def aggregated(way):
        return ground.daemon.counter("adit_flow_aggregated_packets_total", dir=way)
    pieces = [bytes([65 + n]) * 700 for n in range(16)] + [b"tail"]
    with ground.far.inside():
        origin = bound(host)
    with origin, client(origin.getsockname()[1], host, ground.edge_ns) as connection:
        connection.send(b"hello")
        _, peer = origin.recvfrom(100)
        rx, tx = aggregated("rx"), aggregated("tx")

        def both_ways():
            connection.sendmsg([b"".join(pieces)], segments(700))
            assert [origin.recv(2000) for _ in pieces] == pieces
            origin.sendmsg([b"".join(pieces)], segments(700), 0, peer)
            assert [connection.recv(2000) for _ in pieces] == pieces
            return aggregated("rx") > rx and aggregated("tx") > tx
        until(both_ways, 10, "bursts")


def test_refused(ground):
    """A port that nobody has: the error is a packet, and ends the flow as a socket's would."""
    with ground.far.inside():
        closed = bound(FAR)
    port = closed.getsockname()[1]
    closed.close()
    failed = ground.daemon.counter("cloudflared_udp_failed_flows")
    errors = ground.daemon.counter("adit_flow_errors_total")
    with client(port, FAR, ground.client) as connection:
        connection.send(b"anybody?")
        until(lambda: ground.daemon.counter("cloudflared_udp_failed_flows") == failed + 1, 5, "its end")
    assert ground.daemon.counter("adit_flow_errors_total") == errors + 1


@pytest.mark.parametrize("host, head", [(FAR, 28), (FAR_V6, 48)])
def test_answer_too_big(ground, host, head):
    """T3 the other way round: an origin is told what the tunnel takes."""
    v6 = ":" in host
    with ground.far.inside():
        origin = bound(host)
    discover_mtu(origin, v6)
    with origin, client(origin.getsockname()[1], host, ground.client) as connection:
        connection.send(b"hello")
        _, peer = origin.recvfrom(100)
        origin.connect(peer)
        before = ground.daemon.counter("adit_tun_icmp_errors_total")

        def known():
            with contextlib.suppress(OSError):
                origin.send(bytes(1440))
            return mtu(origin, v6) == 1380 + head
        until(known, 5, "the origin's kernel to know")
        assert ground.daemon.counter("adit_tun_icmp_errors_total") > before
        assert drops(ground, "too-big", "datagram") > 0
        origin.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        origin.send(bytes(1380))
        assert connection.recv(2000) == bytes(1380)


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_narrow_hop(ground, host):
    """Behind a hop that takes less datagrams arrive in pieces: in IPv4 it cuts them, in IPv6 the daemon does,
    when it has been told."""
    ground.router.mtu("f1", 1280)
    with ground.far.inside():
        origin = bound(host)
    try:
        with origin, client(origin.getsockname()[1], host, ground.client) as connection:
            origin.settimeout(0.5)

            def arrived(size):
                connection.send(bytes(size))
                with contextlib.suppress(TimeoutError):
                    return len(origin.recv(2000)) == size
                return False
            for size in (100, 1300, 1380, 1232, 0):
                until(lambda s=size: arrived(s), 5, f"{size} bytes")
    finally:
        ground.router.mtu("f1", 1500)


@pytest.mark.carried(aditd="anchor ping? raw?", edge="tun tun-icmp")
def test_own_address(ground):
    """Pitfall 26: what is on the daemon's own host is for sockets."""
    with ground.daemon_ns.inside():
        echo = UdpEcho(DAEMON_LAN)
    with echo, client(echo.port, DAEMON_LAN, ground.client) as connection:
        before = carried(ground, "anchor"), carried(ground)
        ask(connection, b"here")
        assert carried(ground, "anchor") > before[0] and carried(ground) == before[1]
    assert is_answered(ground.client, DAEMON_LAN)


@pytest.mark.carried(edge="tun tun-icmp")
def test_denied(ground):
    """[network] decides in the routed mode as well."""
    before = carried(ground), carried(ground, "tun-icmp")
    with client(9, DENIED, ground.client) as connection:
        hear_errors(connection)
        connection.send(b"let me in")
        with pytest.raises(OSError) as caught:
            connection.recv(100)
        assert caught.value.errno == errno.EHOSTUNREACH
    assert counts(ping(ground.client, DENIED, count=2, deadline=1))[1] == 0
    assert (carried(ground), carried(ground, "tun-icmp")) == before


# ---- ICMP ----

@PINGS
@pytest.mark.parametrize("source", [None, KEPT], ids=["ours", "kept"])
@pytest.mark.parametrize("host", [NEAR, FAR, NEAR_V6, FAR_V6])
def test_ping(ground, host, source):
    """tun-source = keep: who has an address of the prefix keeps it, others get one of the daemon's."""
    v6 = ":" in host
    source = source and (KEPT_V6 if v6 else KEPT)
    before = carried(ground, "tun-icmp")
    sockets = [carried(ground, kind) for kind in ("ping", "raw")]
    sent, received = counts(ping(ground.client, host, *(["-I", source] if source else []), count=20))
    assert received >= 20
    back, out = (a - b for a, b in zip(carried(ground, "tun-icmp"), before))
    assert out == sent and received <= back <= sent
    assert [carried(ground, kind) for kind in ("ping", "raw")] == sockets


def seen_source(ground, host, *options):
    """The source of an echo that arrives."""
    v6 = ":" in host
    with raw_socket(ground.far, v6=v6) as raw:
        assert is_answered(ground.client, host, *options)
        while True:
            data, peer = raw.recvfrom(2000)
            if (data[0] if v6 else data[20]) == (128 if v6 else 8):
                return peer[0]


@PINGS
@pytest.mark.parametrize("host, kept, prefix", [(FAR, KEPT, "10.91.0."), (FAR_V6, KEPT_V6, "fd91::")])
def test_sources(ground, host, kept, prefix):
    assert seen_source(ground, host, "-I", kept) == kept
    other = seen_source(ground, host)
    assert other.startswith(prefix) and other not in (kept, OWN, OWN_V6)


@PINGS
@pytest.mark.parametrize("host, head", [(FAR, 28), (FAR_V6, 48)])
def test_ping_sizes(ground, host, head):
    for size in (0, 1, 7, 8, 600, 1279 - head, 1280 - head):
        assert is_answered(ground.client, host, "-M", "do", "-s", size), size


HOPS = {FAR: ["10.90.1.1", DAEMON_LAN, OWN, NEAR, FAR],
        FAR_V6: ["fd90:1::1", "fd90:3::1", OWN_V6, NEAR_V6, FAR_V6]}


@PINGS
@pytest.mark.parametrize("host", [FAR, FAR_V6])
@pytest.mark.parametrize("kept", [False, True], ids=["ours", "kept"])
def test_traceroute(ground, host, kept):
    """Every hop: the edge, the daemon, its host's kernel, the router, the origin."""
    source = ["-s", KEPT_V6 if ":" in host else KEPT] if kept else []
    assert hops(ground.client, host, *source) == HOPS[host]


@PINGS
def test_too_big_behind(ground):
    """T2: a hop behind the daemon that takes less: its word reaches the client, about his packet."""
    ground.router.mtu("f1", 1000)
    try:
        said = ping(ground.client, FAR, "-M", "do", "-s", 1200, count=2, deadline=2)
        assert re.search(rf"From {NEAR}.*mtu ?= ?1000", said), said
        assert ground.daemon.counter("adit_icmp_errors_total", source="network", kind="too-big") > 0
    finally:
        ground.router.mtu("f1", 1500)
        netns.ip("route", "flush", "cache", netns=ground.client)


# ---- from the network ----

def test_nothing_unasked(ground):
    """T5: what nobody has asked for doesn't enter the tunnel."""
    with echo_at(ground, FAR) as echo, client(echo.port, FAR, ground.client) as connection:
        ask(connection, b"hello")
        local, port = next(iter(echo.peers))
        delivered = carried(ground)[0]
        with ground.far.inside():
            stranger = bound(FAR)
        with stranger:
            stray, strange = drops(ground, "stray"), drops(ground, "stranger")
            stranger.sendto(b"another port of the same host", (local, port))
            until(lambda: drops(ground, "stranger") == strange + 1, 5, "a stranger")
            stranger.sendto(b"a port that nobody has", (local, port ^ 1))
            until(lambda: drops(ground, "stray") > stray, 5, "a stray")
        kinds = drops(ground, "icmp-kind")
        assert counts(ground.far.run("ping", "-n", "-c", 1, "-W", 1, local, check=False))[1] == 0
        assert drops(ground, "icmp-kind") == kinds + 1
        assert carried(ground)[0] == delivered


@PINGS
def test_malformed(ground):
    """Whatever stands in a packet is counted, and the daemon serves on."""
    local = "10.91.0.99"
    quote = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, socket.inet_aton(local),
                        socket.inet_aton(FAR))

    def icmp(kind, data):
        return struct.pack("!BBHI", kind, 0, 0, 0) + data
    for protocol, payload, reason in (
            (17, b"\0\1\0", "malformed"),                               # no whole header
            (17, struct.pack("!HHHH", 1, 2, 4, 0), "malformed"),        # a length below its header
            (17, struct.pack("!HHHH", 1, 2, 400, 0), "malformed"),
            (1, icmp(11, b""), "malformed"),                            # an error about nothing
            (1, icmp(11, quote[:12]), "malformed"),
            (1, icmp(3, quote), "malformed"),                           # … without ports
            (1, icmp(3, quote[:12] + quote[16:] + quote[12:16]), "malformed"),     # not to its sender
            (1, icmp(3, quote + struct.pack("!HHHH", 1, 2, 8, 0)), "stray"),
            (1, icmp(0, b"x"), "icmp-foreign"),
            (1, icmp(5, quote), "icmp-kind"),                           # a redirect
            (99, b"?", "protocol")):
        before = drops(ground, reason)
        with raw_socket(ground.far, protocol) as raw:
            raw.sendto(payload, (local, 0))
        until(lambda b=before, r=reason: drops(ground, r) == b + 1, 5, f"{protocol} {payload} {reason}")
    assert is_answered(ground.client, FAR)


# ---- the host ----

def left_over(namespace):
    """What of us is in the kernel's network of a host."""
    return leftover.mentioning(namespace.run, DEVICE, PREFIX, PREFIX_V6)


@pytest.mark.carried(None)
def test_masquerade(tmp_path):
    """A private network that knows no way back sees the daemon's host; in the end it is as it was.
    `tun-source = prefix`."""
    needs.namespaces()
    keys = {"masquerade": "yes", "tun_source": "prefix"}
    with routed.routed(tmp_path, keys, connections=1) as ground:
        routed.no_way_back(ground)
        ground.serve()
        assert ground.daemon.status()["routed"] == DEVICE
        assert ground.daemon.status()["routed_lacks"] == []
        assert ground.daemon.process.status("CapEff") == "0" * 16
        for host, seen in ((FAR, DAEMON_LAN), (FAR_V6, "fd90:3::1")):
            with echo_at(ground, host) as echo, client(echo.port, host, ground.client) as connection:
                ask(connection, b"hello")
                assert {at for at, _ in echo.peers} == {seen}
            assert is_answered(ground.client, host)
        assert seen_source(ground, FAR, "-I", KEPT) == DAEMON_LAN
        assert carried(ground)[0] >= 2 and carried(ground, "anchor") == [0, 0]
        assert hops(ground.client, FAR) == HOPS[FAR]
        ground.daemon.stop()
        assert left_over(ground.daemon_ns) == []


@pytest.mark.carried(None)
def test_killed(tmp_path):
    """T7: kill -9 at any moment, 20 times: nothing is left, of rules, routes, links, nftables and BPF, and the
    next start has all it needs."""
    needs.namespaces()
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with routed.routed(tmp_path, {"masquerade": "yes"}, connections=1) as ground:
        ground.edge.start()
        before, had, links = leftover.network(ground.daemon_ns.run), set(), 0
        for turn in range(20):
            ground.daemon.start()
            if turn % 4 == 3:
                ground.daemon.wait_ready()
                assert len(left_over(ground.daemon_ns)) > 3
            elif turn % 2:
                ground.daemon.process.wait_line("routed mode is set up")
            else:
                lasts(chance.uniform(0, seconds(0.1)), "a part of its start")
            links += DEVICE in ground.daemon_ns.run("ip", "-o", "link")
            had |= leftover.kill(ground.daemon.process)
            leftover.until_as(before, ground.daemon_ns.run)
        assert links >= 10 and {kind for kind, _ in had} == {"prog", "map"}
        ground.daemon.serve()
        until(lambda: is_answered(ground.client, FAR, count=1), 10, "an answer")
        assert ground.daemon.stop() == 0
        until(lambda: not leftover.still_there(had), 10, "the end of programs and maps")
        leftover.until_as(before, ground.daemon_ns.run)


@pytest.mark.carried(None)
def test_what_is_missing(tmp_path):
    """W10.4: forwarding, an accepting chain, a way back: the log and `adit status` say which."""
    needs.namespaces()
    with routed.routed(tmp_path, forwards=False) as ground:
        ground.daemon_ns.nft("""table inet fw {
            chain forward { type filter hook forward priority 0; policy drop; }
            chain input { type filter hook input priority 0; policy drop; meta l4proto != 99 accept; }
        }""")
        ground.serve()
        ways = [f"route-back:{PREFIX}", f"route-back:{PREFIX_V6}"]
        chain = "accept:inet/fw/forward"
        assert ground.daemon.status()["routed_lacks"] == ["forwarding-v4", "forwarding-v6", chain, *ways]
        assert chain in ground.daemon.adit("status").stdout
        for said in ("forwarding is off.*ipv4", "forwarding is off.*ipv6",
                     "what a chain doesn't accept.*table=fw chain=forward", f"route.*prefix={PREFIX}"):
            ground.daemon.process.wait_line(said)
        routed.forward(ground.daemon_ns)
        assert ground.daemon.status()["routed_lacks"] == [chain, *ways]
        ground.daemon_ns.nft("flush chain inet fw forward\nadd rule inet fw forward accept")
        until(lambda: is_answered(ground.client, FAR, count=1), 10, "an answer")
        until(lambda: is_answered(ground.client, FAR_V6, count=1), 10, "an answer by IPv6")
        assert ground.daemon.status()["routed_lacks"] == [chain]
        text = ground.daemon.config.read_text()
        ground.daemon.config.write_text(text.replace("tun-prefix =", "masquerade = yes\ntun-prefix ="))
        done = ground.daemon.adit("--json", "reload")
        assert json.loads(done.stdout) == {"changed": [], "need_restart": ["datapath.masquerade"]}
        assert is_answered(ground.client, FAR)


@pytest.mark.carried(None)
def test_refused_start(tmp_path):
    """Without the capability, and beside a device of that name, it says so and ends."""
    needs.namespaces()
    with routed.routed(tmp_path) as ground:
        ground.edge.start()
        ground.daemon.start(wrap=["setpriv", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs",
                                  "--inh-caps=-all", "--bounding-set=-all"])
        assert ground.daemon.process.wait_exit() == 1
        assert "the routed mode needs CAP_NET_ADMIN" in ground.daemon.process.log
        netns.ip("tuntap", "add", DEVICE, "mode", "tun", netns=ground.daemon_ns)
        ground.daemon.start()
        assert ground.daemon.process.wait_exit() == 1
        assert "a device of this name is there already" in ground.daemon.process.log
        netns.ip("link", "del", DEVICE, netns=ground.daemon_ns)
        ground.daemon.serve()


@pytest.mark.carried(None)
def test_other_version(tmp_path):
    """Datagram version 2."""
    needs.namespaces()
    with routed.routed(tmp_path, daemon={"datagram": "v2"}) as ground:
        ground.serve()
        with echo_at(ground, FAR) as echo, client(echo.port, FAR, ground.client) as connection:
            ask(connection, b"by session")
            ask(connection, bytes(1280))
            assert {at[:8] for at, _ in echo.peers} == {"10.91.0."}
        assert is_answered(ground.client, FAR) and carried(ground)[0] >= 2


@pytest.mark.carried(None)
def test_device_removed(tmp_path):
    """Somebody takes the device away: it is said, TCP goes on, nothing spins; a restart makes it again."""
    needs.namespaces()
    with routed.routed(tmp_path, connections=1) as ground:
        ground.serve()
        until(lambda: is_answered(ground.client, FAR, count=1), 10, "an answer")
        netns.ip("link", "del", DEVICE, netns=ground.daemon_ns)
        ground.daemon.process.wait_line("the TUN device has gone", count=2)     # each worker
        assert ground.daemon.status()["routed_lacks"][0] == "device"
        assert counts(ping(ground.client, FAR, count=2, deadline=1))[1] == 0
        assert ground.daemon.process.log.count("the TUN device has gone") == 2
        with ground.far.inside():
            listener = Listener(FAR)
        with listener:
            with ground.client.inside():
                stream = socket.create_connection((FAR, listener.socket.getsockname()[1]))
            with stream, listener.accept() as there:
                stream.sendall(b"by stream")
                assert there.recv(100) == b"by stream"
        ground.daemon.stop()
        ground.daemon.serve()
        until(lambda: is_answered(ground.client, FAR, count=1), 10, "an answer")


TUNNEL_PREFIX, TUNNEL_PREFIX_V6 = "100.100.0.0/24", "fd64::/112"


@pytest.fixture(name="routing")
def fixture_routing(cut, start):
    """A routing daemon of two workers on the cable of lib.short_cut, its edge in Python."""
    cut.origin.route(TUNNEL_PREFIX, HERE)
    cut.origin.route(TUNNEL_PREFIX_V6, HERE_V6)
    with cut.setting("net.ipv4.ip_forward", 1), cut.setting("net.ipv6.conf.all.forwarding", 1):
        start(workers=2, connections=2, datapath={
            "interface": "", "tun": DEVICE, "tun_prefix": f"{TUNNEL_PREFIX}, {TUNNEL_PREFIX_V6}"})
        yield cut


@pytest.mark.carried(aditd="tun")
@pytest.mark.parametrize("host", [THERE, THERE_V6])
def test_to_another_worker(routing, host):
    """T6: registered on another worker's connection a flow goes there, and keeps its address and port; what
    comes back by the old queue finds it."""
    first, second = routing.links
    with routing.echo(host) as echo:
        flow = first.open(echo.host, echo.port)
        first.echo(flow, b"here")
        for number, (link, other) in enumerate(((second, first), (first, second)), 1):
            link.send(register(flow, echo.host, echo.port))
            assert link.wait_response(flow, (number + 1) // 2 + (link is first)) == OK
            for turn in range(5):
                link.echo(flow, b"there %d" % turn)
            other.send(carry(flow, b"by the other"))
            assert link.wait_payload(flow) == b"by the other"
            assert routing.counter("adit_flow_crossings_total", what="flow") == number
        assert len(echo.peers) == 1, "one address and port"
        assert routing.row()["path"] == "tun"


@pytest.mark.carried(aditd="tun-icmp")
@pytest.mark.parametrize("host, user", [(THERE, "192.0.2.7"), (THERE_V6, "2001:db8::7")])
def test_every_type(routing, host, user):
    """W10.1: whole packets of every type, one hop older each way; as a user sees them nothing else changes."""
    links = {k.registration.index: Pings(k) for k in (flows.link for flows in routing.links)}
    for pings in links.values():
        got = pings.ask(request(host, 77, 5, b"what was asked", src=user, ttl=9))
        assert (got.kind, got.src, got.dst, got.ident, got.seq) == (REPLY, host, user, 77, 5)
        assert got.data == b"what was asked" and got.ttl == 62     # 64, the host's kernel, and us
        if ":" not in host:     # timestamps
            question = struct.pack("!BBHHHIII", 13, 0, 0, 77, 6, 1, 0, 0)
            pings.send(packet(user, host, question))
            answer = pings.take()
            assert answer[12:20] == socket.inet_aton(host) + socket.inet_aton(user)
            assert struct.unpack("!BBHHHI", answer[20:32])[0::3] == (14, 77) and answer[26:28] == b"\0\6"
