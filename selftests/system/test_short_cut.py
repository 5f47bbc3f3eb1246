# SPDX-License-Identifier: Apache-2.0
"""The short cut around sockets: flows that prove themselves go by XDP and AF_XDP, on any news of the
host they go by their sockets again. Every test says which path carried its packets.

    PeerEdge (aioquic) <==QUIC DATAGRAM== aditd --lan0 ===- eth0-- [origin]
"""
import json
import os
import random
import signal
import threading
import time

import pytest

from lib import leftover, needs, netns
from lib.dgram3 import OK, carry, register
from lib.peer_edge import PeerEdge
from lib.short_cut import DEVICE, HERE, THERE, THERE_V6, ShortCut
from lib.udp_origin import UdpEcho
from lib.wait import during, lasts, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.carried(aditd="anchor xdp")]


class Stream:
    """A datagram each few milliseconds on a flow, from a thread of its own."""

    def __init__(self, cut, flow, echo):
        self.cut, self.flow, self.echo, self.sent = cut, flow, echo, 0
        self._port = next(iter(echo.peers))
        self._before = self._told()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._over.wait(0.005):
            self.cut.flows.send(carry(self.flow, b"%d" % self.sent))
            self.sent += 1

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()

    def answers(self):
        """How many have come back so far."""
        return self.cut.answers(self.flow)

    def _told(self):
        return self.echo.peers[self._port] + self.cut.lost()

    def all_told(self):
        """At the end: what was sent has reached the origin, or is counted as lost."""
        until(lambda: self._told() - self._before == self.sent, 5, "every datagram's end")
        self.cut.forget_answers(self.flow)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("host", [THERE, THERE_V6])
def test_promoted(cut, start, host, workers):
    """T4: after a probe both ways go by the short cut, and the origin sees the port that it saw."""
    start(workers=workers)
    cut.wait_open()
    with cut.echo(host) as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        cut.carried(flow, "xdp")
        for size in (0, 1, 64, 1200, 1280):
            cut.flows.echo(flow, bytes(size))
        assert len(echo.peers) == 1, "one local port"
        assert cut.frames("probe") > 0 and cut.frames("taken") > 20
        row = cut.row()
        assert (row["path"], row["why"]) == ("xdp", "busy, and proved")


def test_checksums_without_a_device(cut, start):
    """W1.5: where the device can't, the kernel completes them; the origin's kernel looks at them."""
    cut.origin.run("ethtool", "-K", "eth0", "tx", "off", "rx", "off")
    netns.ip("link", "set", DEVICE, "up")
    cut.here("ethtool", "-K", DEVICE, "tx", "off")
    start()
    cut.wait_open()
    for host in (THERE, THERE_V6):
        with cut.echo(host) as echo:
            flow = cut.flows.open(echo.host, echo.port)
            cut.promote(flow, count=1 if host == THERE else 2)
            cut.carried(flow, "xdp")
    assert "InCsumErrors" not in cut.origin.run("nstat", "-s", "UdpInCsumErrors")


def test_idle(cut, start):
    """T6: what goes by the short cut keeps a flow alive, from the origin alone, too; after the announced
    time of silence it ends, within a second."""
    start()
    cut.wait_open()
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port, idle=2)
        cut.promote(flow)
        at = next(iter(echo.peers))
        before = cut.by_path("xdp")
        for number in range(30):
            lasts(0.1, "a pause")
            echo.socket.sendto(b"%d" % number, at)
            last = time.monotonic()
        until(lambda: cut.by_path("xdp")[1] == before[1] + 30, 1, "the last of them")
        assert cut.promoted() == 1
        until(lambda: cut.counter("adit_flows", kind="udp") == 0, 5, "its end")
        assert 1 <= time.monotonic() - last <= 2 + seconds(1)
        assert cut.promoted() == 0


def test_behind_a_router(cut, start):
    """W6.3: what is too big for a hop behind the router is told to the socket; from then on larger
    datagrams go by it, in pieces, and the others by the short cut."""
    start()
    cut.wait_open()
    with cut.far(mtu=1000) as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        cut.carried(flow, "xdp")
        cut.flows.echo(flow, bytes(1200), 15)
        cut.promote(flow)
        cut.carried(flow, "xdp")
        before = cut.by_path("anchor")
        cut.each_echoed(flow, 5, bytes(1200))
        assert cut.by_path("anchor")[0] - before[0] >= 5 and cut.promoted() == 1
        assert len(echo.peers) == 1


