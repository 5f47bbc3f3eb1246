# SPDX-License-Identifier: Apache-2.0
"""T11: what an idle tunnel costs: over two minutes at most 10 packets a minute and connection each way,
and less than 1 ms of CPU a second, towards an edge of our own.

    [E1], [E2] adit-edge === hub (counts) === [daemon] aditd, 4 connections      (lib/topology.py)
"""
import json
import time

import pytest

from lib.topology import TRANSPORTS, until_served
from lib.wait import SLOW, seconds

pytestmark = pytest.mark.group("supervisor")

CONNECTIONS, MINUTES = 4, 2
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


class Idle:
    """One topology in which nothing happens."""

    def __init__(self, ground, transport):
        self.ground, self.transport = ground, transport
        ground.start_edges()
        ground.make_daemon(transport, connections=CONNECTIONS).serve()
        for edge in ground.edges:
            until_served(edge, seconds(2))

    def begin(self):
        self.ground.hub.nft(COUNTERS)
        self.before, self.began = self._cpu(), time.monotonic()

    def _cpu(self):
        return self.ground.daemon.process.cpu_seconds()

    def end(self):
        """(packets a minute and connection up, down, CPU seconds a second of aditd)"""
        minutes = (time.monotonic() - self.began) / 60
        used = (self._cpu() - self.before) / (60 * minutes)
        listed = json.loads(self.ground.hub.run("nft", "-j", "list", "counters"))["nftables"]
        packets = {row["counter"]["name"]: row["counter"]["packets"] / minutes / CONNECTIONS
                   for row in listed if "counter" in row}
        return packets["up"], packets["down"], used


@pytest.mark.timeout(200)
def test_idle(make_topology):
    """Nothing to do for two minutes, on every transport at the same time. Nobody asks for metrics
    meanwhile: that would be work."""
    every = [Idle(make_topology(folder=transport), transport) for transport in TRANSPORTS]
    time.sleep(SETTLED)
    for idle in every:
        idle.begin()
    time.sleep(60 * MINUTES)
    for idle in every:
        up, down, used = idle.end()
        print(f"{idle.transport}: {up:.1f} packets a minute up, {down:.1f} down, "
              f"{used * 1e6:.0f} us of CPU a second")
        assert 0 < up <= 10 and 0 < down <= 10, (idle.transport, up, down)
        assert used < 0.001 * SLOW, (idle.transport, used)
        assert idle.ground.daemon.ready() == CONNECTIONS
