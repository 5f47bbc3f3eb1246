# SPDX-License-Identifier: Apache-2.0
"""What the network says about datagrams to origins: read from the error queues of anchors and of flows'
own sockets, IPv4 and IPv6.

    [daemon] 10.78.0.1 fd78::1 === 10.78.0.2 fd78::2 [router] 10.78.1.1 fd78:1::1 =MTU 1280= 10.78.1.2 [far]
       aditd, PeerEdge                                                                      fd78:1::2
"""
import socket

import pytest

from lib.adit import Daemon, peer_edge_keys, section, write_token
from lib.dgram3 import Flows, carry
from lib.netns import veth
from lib.peer_edge import PeerEdge
from lib.udp_origin import bound
from lib.wait import holds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(aditd="anchor")]

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
FAR = {4: "10.78.1.2", 6: "fd78:1::2"}
ABSENT = {4: "10.78.1.77", 6: "fd78:1::77"}     # on the far network, and not there
KINDS = ["anchor", pytest.param("connected", marks=pytest.mark.carried(aditd="anchor connected")),
         pytest.param("xdp", marks=pytest.mark.short_cut)]


@pytest.fixture(name="lan")
def fixture_lan(net):
    daemon, router, far = spaces = [net.add(k) for k in ("dm", "rt", "far")]
    for number, (left, right) in enumerate(zip(spaces, spaces[1:])):
        six = f"fd78:{number}" if number else "fd78"
        veth(left, "d0", right, "u0")
        left.address("d0", f"10.78.{number}.1/24", f"{six}::1/64")
        right.address("u0", f"10.78.{number}.2/24", f"{six}::2/64")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
               "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0",
               "net.ipv4.neigh.d0.retrans_time_ms=100", "net.ipv6.neigh.d0.retrans_time_ms=100")
    far.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
    for space, prefixes, via in ((daemon, ("10.78.1.0/24", "fd78:1::/64"), ("10.78.0.2", "fd78::2")),
                                 (far, ("10.78.0.0/24", "fd78::/64"), ("10.78.1.1", "fd78:1::1"))):
        for prefix, gateway in zip(prefixes, via):
            space.route(prefix, gateway)
    router.mtu("d0", 1280)
    far.mtu("u0", 1280)
    for host in FAR.values():
        until(lambda h=host: "bytes from" in daemon.run("ping", "-c1", "-W1", h, check=False), 10,
              f"the way to {host}")
    return daemon, far


@pytest.fixture(name="world")
def fixture_world(processes, tmp_path, authority, lan, request):
    """(daemon, flows of its link, namespace of the origins)"""
    space, far = lan
    with space.inside():
        edge = PeerEdge(*authority.leaf("peer"))
    daemon = Daemon(processes, tmp_path, rules=[(None, "http_status:404")], workers=1, connections=1,
                    token_file=write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(32)),
                    edge_keys=peer_edge_keys(edge, authority, kind="adit"), netns=space,
                    promotes="d0" if request.node.get_closest_marker("short_cut") else None,
                    extra=section("network", allow="10.78.0.0/16, fd78::/16"))
    daemon.start()
    yield daemon, Flows(edge.wait_registered(1, 15)[0]), far
    edge.stop()


def errors(daemon):
    return daemon.counter("adit_flow_errors_total")


def make_busy(daemon, flows, flow, origin):
    """Runs of datagrams, until the flow has a socket of its own."""
    def busy():
        for _ in range(20):
            flows.send(*(carry(flow, b"busy") for _ in range(8)))
        for _ in range(20 * 8):
            assert origin.recv(10) == b"busy"
        return daemon.counter("adit_flows", path="connected") == 1
    until(busy, 15, "a socket of its own", 0)


def make_promoted(daemon, flows, flow, origin):
    """Echoes, until the flow goes around the kernel."""
    def promoted():
        flows.send(carry(flow, b"busy"))
        data, address = origin.recvfrom(10)
        origin.sendto(data, address)
        assert flows.wait_payload(flow) == b"busy"
        return daemon.counter("adit_flows", path="xdp") == 1
    until(promoted, 15, "a promoted flow")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", FAR)