@pytest.mark.carried(None)
def test_killed(cut, processes, tmp_path, authority):
    """T7: kill -9 at any moment, 20 times: nothing is left of rules, routes, links, nftables, programs,
    maps and links of BPF, and the next one serves."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    before, had = leftover.network(cut.here), set()
    leaf = authority.leaf("peer")

    def serve(peer):
        cut.start(processes, tmp_path, peer, authority)
        cut.wait_open()
        with cut.echo() as echo:
            cut.promote(cut.flows.open(echo.host, echo.port))
    for turn in range(20):
        with PeerEdge(*leaf) as peer:
            if turn % 5 == 0:
                serve(peer)
            else:
                cut.make(processes, tmp_path, peer, authority).start()
                lasts(chance.uniform(0, seconds(0.2)), "a part of its start")
            had |= leftover.kill(cut.daemon.process)
    leftover.until_as(before, cut.here)
    assert {kind for kind, _ in had} == set(leftover.KINDS)
    with PeerEdge(*leaf) as peer:
        serve(peer)
        until(lambda: not leftover.still_there(had), 10, "the end of programs, maps and links")


@pytest.mark.carried(aditd="anchor")
def test_slow_flows_stay_on_sockets(cut, start):
    start(datapath={"promote": 100000})
    cut.wait_open()
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        before = cut.frames("miss")
        cut.carried(flow, "anchor", 200)
        assert cut.by_path("xdp") == (0, 0) and cut.frames("probe") == 0
        assert cut.frames("miss") - before == 200
        until(lambda: cut.row()["why"] == "too slow for the short cut", 5, "the reason")


@pytest.mark.carried(aditd="anchor")
def test_mode_sockets(cut, start):
    start(datapath={"mode": "sockets"})
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.carried(flow, "anchor", 5)
    assert cut.counter("adit_short_cut_interfaces") == 0
    assert "xdp" not in cut.here("ip", "-d", "link", "show", DEVICE)


@pytest.mark.parametrize("what", ["route", "address", "rule", "ruleset"])
def test_news_put_flows_on_probe(cut, start, what):
    """W3: any of these may have changed the way, so it is proved again; no datagram is lost."""
    start()
    cut.wait_open()
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        changes = {"route": ("ip", "route", "add", "10.99.0.0/16", "via", THERE),
                   "address": ("ip", "address", "add", "10.98.0.1/24", "dev", DEVICE),
                   "rule": ("ip", "rule", "add", "to", "10.97.0.0/16", "lookup", "77"),
                   "ruleset": ("nft", "add", "table", "inet", "nothing")}
        undo = {"rule": ("ip", "rule", "del", "to", "10.97.0.0/16", "lookup", "77"),
                "ruleset": ("nft", "delete", "table", "inet", "nothing")}
        try:
            cut.here(*changes[what])
            until(lambda: cut.counter("adit_flow_changes_total", change="demoted") == 1, 5,
                  "a demotion")
            cut.each_echoed(flow, 10)
            cut.promote(flow)
        finally:
            if what in undo:
                cut.here(*undo[what])
        assert len(echo.peers) == 1


@pytest.mark.carried(aditd="anchor")
def test_address_translation(cut, start):
    """Pitfall 17: behind a rule that changes ports no probe counts, and the flow stays on its
    socket; when the rule goes, it is promoted."""
    start()
    cut.wait_open()
    with cut.echo() as echo, cut.ruleset(
            "table ip nat_test { chain post { type nat hook postrouting priority 100; "
            f"udp dport {echo.port} masquerade to :50000-50010; }}\n}}"):
        flow = cut.flows.open(echo.host, echo.port)
        for _ in range(30):
            cut.carried(flow, "anchor", 10)
            assert cut.promoted() == 0
        assert all(50000 <= port <= 50010 for _, port in echo.peers)
        assert cut.by_path("xdp") == (0, 0)


def test_address_translation_inserted(cut, start):
    """Pitfall 17, T4: a rule that changes ports takes a promoted flow off the short cut; answers to what
    was sent before it don't prove anything. The flow lives on."""
    start(workers=2)
    cut.wait_open()
    with cut.from_origin() as origin:
        port = origin.getsockname()[1]
        flow = cut.flows.open(THERE, port)

        def ask(answer=True):
            """Who asks, as the origin sees it."""
            cut.flows.send(carry(flow, b"?"))
            data, peer = origin.recvfrom(100)
            if answer:
                origin.sendto(data, peer)
                assert cut.flows.wait_payload(flow) == data
            return peer
        until(lambda: ask() and cut.promoted() == 1, 15, "a promoted flow")
        late = [ask(False) for _ in range(20)]
        with cut.ruleset("table ip nat_test { chain post { type nat hook postrouting priority 100; "
                         f"udp dport {port} masquerade to :50000-50010; }}\n}}"):
            until(lambda: cut.promoted() == 0, 5, "the demotion")
            assert 50000 <= ask()[1] <= 50010
            before = cut.frames("probe")
            for peer in late:       # which connection tracking doesn't let in: the port is another's
                origin.sendto(b"late", peer)
            until(lambda: cut.frames("probe") == before + len(late), 5, "answers at the program")
            for _ in during(4):
                assert 50000 <= ask()[1] <= 50010 and cut.promoted() == 0
        assert cut.lost() == 0


