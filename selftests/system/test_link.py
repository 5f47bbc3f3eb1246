# SPDX-License-Identifier: Apache-2.0
"""T6 on loopback: Retry, key update, batching, rebinding NAT, a thousand streams.

    curl --> adit-edge (2 workers) <==QUIC, a relay in between where the test says so==> aditd --> origin
"""
import threading
import time

import pytest

from lib import tunnelrpc as rpc
from lib.adit import DOMAIN, Daemon, Edge, section
from lib.crowd import Gate, allow_files, visit
from lib.origin import Origin, digest, pattern
from lib.peer_daemon import Credentials, PeerDaemon
from lib.relay import Relay
from lib.wait import seconds, until

pytestmark = pytest.mark.group("link")

HOST = f"a.{DOMAIN}"


@pytest.fixture(name="origin")
def fixture_origin():
    with Origin("a") as made:
        yield made


@pytest.fixture(name="daemon_on")
def fixture_daemon_on(processes, tmp_path, origin):
    """daemon_on(edge, address, **more) -> aditd with one link, dialling `address`."""
    def start(edge, address=None, service=None, **more):
        keys = {"address": address} if address else None
        made = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                      rules=[(HOST, service or origin.service)], edge_keys=keys, **more)
        return made.serve()
    return start


def test_retry_always(processes, tmp_path, daemon_on):
    """T6: retry = always: our daemon (two Initials, ML-KEM) and an independent one get through."""
    edge = Edge(processes, tmp_path, edge_keys={"retry": "always"})
    edge.start()
    with Relay(("127.0.0.1", edge.port)) as relay:
        retries = []

        def watch(data, is_up):
            if not is_up and data[0] & 0xF0 == 0xF0:
                retries.append(data)
            return False
        relay.drop = watch
        daemon = daemon_on(edge, relay.address)
        assert retries, "no Retry packet was seen"
        assert daemon.stop() == 0
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca) as peer:
        assert isinstance(peer.register()[1], rpc.Accepted)
        until(lambda: edge.fetch("/x").header("x-peer") == "python", 10, "the independent daemon")


def test_link_over_ipv6(processes, tmp_path, daemon_on):
    """T6: the tunnel itself over IPv6, a megabyte each way."""
    edge = Edge(processes, tmp_path)
    edge.start()
    daemon_on(edge, f"[::1]:{edge.port}")
    body = pattern(1 << 20)
    assert edge.fetch(f"/bytes/{len(body)}").body == body
    assert edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                      stdin=body).text == digest(body)


def test_key_update_at_the_edge(processes, tmp_path):
    """T6: key updates by the daemon's side in the middle of the work."""
    edge = Edge(processes, tmp_path)
    edge.start()
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca) as peer:
        link, _ = peer.register()
        for _ in range(3):
            link.key_update()
            # Both ends have sent and acknowledged with the new keys before the next update, and
            # three probe timeouts have passed (RFC 9001 §6.1, §6.5): 1.2 s at the most here.
            started = time.monotonic()
            until(lambda: (edge.fetch("/x").text == "hello\n"
                           and time.monotonic() - started > 1.2), 10, "the new keys", 0.2)
        assert edge.fetch("/x").text == "hello\n" and link.closed is None


class Moved:
    """How much the UDP counters of a program have risen since this was made."""

    def __init__(self, program):
        self.program, self.before = program, program.metrics()

    def __getitem__(self, name):
        name = f"adit_udp_{name}_total"
        return self.program.metrics().sum(name) - self.before.sum(name)


def test_gso_and_gro(processes, tmp_path, daemon_on):
    """T6: 10 MiB each way leave in GSO batches and are received in GRO ones, by the counters."""
    edge = Edge(processes, tmp_path)
    edge.start()
    daemon = daemon_on(edge)
    body = pattern(10 << 20)

    def down():
        assert digest(edge.fetch(f"/bytes/{len(body)}").body) == digest(body)

    def up():
        assert edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                          stdin=body).text == digest(body)
    for transfer, sender, receiver in ((down, daemon, edge), (up, edge, daemon)):
        sent, got = Moved(sender), Moved(receiver)
        transfer()
        assert sent["gso_segments"] > 1000 and got["gro_segments"] > 1000
        assert sent["gso_segments"] > 2 * sent["sendmsg"], sender.name
        assert got["rx_packets"] > 2 * got["recvmsg"], receiver.name


