# SPDX-License-Identifier: Apache-2.0
"""T8: what happens to the daemon's own network, and to its process. Needs root.

The ground is lib.topology with a second cable from the daemon's host:

    [daemon] d0-- 10.81.9.2  ===- dm [hub] === [E1] [E2] [visitor]
             d1-- 10.81.10.2 ===- dn

Figures: served again within 5 s of each change; a download over QUIC goes on where the local address
changes under it; 30 s of SIGSTOP under load cost at most 5 s after SIGCONT.
"""
import http.client
import re
import signal
import threading
import time

import pytest

from lib import netns
from lib.origin import Origin, digest, pattern
from lib.topology import E1, HOST, until_served
from lib.wait import holds, lasts, seconds, settled, until

pytestmark = pytest.mark.group("supervisor")

FIRST, SECOND = "10.81.9.2", "10.81.10.2"


class Ground:
    """Two edges, one daemon with two ways to them, an origin that sends what is asked for."""

    def __init__(self, make_topology, protocol="quic", **options):
        self.top = make_topology()
        netns.veth(self.top.daemon_ns, "d1", self.top.hub, "dn")
        self.top.hub.address("dn", "10.81.10.1/24")
        self.host = self.top.daemon_ns
        self.host.address("d1", f"{SECOND}/24")
        self.top.start_edges()
        self.origin = Origin("a", netns=self.host)
        self.top.closing.callback(self.origin.close)
        self.daemon = self.top.make_daemon(protocol, rules=[(HOST, self.origin.service)], **options)

    @property
    def edge(self):
        return self.top.edges[0]

    def serve(self):
        self.daemon.serve()
        return self

    def ip(self, *words):
        netns.ip(*words, netns=self.host)

    def way(self, via):
        """Where packets to the edges go: 10.81.9.1 by d0, 10.81.10.1 by d1."""
        self.host.route("10.81.0.0/16", via)

    def sources(self):
        """{local addresses} of registered connections."""
        return {c["local"].rsplit(":", 1)[0] for c in self.daemon.status()["connections"]
                if c["state"] == "up"}


class Download(threading.Thread):
    """A visitor's download at E1; result is its digest, or what went wrong."""

    def __init__(self, ground, size, rate=None):
        super().__init__(daemon=True)
        self.ground, self.size = ground, size
        self.got, self.result = 0, None
        with ground.top.edge_ns[0].inside():
            self.connection = http.client.HTTPConnection(E1[0], ground.edge.http_port,
                                                         timeout=seconds(30))
            self.connection.request("GET", f"/bytes/{size}", headers={"Host": HOST})
        self.response = self.connection.getresponse()
        self.start()

    def run(self):
        body = bytearray()
        try:
            while piece := self.response.read1(65536):
                body += piece
                self.got = len(body)
            whole = len(body) == self.size     # http.client leaves a short body to us
            self.result = digest(bytes(body)) if whole else "cut"
        except (OSError, http.client.HTTPException) as error:
            self.result = repr(error)

    def wait(self):
        self.join(seconds(60))
        assert not self.is_alive(), f"the download hangs at {self.got} of {self.size}"
        return self.result


def make_slow_ground(make_topology, protocol):
    """Both ways are 20 Mbit/s wide, so that a change falls into a download."""
    ground = Ground(make_topology, protocol, connections=1, addresses=E1[:1])
    for device in ("d0", "d1"):
        ground.host.run("tc", "qdisc", "replace", "dev", device, "root", "tbf", "rate", "20mbit",
                        "burst", "64k", "latency", "50ms")
    return ground.serve()


@pytest.fixture(name="slow_ground")
def fixture_slow_ground(make_topology):
    return make_slow_ground(make_topology, "quic")


SIZE = 12 << 20