@pytest.mark.carried(aditd="anchor xdp connected?")
def test_full_queue(cut, start):
    """A queue of this host that is full says nothing of the way: a flow is promoted though some of what
    it sends finds no room."""
    start()
    cut.wait_open()
    cut.here("tc", "qdisc", "replace", "dev", DEVICE, "root", "tbf", "rate", "2mbit", "burst", "1600",
             "limit", "1600")
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)

        def once():
            for _ in range(20):
                cut.flows.send(carry(flow, bytes(500)))
                cut.flows.read()
            return cut.promoted() == 1
        until(once, 15, "a promoted flow")
        assert cut.counter("adit_drops_total", where="datagram", reason="origin") > 20
        cut.here("tc", "qdisc", "delete", "dev", DEVICE, "root")
        cut.forget_answers(flow)
        cut.carried(flow, "xdp")


def test_queue_that_takes_nothing(cut, start):
    """One that refuses again and again is a policy like any other: the flow doesn't go around it."""
    start()
    cut.wait_open()
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        cut.here("tc", "qdisc", "replace", "dev", DEVICE, "root", "tbf", "rate", "1kbit", "burst", "1600",
                 "limit", "1")

        def once():
            cut.flows.send(carry(flow, b"busy"))
            return cut.promoted() == 0
        until(once, 20, "the flow on its socket")
        assert cut.row()["why"] == "the network refused a datagram"
        assert cut.counter("adit_drops_total", where="datagram", reason="origin") >= 3


@pytest.mark.parametrize("host", [THERE, THERE_V6])
def test_drop_rule(cut, start, host):
    """Pitfall 16, T4: the firewall's word counts within a second for flows that go around it; from then
    on nothing of them leaves, and each is counted."""
    start(workers=2)
    cut.wait_open()
    with cut.echo(host) as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        with Stream(cut, flow, echo) as stream:
            until(stream.answers, 5, "answers")
            with cut.ruleset("table inet drop_test { chain out { type filter hook output priority 0; "
                             f"udp dport {echo.port} drop; }}\n}}"):
                lasts(seconds(1), "the firewall's word has been heard")
                heard, before = sum(echo.peers.values()), cut.by_path("xdp")
                until(lambda: cut.lost() >= 50, 5, "refused datagrams")
                assert cut.promoted() == 0
                assert sum(echo.peers.values()) == heard and cut.by_path("xdp") == before
        stream.all_told()
        cut.promote(flow)
        cut.carried(flow, "xdp")
        assert len(echo.peers) == 1


