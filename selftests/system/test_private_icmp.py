# SPDX-License-Identifier: Apache-2.0
"""T2: ping and traceroute into a private network behind a tunnel, to an origin two hops behind the daemon,
by the edge's TUN device (lib.private_net draws the ground), with iputils and traceroute. Needs root."""
import re

import pytest

from lib import needs, netns, private_net
from lib.icmp import raw_socket
from lib.pings import counts, hops, is_answered, ping
from lib.private_net import DENIED, EDGE_HOST, EDGE_HOST_V6, FAR, FAR_V6, NEAR, NEAR_V6
from lib.wait import holds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(edge="tun-icmp", aditd="ping")]


@pytest.fixture(name="ground", scope="module", params=[1, 4], ids=["one-link", "four-links"])
def fixture_ground(tmp_path_factory, request):
    needs.namespaces()
    for tool in ("ping", "traceroute"):
        needs.tool(tool)
    with private_net.private_net(tmp_path_factory.mktemp("net"), connections=request.param) as made:
        made.serve()
        for host in (FAR, FAR_V6):      # neighbours are learned slowly at first
            until(lambda h=host: is_answered(made.client, h, count=1), 10, f"a way to {host}")
        yield made


def drops(ground, reason):
    return ground.edge.counter("adit_drops_total", where="network", reason=reason)


def carried(ground):
    page = ground.edge.metrics()
    return [page.sum("adit_flow_packets_total", path="tun-icmp", dir=k) for k in ("rx", "tx")]


@pytest.mark.parametrize("host", [NEAR, FAR, NEAR_V6, FAR_V6])
def test_ping(ground, host):
    before = carried(ground)
    sent, received = counts(ping(ground.client, host, count=20))
    asked, answered = (a - b for a, b in zip(carried(ground), before))
    assert received >= 20 and asked == sent and received <= answered <= sent
    assert is_answered(ground.edge_ns, host, count=20)


@pytest.mark.parametrize("host, head", [(FAR, 28), (FAR_V6, 48)])
def test_sizes(ground, host, head):
    """Packets to 1 280 bytes pass, the next is answered with packet too big."""
    for size in (0, 1, 7, 8, 56, 600, 1279 - head, 1280 - head):
        assert is_answered(ground.client, host, "-M", "do", "-s", size), size
    before = drops(ground, "too-big")
    said = ping(ground.client, host, "-M", "do", "-s", 1281 - head, count=2, deadline=1)
    assert re.search(r"(mtu ?= ?1280|Packet too big: mtu=1280)", said), said
    assert drops(ground, "too-big") > before
    for namespace in (ground.client, ground.edge_ns):   # it remembers the size for minutes
        for family in ("-4", "-6"):
            netns.ip(family, "route", "flush", "cache", netns=namespace)


HOPS = {FAR: [EDGE_HOST, None, NEAR, FAR], FAR_V6: [EDGE_HOST_V6, None, NEAR_V6, FAR_V6]}


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_traceroute(ground, host):
    """T2: every hop: the edge by its own kernel, the daemon, the router behind it, the origin."""
    found = hops(ground.client, host)
    assert len(found) == 4 and "*" not in found, found
    for hop, wanted in zip(found, HOPS[host]):
        assert wanted in (None, hop), found


def test_too_big_behind(ground):
    """T2: a hop behind the daemon that takes less: its word reaches the client."""
    ground.router.mtu("f1", 1000)
    try:
        said = ping(ground.client, FAR, "-M", "do", "-s", 1200, count=2, deadline=2)
        assert re.search(rf"From {NEAR}.*mtu ?= ?1000", said), said
    finally:
        ground.router.mtu("f1", 1500)
        netns.ip("route", "flush", "cache", netns=ground.daemon_ns)
        netns.ip("route", "flush", "cache", netns=ground.client)


def test_narrow_hop(tmp_path):
    """T2: a hop of 1 280 bytes behind the daemon; version 2 carries packets that are larger."""
    needs.namespaces()
    with private_net.private_net(tmp_path, connections=1, daemon={"datagram": "v2"}) as ground:
        ground.serve()
        for host, head in ((FAR, 28), (FAR_V6, 48)):
            until(lambda h=host, s=1349 - head: is_answered(ground.client, h, "-M", "do", "-s", s, count=1), 10,
                  "a way for the largest packet")
        ground.router.mtu("f1", 1280)
        for host, router, head in ((FAR, NEAR, 28), (FAR_V6, NEAR_V6, 48)):
            said = ping(ground.client, host, "-M", "do", "-s", 1349 - head, count=2, deadline=2)
            assert re.search(rf"From {router}.*(mtu ?= ?1280)", said), said
            assert is_answered(ground.client, host, "-M", "do", "-s", 1280 - head)


def test_unreachable_behind(ground):
    """An address that nobody has: the router behind the daemon says so, in the client's terms."""
    said = ping(ground.client, "10.90.4.77", count=4)
    assert re.search(rf"From {NEAR}.*Unreachable", said), said


@pytest.mark.carried(edge="tun-icmp")
def test_denied(ground):
    """[network] of the daemon holds for pings too."""
    assert counts(ping(ground.client, DENIED, count=2, deadline=1))[1] == 0


@pytest.mark.carried()
def test_other_kinds(ground):
    """Only echo requests go into the tunnel."""
    before = drops(ground, "icmp-kind")
    with raw_socket(ground.client) as raw:
        raw.sendto(bytes.fromhex("0d00f2ff0000000000000000000000000000000000"), (FAR, 0))
        until(lambda: drops(ground, "icmp-kind") == before + 1, 5, "the drop")


def test_no_daemon(ground):
    """Without a daemon the edge says that the host can't be reached."""
    ground.daemon.stop()
    until(lambda: ground.edge.links() == 0, 10, "no link")
    for host in (FAR, FAR_V6):
        said = ping(ground.client, host, count=2, deadline=1)
        assert re.search(rf"From {host}.*[Uu]nreachable", said), said
    ground.daemon.serve()
    assert is_answered(ground.client, FAR)


@pytest.mark.carried(None)
def test_device_removed(tmp_path):
    """Somebody takes the device away: it is said once by each worker, and nothing spins."""
    needs.namespaces()
    with private_net.private_net(tmp_path) as ground:
        ground.edge.start()
        netns.ip("link", "del", "adit0", netns=ground.edge_ns)
        said = "the TUN device has gone"
        ground.edge.process.wait_line(said, count=2)
        holds(lambda: ground.edge.process.log.count(said) == 2, 0.3, "two lines")
        assert ground.edge.stop() == 0
