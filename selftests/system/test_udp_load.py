# SPDX-License-Identifier: Apache-2.0
"""UDP flows in bursts, in great number, and under floods. Which path carried the packets, and how many
at a time, say the path's own counters.

    PeerEdge (aioquic) <==QUIC DATAGRAM== aditd --anchors, connected sockets--> UDP origins in Python
"""
import contextlib
import itertools
import pathlib
import re
import socket

import pytest

from lib import needs, ports
from lib.adit import Daemon, peer_edge_keys, section, write_token
from lib.dgram3 import OK, Flows, carry, register
from lib.peer_edge import PeerEdge
from lib.sockopts import UDP_SEGMENT
from lib.udp_client import both_ends, client, udp_section
from lib.udp_origin import UdpEcho, bound
from lib.wait import SLOW, many, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(aditd="anchor")]

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"


@pytest.fixture(name="peer")
def fixture_peer(authority):
    with PeerEdge(*authority.leaf("peer")) as edge:
        yield edge


@pytest.fixture(name="start")
def fixture_start(processes, tmp_path, authority):
    """start(edge, **[limits]) -> (running aditd of one worker, flows of its link)"""
    token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(range(32)))

    def start(edge, **limits):
        extra = section("network", allow="127.0.0.0/8, ::1") + section("limits", **limits)
        daemon = Daemon(processes, tmp_path, token_file=token, rules=[(None, "http_status:404")],
                        edge_keys=peer_edge_keys(edge, authority, kind="adit"), workers=1,
                        connections=1, extra=extra, log_level="notice")
        daemon.start()
        return daemon, Flows(edge.wait_registered(1, 15)[0])
    return start


def carried(daemon, path):
    """Datagrams (from, to) origins by a path."""
    page = daemon.metrics()
    return tuple(page.sum("adit_flow_packets_total", path=path, dir=k) for k in ("rx", "tx"))


def aggregated(daemon, direction):
    return daemon.counter("adit_flow_aggregated_packets_total", dir=direction)


def drops(daemon, *reasons):
    page = daemon.metrics()
    return [page.sum("adit_drops_total", where="datagram", reason=k) for k in reasons]


class Steady:
    """A good flow beside a flood: a payload with each of its batches, sent once, counted when it comes back."""

    QUEUES = ("origin-full", "link-full", "crossing", "moving")

    def __init__(self, daemon, flows, echo):
        self.daemon, self.flows, self.sent = daemon, flows, 0
        self.flow = flows.open(echo.host, echo.port)
        flows.echo(self.flow, b"before")

    def next(self):
        self.sent += 1
        return carry(self.flow, b"%d" % self.sent)

    def finish(self):
        """T8: no drop with a reason of queues or limits; of a hundred at most one is lost."""
        back = lambda: len(set(self.flows.payloads.get(self.flow, ())))
        with contextlib.suppress(AssertionError):
            self.flows.wait(lambda: back() == self.sent, 5, "all of them")
        lost = self.sent - back()
        print(f"{lost} of {self.sent} good payloads lost")
        assert drops(self.daemon, *self.QUEUES) == [0] * len(self.QUEUES)
        assert lost <= self.sent / 100


def memory(daemon):
    """Anonymous memory of the process, MB."""
    with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"RssAnon:\s+(\d+) kB", file.read())[1]) / 1024


def batches(items, size):
    """Lists of at most `size` items."""
    items = iter(items)
    return iter(lambda: list(itertools.islice(items, size)), [])