def test_neighbour_changes_its_address(cut, start):
    """Pitfall 20, T4: who changes its address without a word is found within 16 s, although the kernel
    believes in a neighbour for up to 45 s; both families."""
    start(workers=2)
    cut.wait_open()
    for family, name in (("ipv4", "arp_notify"), ("ipv6", "ndisc_notify")):
        cut.origin.run("sysctl", "-qw", f"net.{family}.conf.eth0.{name}=0")
    with cut.echo() as four, cut.echo(THERE_V6) as six:
        echoes = {cut.flows.open(echo.host, echo.port): echo for echo in (four, six)}

        cut.promote_all(echoes, 15)
        # What it has just heard of, it doesn't ask by itself for 15 s at least.
        for echo in echoes.values():
            cut.here("ip", "neigh", "replace", echo.host, "dev", DEVICE, "lladdr",
                     cut.origin_mac(), "nud", "reachable")
        for flow in echoes:
            cut.flows.echo(flow, flow)
        cut.origin.run("ip", "link", "set", "eth0", "address", "02:00:00:00:55:02")
        begin, back = time.monotonic(), {}

        def all_back():
            for flow in echoes:
                cut.flows.send(carry(flow, flow))
            cut.flows.read()
            for flow in echoes:
                if cut.flows.payloads.pop(flow, None):
                    back.setdefault(flow, time.monotonic() - begin)
            return len(back) == 2
        until(all_back, 30, "answers of the new address")
        print("after", back.values())
        assert max(back.values()) <= seconds(16)
        cut.promote_all(echoes, 15)
        assert len(four.peers) == len(six.peers) == 1


def test_neighbour_tells_its_address(cut, start):
    """Pitfall 20, T4: nothing is lost when the neighbour says it itself."""
    start()
    cut.wait_open()
    cut.origin.run("sysctl", "-qw", "net.ipv4.conf.eth0.arp_notify=1")
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        cut.origin.run("ip", "link", "set", "eth0", "address", "02:00:00:00:55:02")
        until(lambda: cut.counter("adit_flow_changes_total", change="demoted") == 1, 5,
              "a demotion")
        cut.each_echoed(flow, 50)
        cut.promote(flow)
        cut.carried(flow, "xdp")
        assert len(echo.peers) == 1


@pytest.mark.parametrize("host", [THERE, THERE_V6])
def test_interface_down_and_up(cut, start, host):
    """Pitfall 24, T4: program and sockets stay, and serve again when it is up; what is lost while it
    is down is counted."""
    start(workers=2)
    cut.wait_open()
    with cut.echo(host) as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        with Stream(cut, flow, echo) as stream:
            until(stream.answers, 5, "answers")
            cut.here("ip", "link", "set", DEVICE, "down")
            until(lambda: cut.promoted() == 0, 5, "the demotion")
            until(lambda: cut.lost() > 10, 5, "refused datagrams")
            cut.here("ip", "link", "set", DEVICE, "up")
            cut.addresses()     # those of IPv6 have gone
            before = stream.answers()
            until(lambda: stream.answers() > before + 10, 15, "answers again")
        stream.all_told()
        cut.promote(flow)
        cut.carried(flow, "xdp")
        assert len(echo.peers) == 1 and cut.counter("adit_short_cut_interfaces") == 1


@pytest.mark.parametrize("host", [THERE, THERE_V6])
def test_interface_deleted(cut, start, host):
    """Pitfall 24, T4: the flow lives on, by its socket within a second from when others of the host get
    answers there again; one of the name is served from the stock, once; then sockets do."""
    daemon = start(workers=2)
    cut.wait_open()
    with cut.echo(host) as echo:
        flow = cut.flows.open(echo.host, echo.port)
        others = set()
        for generation in range(3):
            if generation < 2:
                cut.promote(flow)
                cut.carried(flow, "xdp")
            else:
                daemon.process.wait_line("no socket is left for it until a restart")
                cut.carried(flow, "anchor")
            lost = cut.lost()
            with Stream(cut, flow, echo) as stream:
                until(stream.answers, 5, "answers")
                cut.unplug()
                until(lambda: cut.counter("adit_short_cut_interfaces") == 0, 5,
                      "the end of the short cut")
                until(lambda: cut.lost() > lost + 10, 5, "refused datagrams")
                before = stream.answers()
                cut.plug()
                others.add(cut.wait_kernel(echo))
                begin = time.monotonic()
                until(lambda: stream.answers() > before, 15, "answers again")
                assert time.monotonic() - begin <= seconds(1)
            stream.all_told()
            if generation == 0:
                cut.wait_open()
        assert len(echo.peers.keys() - others) == 1


