# SPDX-License-Identifier: Apache-2.0
"""T5: one of two edges goes away behind HAProxy. Lost addresses: test_waits.py. Needs root.

    visitors --> [HAProxy] --> [E1], [E2] === hub === [daemon] aditd --> origin   (lib/topology.py)

| what happens | what must |
|---|---|
| E1 is drained behind HAProxy under load | no request fails |
| E1 is killed behind HAProxy under load | no GET fails |
"""
import collections
import signal
import time

import pytest

from lib.haproxy import Haproxy
from lib.steady import Client
from lib.topology import E1, E2, HOST, TRANSPORTS, tell
from lib.wait import until

pytestmark = pytest.mark.group("supervisor")

@pytest.fixture(name="transport", params=TRANSPORTS)
def fixture_transport(request):
    return request.param


@pytest.fixture(name="ground")
def fixture_ground(make_topology, transport):
    """Four links, one to each address."""
    made = make_topology()
    made.start_edges()
    made.make_daemon(transport, connections=4).serve()
    assert sorted(address for address, _ in made.places().values()) == sorted([*E1, *E2])
    return made


@pytest.fixture(name="proxied")
def fixture_proxied(ground):
    proxy = Haproxy(ground.processes, ground.folder, ground.edges, ground.visitor)
    with ground.visitor.inside():
        def look():
            log = Client(proxy.port, HOST, 20, 0.2).run()
            return not any(r.failed for r in log)
        until(look, 10, "HAProxy")
    ground.proxy = proxy
    return ground


def load_with(ground, event):
    """200 requests a second for 6 s by HAProxy, and the event in the middle of them."""
    with ground.visitor.inside():
        log = Client(ground.proxy.port, HOST, 200, 6).run([(2, event)])
    assert len(log) == 1200
    return [r for r in log if r.failed]


def test_edge_drained(proxied):
    """SIGTERM: HAProxy sees /ready fail, the daemon is sent away first, and nobody notices."""
    began = time.monotonic()
    failed = load_with(proxied, lambda: proxied.edges[0].process.signal(signal.SIGTERM))
    assert not failed, tell(failed, began + 2)
    assert proxied.edges[0].process.wait_exit(40) == 0
    proxied.daemon.wait_ready(4, 20)
    assert proxied.edges[1].links() == 4


def test_edge_killed(proxied):
    """SIGKILL: HAProxy asks E2 what E1 hasn't answered; POSTs may be lost, GETs aren't."""
    began = time.monotonic()
    failed = load_with(proxied, lambda: proxied.edges[0].process.signal(signal.SIGKILL))
    print("failed:", collections.Counter((r.method, r.outcome) for r in failed))
    gets = [r for r in failed if r.method == "GET"]
    assert not gets, tell(gets, began + 2)
    until(lambda: proxied.edges[1].links() == 4, 25, "all links at E2")