@pytest.mark.carried(aditd="anchor connected")
def test_bursts(peer, start):
    """W4: what arrives together leaves in runs of equal length, in order; a flow that goes on like that
    gets a socket of its own, on the same port."""
    daemon, flows = start(peer)
    with bound() as origin:
        origin.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        flow = flows.open(*origin.getsockname())
        seen, count = set(), itertools.count()

        def has_own():
            """40 runs of 8; the flow is found busy within a second, on a slow machine among later ones."""
            turns = [next(count) for _ in range(40)]
            for turn in turns:
                flows.send(*(carry(flow, b"%d.%d" % (turn, n)) for n in range(8)))
            for turn, number in itertools.product(turns, range(8)):
                data, address = origin.recvfrom(100)
                assert data == b"%d.%d" % (turn, number)
                seen.add(address)
            return daemon.counter("adit_flows", path="connected") == 1
        until(has_own, 15, "a socket of its own", 0)
        assert has_own()
        assert len(seen) == 1, "one local port"
        sent = 8 * next(count)
        assert aggregated(daemon, "tx") >= sent / 2
        by_anchor, by_own = (carried(daemon, k)[1] for k in ("anchor", "connected"))
        assert by_anchor + by_own == sent and by_own >= 8 * 40 and by_anchor >= 4 * 32
        origin.sendto(b"answer", seen.pop())
        assert flows.wait_payload(flow) == b"answer"
        assert carried(daemon, "connected")[0] == 1
        assert drops(daemon, "origin", "origin-full", "stranger") == [0, 0, 0]


def test_bursts_of_the_origin(peer, start):
    """UDP_GRO: an origin's aggregates arrive as single payloads, in order."""
    daemon, flows = start(peer)
    with bound() as origin:
        flow = flows.open(*origin.getsockname())
        flows.send(carry(flow, b"?"))
        _, address = origin.recvfrom(10)
        origin.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 100)
        sizes = [100] * 20 + [7]
        origin.sendto(b"".join(bytes([n]) * size for n, size in enumerate(sizes)), address)
        assert [flows.wait_payload(flow) for _ in sizes] == [bytes([n]) * size
                                                            for n, size in enumerate(sizes)]
        assert carried(daemon, "anchor") == (len(sizes), 1)
        assert aggregated(daemon, "rx") == len(sizes)


def test_several_frames_in_a_packet(peer, start):
    """§14 row 33: payloads that are due together share QUIC packets."""
    daemon, flows = start(peer)
    with bound() as origin:
        flow = flows.open(*origin.getsockname())
        flows.send(carry(flow, b"?"))
        _, address = origin.recvfrom(10)
        before = daemon.counter("adit_link_packets_total", dir="tx")
        for _ in range(10):
            origin.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 50)
            origin.sendto(b"x" * 50 * 40, address)
            flows.wait(lambda: len(flows.payloads.get(flow, ())) >= 40, 5, "forty payloads")
            flows.payloads[flow].clear()
        packets = daemon.counter("adit_link_packets_total", dir="tx") - before
        assert packets <= 100, f"{packets} packets for 400 payloads"


def test_4096_flows(peer, start):
    """T2: 4 096 flows to one origin, each with a port of its own, then as many to eight others, which
    share sockets; memory has a bound."""
    daemon, flows = start(peer)
    with UdpEcho() as echo:
        echo.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        idle = memory(daemon)
        ids = [flows.new() for _ in range(4096)]

        def open_all(flow_ids, host_ports):
            for some in batches(zip(flow_ids, itertools.cycle(host_ports)), 64):
                flows.send(*(register(k, *at) for k, at in some))
                flows.wait(lambda s=some: all(k in flows.responses for k, _ in s), 20, "answers")
            assert {flows.responses[k][0] for k in flow_ids} == {OK}

        def echo_all(flow_ids):
            missing = set(flow_ids)
            for _ in range(10):     # the origin is a slow thread, the kernel's buffer has an end
                for some in batches(sorted(missing), 32):
                    flows.send(*(carry(k, k) for k in some))
                    flows.wait(lambda s=some: all(flows.payloads.get(k) for k in s), 20, "echoes")
                missing -= {k for k in missing if flows.payloads.get(k) == [k]}
                if not missing:
                    return
            raise AssertionError(f"{len(missing)} without echo")

        open_all(ids, [(echo.host, echo.port)])
        echo_all(ids)
        assert len(echo.peers) == 4096
        assert daemon.counter("adit_anchors") == 4096
        assert daemon.counter("adit_flows", path="anchor") == 4096
        assert carried(daemon, "anchor") == (4096, 4096)
        others = [(f"127.0.1.{n}", 9) for n in range(1, 9)]
        open_all([flows.new() for _ in range(4096)], others)
        assert daemon.counter("adit_anchors") == 4096, "every one has room for another remote"
        assert daemon.counter("adit_flows", kind="udp") == 8192
        grown = memory(daemon) - idle
        print(f"8192 flows: {grown:.1f} MB more than idle")
        assert SLOW > 1 or grown < 40    # a sanitizer keeps what was freed