def test_rebinding_relay(processes, tmp_path, daemon_on):
    """T6: the NAT gives the daemon a new port twice in the middle of a download and of an upload."""
    edge = Edge(processes, tmp_path)
    edge.start()
    with Relay(("127.0.0.1", edge.port)) as relay:
        daemon = daemon_on(edge, relay.address)
        body = pattern(20 << 20)
        got = {}

        def download():
            got["down"] = edge.fetch(f"/bytes/{len(body)}", "--limit-rate", "8M", timeout=60)
        transfer = threading.Thread(target=download)
        base = relay.up
        transfer.start()
        for part in (2000, 6000):
            until(lambda p=part: relay.up - base > p, 20, "traffic")
            relay.rebind()
        transfer.join()
        assert (got["down"].code, digest(got["down"].body)) == (0, digest(body)), got["down"].error

        def upload():
            got["up"] = edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                                   "--limit-rate", "8M", stdin=body, timeout=60)
        transfer = threading.Thread(target=upload)
        base = relay.down
        transfer.start()
        until(lambda: relay.down - base > 4000, 20, "traffic")
        relay.rebind()
        transfer.join()
        assert got["up"].text == digest(body), got["up"]
        assert relay.rebinds == 3 and daemon.ready() == 1
        assert edge.links() == 1, "the link is still the one that registered"


def test_a_thousand_streams(processes, tmp_path, daemon_on):
    """T6: 1 000 requests are open on one link at the same time, and all get their answer."""
    count = 1000
    allow_files(8192)
    gate = Gate(count)
    try:
        edge = Edge(processes, tmp_path, extra=section("front", client_concurrency=4096))
        edge.start()
        daemon = daemon_on(edge, service=gate.service)
        assert visit(edge.http_port, HOST, count) == count
        assert gate.most == count
        assert daemon.ready() == 1 and daemon.counter("adit_requests_active") == 0
    finally:
        gate.close()


def test_loss(processes, tmp_path, daemon_on):
    """T6: with every 50th packet lost both ways, bodies are whole and losses are counted."""
    edge = Edge(processes, tmp_path)
    edge.start()
    with Relay(("127.0.0.1", edge.port)) as relay:
        daemon = daemon_on(edge, relay.address)
        turn = [0]

        def every_fiftieth(_data, _is_up):
            turn[0] += 1
            return turn[0] % 50 == 0
        relay.drop = every_fiftieth
        body = pattern(4 << 20)
        assert digest(edge.fetch(f"/bytes/{len(body)}", timeout=60).body) == digest(body)
        assert edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:", stdin=body,
                          timeout=60).text == digest(body)
        assert daemon.counter("adit_link_lost_packets_total") > 10
        assert daemon.counter("quic_client_lost_packets", conn_index=0) > 10
        assert edge.counter("adit_link_lost_packets_total", tunnel="home", index=0) > 10
        relay.drop = lambda data, is_up: False


def test_blackhole_is_noticed(processes, tmp_path, authority, origin):
    """T6: packets that vanish: the daemon gives the link up by its idle time and comes back."""
    edge = Edge(processes, tmp_path)
    edge.start()
    with Relay(("127.0.0.1", edge.port)) as relay:
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                        rules=[(HOST, origin.service)],
                        edge_keys={"address": relay.address, "kind": "vendor",
                                   "ca_file": edge.ca})
        daemon.serve()
        relay.drop = lambda data, is_up: True
        started = time.monotonic()
        until(lambda: daemon.ready() == 0, 15, "the link's end")
        assert time.monotonic() - started < seconds(10)
        relay.drop = lambda data, is_up: False
        daemon.wait_ready(timeout=20)
        until(lambda: edge.fetch("/x").status == 200, 10, "an answer")
