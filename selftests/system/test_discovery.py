# SPDX-License-Identifier: Apache-2.0
"""T6: where the edge is, when DNS works, fails, lies or comes late.

    dnsmasq :53 · unbound 1.1.1.1:853 (TLS) <--DNS-- aditd (2 workers) ==QUIC==> edges in Python
    all in one namespace, with the vendor's names, and a trust store of the test's own

Dead at start, with addresses of an earlier run: up in 3 s. Without: STATUS says so, the process lives, up in 5 s
after DNS. SIGTERM in the middle: gone in 1 s.
"""
import json
import re
import threading
import time

import pytest

from lib import certs
from lib.adit import Daemon, write_token
from lib.nameserver import SERVICE, Dnsmasq, Unbound, Zone, resolv_conf
from lib.peer_edge import PeerEdge
from lib.wait import holds, seconds, until

pytestmark = pytest.mark.group("supervisor")

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
SECRET = bytes(range(32))
EDGES = ("127.0.1.1", "127.0.2.1")
PORT = 7844


class Ground:
    """A namespace with name servers, edges, and an aditd that finds them by DNS."""

    def __init__(self, processes, folder, net, authority):
        self.processes, self.folder, self.authority = processes, folder, authority
        self.home = net.add("home")
        self.home.address("lo", "1.1.1.1/32")
        self.dnsmasq = Dnsmasq(processes, folder, self.home)
        self.unbound = Unbound(processes, folder, self.home, authority)
        self.edges = []
        self.token = write_token(folder / "token", ACCOUNT, TUNNEL, SECRET)
        self.daemon = None

    def add_edge(self, host, authority=None, port=PORT):
        chain, key = (authority or self.authority).leaf(f"edge-{host}")
        with self.home.inside():
            edge = PeerEdge(chain, key, host=host, port=port)
        self.edges.append(edge)
        return edge

    def start(self, *servers, service_manager=None, **options):
        """aditd with these name servers (127.0.0.1: dnsmasq)."""
        if not self.daemon:
            edge_keys = {"kind": "vendor", **options.pop("edge_keys", {})}
            self.daemon = Daemon(self.processes, self.folder, token_file=self.token,
                                 rules=[(None, "http_status:204")], connections=2, netns=self.home,
                                 edge_keys=edge_keys, **options)
        env = {"SSL_CERT_FILE": str(self.authority.path)}
        if service_manager:
            env["NOTIFY_SOCKET"] = service_manager.path
        self.daemon.start(env=env, wrap=resolv_conf(self.folder, *(servers or ["127.0.0.1"])))
        return self.daemon

    def registered(self):
        """Hosts of the edges that hold a connection of ours."""
        return {edge.host for edge in self.edges if edge.live}

    def close(self):
        for edge in self.edges:
            edge.stop()


@pytest.fixture(name="ground")
def fixture_ground(processes, tmp_path, net, authority):
    made = Ground(processes, tmp_path, net, authority)
    yield made
    made.close()


def took(since):
    return time.monotonic() - since


def cause(daemon):
    """What `adit status` says, or nothing while nobody answers."""
    return daemon.adit("status", check=False).stdout


def test_found_by_dns(ground):
    """Services, targets, addresses: one connection in each region; kept for the next start."""
    for host in EDGES:
        ground.add_edge(host)
    ground.dnsmasq.start(Zone([EDGES[0]], [EDGES[1]]))
    daemon = ground.start()
    daemon.wait_ready()
    assert ground.registered() == set(EDGES)
    kept = daemon.state / "edge-addresses"
    until(kept.exists, 5, "the file of addresses")
    assert kept.stat().st_mode & 0o777 == 0o600
    lines = kept.read_text().splitlines()
    assert lines[:2] + lines[4:] == ["adit edge addresses 1", f"from {SERVICE}", "end"]
    assert sorted(lines[2:4]) == [f"0 {EDGES[0]}:{PORT}", f"1 {EDGES[1]}:{PORT}"]


