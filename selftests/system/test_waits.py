# SPDX-License-Identifier: Apache-2.0
"""T4, T5, T9, T11: what takes minutes because nothing happens in them, side by side. Needs root.

    visitors --> [E1], [E2] adit-edge === hub (=== wan) === [daemon] aditd --> origin  (lib/topology.py)

| what happens | what must |
|---|---|
| everything is lost for 20 s, for 60 s | an index is up 5 s after it is back, all soon |
| UDP comes and goes every 20 s for 3 minutes | in the last 2 an index changes its transport once at most |
| an address is black-holed under at least 1 request a second and link | its index is up elsewhere in 5 s, no other moves; failures before are truthful |
| the same, no request comes | its index is up elsewhere in 20 s, no other moves |
| an edge is killed, and comes back | both edges have their share of the indexes again, nothing fails meanwhile |
| a NAT has lost its state, no request came | the next is served, in 20 s (the keep-alive opens the way), by the same connection |
| 1 % loss at 50 ms each way | 5 MB arrive whole both ways, and lost packets are counted |
| nothing for 2 minutes | 10 packets a minute and connection each way at most, CPU < 1 ms a second |
"""
import collections
import concurrent.futures
import functools
import json
import re
import time

import pytest

from lib import needs
from lib.origin import Origin, digest, pattern
from lib.scenarios import Scenarios
from lib.steady import Client
from lib.topology import (E1, HOST, PATIENCE, TRANSPORTS, Load, ground, retransmitted, tell,
                          until_served)
from lib.wait import SLOW, during, lasts, seconds, until

pytestmark = [pytest.mark.group("supervisor"), pytest.mark.timeout(400)]

LINKS, KEEP_ALIVE = 4, 15
AUTO = "auto" if len(TRANSPORTS) > 1 else TRANSPORTS[0]
scenarios = Scenarios()


@pytest.fixture(scope="module", name="running")
def fixture_running(request, tmp_path_factory):
    needs.namespaces()
    asked = [item.callspec.params["name"] for item in request.session.items
             if item.module is request.module]
    scenarios.start(asked, tmp_path_factory.mktemp("waits"))
    yield scenarios
    scenarios.close()


def each_transport(name):
    """Lists a scenario(folder, transport) once for each."""
    def note(function):
        for transport in TRANSPORTS:
            scenarios.add(f"{name}-{transport}")(functools.partial(function, transport=transport))
        return function
    return note


# ---- T4 ------------------------------------------------------------------------------------------

def everything_lost(folder, outage):
    with ground(folder) as made:
        made.start_edges()
        made.make_daemon(AUTO, connections=LINKS).serve()
        scenarios.together()
        made.block("all")
        lasts(outage, "everything lost")
        assert made.daemon.ready() == 0
        made.unblock()
        back = time.monotonic()
        made.daemon.wait_ready(1, 5)
        print(f"after {outage} s: registered {time.monotonic() - back:.1f} s later")
        made.daemon.wait_ready(LINKS, 20)
        # Which edge has links now is chance.
        until(lambda: any(e.fetch("/x", "-H", "X-Number: 0", timeout=2).status == 200
                          for e in made.edges), 5, "a request to be served")


scenarios.add("everything-lost-20")(functools.partial(everything_lost, outage=20))
scenarios.add("everything-lost-60")(functools.partial(everything_lost, outage=60))


# ---- T5 ------------------------------------------------------------------------------------------

@each_transport("idle-address-lost")
def idle_address_lost(folder, transport):
    with ground(folder) as made:
        made.start_edges()
        made.make_daemon(transport, connections=LINKS).serve()
        scenarios.together()
        took = made.lose_address_of(2, KEEP_ALIVE + 5)
        print(f"idle, {transport}: up elsewhere after {took:.1f} s")


@each_transport("address-lost")
def address_lost(folder, transport):
    with ground(folder) as made:
        made.start_edges()
        made.make_daemon(transport, connections=LINKS).serve()
        scenarios.together()
        load = Load(made, 40, fresh=True)   # or a link that no worker prefers would be idle
        until(lambda: len(load.log) > 40, 10, "load")
        cut = time.monotonic()
        took = made.lose_address_of(2, 5)
        lasts(cut + seconds(8) - time.monotonic(), "more load")
        log = load.end()
        failed = [r for r in log if r.failed]
        print(f"under load, {transport}: up elsewhere after {took:.1f} s; failed:",
              collections.Counter(r.outcome for r in failed))
        assert all(r.is_truthful for r in log), tell([r for r in log if not r.is_truthful], cut)
        assert not [r for r in failed if r.began > cut + seconds(5)], tell(failed, cut)


