# SPDX-License-Identifier: Apache-2.0
"""T2, T3: what `protocol = auto` does when UDP is lost and comes back; T4 is in test_waits.py.

    200 requests a second --> [E1], [E2] === hub === [daemon] aditd --> origin    (lib/topology.py)

| what happens | what must |
|---|---|
| UDP is dropped from the start | registered over HTTP/2 in 4 s |
| UDP is refused from the start (EPERM, ICMP) | in 1 s |
| UDP is dropped under load | requests that begin 5 s later are served; before, a status tells the truth |
| and comes back | all indexes on QUIC in 60 s, no request fails meanwhile |
"""
import collections
import time

import pytest

from lib.topology import Load, tell, until_served
from lib.wait import lasts, seconds, until

pytestmark = pytest.mark.group("supervisor")

LINKS = 4


@pytest.fixture(name="ground")
def fixture_ground(make_topology):
    made = make_topology()
    made.start_edges()
    return made


@pytest.mark.parametrize("how, limit", [("drop", 4), ("eperm", 1), ("reject", 1)])
def test_no_udp_from_the_start(ground, how, limit):
    """T2: the first registration comes over HTTP/2, in time; so do the others, and requests pass."""
    ground.block("udp", how=how)
    daemon = ground.make_daemon("auto", connections=LINKS)
    daemon.start()
    daemon.wait_ready(1, limit)
    took = time.monotonic() - daemon.process.started
    print(f"UDP {how}: registered after {took:.2f} s")
    assert took <= seconds(limit)
    daemon.wait_ready(LINKS, 20)
    assert ground.protocols() == dict.fromkeys("0123", "http2")
    for edge in ground.edges:
        until_served(edge, seconds(2))


def test_udp_lost_under_load(ground):
    """T3: 5 s without service at most, truthful failures, and the way back without one."""
    ground.make_daemon("auto", connections=LINKS).serve()
    assert ground.protocols() == dict.fromkeys("0123", "quic")
    load = Load(ground, 200)
    until(lambda: len(load.log) > 400, 10, "load")
    ground.block("udp")
    cut = time.monotonic()
    until(lambda: list(ground.protocols().values()) == ["http2"] * LINKS, 30, "HTTP/2 everywhere")
    print(f"on HTTP/2 everywhere after {time.monotonic() - cut:.1f} s")
    lasts(cut + seconds(10) - time.monotonic(), "requests without UDP")
    ground.unblock()
    back = time.monotonic()
    until(lambda: list(ground.protocols().values()) == ["quic"] * LINKS, 60, "QUIC everywhere", 0.2)
    print(f"on QUIC everywhere after {time.monotonic() - back:.1f} s")
    lasts(back + 2 - time.monotonic(), "requests on QUIC")
    log = load.end()
    failed = [r for r in log if r.failed]
    print(f"failed: {len(failed)} of {len(log)}", collections.Counter(r.outcome for r in failed))
    assert all(r.is_truthful for r in log), tell([r for r in log if not r.is_truthful], cut)
    late = [r for r in failed if r.began > cut + seconds(5) or r.ended < cut]
    assert not late, tell(late, cut)
    slow = [r for r in log if r.began > cut + seconds(5) and r.ended - r.began > seconds(5)]
    assert not slow, tell(slow, cut)