def test_interface_moved_away_and_back(cut, start):
    """T4, socket killed: the interface is the same, with our program, but the kernel has taken its
    sockets off it. They are replaced, and the flow lives on."""
    daemon = start(workers=2)
    cut.wait_open()
    away = cut.net.add("away")
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        os.kill(daemon.process.pid, signal.SIGSTOP)     # so that all news come at once
        try:
            cut.here("ip", "link", "set", DEVICE, "netns", away.name)
            away.run("ip", "link", "set", DEVICE, "netns", str(os.getpid()))
            cut.here("ip", "link", "set", DEVICE, "up")
            cut.addresses()
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
        daemon.process.wait_line("the short cut is open", count=2)
        cut.each_echoed(flow, 10)
        cut.promote(flow)
        cut.carried(flow, "xdp")
        assert len(echo.peers) == 1


def test_socket_taken_from_the_program(cut, start):
    """T4, socket killed: answers come by the flow's socket, none is lost, each is counted."""
    start(workers=2)
    cut.wait_open()
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        about, = json.loads(cut.here("ip", "-j", "-d", "link", "show", DEVICE))
        program = json.loads(cut.here("bpftool", "-j", "prog", "show", "id",
                                      about["xdp"]["prog"]["id"]))
        maps = [json.loads(cut.here("bpftool", "-j", "map", "show", "id", number))
                for number in program["map_ids"]]
        sockets, = [m["id"] for m in maps if m["type"] == "xskmap"]
        for worker in range(2):     # of each the first queue's
            cut.here("bpftool", "map", "delete", "id", sockets, "key", worker * 64, 0, 0, 0)
        anchor, missed = cut.by_path("anchor"), cut.frames("no-socket")
        cut.each_echoed(flow, 50)
        assert cut.by_path("anchor")[1] - anchor[1] == 50
        assert cut.frames("no-socket") - missed == 50
        assert cut.promoted() == 1 and len(echo.peers) == 1


def test_program_taken_from_the_interface(cut, start):
    """Another hand detaches our program: answers come by the flow's socket, none is lost."""
    start()
    cut.wait_open()
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        links = json.loads(cut.here("bpftool", "-j", "link", "show"))
        ours, = [k["id"] for k in links if k.get("devname") == DEVICE]
        cut.here("bpftool", "link", "detach", "id", ours)
        before = cut.by_path("anchor")
        cut.each_echoed(flow, 50)
        assert cut.by_path("anchor")[1] - before[1] == 50
        cut.here("ip", "link", "set", DEVICE, "mtu", 1490)     # news, on which it looks again
        until(lambda: "xdp" in cut.here("ip", "-d", "link", "show", DEVICE), 10, "our program")
        cut.promote(flow)
        cut.carried(flow, "xdp")
        assert len(echo.peers) == 1


def test_route_moved(cut, start):
    """T4: the route to the origin moves to another cable and back; the flow with it, and nothing is
    lost."""
    start(workers=2)
    cut.wait_open()
    with cut.far(mtu=1500) as echo, cut.second_cable() as router:
        flow = cut.flows.open(echo.host, echo.port)
        for _ in range(2):
            cut.promote(flow)
            cut.carried(flow, "xdp")
            netns.ip("route", "replace", f"{echo.host}/32", "via", router)
            until(lambda: cut.promoted() == 0, 5, "the demotion")
            cut.each_echoed(flow, 50)
            assert cut.packets("lan1") >= 50
            netns.ip("route", "del", f"{echo.host}/32")
            cut.each_echoed(flow, 50)
        assert len(echo.peers) == 1 and cut.lost() == 0


def test_another_program(cut, start, processes, tmp_path, authority):
    """Pitfall 9, T6: who comes second stays on sockets and says so, and the first isn't disturbed;
    when that has gone, killed, nothing of it is left."""
    first = start()
    cut.wait_open()
    second = ShortCut.beside(cut)
    folder = tmp_path / "second"
    folder.mkdir()
    with PeerEdge(*authority.leaf("other")) as peer, cut.echo() as echo:
        daemon = second.start(processes, folder, peer, authority)
        daemon.process.wait_line("interface has an XDP program already")
        flow = second.flows.open(echo.host, echo.port)
        second.carried(flow, "anchor")
        assert second.row()["why"] == "no interface has a short cut now"
        ours = cut.flows.open(echo.host, echo.port)
        cut.promote(ours)
        first.process.kill()
        until(lambda: "xdp" not in cut.here("ip", "-d", "link", "show", DEVICE), 5,
              "an interface without a program")
        cut.here("ip", "link", "set", DEVICE, "mtu", 1490)     # news, on which it looks again
        cut.here("ip", "link", "set", DEVICE, "mtu", 1500)
        second.wait_open()
        second.promote(flow)
        second.carried(flow, "xdp")


