# SPDX-License-Identifier: Apache-2.0
"""T9: strangers at adit-edge: QUIC handshakes without a registration, TLS handshakes without an end.

    lib.strangers from 127.x.y.z, silent TCP connections --> adit-edge (2 workers)
"""
import json
import pathlib
import socket
import sys
import time

import pytest

from lib import tunnelrpc as rpc
from lib.adit import Edge, section
from lib.peer_daemon import Credentials, PeerDaemon
from lib.wait import SLOW, holds, seconds, until

pytestmark = pytest.mark.group("edge")

LIB = pathlib.Path(__file__).resolve().parents[1]
UNREGISTERED, PER_ADDRESS, REGISTER = 1024, 16, 5       # defaults of the edge; seconds
SECONDS = 6         # that the crowd takes to come


def at_once(intervals):
    """The largest number of intervals (begin, end) that overlap."""
    steps = sorted([(begin, 1) for begin, _ in intervals] + [(end, -1) for _, end in intervals])
    most = level = 0
    for _, step in steps:
        level += step
        most = max(most, level)
    return most


def crowd(edge, name, count, sources, net):
    words = ["127.0.0.1", edge.port, count, SECONDS, sources, net]
    return edge.processes.start(name, [sys.executable, "-m", "lib.strangers", *words],
                                env={"PYTHONPATH": str(LIB)})


def alive(results):
    """Intervals in which the edge has certainly had a completed connection: it counts its time to
    register from the first packet, and its close is heard a little later."""
    return [(completed, min(closed, begun + REGISTER)) for _, begun, completed, closed in results
            if completed]


def test_completed_handshakes(processes, tmp_path):
    """T9: 3 000 handshakes within 6 s, 200 of them from one address; strangers complete what the edge
    lets them (some 1 500) and never register: within the limits, and a good daemon registers."""
    edge = Edge(processes, tmp_path)
    edge.start()
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca) as good:
        strangers = [crowd(edge, "one", 200, 1, 20), crowd(edge, "many", 1400, 280, 21),
                     crowd(edge, "more", 1400, 280, 22)]
        until(lambda: edge.counter("adit_edge_unregistered") > 100, 10, "the crowd")
        started = time.monotonic()
        assert isinstance(good.register()[1], rpc.Accepted)
        assert time.monotonic() - started < seconds(5)
        samples = []

        def have_ended():
            samples.append(edge.counter("adit_edge_unregistered"))
            return not any(p.is_running for p in strangers)
        until(have_ended, 60, "the strangers' end", 0.1)
        assert edge.fetch("/x").text == "hello\n"
        assert [p.wait_exit(1) for p in strangers] == [0, 0, 0]
    results = [[json.loads(line) for line in p.out.read_text().splitlines()] for p in strangers]
    every = [stranger for part in results for stranger in part]
    completed = [stranger for stranger in every if stranger[2]]
    assert len(completed) >= 300 / SLOW, f"{len(completed)} of {len(every)}: too slow to mean much"

    assert max(samples) <= UNREGISTERED
    assert all(closed for *_, closed in completed), "each is closed"
    # Those without a token count against the address from their completion on: who completes when
    # it has filled its share is closed there and then.
    kept = [[s for s in part if s[2] and s[3] > s[2] + REGISTER / 2] for part in results]
    for _, begun, done, closed in sum(kept, []):
        assert done + REGISTER - seconds(1) < closed < begun + REGISTER + seconds(3)
    assert at_once(alive(sum(kept, []))) <= UNREGISTERED
    assert PER_ADDRESS // 2 <= at_once(alive(kept[0])) <= PER_ADDRESS
    for part in kept[1:]:
        for source in {stranger[0] for stranger in part}:
            assert at_once(alive([s for s in part if s[0] == source])) <= PER_ADDRESS
    assert edge.counter("adit_drops_total", where="register", reason="timeout") >= len(sum(kept, []))
    assert edge.counter("adit_drops_total", where="accept", reason="address") > 0
    until(lambda: edge.counter("adit_edge_unregistered") == 0, 10, "nobody left")


# ---- TLS handshakes of visitors ----------------------------------------------------------------

def waiting(port):
    """Connections that each listening socket of a port has not accepted yet."""
    found = []
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, queues = line.split()[:5]
        if state == "0A" and int(local.split(":")[1], 16) == port:
            found.append(int(queues.split(":")[1], 16))
    return found


def all_wait(port):
    """Whether connections wait at every listening socket, and not just for a moment."""
    def look():
        return all(waiting(port))
    if not look():
        return False
    time.sleep(seconds(0.05))
    return look()


@pytest.mark.parametrize("limit, workers", [(3, 1), (1, 2)])
def test_silent_tls(processes, tmp_path, limit, workers):
    """§13: while as many TLS handshakes run as `handshakes` allows, accepting waits: nobody is refused,
    clear HTTP is served, and a visitor with TLS as soon as the silent ones have had their time."""
    edge = Edge(processes, tmp_path, workers=workers, both=False,
                extra=section("limits", handshakes=limit) + section("front", header_timeout="3s"))
    edge.start()
    silent = []
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca) as daemon:
        assert isinstance(daemon.register()[1], rpc.Accepted)
        assert edge.fetch("/x", tls=True).text == "hello\n"
        started = time.monotonic()
        try:
            while len(silent) < 30 and not all_wait(edge.https_port):
                silent.append(socket.create_connection(("127.0.0.1", edge.https_port)))
            share = max(limit // workers, 1)
            queues = waiting(edge.https_port)
            assert len(queues) == workers and all(queues), queues
            assert len(silent) - sum(queues) == share * workers
            holds(lambda: sum(waiting(edge.https_port)) == sum(queues), 0.5, "accepting waits")
            assert edge.fetch("/x").text == "hello\n"
            assert all(waiting(edge.https_port)), "that was meanwhile"
            assert edge.fetch("/x", tls=True, timeout=60).text == "hello\n"
            assert time.monotonic() - started > 2.7, "its turn came after the silent ones'"
            assert edge.counter("adit_drops_total", where="accept") == 0
        finally:
            for connection in silent:
                connection.close()
        assert edge.fetch("/x", tls=True).text == "hello\n"
