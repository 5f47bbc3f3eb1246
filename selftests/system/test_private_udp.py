# SPDX-License-Identifier: Apache-2.0
"""T2, T3: UDP into a private network behind a tunnel, by the edge's TUN device (lib.private_net draws the
ground). Every test says which path carried its packets, by the path's own counters. Needs root."""
import contextlib
import errno
import json
import socket

import pytest

from lib import needs, netns, paths, ports, private_net
from lib.icmp import raw_socket
from lib.pings import counts, ping
from lib.private_net import CLIENT, CLIENT_V6, DENIED, EDGE_HOST, FAR, FAR_V6
from lib.sockets import Listener
from lib.sockopts import PMTUDISC_DONT, discover_mtu, hear_errors, mtu, segments
from lib.udp_client import ask, client
from lib.udp_origin import UdpEcho, bound
from lib.wait import SLOW, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(edge="tun", aditd="anchor")]

HEAD = {FAR: 28, FAR_V6: 48}


@pytest.fixture(name="ground", scope="module", params=paths.MODES)
def fixture_ground(tmp_path_factory, request):
    """One link, so that the clients of one of the edge's workers have to cross to the other."""
    needs.namespaces()
    with private_net.private_net(tmp_path_factory.mktemp("net"), connections=1,
                                 is_short=request.param) as made:
        yield made.serve()


@pytest.fixture(name="echoes", scope="module")
def fixture_echoes(ground):
    with ground.far.inside():
        made = {host: UdpEcho(host) for host in (FAR, FAR_V6, DENIED)}
    with contextlib.ExitStack() as stack:
        for echo in made.values():
            stack.enter_context(echo)
        yield made


def carried(program, *names):
    page = program.metrics()
    return tuple(sum(page.sum("adit_flow_packets_total", path=path, dir=k) for path in names)
                 for k in ("rx", "tx"))


def drops(ground, reason, where="network"):
    return ground.edge.counter("adit_drops_total", where=where, reason=reason)


@pytest.mark.parametrize("host, source", [(FAR, CLIENT), (FAR_V6, CLIENT_V6)])
def test_many_clients(ground, echoes, host, source):
    """T2: each has a flow of its own, on either worker of the edge; each datagram once, by the device
    and the daemon's anchors, and the client's own address is where the answer goes."""
    echo = echoes[host]
    before = carried(ground.edge, "tun"), carried(ground.daemon, "anchor", "xdp")
    forwarded = ground.edge.counter("adit_edge_datagrams_forwarded_total")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(echo.port, host, ground.client)) for _ in range(40)]
        assert clients[0].getsockname()[0] == source

        def turn():
            for number, connection in enumerate(clients):
                connection.send(b"%d" % number)
            for number, connection in enumerate(clients):
                assert connection.recv(100) == b"%d" % number
        for _ in range(5):
            turn()
        after = carried(ground.edge, "tun"), carried(ground.daemon, "anchor", "xdp")
        ground.settle(turn, len(clients))
    assert [[a - b for a, b in zip(*pair)] for pair in zip(after, before)] == [[200] * 2] * 2
    crossed = ground.edge.counter("adit_edge_datagrams_forwarded_total") - forwarded
    assert 0 < crossed < 200
    assert len(echo.peers) >= 40, "one source port each"