def drop(ground, *ports, to=None):
    """Packets to these ports (of this address) get lost, in both protocols."""
    where = f"ip daddr {to} " if to else ""
    rules = "\n".join(f"{where}{protocol} dport {port} drop" for port in ports
                      for protocol in ("udp", "tcp"))
    ground.home.nft("table inet dns\ndelete table inet dns\ntable inet dns {\nchain in {\n"
                    f"type filter hook input priority 0\n{rules}\n}}\n}}\n")


def pass_all(ground):
    ground.home.nft("table inet dns\ndelete table inet dns\n")


def keep_addresses(folder, *addresses):
    """The file that an earlier run has left."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{number % 2} {address}:{PORT}\n" for number, address in enumerate(addresses))
    (folder / "edge-addresses").write_text(f"adit edge addresses 1\nfrom {SERVICE}\n{lines}end\n")


@pytest.mark.parametrize("resolver", ["refused", "silent"])
def test_dead_resolver_with_kept_addresses(ground, tmp_path, resolver):
    """T6: DNS is dead at start, an earlier run has left addresses: up in 3 s."""
    for host in EDGES:
        ground.add_edge(host)
    if resolver == "silent":
        drop(ground, 53, 853)
    keep_addresses(tmp_path / "aditd" / "state", *EDGES)
    begun = time.monotonic()
    daemon = ground.start()
    daemon.wait_ready(1, 3)
    assert took(begun) <= seconds(3)
    daemon.wait_ready()
    assert ground.registered() == set(EDGES)


def test_rubbish_is_no_address(ground, tmp_path):
    """A file of addresses that somebody has written over is of no use, and does no harm."""
    ground.add_edge(EDGES[0])
    keep_addresses(tmp_path / "aditd" / "state", EDGES[1])
    kept = tmp_path / "aditd" / "state" / "edge-addresses"
    kept.write_bytes(kept.read_bytes()[:-4] + bytes(range(256)) * 100)
    ground.dnsmasq.start(Zone([EDGES[0]]))
    daemon = ground.start()
    daemon.wait_ready(1)
    assert "the addresses kept are of no use" in daemon.process.log
    until(lambda: b"end\n" in kept.read_bytes() and len(kept.read_bytes()) < 200, 5, "a new file")


@pytest.mark.parametrize("resolver", ["refused", "silent"])
def test_dead_resolver_without_addresses(ground, service_manager, resolver):
    """T6: DNS is dead at start and nothing is known: STATUS says so, the process lives, up in 5 s after DNS."""
    for host in EDGES:
        ground.add_edge(host)
    if resolver == "silent":
        drop(ground, 53, 853)
    daemon = ground.start(service_manager=service_manager)
    why = "no answer" if resolver == "silent" else "failed"
    until(lambda: any(SERVICE in text and why in text and text.startswith("not connected")
                      for text in service_manager.values("STATUS")), 15,
          "a STATUS with the cause")
    assert SERVICE in cause(daemon)
    holds(lambda: daemon.process.is_running, 2, "the daemon to live")
    if resolver == "silent":
        pass_all(ground)
    ground.dnsmasq.start(Zone([EDGES[0]], [EDGES[1]]))
    begun = time.monotonic()
    daemon.wait_ready(1, 5)
    assert took(begun) <= seconds(5)
    daemon.wait_ready()
    until(lambda: service_manager.values("STATUS")[-1].startswith("connected"), 5, "STATUS: connected")


@pytest.mark.parametrize("answer", ["SERVFAIL", "NXDOMAIN"])
def test_failing_resolver(ground, answer):
    """T6: a resolver that answers with a failure is as good as dead; when it has mended, up in 5 s."""
    ground.add_edge(EDGES[0])
    server = ground.unbound if answer == "SERVFAIL" else ground.dnsmasq
    more = {"clear": True} if answer == "SERVFAIL" else {}
    server.start(**more)
    daemon = ground.start(server.address)
    why = "the name server failed" if answer == "SERVFAIL" else "no such name"
    until(lambda: f"{SERVICE}: {why}" in cause(daemon), 10,
          f"the cause of {answer} in the status")
    server.stop()
    server.start(Zone([EDGES[0]]), **more)
    daemon.wait_ready(1, 5)


def test_one_dead_resolver_of_two(ground):
    """T6: the first of two name servers is silent: up all the same."""
    ground.add_edge(EDGES[0])
    drop(ground, 53, to="127.0.0.99")
    ground.dnsmasq.start(Zone([EDGES[0]]))
    daemon = ground.start("127.0.0.99", "127.0.0.1")
    daemon.wait_ready(1, 5)


def test_resolv_conf_comes_late(ground):
    """At boot the name server is often written down after us: it counts from then on."""
    ground.add_edge(EDGES[0])
    ground.dnsmasq.start(Zone([EDGES[0]]))
    daemon = ground.start("127.0.0.98")
    until(lambda: SERVICE in cause(daemon), 10, "a cause in the status")
    (ground.folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    daemon.wait_ready(1, 5)


def test_poisoned_answers(ground, tmp_path):
    """T6: wrong addresses among the right ones: their certificates refuse, the good ones are used."""
    stranger = certs.Authority(tmp_path / "stranger", "stranger CA")
    for host in EDGES:
        ground.add_edge(host)
    wrong = [ground.add_edge(host, stranger) for host in ("127.0.9.1", "127.0.9.2")]
    ground.dnsmasq.start(Zone(["127.0.9.1", EDGES[0]], ["127.0.9.2", EDGES[1]]))
    daemon = ground.start()
    daemon.wait_ready(2, 20)
    assert ground.registered() <= set(EDGES)
    assert not any(link.registration for edge in wrong for link in edge.links), \
        "a stranger was told the secret"


def test_over_tls_when_port_53_is_blocked(ground):
    """T6: nobody answers at port 53: the vendor's names come over TLS, targets and all, in 5 s."""
    for host in EDGES:
        ground.add_edge(host)
    drop(ground, 53)
    ground.unbound.start(Zone([EDGES[0]], [EDGES[1]]))
    begun = time.monotonic()
    daemon = ground.start()
    daemon.wait_ready(1, 5)
    assert took(begun) <= seconds(5)
    daemon.wait_ready()
    assert ground.registered() == set(EDGES)