@pytest.mark.carried(aditd="anchor connected?")
def test_100000_registrations(peer, start):
    """T2, T8: far more than there may be: refused or dropped, counted; the flow beside them goes on, and
    memory stays."""
    daemon, flows = start(peer, flows=1000, **{"flow-registrations": 5000})
    with UdpEcho() as echo:
        good = Steady(daemon, flows, echo)
        idle = memory(daemon)
        flood = (register(flows.new(), "127.0.2.1", 9) for _ in range(100_000))
        for number, some in enumerate(batches(flood, 50)):
            flows.send(*some, good.next())
            flows.responses.clear()
            if number % 100 == 0:       # the end in Python isn't to be flooded
                flows.wait(lambda: not flows.link.quic._datagrams_pending, 20, "what is sent to leave")
        good.finish()
        registered, too_many, rate = (daemon.counter("cloudflared_udp_total_flows"),
                                      *drops(daemon, "too-many-flows", "registration-rate"))
        print(f"{registered:.0f} registered, {too_many:.0f} too many, {rate:.0f} over the rate, "
              f"{memory(daemon) - idle:.1f} MB more than before")
        assert registered == 1000 and too_many > 10_000
        assert daemon.counter("adit_flows", kind="udp") == 1000
        assert SLOW > 1 or memory(daemon) - idle < 16
        print(f"{drops(daemon, 'untold')[0]:.0f} refusals not told")
        assert drops(daemon, "origin", "no-flow", "malformed") == [0, 0, 0]
        assert sum(carried(daemon, k)[1] for k in ("anchor", "connected")) >= 0.99 * good.sent


@pytest.mark.carried(aditd="anchor connected?")
def test_flood_of_unknown_ids(peer, start):
    """T8: payloads for flows that nobody registered are dropped and counted; the good flow lives."""
    daemon, flows = start(peer)
    with UdpEcho() as echo:
        good = Steady(daemon, flows, echo)
        sent, idle = 0, memory(daemon)
        for number in range(400):
            flows.send(*(carry(flows.new(), bytes(64)) for _ in range(50)), good.next())
            sent += 50
            if number % 40 == 0:
                flows.wait(lambda: not flows.link.quic._datagrams_pending, 20, "what is sent to leave")
        good.finish()
        unknown = drops(daemon, "no-flow")[0]
        print(f"{unknown:.0f} of {sent} unknown, {memory(daemon) - idle:.1f} MB more than before")
        assert sent * 0.9 <= unknown <= sent, "on loopback hardly any is lost before"
        assert drops(daemon, "origin") == [0]
        assert SLOW > 1 or memory(daemon) - idle < 8
        assert len(echo.peers) == 1


def socket_buffer():
    """What a socket may ask for at most, both ways: room for the time in which a busy machine lets a program
    of the test wait, so that what is lost is lost between our ends."""
    limits = [pathlib.Path(f"/proc/sys/net/core/{k}mem_max") for k in "rw"]
    return min(4 << 20, *(int(k.read_text()) if k.exists() else 212992 for k in limits))