def test_queues_follow(ground, echoes):
    """The kernel gives a flow's packets to the queue on which its answers were written: once it has
    been answered it doesn't cross between workers any more."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(echoes[FAR].port, FAR, ground.client))
                   for _ in range(20)]
        for connection in clients:
            ask(connection, b"first")
        before = ground.edge.counter("adit_edge_datagrams_forwarded_total")

        def again():
            for connection in clients:
                ask(connection, b"again")
        ground.settle(again, len(clients))
        assert ground.edge.counter("adit_edge_datagrams_forwarded_total") == before


@pytest.mark.by_sockets     # what isn't answered isn't promoted
@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_steered(ground, host):
    """A flow's packets come to the worker that has its link from the second on, also when nobody answers:
    the kernel has been told."""
    assert "steers the device's queues by itself" not in ground.edge.process.log
    rx = {"name": "adit_flow_packets_total", "path": "tun", "dir": "rx"}
    with ground.far.inside():
        silent = bound(host)
    with silent, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(silent.getsockname()[1], host, ground.client))
                   for _ in range(40)]
        came = ground.edge.counter(**rx)
        forwarded = [ground.edge.counter("adit_edge_datagrams_forwarded_total")]
        for turn in range(6):
            for connection in clients:
                connection.send(b"%d" % turn)
            came += len(clients)
            until(lambda: ground.edge.counter(**rx) == came, 5, "all to come")
            forwarded.append(ground.edge.counter("adit_edge_datagrams_forwarded_total"))
    assert 0 < forwarded[1] - forwarded[0] < 40
    assert forwarded[-1] == forwarded[1]


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_from_the_edge_itself(ground, echoes, host):
    with client(echoes[host].port, host, ground.edge_ns) as connection:
        ground.settle(lambda: ask(connection, b"from here"), 1)


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_sizes(ground, echoes, host):
    """T3: WireGuard's sizes inside 1 248 and 1 280 pass; inside 1 420 (1 452 outside) is counted and
    answered with packet too big, and the client's kernel knows the size of the path from then on."""
    v6 = ":" in host
    with client(echoes[host].port, host, ground.client) as connection:
        ground.settle(lambda: ask(connection, bytes(1380)), 1)
        for size in (1380, 1312, 1280, 1279, 1, 0):
            ask(connection, bytes(size))
        discover_mtu(connection, v6)
        before = drops(ground, "too-big"), ground.edge.counter("adit_edge_icmp_errors_total")

        def refused():
            try:
                connection.send(bytes(1452))
            except OSError:
                return True
            return False
        until(refused, 5, "the client's kernel to know")
        assert mtu(connection, v6) == 1380 + HEAD[host]
        assert drops(ground, "too-big") > before[0]
        assert ground.edge.counter("adit_edge_icmp_errors_total") > before[1]
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)   # what came meanwhile
        ask(connection, bytes(1380))
        with pytest.raises(OSError):
            connection.send(bytes(1381))


def test_too_big_untold(ground, echoes):
    """Who lets his packets be cut gets no error; it is dropped and counted, and harms nothing."""
    with client(echoes[FAR].port, FAR, ground.edge_ns) as connection:
        discover_mtu(connection, how=PMTUDISC_DONT)
        ground.settle(lambda: ask(connection, b"before"), 1)
        before = drops(ground, "too-big"), ground.edge.counter("adit_edge_icmp_errors_total")
        connection.send(bytes(1400))
        until(lambda: drops(ground, "too-big") == before[0] + 1, 5, "the drop")
        connection.send(bytes(3000))
        until(lambda: drops(ground, "fragment") > 0, 5, "pieces to be counted")
        ask(connection, b"after")
        assert ground.edge.counter("adit_edge_icmp_errors_total") == before[1]


@pytest.mark.by_sockets     # the edge's device is the subject
def test_narrow_client(ground, echoes):
    """Pitfall 15: the device takes what is larger than its MTU; on a way to the client that is narrow the
    kernel cuts the answers."""
    way = ("route", "replace", "10.90.1.0/24", "dev", "c1", "src", EDGE_HOST)
    netns.ip(*way, "mtu", 1000, netns=ground.edge_ns)
    try:
        with client(echoes[FAR].port, FAR, ground.client) as connection:
            before = ground.edge_ns.nstat("IpFragCreates")
            for size in (100, 1280, 1380):
                ask(connection, bytes(size))
            assert ground.edge_ns.nstat("IpFragCreates") >= before + 4
    finally:
        netns.ip(*way, netns=ground.edge_ns)


@pytest.mark.by_sockets     # which are as cheap for runs
def test_bursts(ground):
    """A client's burst comes as one packet and is cut; answers of a turn leave as one burst."""
    with ground.far.inside():
        origin = bound(FAR)
    port = origin.getsockname()[1]
    with origin, client(port, FAR, ground.edge_ns) as connection:
        ask_origin = b"hello"
        connection.send(ask_origin)
        data, peer = origin.recvfrom(100)
        assert data == ask_origin
        before = [ground.edge.counter("adit_edge_bursts_total", dir=k) for k in ("rx", "tx")]
        pieces = [bytes([65 + n]) * 700 for n in range(16)] + [b"tail"]
        connection.sendmsg([b"".join(pieces)], segments(700))
        assert [origin.recv(2000) for _ in pieces] == pieces

        def answered_in_bursts():
            origin.sendmsg([b"".join(pieces)], segments(700), 0, peer)
            assert [connection.recv(2000) for _ in pieces] == pieces
            return ground.edge.counter("adit_edge_bursts_total", dir="tx") > before[1]
        until(answered_in_bursts, 10, "answers in a burst")
        assert ground.edge.counter("adit_edge_bursts_total", dir="rx") == before[0] + 1