def test_over_tls_from_a_stranger(ground, processes, tmp_path, authority):
    """Over TLS the server's name is verified: an answer of somebody else is none."""
    ground.add_edge(EDGES[0])
    (tmp_path / "other").mkdir()
    liar = Unbound(processes, tmp_path / "other", ground.home, authority, name="liar.example.com")
    liar.start(Zone([EDGES[0]]))
    daemon = ground.start()
    until(lambda: "certificate was refused" in cause(daemon), 10, "the cause in the status")
    assert not ground.registered()


def test_over_tls_alone(ground):
    """`dns-over-tls` set: the system's resolver is not asked, though it would have an answer."""
    for host in EDGES:
        ground.add_edge(host)
    ground.dnsmasq.start(Zone([EDGES[0]]), extra="log-queries\n")
    ground.unbound.start(Zone([EDGES[1]]))
    daemon = ground.start(edge_keys={"dns_over_tls": "cloudflare-dns.com@1.1.1.1:853"})
    daemon.wait_ready(1)
    assert ground.registered() == {EDGES[1]}
    assert "query[" not in ground.dnsmasq.process.log


def test_ip_version(ground):
    """`ip-version = 6`: only addresses of that family are asked for and used."""
    ground.home.address("lo", "fd00:1::1/128")
    ground.add_edge(EDGES[0])
    ground.add_edge("fd00:1::1")
    ground.dnsmasq.start(Zone([EDGES[0], "fd00:1::1"]), extra="log-queries\n")
    daemon = ground.start(edge_keys={"ip_version": 6})
    daemon.wait_ready(1)
    assert ground.registered() == {"fd00:1::1"}
    assert "query[A]" not in ground.dnsmasq.process.log


