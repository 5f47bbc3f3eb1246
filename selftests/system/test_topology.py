# SPDX-License-Identifier: Apache-2.0
"""The ground of the supervisor's tests: requests pass through both edges, and faults are what they say.

The picture is in lib/topology.py. Needs root.
"""
import errno
import socket

import pytest

from lib.steady import Client
from lib.topology import E1, E1_V6, E2, E2_V6, HOST, until_served
from lib.wait import seconds, until

pytestmark = pytest.mark.group("supervisor")


def probe(topology, address, kind="udp"):
    """What the daemon's host learns when it talks to an address: "answer", or the error's name."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with topology.daemon_ns.inside():
        sock = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(seconds(0.5))
        try:
            sock.connect((address, topology.port))
            if kind == "udp":
                # A version that nobody speaks: answered by a version negotiation.
                sock.send(b"\xc0\x1a\x2a\x3a\x4a\x08" + bytes(8) + b"\x08" + bytes(8) + bytes(1200))
                sock.recv(2000)
        except TimeoutError:
            return "nothing"
        except OSError as error:
            return errno.errorcode[error.errno]
        return "answer"


@pytest.fixture(name="ground")
def fixture_ground(make_topology):
    made = make_topology()
    made.start_edges()
    return made


def test_faults(ground):
    """Each kind of fault on one address and on all, over IPv4 and IPv6, and its end."""
    everywhere = (*E1, *E2, *E1_V6, *E2_V6)
    assert {a: probe(ground, a) for a in everywhere} == dict.fromkeys(everywhere, "answer")
    for address in (E1[0], E2_V6[1]):
        for how, seen in (("drop", "nothing"), ("reject", "ECONNREFUSED"), ("eperm", "EPERM")):
            for kind in ("udp", "all"):
                fault = ground.block(kind, address, how)
                assert probe(ground, address) == seen, (address, how, kind)
                assert probe(ground, E1[1]) == "answer"
                ground.unblock(fault)
                assert probe(ground, address) == "answer"
    ground.block("udp")
    assert [probe(ground, a) for a in everywhere] == ["nothing"] * len(everywhere)
    assert ground.visitor.run("ping", "-c", 1, "-W", 1, E1[0])
    ground.unblock()
    ground.block("tcp", how="reject")
    assert probe(ground, E2[0], "tcp") == "ECONNREFUSED"
    assert probe(ground, E2[0]) == "answer"


def test_one_tunnel_on_two_edges(ground):
    """aditd with four addresses: links at both edges, requests by either of them, from a visitor too."""
    ground.make_daemon().serve()
    until(lambda: ground.links() == [2, 2], 10, "two links at each edge")
    assert ground.protocols() == dict.fromkeys("0123", "quic")
    for edge in ground.edges:
        until_served(edge, seconds(2))
    with ground.visitor.inside():
        for edge in ground.edges:
            log = Client(edge.http_port, HOST, 100, 0.5, edge.host).run()
            assert not [r for r in log if r.failed]
    assert ground.edges[0].token == ground.edges[1].token
