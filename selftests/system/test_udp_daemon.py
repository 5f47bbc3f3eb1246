# SPDX-License-Identifier: Apache-2.0
"""UDP flows of datagram version 3 at aditd, registered by an independent edge in Python. Every test
says which path carried its packets, by the path's own counters.

    PeerEdge (aioquic) <==QUIC DATAGRAM== aditd --anchor--> UDP origins in Python
"""
import time

import pytest

from lib import dgram3, paths, ports
from lib.adit import Daemon, peer_edge_keys, section, write_token
from lib.dgram3 import Flows, carry, register
from lib.peer_edge import PeerEdge
from lib.udp_origin import UdpEcho, bound
from lib.wait import lasts, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(aditd="anchor")]

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"


@pytest.fixture(name="peer")
def fixture_peer(authority):
    with PeerEdge(*authority.leaf("peer")) as edge:
        yield edge


@pytest.fixture(name="start")
def fixture_start(processes, tmp_path, authority, origins):
    """start(edge) -> a running aditd of one worker that may reach the origins."""
    token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(range(32)))

    def start(edge, network=None, limits=None, kind=None, connections=1, **options):
        extra = section("network", **({"allow": origins.allow} if network is None else network))
        extra += section("limits", **(limits or {}))
        daemon = Daemon(processes, tmp_path, token_file=token, rules=[(None, "http_status:404")],
                        edge_keys=peer_edge_keys(edge, authority, kind=kind), workers=1,
                        connections=connections, extra=extra, promotes=origins.device, **options)
        daemon.start()
        return daemon
    return start


@pytest.fixture(name="world")
def fixture_world(peer, start, origins):
    """(daemon, flows of its link, echo)"""
    with origins.echo() as echo:
        daemon = start(peer)
        yield daemon, Flows(peer.wait_registered(1, 15)[0]), echo


def anchors(daemon):
    """Packets (to, from) origins by the socket ground; by the short cut where that is forced."""
    return paths.by_path(daemon, "anchor", "xdp")


def drops(daemon, reason):
    return daemon.counter("adit_drops_total", where="datagram", reason=reason)


@paths.BOTH
def test_announced_and_served(world, origins):
    """§2, §3: the daemon says that it speaks version 3, and does; its port stays the same."""
    daemon, flows, echo = world
    assert "support_datagram_v3_2" in flows.link.registration.features
    flow = flows.open(echo.host, echo.port)
    for number in range(20):
        flows.echo(flow, b"%d" % number)
    origins.settle(daemon, lambda: flows.echo(flow, b"settled"))
    assert len(echo.peers) == 1, "one local port"
    sent, received = anchors(daemon)
    assert sent == received == sum(echo.peers.values())
    assert daemon.counter("adit_flows", path="xdp" if origins.device else "anchor", kind="udp") == 1
    assert daemon.counter("cloudflared_udp_active_flows", conn_index=0) == 1
    assert daemon.counter("cloudflared_udp_total_flows", conn_index=0) == 1
    assert not flows.other


def test_payloads_right_behind(world):
    """§14 row 5, 4: what follows a registration at once arrives, in order, behind what it brings."""
    daemon, flows, _ = world
    with bound() as origin:
        host, port = origin.getsockname()
        flow = flows.new()
        flows.send(register(flow, host, port, payload=b"bundled"),
                   *(carry(flow, b"%d" % n) for n in range(30)))
        assert flows.wait_response(flow) == dgram3.OK
        got = [origin.recv(100) for _ in range(31)]
        assert got == [b"bundled"] + [b"%d" % n for n in range(30)]
    assert anchors(daemon) == (31, 0)
    assert drops(daemon, "no-flow") == 0