@pytest.mark.carried(edge="tun")
@pytest.mark.by_sockets
def test_refused(ground, echoes):
    """What the daemon doesn't allow is answered by the edge."""
    errors = ground.edge.counter("adit_edge_icmp_errors_total")
    with client(echoes[DENIED].port, DENIED, ground.client) as connection:
        hear_errors(connection)
        connection.send(b"let me in")
        with pytest.raises(OSError) as caught:
            connection.recv(100)
        assert caught.value.errno == errno.EHOSTUNREACH
    assert ground.edge.counter("adit_edge_icmp_errors_total") == errors + 1


def test_daemon_gone(ground, echoes):
    """Without a daemon the edge says that the host can't be reached; with one again all is well."""
    ground.daemon.stop()
    until(lambda: ground.edge.links() == 0, 10, "no link")
    for namespace, host in ((ground.client, FAR), (ground.client, FAR_V6)):
        with client(9, host, namespace) as connection:
            hear_errors(connection, ":" in host)
            connection.send(b"anybody?")
            with pytest.raises(OSError) as caught:
                connection.recv(100)
            assert caught.value.errno == errno.EHOSTUNREACH
    ground.daemon.serve()
    with client(echoes[FAR].port, FAR, ground.client) as connection:
        ground.settle(lambda: ask(connection, b"again"), 1)


@pytest.mark.carried()
@pytest.mark.by_sockets
def test_strays(ground):
    """What is for no private network, and what neither UDP nor ICMP carries, is counted."""
    before = drops(ground, "protocol")
    with raw_socket(ground.client, 99) as raw:
        raw.sendto(b"?", (FAR, 0))
        until(lambda: drops(ground, "protocol") == before + 1, 5, "the drop")


@pytest.mark.carried(edge="tun stream", aditd="anchor connected?")
def test_iperf(ground):
    """T2: a stream each way, by iperf3, whose control connection goes by TPROXY."""
    needs.tool("iperf3")
    port = ports.free()

    def measured(way):
        server = ground.processes.start("iperf-server", [
            *ground.far.prefix, "iperf3", "-s", "-1", "--forceflush", "-B", FAR, "-p", port])
        server.wait_line("Server listening")
        done = ground.processes.run("iperf-client", [
            *ground.client.prefix, "iperf3", "-J", "-c", FAR, "-p", port, "-u", "-b", f"{10 / SLOW:g}M",
            "-l", "1200", "-t", "3" if ground.is_short else "1", *way])
        assert done.code == 0, done.log
        server.wait_exit()
        return json.loads(done.out.read_text())["end"]["sum"]
    for way in ([], ["-R"]):
        for _ in range(5):      # after a standstill of the machine iperf3 sends all that was due at once
            report = measured(way)
            if report["lost_percent"] <= 1:
                break
        assert report["packets"] > 500 / SLOW and report["lost_percent"] <= 1, report


def test_narrow_path(tmp_path):
    """T3: where the path of the connection takes less than the version allows, the sender is told what it
    takes."""
    needs.namespaces()
    with private_net.private_net(tmp_path, connections=1) as ground:
        for namespace, device in ((ground.edge_ns, "e0"), (ground.daemon_ns, "d0")):
            namespace.mtu(device, 1380)
        ground.serve()
        with ground.far.inside():
            origin = bound(FAR)
        with origin, client(origin.getsockname()[1], FAR, ground.client) as connection:
            discover_mtu(connection)
            connection.send(b"hello")
            assert origin.recv(100) == b"hello"

            def known():
                with contextlib.suppress(OSError):
                    connection.send(bytes(1380))
                return mtu(connection) < 1380
            until(known, 10, "the client's kernel to know", step=0.2)
            connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            size = mtu(connection) - 28
            assert 1280 <= size <= 1352 - 41 - 8, "docs/protocol.md §11.1, ids of 8 bytes"
            connection.send(bytes(size))
            assert origin.recv(2000) == bytes(size)


