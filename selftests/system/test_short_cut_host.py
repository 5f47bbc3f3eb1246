# SPDX-License-Identifier: Apache-2.0
"""Issue 12 T5: a host with a short cut keeps what is its own, and lets nothing in that nobody asked for.

    PeerEdge (aioquic) <==QUIC DATAGRAM== aditd --lan0 ===- eth0-- [origin, strangers]
                       [client] --c0 -=== cl0 (masqueraded)
"""
import contextlib
import time

import pytest

from lib import netns
from lib.short_cut import DEVICE, HERE, THERE, ShortCut
from lib.udp_origin import bound
from lib.wait import lasts, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.carried(aditd="anchor xdp")]

AROUND = 30             # ports scanned below and above the flow's
TIMEOUT = 12            # of connection tracking: more than the 10 s between two heartbeats


def strangers(cut):
    return cut.counter("adit_drops_total", where="datagram", reason="stranger")


def test_services_and_clients(cut, start):
    """A service and clients of the host's own, clients of the flow's very origin among them; whole
    datagrams, fragments and IP options."""
    start(workers=2)
    cut.wait_open()
    with cut.echo() as echo, cut.local_echo() as local, cut.from_origin() as outside:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        taken, miss = cut.frames("taken"), cut.frames("miss")

        def ask_service(payload):
            outside.sendto(payload, (HERE, local.port))
            assert outside.recv(65536) == payload
        for number in range(10):
            ask_service(b"%d" % number)
        for number in range(10):
            with bound(HERE) as client:
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


def test_datagrams_for_flows(cut, start):
    """What comes to the flow's own port: from others it is a stranger's; from its origin fragments and
    options are the socket's."""
    start(workers=2)
    cut.wait_open()
    with cut.echo() as echo, cut.from_origin() as stranger:
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

    def __init__(self, cut, ports):
        self.ports, self.sockets = ports, []
        with cut.origin.inside():
            for port in ports:
                made = bound(THERE)
                made.connect((HERE, port))
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


def scan(cut, ports):
    """All answers; the last port is one that answers last of all."""
    made = Scan(cut, ports)
    try:
        lasts(seconds(0.5), "time for answers to a scan")
        return made.look()
    finally:
        made.close()


def ports_around(port, service):
    return [n for n in range(port - AROUND, port + AROUND + 1) if 1024 < n < 65536 and n != service] + [service]


def test_scan_with_a_firewall(cut, start, processes):
    """With an input policy of drop a scan can't tell whether adit is there."""
    daemon = start(workers=2)
    cut.wait_open()
    with cut.echo() as echo, cut.local_echo() as local, ShortCut.setting("net.ipv4.icmp_ratemask", 0), \
            cut.ruleset("table inet scan_test { chain in { type filter hook input priority 0; policy drop; "
                        "iif lo accept; ct state established,related accept; icmpv6 type > 132 accept; "
                        f"udp dport {local.port} accept; }}\n}}"):
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        (_, mine), = echo.peers
        ports = ports_around(mine, local.port)
        before = cut.frames("miss")
        while_there = scan(cut, ports)
        assert cut.frames("miss") - before >= len(ports)
        assert strangers(cut) == 0 and not cut.flows.other and not any(cut.flows.payloads.values())
        cut.carried(flow, "xdp")
        daemon.stop()
        assert while_there == scan(cut, ports)
        assert while_there[local.port] == b"anybody?"
        assert {while_there[n] for n in ports[:-1]} == {None}


def test_scan_without_a_firewall(cut, start):
    """Without one, anchors are silent; what a stranger sends there is counted, and none delivered."""
    start(workers=2)
    cut.wait_open()
    with cut.echo() as echo, cut.local_echo() as local, ShortCut.setting("net.ipv4.icmp_ratemask", 0):
        flows = [cut.flows.open(echo.host, echo.port) for _ in range(3)]
        for number, flow in enumerate(flows):
            cut.promote(flow, number + 1)
        anchors = {port for _, port in echo.peers}
        assert len(anchors) == 3
        for number, port in enumerate(sorted(anchors)):
            ports = ports_around(port, local.port)
            inside = anchors.intersection(ports)
            before = strangers(cut)
            answers = scan(cut, ports)
            assert {n for n in ports if answers[n] is None} == inside, number
            assert answers[local.port] == b"anybody?"
            until(lambda before=before, n=len(inside): strangers(cut) - before == n, 5, "strangers")
        assert not cut.flows.other and not any(cut.flows.payloads.values())


@contextlib.contextmanager
def forwarded_client(cut, port):
    """A socket of another host that this one masquerades, on this port there."""
    client = cut.net.add("client")
    netns.ip("link", "add", "cl0", "type", "veth", "peer", "name", "c0", "netns", client.name)
    try:
        netns.ip("address", "add", "10.58.0.1/24", "dev", "cl0")
        netns.ip("link", "set", "cl0", "up")
        client.address("c0", "10.58.0.2/24")
        client.route("default", "10.58.0.1")
        with client.inside():
            made = bound("10.58.0.2", port)
        with made, ShortCut.setting("net.ipv4.ip_forward", 1):
            yield made
    finally:
        netns.ip("link", "del", "cl0")


MASQUERADE = ("table ip nat_test { chain post { type nat hook postrouting priority 100; "
              f"oifname {DEVICE} ip saddr 10.58.0.0/24 masquerade; }}\n}}")


def collide(cut, echo, flow, client):
    """The client asks the flow's origin from the flow's port; both go on, each with its own answers."""
    mine, = echo.peers
    taken, miss = cut.frames("taken"), cut.frames("miss")
    for number in range(10):
        client.sendto(b"client %d" % number, (echo.host, echo.port))
        assert client.recv(100) == b"client %d" % number
    other, = echo.peers.keys() - {mine}
    assert other[0] == HERE and other[1] != mine[1]
    assert cut.frames("taken") == taken and cut.frames("miss") - miss == 10
    cut.carried(flow, "xdp")
    assert not cut.flows.other and len(echo.peers) == 2


@contextlib.contextmanager
def masqueraded_client(cut, start):
    """A promoted flow, and a client that this host masquerades, on the port that is the flow's here: the echo, the
    flow, the client's socket."""
    with cut.ruleset(MASQUERADE):
        start(workers=2)
        cut.wait_open()
        with cut.echo() as echo:
            flow = cut.flows.open(echo.host, echo.port)
            cut.promote(flow)
            (_, port), = echo.peers
            with forwarded_client(cut, port) as client:
                cut.promote(flow)       # the client's cable was news
                yield echo, flow, client


def test_forwarded_client(cut, start):
    """Pitfall 18: the anchor's first packet has taken its port in connection tracking."""
    with masqueraded_client(cut, start) as (echo, flow, client):
        collide(cut, echo, flow, client)


def test_heartbeat(cut, start):
    """W1.8, pitfall 18: once in ten seconds the socket carries a datagram of a promoted flow, and keeps
    its port in connection tracking."""
    with ShortCut.setting("net.netfilter.nf_conntrack_udp_timeout", TIMEOUT), \
            ShortCut.setting("net.netfilter.nf_conntrack_udp_timeout_stream", TIMEOUT), \
            masqueraded_client(cut, start) as (echo, flow, client):
        begin, before = time.monotonic(), cut.by_path("anchor")
        cut.keep_busy(flow, lambda: time.monotonic() - begin > TIMEOUT + 1, 60, "some time")
        assert cut.by_path("anchor")[0] == before[0] + 1
        collide(cut, echo, flow, client)
