# SPDX-License-Identifier: Apache-2.0
"""T9: links over a path that is long, loses packets, shrinks, or forgets.

    curl --> [E1] === hub === wan === [daemon] aditd --> origin        (lib/topology.py)

50 ms each way: 10 MB arrive whole in both directions. A path MTU of 1 500 becomes 1 300 under load: served
again in 3 s. With loss, and behind a NAT that forgets: test_waits.py.
"""
import concurrent.futures
import threading
import time

import pytest

from lib.origin import Origin, digest, pattern
from lib.topology import E1, HOST, TRANSPORTS
from lib.wait import seconds, until

pytestmark = pytest.mark.group("supervisor")


@pytest.fixture(name="transport", params=TRANSPORTS)
def fixture_transport(request):
    return request.param


@pytest.fixture(name="start")
def fixture_start(make_topology, transport):
    """start(wan settings, …) -> topology with one link to E1 and an Origin."""
    def start(**options):
        ground = make_topology(**options)
        ground.start_edges()
        origin = ground.closing.enter_context(Origin("a", netns=ground.daemon_ns))
        ground.make_daemon(transport, E1[:1], connections=1, rules=[(HOST, origin.service)])
        return ground
    return start


def test_long_path(start):
    """Bodies arrive whole both ways at the same time; nothing is dropped for want of room."""
    ground = start(wan={"delay": "50ms"})
    ground.daemon.serve()
    edge, size = ground.edges[0], 10_000_000
    body = pattern(size)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        down = pool.submit(edge.fetch, f"/bytes/{size}", timeout=60)
        up = pool.submit(edge.fetch, "/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                         stdin=body, timeout=60)
    got = down.result()
    assert (got.code, digest(got.body)) == (0, digest(body)), got.error
    assert up.result().text == digest(body), up.result().error
    print(f"{got.seconds:.1f} s down, {up.result().seconds:.1f} s up")
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