@pytest.mark.carried(edge="socket", aditd="anchor connected?")
def test_iperf3(processes, tmp_path):
    """T2: iperf3 by UDP, its control connection through a [tcp] port of the same number."""
    port, server = ports.free(), ports.free()
    same = {"listen": f"127.0.0.1:{port}", "tunnel": "home", "dest": f"127.0.0.1:{server}"}
    _, daemon = both_ends(processes, tmp_path, section("udp perf", **same) + section("tcp perf", **same))
    processes.start("iperf3-server", ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(server)])

    def iperf3(*words):
        return processes.run("iperf3", ["iperf3", "-c", "127.0.0.1", "-p", str(port), "-u", "-l", "1200",
                                        "-b", f"{20 / SLOW:g}M", "-w", str(socket_buffer()), "-J", *words],
                             timeout=seconds(30))

    def measured(*words):
        """(datagrams, per cent of them lost). The server may not have ended the test before."""
        def go():
            done = iperf3(*words)
            return None if "server is busy" in done.log else done
        done = until(go, 10, "the server to be free")
        assert done.code == 0, done.log
        return [float(re.findall(rf'"{k}":\s*([0-9.]+)', done.log)[-1]) for k in ("packets", "lost_percent")]
    until(lambda: iperf3("-n", "12000").code == 0, 10, "the server")
    for words in (("-t", "2"), ("-t", "2", "-R")):
        for _ in range(5):      # after a standstill of the machine iperf3 sends all that was due at once
            before = sum(sum(carried(daemon, k)) for k in ("anchor", "connected"))
            packets, lost = measured(*words)
            print(f"{words}: {packets:.0f} packets, {lost:.2f} % lost")
            if lost < 5:
                break
        assert packets > 2000 / SLOW and lost < 5
        assert sum(sum(carried(daemon, k)) for k in ("anchor", "connected")) - before > packets * 0.9


@pytest.mark.carried(edge="socket", aditd="anchor connected?")
def test_dnsperf(processes, tmp_path):
    """T2: dnsperf against dnsmasq, 64 clients of which each has a flow."""
    needs.tool("dnsperf")
    port, server = ports.free(), ports.free()
    names = tmp_path / "names"
    names.write_text("".join(f"n{number}.flow.test A\n" for number in range(100)))
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"192.0.2.{number} n{number}.flow.test\n" for number in range(100)))
    processes.start("dnsmasq", ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts",
                                f"--addn-hosts={hosts}", "--bind-interfaces", "--except-interface=none",
                                "--listen-address=127.0.0.1", "--user=root", f"--port={server}",
                                f"--pid-file={tmp_path}/pid"])
    _, daemon = both_ends(processes, tmp_path, udp_section("dns", port, f"127.0.0.1:{server}"))

    def ask(seconds_long, clients):
        done = processes.run("dnsperf", ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", names,
                                         "-t", f"{seconds(2):g}", "-l", str(seconds_long), "-c", str(clients), "-q", str(many(100))],
                             timeout=seconds(30))
        assert done.code == 0, done.log
        sent, completed = (int(re.search(rf"Queries {k}:\s+(\d+)", done.log)[1])
                           for k in ("sent", "completed"))
        return sent, completed, done.log
    until(lambda: ask(1, 1)[1] > 0, 10, "the name server")
    before, flows = carried(daemon, "anchor"), daemon.counter("cloudflared_udp_total_flows")
    sent, completed, page = ask(3, 64)
    print(f"{sent} queries, {sent - completed} lost")
    assert sent > 1000 / SLOW and completed >= 0.99 * sent
    assert re.search(r"NOERROR \d+ \(100.00%\)", page), page
    grown = [b - a for a, b in zip(before, carried(daemon, "anchor"))]
    assert min(grown) >= completed, "by anchors"
    assert daemon.counter("cloudflared_udp_total_flows") - flows == 64


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_wireguard_s_sizes(processes, tmp_path):
    """T3: inner 1 248 and 1 280 pass on a path of 1 500 bytes between our ends, inner 1 420 is counted;
    the source port is one for all of it."""
    port = ports.free()
    with UdpEcho() as echo:
        edge, daemon = both_ends(processes, tmp_path, udp_section("echo", port, echo.address))
        with client(port) as connection:
            connection.settimeout(seconds(0.2))

            def passes(size):
                connection.send(bytes(size))
                try:
                    return len(connection.recv(2000)) == size
                except TimeoutError:
                    return False
            until(lambda: passes(1312), 10, "the path's size")
            assert sum(passes(size) for size in [1280, 1312] * 50) >= 99
            before = edge.counter("adit_drops_total", where="datagram", reason="too-big")
            connection.send(bytes(1452))
            until(lambda: edge.counter("adit_drops_total", where="datagram", reason="too-big")
                  == before + 1, 5, "the largest counted")
            assert passes(1312)
        assert len(echo.peers) == 1
        assert carried(daemon, "anchor")[1] >= 100