@pytest.mark.carried(aditd="anchor")
@pytest.mark.parametrize("host", [HERE, "127.0.0.1"])
def test_own_addresses(cut, start, host):
    """Pitfall 26, W5: an origin on this host is reached over loopback, by sockets."""
    start(network=f"{HERE}/32, 127.0.0.1/32")
    cut.wait_open()
    with UdpEcho(host) as echo:
        flow = cut.flows.open(echo.host, echo.port)
        for _ in range(10):
            cut.carried(flow, "anchor", 20)
        assert cut.promoted() == 0 and cut.by_path("xdp") == (0, 0) and cut.frames("probe") == 0
        assert len(echo.peers) == 1


def test_origin_goes(cut, start):
    """W6: the answer that nobody listens comes by the socket, also for what went around it."""
    start()
    cut.wait_open()
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        port = echo.port
    cut.flows.send(b"\x01" + flow + b"anybody?")
    until(lambda: cut.counter("adit_flows", kind="udp") == 0, 5, "the end of the flow")
    assert cut.promoted() == 0
    with cut.echo(port=port) as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)


def test_many_flows(cut, start):
    """Two workers, a hundred flows: each promoted, each with its own answers; all gone in the end."""
    start(workers=2)
    cut.wait_open()
    with cut.echo() as echo:
        flows = [cut.flows.open(echo.host, echo.port) for _ in range(100)]
        cut.promote_all(flows)
        assert len(echo.peers) == len(flows)
        cut.here("ip", "route", "add", "10.99.0.0/16", "via", THERE)     # all have to prove themselves
        until(lambda: cut.counter("adit_flow_changes_total", change="demoted") == len(flows), 5,
              "as many demotions")
        cut.promote_all(flows)
        before = cut.by_path("xdp")
        for number, flow in enumerate(flows):
            cut.flows.echo(flow, b"again %d" % number)
        assert cut.by_path("xdp")[1] - before[1] >= len(flows)


@pytest.mark.parametrize("cut", [4], indirect=True)
def test_queues(cut, start):
    """Pitfall 22: each frame goes to the socket of the queue on which it came, whatever that is."""
    start(workers=2)
    cut.wait_open()
    with cut.echo() as echo:
        flows = [cut.flows.open(echo.host, echo.port) for _ in range(32)]
        cut.promote_all(flows)
        before = cut.by_path("xdp")
        for flow in flows:
            cut.flows.echo(flow, flow[::-1])
        assert cut.by_path("xdp")[1] - before[1] >= len(flows) and cut.frames("no-socket") == 0


def test_interface_auto(cut, start):
    """Every Ethernet without a default route, and no other."""
    netns.ip("link", "add", "other0", "type", "veth", "peer", "name", "other1")
    try:
        for device in ("other0", "other1"):
            cut.here("sysctl", "-qw", f"net.ipv6.conf.{device}.accept_dad=0")   # no news a second later
            netns.ip("link", "set", device, "up")
        netns.ip("address", "add", "10.96.0.1/24", "dev", "other0")
        netns.ip("route", "add", "default", "via", "10.96.0.2")
        start(datapath={"interface": "auto"})
        cut.wait_open(2)
        assert "xdp" in cut.here("ip", "-d", "link", "show", DEVICE)
        assert "xdp" not in cut.here("ip", "-d", "link", "show", "other0")
        assert "xdp" in cut.here("ip", "-d", "link", "show", "other1")
        with cut.echo() as echo:
            flow = cut.flows.open(echo.host, echo.port)
            cut.promote(flow)
    finally:
        netns.ip("link", "del", "other0")


