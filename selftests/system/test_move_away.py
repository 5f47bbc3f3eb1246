# SPDX-License-Identifier: Apache-2.0
"""§4: an edge that leaves sends its daemons to the other one, and no request fails for it.

    200 requests a second --> E1, and E2 where E1 refuses --> (2 edges, 2 workers each)
                              E1, E2 <==4 links over QUIC or HTTP/2== aditd --> a counting origin
"""
import time

import pytest

from lib.adit import DOMAIN, Daemon, Edge
from lib.steady import CountingOrigin, Failover
from lib.wait import until

pytestmark = pytest.mark.group("supervisor")

HOST = f"a.{DOMAIN}"
RATE, DURATION, AFTER = 200, 6, 1.5
LINKS = 4


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_edge_leaves(processes, tmp_path, protocol):
    """SIGTERM of E1 under load: nothing fails, all links are at E2, E1 ends by itself."""
    with CountingOrigin() as origin:
        first = Edge(processes, tmp_path, "e1")
        second = Edge(processes, tmp_path, "e2", twin=first)
        edges = [first, second]
        for edge in edges:
            edge.start()
        addresses = ", ".join(edge.address for edge in edges)
        daemon = Daemon(processes, tmp_path, token_file=first.token_file, connections=LINKS,
                        rules=[(HOST, origin.service)], tunnel_keys={"protocol": protocol},
                        edge_keys={"address": addresses})
        daemon.serve()
        until(lambda: all(edge.links() for edge in edges), 10, "a link at each edge")
        at = []

        def leave():
            at.append(time.monotonic())
            first.process.signal(15)
        log = Failover([first.http_port, second.http_port], HOST, RATE,
                       DURATION).run([(AFTER, leave)])
        failed = [r for r in log if r.failed]
        assert not failed, "\n".join(
            f"{r.method} begun at {r.began - at[0]:+.3f} s, ended {r.ended - at[0]:+.3f}: {r.outcome}"
            for r in failed[:20])
        assert first.process.wait_exit(15) == 0
        until(lambda: second.links() == LINKS, 10, "all links at the other edge")
        assert daemon.ready() == LINKS
