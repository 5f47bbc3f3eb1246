# SPDX-License-Identifier: Apache-2.0
"""Issue 12 T5: a host with a short cut keeps what is its own, and lets nothing in that nobody asked for, in both
families.

    PeerEdge (aioquic) <==QUIC DATAGRAM== aditd --lan0 ===- eth0-- [origin, strangers]
                       [client] --c0 -=== cl0 (masqueraded)
"""
import contextlib
import dataclasses
import time

import pytest

from lib import netns
from lib.short_cut import DEVICE, HERE, HERE_V6, THERE, THERE_V6, ShortCut
from lib.udp_origin import bound
from lib.wait import lasts, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.carried(aditd="anchor xdp")]

AROUND = 30             # ports scanned below and above the flow's
TIMEOUT = 12            # of connection tracking: more than the 10 s between two heartbeats


@dataclasses.dataclass(frozen=True)
class Family:
    """Addresses of this host and of its neighbours, and what the kernel calls things."""
    here: str
    there: str
    client: str             # of another host, which this one masquerades
    gateway: str            # this host, seen from there
    net: str                # the client's
    table: str              # of nftables
    forwarding: str
    unlimited: str          # a sysctl: kinds of ICMP errors that have a limit; 0 is not "unreachable"


FAMILIES = {
    "ipv4": Family(HERE, THERE, "10.58.0.2", "10.58.0.1", "10.58.0.0/24", "ip", "net.ipv4.ip_forward",
                   "net.ipv4.icmp_ratemask"),
    "ipv6": Family(HERE_V6, THERE_V6, "fd58::2", "fd58::1", "fd58::/64", "ip6", "net.ipv6.conf.all.forwarding",
                   "net.ipv6.icmp.ratemask")}


@pytest.fixture(name="family", params=FAMILIES)
def fixture_family(request):
    return FAMILIES[request.param]


def strangers(cut):
    return cut.counter("adit_drops_total", where="datagram", reason="stranger")


def test_services_and_clients(cut, start, family):
    """A service and clients of the host's own, clients of the flow's very origin among them; whole
    datagrams, fragments and options."""
    start(workers=2)
    cut.wait_open()
    with cut.echo(family.there) as echo, cut.local_echo(family.here) as local, cut.from_origin(family.there) as outside:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        taken, miss = cut.frames("taken"), cut.frames("miss")

        def ask_service(payload):
            outside.sendto(payload, (family.here, local.port))
            assert outside.recv(65536) == payload
        for number in range(10):
            ask_service(b"%d" % number)
        for number in range(10):
            with bound(family.here) as client:
                client.sendto(b"%d" % number, (echo.host, echo.port))
                assert client.recv(100) == b"%d" % number
        assert cut.frames("miss") - miss == 20
        ask_service(bytes(3000))
        assert cut.frames("fragment") >= 3
        cut.with_options(outside)
        ask_service(b"options")
        assert cut.frames("options") == 1
        # The flow goes on beside all that, and nothing of it came into the tunnel.
        assert cut.frames("taken") == taken
        cut.carried(flow, "xdp")
        assert strangers(cut) == 0
        assert not cut.flows.other and not any(cut.flows.payloads.values())


def test_datagrams_for_flows(cut, start, family):
    """What comes to the flow's own port: from others it is a stranger's; from its origin fragments and
    options are the socket's."""
    start(workers=2)
    cut.wait_open()
    with cut.echo(family.there) as echo, cut.from_origin(family.there) as stranger:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        mine = next(iter(echo.peers))
        taken, miss = cut.frames("taken"), cut.frames("miss")
        for _ in range(10):
            stranger.sendto(b"?", mine)     # not the flow's origin
        until(lambda: strangers(cut) == 10, 5, "strangers")
        assert cut.frames("taken") == taken and cut.frames("miss") == miss + 10
        echo.socket.sendto(bytes(3000), mine)
        until(lambda: cut.frames("fragment") >= 2, 5, "fragments")
        until(lambda: cut.counter("adit_drops_total", where="datagram", reason="too-big") >= 1, 5,
              "a datagram in fragments at the socket")
        cut.carried(flow, "xdp")
        cut.with_options(echo.socket)
        echo.socket.sendto(b"options", mine)
        assert cut.flows.wait_payload(flow) == b"options"
        assert cut.frames("options") == 1
        assert not cut.flows.other


class Scan:
    """A datagram to each port, each from a socket of its own at the origin's host; what came of it."""

    def __init__(self, cut, family, ports):
        self.ports, self.sockets = ports, []
        with cut.origin.inside():
            for port in ports:
                made = bound(family.there)
                made.connect((family.here, port))
                made.setblocking(False)
                made.send(b"anybody?")
                self.sockets.append(made)

    def look(self):
        """port -> the answer, "refused", or None."""
        answers = {}
        for port, made in zip(self.ports, self.sockets):
            try:
                answers[port] = made.recv(100)
            except BlockingIOError:
                answers[port] = None
            except ConnectionRefusedError:
                answers[port] = "refused"
        return answers

    def close(self):
        for made in self.sockets:
            made.close()


def scan(cut, family, ports):
    """All answers; the last port is one that answers last of all."""
    made = Scan(cut, family, ports)
    try:
        lasts(seconds(0.5), "time for answers to a scan")
        return made.look()
    finally:
        made.close()


def ports_around(port, service):
    return [n for n in range(port - AROUND, port + AROUND + 1) if 1024 < n < 65536 and n != service] + [service]