class Visitor:
    """Asks through whichever connection is up, one request after the other, and counts. One that this edge sends
    after it has been told farewell is the edge's own fault, and is asked again."""

    def __init__(self, ground):
        self.ground, self.answered, self.failed = ground, 0, []
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.is_over.wait(0.005):
            links = [link for edge in self.ground.edges for link in edge.live]
            link = links[self.answered % len(links)] if links else None
            if not link:
                self.failed.append("no connection")
                continue
            try:
                answer = link.request(path="/")
                if answer.metadata is not None and answer.status == 204:
                    self.answered += 1
                elif not (link.unregistered or link.closed):
                    self.failed.append(f"{answer}")
            except (AssertionError, ConnectionError) as error:
                if not (link.unregistered or link.closed):
                    self.failed.append(f"{error!r}")

    def end(self):
        self.is_over.set()
        self.thread.join(seconds(20))
        assert not self.thread.is_alive()


@pytest.mark.timeout(120)
def test_other_addresses_after_the_time_to_live(ground):
    """T6: the records change: within their time to live (30 s at least) all connections have moved, and no request
    has failed."""
    later = ("127.0.3.1", "127.0.4.1")
    for host in EDGES + later:
        ground.add_edge(host)
    ground.dnsmasq.start(Zone([EDGES[0]], [EDGES[1]], ttl=1))
    daemon = ground.start()
    daemon.wait_ready()
    assert ground.registered() == set(EDGES)
    visitor = Visitor(ground)
    until(lambda: visitor.answered > 20, 10, "requests to be answered")
    ground.dnsmasq.stop()
    ground.dnsmasq.start(Zone([later[0]], [later[1]], ttl=1))
    until(lambda: ground.registered() == set(later), 45, "connections to have moved")
    before = visitor.answered
    until(lambda: visitor.answered > before + 20, 10, "requests to be answered")
    visitor.end()
    assert not visitor.failed


@pytest.mark.parametrize("http2, first", [(26, "http2"), (25, "quic")])
def test_order_of_transports(ground, http2, first):
    """The vendor's percentages decide which transport goes first (the account's threshold is 25), and exclude none:
    the edge here speaks QUIC alone."""
    ground.add_edge(EDGES[0])
    shares = [{"protocol": "quic", "percentage": 0}, {"protocol": "http2", "percentage": http2}]
    ground.dnsmasq.start(Zone([EDGES[0]], texts={"protocol-v2.argotunnel.com": json.dumps(shares)}))
    daemon = ground.start(tunnel_keys={"protocol": "auto"})
    daemon.wait_ready(1)
    dials = re.findall(r"dialing index=0 .*protocol=(\w+)", daemon.process.log)
    assert dials[0] == first and dials[-1] == "quic", dials


@pytest.mark.parametrize("share, datagram, is_v3", [(26, "auto", True), (25, "auto", False),
                                                    (None, "auto", False), (26, "v2", False),
                                                    (0, "v3", True)])
def test_datagram_version(ground, share, datagram, is_v3):
    """The vendor's percentage decides the version of datagrams (the account's threshold is 25) where the
    configuration doesn't; without a record it is 2."""
    edge = ground.add_edge(EDGES[0])
    texts = {} if share is None else {"cfd-features.argotunnel.com": json.dumps({"dv3_2": share})}
    ground.dnsmasq.start(Zone([EDGES[0]], texts=texts))
    ground.start(tunnel_keys={"datagram": datagram}).wait_ready(1)
    features = edge.wait_registered(1)[0].registration.features
    assert ("support_datagram_v3_2" in features) == is_v3 and "support_datagram_v2" in features


@pytest.mark.parametrize("path", ["system", "tls"])
def test_stop_while_asking(ground, path):
    """Weakness 30: SIGTERM while DNS doesn't answer ends the daemon at once."""
    drop(ground, 53, 853)
    keys = {"dns_over_tls": "cloudflare-dns.com@1.1.1.1:853"} if path == "tls" else {}
    daemon = ground.start(edge_keys=keys)
    until(lambda: daemon.page("/ready")[0] == 503, 10, "aditd to serve its page")
    begun = time.monotonic()
    assert daemon.stop() == 0
    assert took(begun) <= seconds(1)
