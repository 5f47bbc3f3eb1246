# SPDX-License-Identifier: Apache-2.0
"""T6 in namespaces: path MTU, datagrams, ECN, a NAT that forgets. Needs root.

    [edge] 10.77.2.2 --e0 === r1-- [router] --r0 === d0-- 10.77.1.2 [daemon]
    visitor and adit-edge           10.77.2.1  10.77.1.1             aditd and origin
    (for datagrams PeerEdge)
"""
import http.client
import json
import re
import threading
import time

import pytest

from lib import netns
from lib.adit import DOMAIN, Daemon, Edge, peer_edge_keys, write_token
from lib.origin import Origin, digest, pattern
from lib.peer_edge import PeerEdge
from lib.wait import holds, seconds, until

pytestmark = pytest.mark.group("link")

HOST = f"a.{DOMAIN}"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
QUIET = """
table inet quiet {
  chain answers { type filter hook output priority 0; icmp type destination-unreachable icmp code frag-needed drop; }
}
"""


class Path:
    """The three namespaces and the programs in them."""

    def __init__(self, net, processes, folder):
        self.edge_ns, self.router, self.daemon_ns = (net.add(n) for n in ("edge", "rt", "dm"))
        netns.veth(self.edge_ns, "e0", self.router, "r1")
        netns.veth(self.daemon_ns, "d0", self.router, "r0")
        self.edge_ns.address("e0", "10.77.2.2/24")
        self.router.address("r1", "10.77.2.1/24")
        self.router.address("r0", "10.77.1.1/24")
        self.daemon_ns.address("d0", "10.77.1.2/24")
        self.edge_ns.route("default", "10.77.2.1")
        self.daemon_ns.route("default", "10.77.1.1")
        self.router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.processes, self.folder = processes, folder

    def start(self, origin):
        self.edge = Edge(self.processes, self.folder, host="10.77.2.2", netns=self.edge_ns)
        self.edge.start()
        self.daemon = Daemon(self.processes, self.folder, token_file=self.edge.token_file,
                             rules=[(HOST, origin.service)], connections=1, netns=self.daemon_ns)
        self.daemon.serve()

    def squeeze(self, size):
        """Both cables carry packets of at most `size` bytes from now on; nobody is told."""
        for device in ("r0", "r1"):
            self.router.mtu(device, size)

    def mtu(self, program):
        """Smallest path MTU of a program's links (UDP payload bytes)."""
        found = program.metrics().find("adit_link_mtu_bytes")
        return min(value for _, value in found) if found else 0


@pytest.fixture(name="path")
def fixture_path(net, processes, tmp_path):
    made = Path(net, processes, tmp_path)
    made.origin = Origin("a", netns=made.daemon_ns)
    yield made
    made.origin.close()


def test_mtu_1500(path):
    """T6: on a 1 500-byte path at least 1 452 bytes of UDP payload are found, at both ends."""
    path.router.nft(QUIET)
    path.start(path.origin)
    for program in (path.daemon, path.edge):
        until(lambda p=program: 1452 <= path.mtu(p) <= 1472, 10, f"the MTU of {program.name}")


@pytest.mark.parametrize("size, least, most", [(1300, 1232, 1272), (1400, 1352, 1372)])
def test_narrow(path, size, least, most):
    """T6: on a 1 300-byte path 1 232 to 1 272, without a word from ICMP, and bodies pass; on one of 1 400
    what a UDP payload of 1 280 bytes needs (datagrams.md §14 row 8)."""
    path.router.nft(QUIET)
    path.squeeze(size)
    path.start(path.origin)
    for program in (path.daemon, path.edge):
        until(lambda p=program: least <= path.mtu(p) <= most, 10, f"the MTU of {program.name}")
    body = pattern(3 << 20)
    assert digest(path.edge.fetch(f"/bytes/{len(body)}").body) == digest(body)
    assert path.edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                           stdin=body).text == digest(body)
    assert max(path.mtu(path.daemon), path.mtu(path.edge)) <= most


@pytest.mark.parametrize("size, passes", [(1500, True), (1300, False)])
def test_datagrams(path, authority, size, passes):
    """T6: a DATAGRAM of 1 297 bytes, the largest that carries a packet, reaches the daemon on a
    1 500-byte path. On a 1 300-byte one it is lost, and neither smaller ones nor requests wait for it."""
    path.router.nft(QUIET)
    path.squeeze(size)
    token = write_token(path.folder / "token", "0" * 32, TUNNEL, bytes(32))
    with path.edge_ns.inside():     # its thread stays there
        peer = PeerEdge(*authority.leaf("peer"), host="10.77.2.2", max_datagram_size=1200)
    with peer:
        daemon = Daemon(path.processes, path.folder, token_file=token, connections=1,
                        rules=[(HOST, path.origin.service)], netns=path.daemon_ns,
                        edge_keys=peer_edge_keys(peer, authority))
        daemon.serve()
        link = peer.wait_registered()[0]
        # aioquic has no discovery and would never send more than it began with.
        peer.hub.call(setattr, link.quic, "_max_datagram_size", 1472)

        def received():
            return daemon.counter("adit_link_datagrams_total", dir="rx")
        for length in (1000, 1297, 1001):
            link.send_datagram(bytes(length))
        until(lambda: received() >= 2 + passes, 5, f"{2 + passes} datagrams")
        assert link.request(host=HOST, path="/x").status == 200
        holds(lambda: received() == 2 + passes, 0.3, "no other datagram")
        assert not link.quic._datagrams_pending, "all were sent"
        assert link.closed is None and daemon.ready() == 1