def start_download(ground):
    download = Download(ground, SIZE)
    until(lambda: download.got > SIZE // 4, 20, "a quarter of the download")
    return download


def test_address_changed(slow_ground):
    """The address goes and another comes, as DHCP in another network would do it."""
    ground = slow_ground
    download = start_download(ground)
    ground.top.hub.address("dm", "10.81.12.1/24")
    ground.ip("address", "add", "10.81.12.2/24", "dev", "d0")
    ground.way("10.81.12.1")
    ground.ip("address", "del", f"{FIRST}/24", "dev", "d0")
    assert download.wait() == digest(pattern(SIZE))
    assert ground.sources() == {"10.81.12.2"}
    assert ground.daemon.counter("adit_dials_total") == 1, "the connection is the same one"
    assert ground.daemon.counter("adit_network_changes_total") >= 1


def test_address_changed_on_http2(make_topology):
    """A TCP connection stays where it was: the download fails and says so, the next one is served."""
    ground = make_slow_ground(make_topology, "http2")
    download = start_download(ground)
    ground.top.hub.address("dm", "10.81.12.1/24")
    ground.ip("address", "add", "10.81.12.2/24", "dev", "d0")
    ground.way("10.81.12.1")
    ground.ip("address", "del", f"{FIRST}/24", "dev", "d0")
    until(lambda: ground.sources() == {"10.81.12.2"}, 5, "a connection from the new address")
    until_served(ground.edge, seconds(5))
    assert download.wait() == "cut" and download.got < SIZE


def test_route_replaced(slow_ground):
    """The route changes and the old way ends: a cable is pulled and the wireless takes over."""
    ground = slow_ground
    download = start_download(ground)
    ground.way("10.81.10.1")
    until(lambda: ground.sources() == {SECOND}, 5, "the move to the other cable")
    ground.ip("link", "set", "d0", "down")
    assert download.wait() == digest(pattern(SIZE))
    assert ground.daemon.counter("adit_dials_total") == 1


def test_address_gone_then_back(slow_ground):
    """For a second there is no way at all; the download waits and goes on. (After two the edge counts as
    suspect, and whoever answers first stays: the old connection or its replacement.)"""
    ground = slow_ground
    download = start_download(ground)
    ground.ip("address", "del", f"{FIRST}/24", "dev", "d0")
    ground.ip("link", "set", "d1", "down")
    got = download.got
    lasts(1, "no way to the edge")
    assert download.got < got + (1 << 20), "nothing came"
    ground.ip("address", "add", "10.81.9.7/24", "dev", "d0")
    ground.way("10.81.9.1")
    assert download.wait() == digest(pattern(SIZE))


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_interface_down_and_up(make_topology, protocol):
    """20 s without a network; then served within 5 s, without waiting for any back-off."""
    ground = Ground(make_topology, protocol, connections=4).serve()
    ground.ip("link", "set", "d1", "down")
    ground.ip("link", "set", "d0", "down")
    lasts(20, "no network")
    ground.ip("link", "set", "d0", "up")
    ground.way("10.81.9.1")
    until_served(ground.edge, seconds(5))
    ground.daemon.wait_ready(4)


def test_idle_network_noise(make_topology):
    """What doesn't change a way isn't acted upon: other addresses of lo, announcements repeated."""
    ground = Ground(make_topology, connections=1).serve()

    def changes():
        return ground.daemon.counter("adit_network_changes_total")
    ground.way("10.81.9.1")     # as it was; the first message about it
    ground.ip("address", "change", f"{FIRST}/24", "dev", "d0", "valid_lft", "1000",
              "preferred_lft", "1000")
    until(lambda: changes() >= 1, 5, "the first messages")
    before = settled(changes, 0.3, what="the first messages")
    for number in range(20):
        ground.way("10.81.9.1")
        ground.ip("address", "change", f"{FIRST}/24", "dev", "d0", "valid_lft", 900 - number,
                  "preferred_lft", 900 - number)
        ground.ip("address", "add", f"127.9.9.{number}/8", "dev", "lo")
        ground.ip("neighbour", "replace", f"10.81.10.{number + 10}", "lladdr", "02:00:00:00:00:09",
                  "dev", "d1")
    ground.ip("link", "set", "d1", "down")
    until(lambda: changes() > before, 5, "a change that counts")
    assert changes() <= before + 2


@pytest.mark.parametrize("protocol, length", [("quic", 30), ("http2", 30), ("http2", 38)])
def test_stopped(make_topology, protocol, length):
    """SIGSTOP under load, then SIGCONT: served within 5 s, and nothing spins. After 38 s on HTTP/2 the
    edges have given up, and say so without telling it to go elsewhere."""
    ground = Ground(make_topology, protocol, connections=4).serve()
    daemon, stop = ground.daemon, threading.Event()

    def load():
        while not stop.wait(0.05):
            ground.edge.fetch("/x", timeout=1)
    visitor = threading.Thread(target=load, daemon=True)
    visitor.start()
    daemon.process.signal(signal.SIGSTOP)
    lasts(length, "stopped")
    stop.set()
    visitor.join(10)
    daemon.process.signal(signal.SIGCONT)
    cpu = daemon.process.cpu_seconds()
    until_served(ground.edge, seconds(5))
    daemon.wait_ready(4, timeout=20)
    before, began = daemon.process.cpu_seconds(), time.monotonic()
    assert before - cpu < seconds(1.5), f"{before - cpu:.2f} s of CPU to come back"
    holds(lambda: daemon.process.is_running, 3)
    spent = daemon.process.cpu_seconds() - before
    assert spent < seconds(0.2), f"{spent:.2f} s of CPU in {time.monotonic() - began:.1f} s"


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_bound_to_interface(make_topology, protocol):
    """[edge] bind-interface: connections take that one although the route prefers the other."""
    ground = Ground(make_topology, protocol, connections=2, edge_keys={"bind_interface": "d1"})
    ground.ip("route", "add", "10.81.0.0/16", "via", "10.81.10.1", "dev", "d1", "metric", "500")
    ground.serve()
    assert ground.sources() == {SECOND}


@pytest.mark.parametrize("protocol", ["quic", "http2"])
def test_marked(make_topology, protocol):
    """[edge] fwmark: every packet to the edge carries it, so that policy routing can tell them."""
    ground = Ground(make_topology, protocol, connections=1, addresses=E1[:1],
                    edge_keys={"fwmark": 77})
    ground.host.nft(f"""table inet seen {{
      counter marked {{}}
      counter others {{}}
      chain out {{ type filter hook output priority 0;
        th dport {ground.top.port} meta mark 77 counter name marked;
        th dport {ground.top.port} meta mark != 77 counter name others; }}
    }}""")
    ground.serve()
    assert ground.edge.fetch("/x").status == 200

    def packets(name):
        text = ground.host.run("nft", "list", "counter", "inet", "seen", name)
        return int(re.search(r"packets (\d+)", text)[1])
    assert packets("marked") > 0 and packets("others") == 0