@each_transport("edge-comes-back")
def edge_comes_back(folder, transport):
    """Its connections went to the other edge, and would stay there: it would answer 503 for ever."""
    with ground(folder) as made:
        made.start_edges()
        made.make_daemon(transport, connections=LINKS).serve()
        scenarios.together()
        made.edges[0].process.kill()
        until(lambda: made.edges[1].links() == LINKS, 40, "all indexes at the other edge")
        made.edges[0].start()
        back = time.monotonic()
        client = Client(made.edges[1].http_port, HOST, 40, 600, made.edges[1].host)
        visitor = made.visitor.thread(client.run, (), PATIENCE)
        until(lambda: made.links() == [LINKS // 2] * 2, 180, "an even share", 0.5)
        print(f"edge back, {transport}: even after {time.monotonic() - back:.0f} s")
        until_served(made.edges[0], seconds(2))
        client.ends = True
        visitor.join(seconds(PATIENCE))
        assert {r.outcome for r in client.log} == {"200"}, collections.Counter(
            r.outcome for r in client.log)


# ---- T9 ------------------------------------------------------------------------------------------

@each_transport("nat-forgets")
def nat_forgets(folder, transport):
    """QUIC even gets another port of the NAT: a TCP connection couldn't live with that. On HTTP/2 the
    request comes when the keep-alive has opened the way again: TCP waits too long to try once more."""
    with ground(folder) as made:
        made.start_edges()
        ranges = [(20000, 20999), (30000, 30999)] if transport == "quic" else [(), ()]
        made.nat(*ranges[0])
        made.make_daemon(transport, E1[:1], connections=1).serve()
        edge = made.edges[0]
        until_served(edge, seconds(2))
        scenarios.together()
        made.nat(*ranges[1])
        made.forget()
        if transport == "http2":
            until(made.remembers, KEEP_ALIVE + 5, "the keep-alive to open the way")
        got = edge.fetch("/x", "-H", "X-Number: 0", timeout=20)
        assert got.status == 200, (got, edge.process.tail(5))
        print(f"NAT, {transport}: served after {got.seconds:.1f} s")
        assert made.links()[0] == 1 and made.daemon.counter("adit_dials_total") == 1
        if transport == "quic":
            table = made.hub.run("conntrack", "-L")
            assert re.search(r"dport=30\d\d\d", table), table


@each_transport("lossy")
def lossy(folder, transport):
    size = 5_000_000
    with ground(folder, wan={"delay": "50ms", "loss": "1%"}, seed=3) as made:
        made.start_edges()
        with Origin("a", netns=made.daemon_ns) as origin:
            made.make_daemon(transport, E1[:1], connections=1, rules=[(HOST, origin.service)])
            made.daemon.serve()
            scenarios.together()
            edge, body, before = made.edges[0], pattern(size), retransmitted(made, transport)
            with concurrent.futures.ThreadPoolExecutor() as pool:
                down = pool.submit(edge.fetch, f"/bytes/{size}", timeout=100)
                up = pool.submit(edge.fetch, "/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                                 stdin=body, timeout=100)
            assert digest(down.result().body) == digest(body), down.result().error
            assert up.result().text == digest(body), up.result().error
            after, seen = retransmitted(made, transport), made.wan.counters
            print(f"lossy, {transport}: {down.result().seconds:.1f} s down, "
                  f"{up.result().seconds:.1f} s up; sent again {before} {after}")
            assert seen["up"]["lost"] and seen["down"]["lost"], seen
            assert all(now > then for now, then in zip(after, before)), (before, after)
            assert made.daemon.ready() == 1 and made.links()[0] == 1


def udp_comes_and_goes(folder):
    """No flapping: who has been sent back from QUIC waits until that has stood for a while."""
    with ground(folder) as made:
        made.start_edges()
        made.make_daemon("auto", connections=LINKS).serve()
        scenarios.together()
        load, began, fault, seen = Load(made, 20), time.monotonic(), None, {}
        changes = collections.Counter()
        for step in range(1, 10):
            fault = made.block("udp") if fault is None else made.unblock(fault)
            for _ in during(began + 20 * step - time.monotonic(), 0.2):
                for index, protocol in made.protocols().items():
                    if seen.get(index, protocol) != protocol:
                        print(f"{time.monotonic() - began:.1f} s: index {index} on {protocol}")
                        changes[index] += time.monotonic() > began + 60
                    seen[index] = protocol
        log = load.end()
        print("failed:", collections.Counter(r.outcome for r in log if r.failed))
        untrue = [r for r in log if not r.is_truthful]
        assert not untrue, tell(untrue, began)
        assert max(changes.values(), default=0) <= 1, changes


if AUTO == "auto":
    scenarios.add("udp-comes-and-goes")(udp_comes_and_goes)


# ---- T11 -----------------------------------------------------------------------------------------

IDLE_MINUTES = 2
SETTLED = 20    # seconds: path MTU discovery and the first keep-alives are behind
COUNTERS = """
table inet idle {
  counter up {}
  counter down {}
  chain passing { type filter hook forward priority -10;
    iifname "dm" meta l4proto { tcp, udp } counter name up
    oifname "dm" meta l4proto { tcp, udp } counter name down; }
}
"""


@each_transport("idle")
def idle(folder, transport):
    """Nobody asks for metrics meanwhile: that would be work."""
    with ground(folder) as made:
        made.start_edges()
        made.make_daemon(transport, connections=LINKS).serve()
        for edge in made.edges:
            until_served(edge, seconds(2))
        scenarios.together()
        lasts(SETTLED, "nothing to do")
        made.hub.nft(COUNTERS)
        before, began = made.daemon.process.cpu_seconds(), time.monotonic()
        lasts(60 * IDLE_MINUTES, "idle")
        minutes = (time.monotonic() - began) / 60
        used = (made.daemon.process.cpu_seconds() - before) / (60 * minutes)
        listed = json.loads(made.hub.run("nft", "-j", "list", "counters"))["nftables"]
        packets = {row["counter"]["name"]: row["counter"]["packets"] / minutes / LINKS
                   for row in listed if "counter" in row}
        print(f"idle, {transport}: {packets} packets a minute, {used * 1e6:.0f} us a second")
        assert all(0 < count <= 10 for count in packets.values()), packets
        assert used < 0.001 * SLOW, used
        assert made.daemon.ready() == LINKS


# --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", scenarios.names)
def test_waits(running, name):
    """See the table above."""
    running.result(name)
