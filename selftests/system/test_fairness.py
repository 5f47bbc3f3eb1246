# SPDX-License-Identifier: Apache-2.0
"""T10: what is stuck or large costs the others nothing.

    500 uploads --> adit-edge ==QUIC==> aditd --> StuckOrigin
    2 000 others ----^                     '----> Origin a

    visitors --> [edge] ==== 10 Mbit/s ==== [daemon] --> Origin a
"""
import concurrent.futures
import contextlib
import http.client
import time

import pytest

from lib import netns
from lib.adit import DOMAIN, Daemon, Edge, section
from lib.origin import Origin, digest
from lib.slow import SlowVisitors, StuckOrigin
from lib.wait import seconds, until

pytestmark = pytest.mark.group("http")

HOST = f"a.{DOMAIN}"
STUCK = f"stuck.wild.{DOMAIN}"
MIB = 1 << 20
BODY = bytes(range(256)) * 256
MANY = {"extra": section("front", client_concurrency=10000)}


def post_all(port, count):
    """POSTs on one connection; how many were answered rightly."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=seconds(30))
    right = 0
    with contextlib.closing(connection):
        for _ in range(count):
            connection.request("POST", "/sha256", body=BODY, headers={"Host": HOST})
            answer = connection.getresponse()
            text = answer.read().decode().strip()
            right += answer.status == 200 and text == digest(BODY)
    return right


def stalls(pipe):
    name, pages = "adit_link_credit_stalls_total", [p.metrics() for p in (pipe.edge, pipe.daemon)]
    assert all(page.has(name) for page in pages)
    return [page.sum(name) for page in pages]


def test_stuck_origin(make_pipe, tmp_path):
    """500 uploads of 1 MiB to an origin that reads nothing: 2 000 others succeed on the same links."""
    with contextlib.ExitStack() as held:
        origin = held.enter_context(contextlib.closing(StuckOrigin(tmp_path)))
        pipe = make_pipe("stuck", rules=[(STUCK, origin.service)], edge=MANY)
        slow = held.enter_context(contextlib.closing(
            SlowVisitors(pipe.edge.http_port, STUCK, up=500, size=MIB)))
        until(lambda: len(origin.taken) == 500, 30, "500 uploads at the origin")
        until(slow.is_stuck, 30, "uploads that don't move any more")
        before = stalls(pipe)  # 32 MiB at once are more than a link's first window
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            done = pool.map(lambda _: post_all(pipe.edge.http_port, 100), range(20))
            assert sum(done) == 2000
        assert not slow.ended
        assert stalls(pipe) == before


@pytest.fixture(name="cable")
def fixture_cable(net):
    """[edge] 10.78.1.1 === 10.78.1.2 [daemon], 10 Mbit/s each way."""
    edge, daemon = net.add("edge"), net.add("dm")
    netns.veth(edge, "e0", daemon, "d0")
    edge.address("e0", "10.78.1.1/24")
    daemon.address("d0", "10.78.1.2/24")
    for side, device in ((edge, "e0"), (daemon, "d0")):
        side.run("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", "10mbit",
                 "burst", "16kb", "latency", "50ms")
    return edge, daemon


def test_bulk_beside_small(cable, processes, tmp_path):
    """Four downloads fill a link of 10 Mbit/s: ten small requests a second take under a second each."""
    edge_ns, daemon_ns = cable
    with contextlib.ExitStack() as held:
        origin = held.enter_context(contextlib.closing(Origin("a", netns=daemon_ns)))
        edge = Edge(processes, tmp_path, host="10.78.1.1", netns=edge_ns)
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                        rules=[(HOST, origin.service)], netns=daemon_ns)
        daemon.serve()
        pool = held.enter_context(concurrent.futures.ThreadPoolExecutor(4))
        bulk = [pool.submit(edge.fetch, f"/bytes/{4 * MIB}", timeout=60) for _ in range(4)]
        until(lambda: edge.metrics().sum("adit_requests_active") >= 4, 10, "the downloads")
        took = []
        while not any(b.done() for b in bulk) and len(took) < 50:
            begun = time.monotonic()
            assert edge.fetch("/x").status == 200
            took.append(time.monotonic() - begun)
            time.sleep(max(0, 0.1 - took[-1]))
        assert len(took) >= 20
        assert max(took) < seconds(1), sorted(took)[-5:]
        assert [b.result().status for b in bulk] == 4 * [200]