def test_scan_with_a_firewall(cut, start, family):
    """With an input policy of drop a scan can't tell whether adit is there."""
    daemon = start(workers=2)
    cut.wait_open()
    with cut.echo(family.there) as echo, cut.local_echo(family.here) as local, ShortCut.setting(family.unlimited, 0), \
            cut.ruleset("table inet scan_test { chain in { type filter hook input priority 0; policy drop; "
                        "iif lo accept; ct state established,related accept; icmpv6 type > 132 accept; "
                        f"udp dport {local.port} accept; }}\n}}"):
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        (_, mine), = echo.peers
        ports = ports_around(mine, local.port)
        before = cut.frames("miss")
        while_there = scan(cut, family, ports)
        assert cut.frames("miss") - before >= len(ports)
        assert strangers(cut) == 0 and not cut.flows.other and not any(cut.flows.payloads.values())
        cut.carried(flow, "xdp")
        daemon.stop()
        assert while_there == scan(cut, family, ports)
        assert while_there[local.port] == b"anybody?"
        assert {while_there[n] for n in ports[:-1]} == {None}


def test_scan_without_a_firewall(cut, start, family):
    """Without one, anchors are silent; what a stranger sends there is counted, and none delivered."""
    start(workers=2)
    cut.wait_open()
    with cut.echo(family.there) as echo, cut.local_echo(family.here) as local, ShortCut.setting(family.unlimited, 0):
        flows = [cut.flows.open(echo.host, echo.port) for _ in range(3)]
        for number, flow in enumerate(flows):
            cut.promote(flow, number + 1)
        anchors = {port for _, port in echo.peers}
        assert len(anchors) == 3
        for number, port in enumerate(sorted(anchors)):
            ports = ports_around(port, local.port)
            inside = anchors.intersection(ports)
            before = strangers(cut)
            answers = scan(cut, family, ports)
            assert {n for n in ports if answers[n] is None} == inside, number
            assert answers[local.port] == b"anybody?"
            until(lambda before=before, n=len(inside): strangers(cut) - before == n, 5, "strangers")
        assert not cut.flows.other and not any(cut.flows.payloads.values())


@contextlib.contextmanager
def other_host(cut, family):
    """A host that this one masquerades on its way to origins."""
    client = cut.net.add("client")
    netns.ip("link", "add", "cl0", "type", "veth", "peer", "name", "c0", "netns", client.name)
    try:
        # All its addresses are there at once, and none is news to the daemon later.
        ShortCut.here("sysctl", "-qw", "net.ipv6.conf.cl0.accept_dad=0")
        netns.ip("link", "set", "cl0", "up")
        length = family.net.split("/")[1]
        netns.ip("address", "add", f"{family.gateway}/{length}", "dev", "cl0")
        client.address("c0", f"{family.client}/{length}")
        client.route("default", family.gateway)
        with ShortCut.setting(family.forwarding, 1), cut.ruleset(
                f"table {family.table} nat_test {{ chain post {{ type nat hook postrouting priority 100; "
                f"oifname {DEVICE} {family.table} saddr {family.net} masquerade; }}\n}}"):
            yield client
    finally:
        netns.ip("link", "del", "cl0")


def collide(cut, family, echo, flow, client):
    """The client asks the flow's origin from the flow's port; both go on, each with its own answers."""
    mine, = echo.peers
    taken, miss = cut.frames("taken"), cut.frames("miss")
    for number in range(10):
        client.sendto(b"client %d" % number, (echo.host, echo.port))
        assert client.recv(100) == b"client %d" % number
    other, = echo.peers.keys() - {mine}
    assert other[0] == family.here and other[1] != mine[1]
    assert cut.frames("taken") == taken and cut.frames("miss") - miss == 10
    cut.carried(flow, "xdp")
    assert not cut.flows.other and len(echo.peers) == 2


@contextlib.contextmanager
def masqueraded_client(cut, start, family):
    """A promoted flow, and a client that this host masquerades, on the port that is the flow's here: the echo, the
    flow, the client's socket."""
    with other_host(cut, family) as other:
        start(workers=2)
        cut.wait_open()
        with cut.echo(family.there) as echo:
            flow = cut.flows.open(echo.host, echo.port)
            cut.promote(flow)
            (_, port), = echo.peers
            with other.inside():
                made = bound(family.client, port)
            with made as client:
                yield echo, flow, client


def test_forwarded_client(cut, start, family):
    """Pitfall 18: the anchor's first packet has taken its port in connection tracking."""
    with masqueraded_client(cut, start, family) as (echo, flow, client):
        collide(cut, family, echo, flow, client)


def test_heartbeat(cut, start):
    """W1.8, pitfall 18: once in ten seconds the socket carries a datagram of a promoted flow, and keeps
    its port in connection tracking."""
    family = FAMILIES["ipv4"]       # one is enough: the clock of a flow knows no families
    with ShortCut.setting("net.netfilter.nf_conntrack_udp_timeout", TIMEOUT), \
            ShortCut.setting("net.netfilter.nf_conntrack_udp_timeout_stream", TIMEOUT), \
            masqueraded_client(cut, start, family) as (echo, flow, client):
        begin, before = time.monotonic(), cut.by_path("anchor")
        cut.keep_busy(flow, lambda: time.monotonic() - begin > TIMEOUT + 1, 60, "some time")
        assert cut.by_path("anchor")[0] == before[0] + 1
        collide(cut, family, echo, flow, client)