@paths.BOTH
@pytest.mark.parametrize("kind, most", [("adit", 1380), ("vendor", 1280)])
def test_every_size(peer, start, origins, kind, most):
    """T2, §1.1: every size to the limit between these ends comes back; above it is counted."""
    with origins.echo() as echo, origins.bound() as origin:
        daemon = start(peer, kind=kind, tunnel_keys={"datagram": "v3"})
        flows = Flows(peer.wait_registered(1, 15)[0])
        flow = flows.open(echo.host, echo.port)
        flows.echo(flow, bytes(most), 10)   # the path has been measured
        origins.settle(daemon, lambda: flows.echo(flow, b"settled"))
        for size in range(most + 1):
            flows.echo(flow, bytes([size & 0xff]) * size)
        flows.send(carry(flow, bytes(most + 1)))
        until(lambda: drops(daemon, "malformed") == 1, 5, "the one that is too large")
        other = flows.open(*origin.getsockname())
        flows.send(carry(other, b"?"))
        _, peer_address = origin.recvfrom(10)
        before = drops(daemon, "too-big")   # while the path was being measured
        origin.sendto(bytes(most + 1), peer_address)
        until(lambda: drops(daemon, "too-big") == before + 1, 5, "the answer that is too large")
        origin.sendto(b"!", peer_address)
        assert flows.wait_payload(other) == b"!", "the flow lives on"
        sent, received = anchors(daemon)
        assert sent >= most + 3 and received >= most + 3


@paths.BOTH
def test_addresses(world, origins):
    """§4.6: IPv6, and IPv4 in IPv6's clothes."""
    daemon, flows, echo = world
    with origins.echo(origins.host_v6) as six:
        both = [flows.open(six.host, six.port), flows.open(f"::ffff:{echo.host}", echo.port)]

        def turn():
            for flow in both:
                flows.echo(flow, b"anybody?")
        origins.settle(daemon, turn, 2)
        assert len(six.peers) == len(echo.peers) == 1
        sent, received = anchors(daemon)
        assert sent == received == sum(six.peers.values()) + sum(echo.peers.values())


def test_not_allowed(peer, start):
    """[network]: nothing is reached that isn't allowed, and the edge is told."""
    with UdpEcho() as echo, UdpEcho("127.0.0.2") as other:
        daemon = start(peer, network={"allow": "127.0.0.2/32"})
        flows = Flows(peer.wait_registered(1, 15)[0])
        flow = flows.new()
        flows.send(register(flow, echo.host, echo.port, payload=b"x"), carry(flow, b"y"))
        assert flows.wait_response(flow) == dgram3.UNREACHABLE
        flows.echo(flows.open(other.host, other.port), b"allowed")
        assert not echo.peers
        assert drops(daemon, "denied") == 1 and drops(daemon, "no-flow") == 1
        assert anchors(daemon) == (1, 1)


@pytest.mark.carried()
def test_repeats(world):
    """§14 row 3 of §5: the same registration again is answered again, and makes no second flow."""
    daemon, flows, echo = world
    flow = flows.new()
    again = register(flow, echo.host, echo.port)
    flows.send(again, again, again)
    assert [flows.wait_response(flow, n) for n in (1, 2, 3)] == [dgram3.OK] * 3
    assert daemon.counter("cloudflared_udp_retry_flow_responses", conn_index=0) == 2
    assert daemon.counter("cloudflared_udp_total_flows", conn_index=0) == 1


def test_idle(world):
    """§4.5, T6: the announced time after the last datagram the flow has gone, within a second."""
    daemon, flows, echo = world
    flow = flows.open(echo.host, echo.port, idle=3)
    kept = flows.open(echo.host, echo.port, idle=60)
    flows.echo(flow, b"x")
    lasts(1.5, "a part of the idle time")
    flows.echo(flow, b"x")
    last = time.monotonic()
    active = lambda: daemon.counter("cloudflared_udp_active_flows", conn_index=0)
    assert active() == 2
    until(lambda: active() == 1, 8, "the idle flow's end")
    assert 2 <= time.monotonic() - last <= 3 + seconds(1)
    flows.send(carry(flow, b"late"))
    until(lambda: drops(daemon, "no-flow") == 1, 5, "a payload without a flow")
    flows.echo(kept, b"alive")
    assert daemon.counter("cloudflared_udp_failed_flows") == 0


def test_nobody_listens(world):
    """§4.7: ICMP port unreachable ends the flow, and only that one."""
    daemon, flows, echo = world
    good = flows.open(echo.host, echo.port)
    bad = flows.open("127.0.0.1", ports.free())
    flows.send(carry(bad, b"anyone?"))
    until(lambda: daemon.counter("cloudflared_udp_failed_flows", conn_index=0) == 1, 5, "its end")
    flows.send(carry(bad, b"again"))
    until(lambda: daemon.counter("cloudflared_udp_dropped_datagrams", conn_index=0,
                                 reason="write_flow_unknown") == 1, 5, "an unknown flow")
    flows.echo(good, b"still here")


