# SPDX-License-Identifier: Apache-2.0
"""T7: aditd listens nowhere but on loopback, and needs no open port.

    [edge] 10.78.1.1 adit-edge --e0 === d0-- 10.78.1.2 [daemon] aditd behind an input policy of drop
"""
import re

import pytest

from lib import netns
from lib.adit import DOMAIN, Daemon, Edge
from lib.origin import Origin, digest, pattern

pytestmark = pytest.mark.group("edge")

CLOSED = """
table inet closed {
  chain input { type filter hook input priority 0; policy drop;
    ct state established,related accept
    iif lo accept
  }
}
"""


@pytest.fixture(name="pair")
def fixture_pair(net, processes, tmp_path):
    outside, inside = net.add("edge"), net.add("daemon")
    netns.veth(outside, "e0", inside, "d0")
    outside.address("e0", "10.78.1.1/24")
    inside.address("d0", "10.78.1.2/24")
    inside.nft(CLOSED)
    with Origin("a", netns=inside) as origin:
        edge = Edge(processes, tmp_path, host="10.78.1.1", netns=outside)
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, netns=inside,
                        rules=[(f"a.{DOMAIN}", origin.service)], connections=2)
        daemon.serve()
        yield edge, daemon, inside


def local_addresses(text, pid):
    """Local addresses of the lines of `ss` that belong to a process."""
    return [line.split()[4] for line in text.splitlines() if f"pid={pid}," in line]


def test_no_open_port(pair):
    """T7: ss -lntu shows nothing but loopback; the QUIC sockets are connected."""
    _, daemon, inside = pair
    listening = local_addresses(inside.run("ss", "-Hlntup"), daemon.process.pid)
    assert listening, "the metrics page listens on loopback"
    for address in listening:
        assert re.match(r"(127\.|\[::1\])", address), listening
    outward = inside.run("ss", "-Hnup", "state", "established")
    assert outward.count(f"pid={daemon.process.pid},") >= 2, outward


def test_behind_a_closed_firewall(pair):
    """T7: with an input policy of drop the tunnel registers, serves, and comes back."""
    edge, daemon, _ = pair
    body = pattern(2 << 20)
    assert edge.fetch(f"/bytes/{len(body)}").body == body
    assert edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                      stdin=body).text == digest(body)
    edge.process.kill()
    edge.start()
    edge.wait_links(2, 20)
    daemon.wait_ready()
    assert edge.fetch("/x").status == 200