def test_nested_networks(tmp_path):
    """The longest prefix decides whose a packet is: one tunnel's daemon is gone, the other's serves."""
    needs.namespaces()
    with private_net.private_net(tmp_path, connections=1) as ground:
        text = ground.edge.config.read_text()
        other = text[text.index("[tunnel home]"):].split("\n[")[0]
        other = other.replace("[tunnel home]", "[tunnel other]").replace(
            next(line for line in other.splitlines() if line.startswith("id")),
            "id = 6ff42ae2-765d-4adf-8112-31c55c1551ef")
        other = "\n".join(line for line in other.splitlines() if not line.startswith("hostname"))
        ground.edge.config.write_text(
            text + other + "\n[network part]\ntunnel = other\nprefix = 10.90.4.128/25\n")
        ground.serve()
        with ground.far.inside():
            netns.ip("address", "add", "10.90.4.200/24", "dev", "f0", netns=ground.far)
            echoes = [UdpEcho(host) for host in (FAR, "10.90.4.200")]
        with echoes[0], echoes[1]:
            with client(echoes[0].port, FAR, ground.client) as connection:
                ask(connection, b"of lan")
            with client(echoes[1].port, "10.90.4.200", ground.client) as connection:
                hear_errors(connection)
                connection.send(b"of part")
                with pytest.raises(OSError) as caught:
                    connection.recv(100)
                assert caught.value.errno == errno.EHOSTUNREACH
            assert not echoes[1].peers
        # Networks are set up at the start only.
        ground.edge.config.write_text(
            ground.edge.config.read_text().replace("10.90.4.128/25", "10.90.4.192/26"))
        done = ground.edge.adit("--json", "reload")
        assert json.loads(done.stdout) == {"changed": [], "need_restart": ["network.part.prefix"]}


def test_4096_flows(ground, echoes):
    """T2: as many at once, each with an answer of its own."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(echoes[FAR].port, FAR, ground.client))
                   for _ in range(4096)]
        for first in range(0, len(clients), 64):
            for number in range(first, first + 64):
                clients[number].send(b"%d" % number)
            for number in range(first, first + 64):
                assert ask_again(clients[number], b"%d" % number)
        assert ground.edge.metrics().sum("adit_flows", path="tun", kind="udp") >= 4096
        some = clients[::97]

        def still():
            for connection in some:
                ask(connection, b"still")
        ground.settle(still, len(some))


def ask_again(connection, payload):
    """What is sent already, or sent once more."""
    connection.settimeout(seconds(0.5))
    with contextlib.suppress(TimeoutError):
        if connection.recv(100) == payload:
            return True
    return ask(connection, payload) == payload


V2_PATHS = pytest.mark.carried(edge="tun tun-icmp stream", aditd="anchor ping")


@pytest.mark.parametrize("keys, udp, is_short", [
    pytest.param({"datagram": "v2"}, True, False, id="v2", marks=V2_PATHS),
    pytest.param({"datagram": "v2"}, True, True, id="v2-short-cut", marks=[V2_PATHS, pytest.mark.short_cut]),
    pytest.param({"protocol": "http2"}, False, False, id="http2",
                 marks=pytest.mark.carried(edge="tun stream"))])
def test_other_daemons(tmp_path, keys, udp, is_short):
    """Version 2 carries UDP and pings as well; HTTP/2 carries TCP alone, and the others are told."""
    needs.namespaces()
    with private_net.private_net(tmp_path, connections=1, daemon=keys,
                                 is_short=is_short) as ground:
        ground.serve()
        with ground.far.inside():
            echo, listener = UdpEcho(FAR), Listener(FAR)
        with echo, listener, client(echo.port, FAR, ground.client) as connection:
            with ground.client.inside():
                stream = socket.create_connection((FAR, listener.socket.getsockname()[1]))
            with stream, listener.accept() as served:
                stream.sendall(b"by stream")
                assert served.recv(100) == b"by stream"
            said = ping(ground.client, FAR, count=1, deadline=5 if udp else 1)
            if udp:
                ground.settle(lambda: ask(connection, b"by session"), 1)
                ask(connection, bytes(1280))
                assert counts(said)[1] == 1
                return
            assert "Unreachable" in said
            hear_errors(connection)
            connection.send(b"nobody")
            with pytest.raises(OSError) as caught:
                connection.recv(100)
            assert caught.value.errno == errno.EHOSTUNREACH