def read_with_gaps(path, size, on_byte):
    """Downloads in the edge's namespace; on_byte(count) after every piece. (digest, gaps)."""
    with path.edge_ns.inside():
        connection = http.client.HTTPConnection("10.77.2.2", path.edge.http_port,
                                                timeout=seconds(30))
        connection.request("GET", f"/bytes/{size}", headers={"Host": HOST})
    response = connection.getresponse()
    got, gaps, last = bytearray(), [], time.monotonic()
    while piece := response.read(65536):
        now = time.monotonic()
        gaps.append((now, now - last))
        last = now
        got += piece
        on_byte(len(got))
    connection.close()
    return digest(bytes(got)), gaps


def test_mtu_cut_in_mid_download(path):
    """T6: 1 500 becomes 1 300 in the middle of a download: it goes on within 3 s and ends whole."""
    path.router.nft(QUIET)
    # 40 Mbit/s, so that the cut falls into the transfer.
    for device in ("r0", "r1"):
        path.router.run("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", "40mbit",
                        "burst", "64k", "latency", "50ms")
    path.start(path.origin)
    until(lambda: path.mtu(path.daemon) >= 1452, 10, "the large MTU")
    size, cut = 16 << 20, []

    def on_byte(count):
        if count > size // 3 and not cut:
            cut.append(time.monotonic())
            path.squeeze(1300)
    got, gaps = read_with_gaps(path, size, on_byte)
    assert got == digest(pattern(size))
    longest = max(gap for at, gap in gaps if at >= cut[0])
    assert longest < seconds(3), f"nothing came for {longest:.1f} s"
    path.daemon.wait_ready(timeout=15)
    assert path.edge.fetch("/x").status == 200


MARKS = """
table inet marks {
  counter seen {}
  chain passing { type filter hook forward priority -150; ip protocol udp ip ecn != not-ect counter name seen; }
}
"""
CLEAR = """
table inet clear {
  chain passing { type filter hook forward priority -160; ip protocol udp ip ecn set not-ect; }
}
"""


def test_ecn(path):
    """T6: packets carry ECT both ways and the path is found capable."""
    path.router.nft(MARKS)
    path.start(path.origin)
    assert path.edge.fetch(f"/bytes/{2 << 20}").code == 0
    seen = path.router.run("nft", "list", "counter", "inet", "marks", "seen")
    # The counter sees aggregates: one of them may hold many packets.
    assert int(re.search(r"packets (\d+)", seen)[1]) > 20, seen
    for program in (path.daemon, path.edge):
        until(lambda p=program: [v for _, v in p.metrics().find("adit_link_ecn")] == [1], 5,
              f"validated ECN at {program.name}")


def test_ecn_cleared(path):
    """T6: with the bits cleared on the way traffic goes on, and metrics and status say so."""
    path.router.nft(CLEAR)
    path.start(path.origin)
    assert path.edge.fetch(f"/bytes/{2 << 20}").code == 0
    assert path.edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                           stdin=pattern(1 << 20)).text == digest(pattern(1 << 20))
    for program in (path.daemon, path.edge):
        until(lambda p=program: [v for _, v in p.metrics().find("adit_link_ecn")] == [-1], 5,
              f"failed ECN at {program.name}")
    until(lambda: re.search(r"ecn[^,}]*(fail|off|no)", json.dumps(path.daemon.status()),
                            re.IGNORECASE), 5, "ECN in status")


def test_ecn_off(path):
    """T6: ecn = no: no packet of the daemon is marked."""
    path.router.nft(MARKS)
    path.edge = Edge(path.processes, path.folder, host="10.77.2.2", netns=path.edge_ns,
                     edge_keys={"ecn": "no"})
    path.edge.start()
    path.daemon = Daemon(path.processes, path.folder, token_file=path.edge.token_file,
                         rules=[(HOST, path.origin.service)], connections=1,
                         tunnel_keys={"ecn": "no"}, netns=path.daemon_ns)
    path.daemon.serve()
    assert path.edge.fetch(f"/bytes/{1 << 20}").code == 0
    seen = path.router.run("nft", "list", "counter", "inet", "marks", "seen")
    assert "packets 0 " in seen, seen


NAT = """
table ip nat {{
  chain leaving {{ type nat hook postrouting priority 100;
    oifname "r1" ip protocol udp masquerade to :{first}-{last}; }}
}}
"""


def test_conntrack_forgets(path):
    """T6: the NAT drops its entry and maps to other ports in the middle of a download."""
    path.router.nft(NAT.format(first=20000, last=20999))
    path.start(path.origin)
    size, got = 16 << 20, []

    def download():
        got.append(path.edge.fetch(f"/bytes/{size}", "--limit-rate", "8M", timeout=60))
    before = path.daemon.counter("adit_link_packets_total", dir="tx")
    transfer = threading.Thread(target=download)
    transfer.start()
    until(lambda: path.daemon.counter("adit_link_packets_total", dir="tx") - before > 2000, 20,
          "traffic")
    # In one transaction: between two, packets would pass under their own addresses.
    path.router.nft("delete table ip nat\n" + NAT.format(first=30000, last=30999))
    path.router.run("conntrack", "-D", "-p", "udp")
    transfer.join()
    assert (got[0].code, digest(got[0].body)) == (0, digest(pattern(size))), got[0].error
    assert path.edge.links() == 1
    entries = path.router.run("conntrack", "-L", "-p", "udp")
    assert re.search(r"dport=30\d\d\d", entries), entries