def test_nobody_listens(world, version, kind):
    """§4.7, W6.3: port unreachable from a host two hops away ends the flow, and only that."""
    daemon, flows, far = world
    with far.inside():
        origin, other = bound(FAR[version]), bound(FAR[version])
    with other:
        flow, good = (flows.open(*k.getsockname()[:2]) for k in (origin, other))
        if kind == "connected":
            make_busy(daemon, flows, flow, origin)
        if kind == "xdp":
            make_promoted(daemon, flows, flow, origin)
        assert daemon.counter("adit_flows", path=kind) == (2 if kind == "anchor" else 1)
        origin.close()
        flows.send(carry(flow, b"anyone?"), carry(good, b"you"))
        until(lambda: daemon.counter("cloudflared_udp_failed_flows") == 1, 5, "the end")
        assert errors(daemon) >= 1
        assert other.recv(10) == b"you"
        assert daemon.counter("adit_flows", kind="udp") == 1


@pytest.mark.parametrize("version", FAR)
def test_unreachable_host(world, version):
    """What lies on the way may recover: counted, and the flow lives on."""
    daemon, flows, _ = world
    flow = flows.open(ABSENT[version], 9)
    flows.send(carry(flow, b"anyone?"))
    until(lambda: errors(daemon) >= 1, 15, "host unreachable")
    holds(lambda: daemon.counter("adit_flows", kind="udp") == 1, 0.3, "the flow")
    assert daemon.counter("cloudflared_udp_failed_flows") == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", FAR)
def test_narrow_path(world, version, kind):
    """W6.2: packet too big says what the path takes; from then on datagrams above that arrive in
    fragments, from the same port."""
    daemon, flows, far = world
    with far.inside():
        origin = bound(FAR[version])
    with origin:
        flow = flows.open(*origin.getsockname()[:2])
        flows.send(carry(flow, b"small"))
        data, first = origin.recvfrom(2000)
        assert data == b"small"
        if kind == "connected":
            make_busy(daemon, flows, flow, origin)
        if kind == "xdp":
            make_promoted(daemon, flows, flow, origin)
        if kind != "anchor":
            assert daemon.counter("adit_flows", path=kind) == 1
        origin.settimeout(0.3)
        large, heard = bytes(1300), []

        def arrives():
            flows.send(carry(flow, large))
            try:
                heard.append(origin.recvfrom(2000))
            except socket.timeout:
                return False
            return heard[-1][0] == large
        until(arrives, 15, "a datagram above the path's size")
        assert errors(daemon) >= 1, "the router has said it"
        assert {k[1][:2] for k in heard} == {first[:2]}
        assert daemon.counter("cloudflared_udp_failed_flows") == 0
        flows.send(*(carry(flow, large) for _ in range(4)))     # no run, as nothing can cut them twice
        assert [origin.recv(2000) for _ in range(4)] == [large] * 4
        origin.sendto(large, first)     # and back, in fragments of the origin's own
        assert flows.wait_payload(flow) == large


def test_full_socket(world):
    """§14 rows 28, 32: what the kernel doesn't take at once, here for hosts that aren't there, is dropped and
    counted; nobody waits for it, and a flow that shares the socket is served when there is room."""
    daemon, flows, far = world
    scan = [flows.open(f"10.78.0.{host}", 9) for host in range(100, 130)]
    with far.inside():
        origin = bound(FAR[4])
    with origin:
        good = flows.open(*origin.getsockname())
        assert daemon.counter("adit_anchors") == 1
        origin.settimeout(0.2)

        def full():
            for _ in range(10):
                flows.send(*(carry(flow, bytes(1200)) for flow in scan))
            return daemon.counter("adit_drops_total", where="datagram", reason="origin-full")
        until(full, 20, "a full socket")
        before = daemon.counter("adit_flow_packets_total", path="anchor", dir="tx")

        def arrives():
            flows.send(carry(good, b"good"))
            try:
                return origin.recv(10) == b"good"
            except socket.timeout:
                return False
        until(arrives, 15, "room")
        assert daemon.counter("adit_flow_packets_total", path="anchor", dir="tx") > before
        assert daemon.counter("adit_flows", kind="udp") == len(scan) + 1
        assert daemon.counter("cloudflared_udp_failed_flows") == 0