@pytest.mark.carried(aditd="anchor")
def test_without_privileges(cut, start):
    """What can't be had is said, and sockets serve."""
    daemon = start(wrap=["setpriv", "--bounding-set=-all", "--inh-caps=-all"])
    daemon.process.wait_line("no short cut: all flows go by sockets reason=.*CAP_")
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.carried(flow, "anchor")


@pytest.mark.carried()
def test_privileges_are_given_up(cut, start):
    """Spec §14: nothing is kept after the start, and all of this file works without."""
    daemon = start()
    cut.wait_open()
    status = daemon.process.status
    for name in ("CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"):
        assert int(status(name), 16) == 0, name
    assert status("NoNewPrivs") == "1"


def test_ipsec(cut, start):
    """W3.3: what IPsec has a say in stays with the kernel."""
    start()
    cut.wait_open()
    policy = ("src", "10.95.0.0/16", "dst", "10.94.0.0/16", "dir", "out")
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        cut.promote(flow)
        cut.here("ip", "xfrm", "policy", "add", *policy)
        try:
            until(lambda: cut.promoted() == 0, 5, "the demotion")
            cut.keep_busy(flow, lambda: cut.row()["why"] == "the host has policies of IPsec",
                          what="the reason")
            cut.carried(flow, "anchor", 20)
            assert cut.promoted() == 0
        finally:
            cut.here("ip", "xfrm", "policy", "delete", *policy)
        cut.promote(flow)


@pytest.mark.carried(aditd="anchor xdp connected?")
def test_moved(cut, start):
    """T6: a promoted flow that is registered on another connection keeps its port, is served by its
    socket at once, and promoted by the worker of that connection."""
    start(workers=2, connections=2)
    cut.wait_open()
    with cut.echo() as echo:
        flow = cut.flows.open(echo.host, echo.port)
        for number in range(4):
            cut.promote(flow)
            cut.carried(flow, "xdp")
            cut.flows = cut.links[(number + 1) % 2]
            answers = len(cut.flows.responses.get(flow, ()))
            cut.flows.send(register(flow, echo.host, echo.port))
            assert cut.flows.wait_response(flow, answers + 1) == OK
        assert len(echo.peers) == 1, "one local port"
        assert cut.counter("adit_flow_crossings_total", what="flow") == 4


@pytest.mark.carried(aditd="anchor")
def test_policy_route(cut, start):
    """W3.3: what a rule sends by a table of its own stays with the kernel."""
    start()
    cut.wait_open()
    cut.here("ip", "route", "add", f"{THERE}/32", "dev", DEVICE, "table", "78")
    cut.here("ip", "rule", "add", "to", f"{THERE}/32", "lookup", "78")
    try:
        with cut.echo() as echo:
            flow = cut.flows.open(echo.host, echo.port)
            for _ in range(20):
                cut.carried(flow, "anchor", 20)
            assert cut.promoted() == 0 and cut.frames("probe") == 0
    finally:
        cut.here("ip", "rule", "del", "to", f"{THERE}/32", "lookup", "78")


@pytest.mark.carried()
@pytest.mark.parametrize("command, reason", [
    (("ip", "link", "set", DEVICE, "mtu", "9000"), "its MTU is over 1500"),
    (("ip", "link", "add", "link", DEVICE, "name", "above0", "type", "macvlan"), "lies on it"),
    (("ip", "link", "add", "link", DEVICE, "name", "vlan0", "type", "vlan", "id", "5"), "lies on it"),
    (("ip", "link", "add", "bridge0", "type", "bridge"), "port of a bridge"),
], ids=["mtu", "macvlan", "vlan", "bridge"])
def test_interfaces_that_cannot(cut, start, command, reason):
    """W3.3, pitfall 8: conditions of an interface, each with its reason in the log."""
    if "vlan" in command:
        needs.device_type("vlan")
    cut.here(*command)
    extra = command[command.index("name") + 1] if "name" in command else command[3]
    try:
        if extra == "bridge0":
            cut.here("ip", "link", "set", DEVICE, "master", "bridge0")
        daemon = start()
        daemon.process.wait_line(reason)
        assert cut.counter("adit_short_cut_interfaces") == 0
    finally:
        if extra in ("above0", "bridge0", "vlan0"):
            cut.here("ip", "link", "del", extra)
