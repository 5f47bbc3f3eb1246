# SPDX-License-Identifier: Apache-2.0
"""T9: links over a path that is long, loses packets, shrinks, or forgets.

    curl --> [E1] === hub === wan === [daemon] aditd --> origin        (lib/topology.py)

50 ms each way: 10 MB at 0 % and 5 MB at 1 % loss arrive whole in both directions, and what was lost is
seen in the counters. A path MTU of 1 500 becomes 1 300 under load: served again in 3 s. A NAT that has
lost its state in the idle phase: the next request is served.
"""
import concurrent.futures
import re
import threading
import time

import pytest

from lib.origin import Origin, digest, pattern
from lib.topology import E1, HOST, TRANSPORTS, until_served
from lib.wait import seconds, until

pytestmark = pytest.mark.group("supervisor")


@pytest.fixture(name="transport", params=TRANSPORTS)
def fixture_transport(request):
    return request.param


@pytest.fixture(name="start")
def fixture_start(make_topology, transport, cables):
    """start(wan settings, …) -> topology with one link to E1 and an Origin."""
    def start(**options):
        ground = make_topology(**options)
        ground.start_edges()
        ground.files = cables.enter_context(Origin("a", netns=ground.daemon_ns))
        ground.make_daemon(transport, E1[:1], connections=1, rules=[(HOST, ground.files.service)])
        return ground
    return start


def lost(ground, transport):
    """Packets that a sender found lost and has sent again: (the daemon's, the edge's)."""
    if transport == "quic":
        return [p.counter("adit_link_lost_packets_total") for p in (ground.daemon, ground.edges[0])]
    return [sum(int(n) for n in re.findall(r"retrans:\d+/(\d+)", namespace.run(
        "ss", "-tinH", f"sport = :{ground.port} or dport = :{ground.port}")))
            for namespace in (ground.daemon_ns, ground.edge_ns[0])]


@pytest.mark.parametrize("size, loss", [(10_000_000, 0), (5_000_000, "1%")])
def test_long_path(start, transport, size, loss):
    """Bodies arrive whole both ways at the same time; with loss, what is lost is counted at the end that sends."""
    ground = start(wan={"delay": "50ms"}, seed=3)
    ground.daemon.serve()
    edge = ground.edges[0]
    until_served(edge, seconds(2))
    ground.wan.set(loss=loss)
    before, dropped = lost(ground, transport), ground.wan.counters
    body = pattern(size)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        down = pool.submit(edge.fetch, f"/bytes/{size}", timeout=100)
        up = pool.submit(edge.fetch, "/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                         stdin=body, timeout=100)
    got = down.result()
    assert (got.code, digest(got.body)) == (0, digest(body)), got.error
    assert up.result().text == digest(body), up.result().error
    counters = ground.wan.counters
    for program, direction, then, now in zip(("daemon", "edge"), ("up", "down"), before,
                                             lost(ground, transport)):
        if loss:
            assert counters[direction]["lost"] > dropped[direction]["lost"]
            assert now > then, f"no packet lost, says the {program}"
        else:
            assert counters[direction]["lost"] == counters[direction]["full"] == 0
    assert ground.daemon.ready() == 1 and ground.links()[0] == 1


class Visits:
    """One visitor that asks for the same body again and again."""

    def __init__(self, edge, size):
        self.edge, self.size = edge, size
        self.done = []              # when each whole answer had come
        self.failed = []            # of the others: when, and what came
        self.running = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        want = digest(pattern(self.size))
        while self.running:
            got = self.edge.fetch(f"/bytes/{self.size}", timeout=5)
            if got.code == 0 and got.status == 200 and digest(got.body) == want:
                self.done.append(time.monotonic())
            else:
                self.failed.append((time.monotonic(), got.code, got.status, got.error))

    def end(self):
        self.running = False
        self.thread.join(seconds(10))


def test_path_mtu_shrinks(start, transport):
    """1 500 becomes 1 300 under load: answers come again within 3 s, and go on coming. QUIC isn't told
    of it; a TCP connection is, for without the ICMP message it would be up to the kernel."""
    ground = start(wan={"delay": "5ms"})
    ground.daemon.serve()
    edge = ground.edges[0]
    if transport == "quic":
        for program in (ground.daemon, edge):
            until(lambda p=program: p.metrics().sum("adit_link_mtu_bytes") >= 1452, 15, "a large MTU")
    visits = Visits(edge, 200_000)
    until(lambda: len(visits.done) >= 3, 10, "answers")
    ground.squeeze(1300, told=transport != "quic")
    cut = time.monotonic()
    # The first to begin after the cut counts: one may have been all but whole.
    until(lambda: len([t for t in visits.done if t > cut]) >= 3, 10, "answers after the cut")
    again = [t for t in visits.done if t > cut][1]
    assert again - cut < seconds(3), f"{again - cut:.1f} s; {visits.failed}"
    assert edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                      stdin=pattern(300_000)).text == digest(pattern(300_000))
    visits.end()
    assert not [f for f in visits.failed if f[0] > again], visits.failed


def test_nat_forgets_when_idle(start):
    """The NAT has forgotten the idle link: the next request is served, before 20 s are over (the
    daemon's keep-alive is what opens the way again)."""
    ground = start()
    ground.nat()
    ground.daemon.serve()
    edge = ground.edges[0]
    until_served(edge, seconds(2))
    ground.nat(30000, 30999)
    ground.forget()
    got = edge.fetch("/x", timeout=20)
    assert got.status == 200, (got, edge.process.tail(5))
    assert got.seconds < seconds(20)
    table = ground.hub.run("conntrack", "-L")
    assert re.search(r"dport=30\d\d\d", table), table