def test_flows_end_with_their_link(peer, start):
    """§4.8: a link that ends takes its flows along; those of another stay, with their port."""
    with UdpEcho() as echo:
        daemon = start(peer, connections=2)
        first, second = (Flows(k) for k in peer.wait_registered(2, 15))
        lost, moved = (first.open(echo.host, echo.port) for _ in range(2))
        first.echo(moved, b"here")
        second.send(register(moved, echo.host, echo.port))
        assert second.wait_response(moved) == dgram3.OK
        first.link.close_link()
        index = second.link.registration.index

        def flows_of(number):
            return daemon.status()["connections"][number]["flows"]
        until(lambda: daemon.counter("adit_flows", kind="udp") == 1, 15, "the lost flow's end")
        second.echo(moved, b"there")
        assert flows_of(index) == 1 and flows_of(1 - index) == 0
        assert len(echo.peers) == 1, "the same local port"
        assert daemon.counter("cloudflared_udp_migrated_flows", conn_index=index) == 1
        second.send(carry(lost, b"gone"))
        until(lambda: drops(daemon, "no-flow") == 1, 5, "a payload of the lost flow")


def test_limit_and_flood(peer, start):
    """T8, §10: at the limit 0x03, for nothing but new flows; the good flow isn't disturbed."""
    with UdpEcho() as echo:
        daemon = start(peer, limits={"flows": 50})
        flows = Flows(peer.wait_registered(1, 15)[0])
        good = flows.open(echo.host, echo.port)
        ids = [flows.new() for _ in range(500)]
        for at in range(0, len(ids), 20):
            flows.send(*(register(k, echo.host, echo.port) for k in ids[at:at + 20]))
            flows.wait(lambda: len(flows.responses) >= at + 21, 10, "answers")
        codes = [flows.responses[k][0] for k in ids]
        assert codes == [dgram3.OK] * 49 + [dgram3.TOO_MANY] * 451
        assert daemon.counter("flow_client_registrations_rate_limited_total",
                              flow_type="udp") == 451
        flows.send(*(carry(flows.new(), b"x") for _ in range(50)))
        flows.echo(good, b"good")
        assert daemon.counter("adit_flows", kind="udp") == 50
        assert daemon.counter("adit_anchors") <= 50


def test_malformed(world):
    """§14 row 1: nothing that is malformed is answered or does harm."""
    daemon, flows, echo = world
    whole = register(flows.new(), echo.host, echo.port)
    bad = [b"", b"\x04abc", bytes([dgram3.RESPONSE]) + bytes(19), carry(b"", b"short")]
    bad += [whole[:n] for n in range(1, len(whole))]
    for datagram in bad:
        flows.send(datagram)
    until(lambda: drops(daemon, "malformed") == len(bad), 5, "all counted")
    flows.send(bytes([dgram3.ICMP]) + b"\x45" + bytes(27))
    until(lambda: daemon.counter("adit_drops_total", where="icmp", reason="malformed") == 1, 5,
          "ICMP counted")
    flows.echo(flows.open(echo.host, echo.port), b"fine")
    assert not flows.other


def test_strangers(world):
    """T5: who isn't talked to isn't heard."""
    daemon, flows, _ = world
    with bound() as origin, bound() as stranger:
        flow = flows.open(*origin.getsockname())
        flows.send(carry(flow, b"?"))
        _, at = origin.recvfrom(10)
        stranger.sendto(b"hello", at)
        until(lambda: drops(daemon, "stranger") == 1, 5, "the stranger counted")
        origin.sendto(b"!", at)
        assert flows.wait_payload(flow) == b"!"
        assert not flows.payloads[flow]
    assert anchors(daemon) == (1, 1)


@pytest.mark.carried()
def test_version_2_isn_t_version_3(peer, start):
    """A link that didn't announce version 3 reads no datagram as such."""
    with UdpEcho() as echo:
        daemon = start(peer, tunnel_keys={"datagram": "v2"})
        flows = Flows(peer.wait_registered(1, 15)[0])
        assert "support_datagram_v3_2" not in flows.link.registration.features
        flows.send(register(flows.new(), echo.host, echo.port, payload=b"version \xff"))
        until(lambda: drops(daemon, "malformed") == 1, 5, "the datagram counted")
        assert daemon.counter("adit_flows") == 0 and not echo.peers
