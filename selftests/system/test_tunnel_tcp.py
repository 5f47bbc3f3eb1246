# SPDX-License-Identifier: Apache-2.0
"""Where daemons come in over TCP: the listener of HTTP/2 links, its limits, and how links end there.

    PeerH2Daemon, silent and half-hearted TCP and TLS clients --> adit-edge (2 workers) <-- curl
"""
import contextlib
import socket
import ssl
import threading
import time

import pytest

from lib import tunnelrpc as rpc
from lib.adit import Edge, section
from lib.crowd import allow_files
from lib.h2_daemon import PeerH2Daemon
from lib.peer_daemon import Credentials, PeerDaemon, Response
from lib.wait import holds, seconds, until

pytestmark = pytest.mark.group("edge")

UNREGISTERED, REGISTER = 1024, 5     # the edge's defaults; seconds


@pytest.fixture(name="edge")
def fixture_edge(processes, tmp_path):
    made = Edge(processes, tmp_path)
    made.start()
    return made


class Origin:
    """Answers at once, or /held when it is told to."""

    def __init__(self):
        self.go = threading.Event()
        self.came = threading.Event()

    def __call__(self, request):
        if request.dest.endswith("/held"):
            self.came.set()
            self.go.wait(30)
        return Response(200, [("Content-Type", "text/plain")], b"hello\n")


@pytest.fixture(name="daemon")
def fixture_daemon(edge):
    origin = Origin()
    with PeerH2Daemon(Credentials.from_token(edge.token), edge.address, edge.ca, origin) as made:
        made.origin = origin
        yield made
        origin.go.set()


def registered(daemon, index=0):
    link, outcome = daemon.register(index)
    assert isinstance(outcome, rpc.Accepted), outcome
    return link


def come(edge, host="127.0.0.1", source="127.0.0.1"):
    made = socket.create_connection((host, edge.port), source_address=(source, 0))
    made.settimeout(seconds(20))
    return made


def handshake(edge, name="h2.cftunnel.com", **options):
    context = ssl.create_default_context(cafile=edge.ca)
    return context.wrap_socket(come(edge, **options), server_hostname=name)


def ends(connection):
    """Reads to the end: the seconds that took, and what came."""
    started, said = time.monotonic(), b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := connection.recv(65536):
            said += data
    connection.close()
    return time.monotonic() - started, said


def strangers(edge):
    return edge.counter("adit_edge_unregistered")


def drops(edge, where, reason):
    return edge.counter("adit_drops_total", where=where, reason=reason)


def held(edge):
    """A request of a visitor that the origin keeps; collect(thread) -> its answer."""
    answers = []
    thread = threading.Thread(target=lambda: answers.append(edge.fetch("/held")))
    thread.start()

    def collect():
        thread.join(seconds(20))
        return answers[0]
    return collect


def test_register_and_serve(edge, daemon):
    """§3: registration over HTTP/2, requests, and what status and metrics say of the link."""
    registered(daemon)
    edge.wait_links(1)
    assert edge.fetch("/x").text == "hello\n"
    assert [c["protocol"] for c in edge.status()["connections"]] == ["http2"]
    seen = edge.metrics()
    assert seen.sum("adit_edge_http2_total", event="accepted") == 1
    assert seen.sum("adit_edge_connections", state="registered") == 1
    assert seen.sum("adit_edge_quic_total", event="accepted") == 0
    assert seen.sum("adit_edge_unregistered") == 0


def test_addresses(processes, tmp_path):
    """[edge] listen: each address, IPv6 as well, and every worker."""
    edge = Edge(processes, tmp_path, workers=3)
    edge.start()
    for host, source in (("127.0.0.1", "127.0.0.1"), ("::1", "::1")):
        for _ in range(4):
            with handshake(edge, host=host, source=source) as one:
                assert one.version() == "TLSv1.3" and one.recv(24).startswith(b"PRI * HTTP/2.0")
    until(lambda: strangers(edge) == 0, 5, "nobody left")


def test_port_that_is_taken(processes, tmp_path):
    """A second program on the TCP port ends the start, although UDP is free."""
    edge = Edge(processes, tmp_path)
    with socket.create_server(("127.0.0.1", edge.port)):
        edge.start(wait=False)
        assert edge.process.wait_exit(10) == 1
    assert "cannot listen" in edge.process.log


def test_strangers(edge, daemon):
    """§13: who sends nothing, no preface, or never registers has 5 s; good ones are served meanwhile."""
    silent = come(edge)
    mute = handshake(edge)
    rude = handshake(edge)
    rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
    idle = daemon.connect()
    assert ends(rude)[0] < seconds(2)
    registered(daemon)
    assert edge.fetch("/x").text == "hello\n"
    assert strangers(edge) == 3
    started = time.monotonic()
    for one in (silent, mute):
        ends(one)
    idle.wait_closed_link(REGISTER + 3)
    assert time.monotonic() - started < seconds(REGISTER + 2)
    until(lambda: strangers(edge) == 0, 5, "nobody left")
    assert drops(edge, "handshake", "failed") >= 2
    assert drops(edge, "register", "timeout") == 1
    assert edge.fetch("/x").text == "hello\n"


def test_many_of_one_address(edge, daemon):
    """§13: 16 of an address among the workers; more are closed at once, others still come in."""
    crowd = [come(edge, source="127.0.0.77") for _ in range(60)]
    try:
        until(lambda: drops(edge, "accept", "address") >= 60 - 16, 5, "refusals")
        assert 8 <= strangers(edge) <= 16
        registered(daemon)
        assert edge.fetch("/x").text == "hello\n"
        closed = [c for c in crowd if is_over(c)]
        assert len(closed) == drops(edge, "accept", "address")
    finally:
        for one in crowd:
            one.close()
    until(lambda: strangers(edge) == 0, 5, "nobody left")


def is_over(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_many_together(processes, tmp_path):
    """§13: 1 024 for all together; there is room again when they have gone."""
    allow_files(2000)
    edge = Edge(processes, tmp_path)
    edge.start()
    crowd = [come(edge, source=f"127.0.3.{n % 200 + 1}") for n in range(1500)]
    try:
        until(lambda: drops(edge, "accept", "unregistered") >= 1500 - UNREGISTERED, 5, "refusals")
        assert strangers(edge) <= UNREGISTERED
        assert drops(edge, "accept", "address") == 0
    finally:
        for one in crowd:
            one.close()
    with PeerH2Daemon(Credentials.from_token(edge.token), edge.address, edge.ca) as good:
        until(lambda: strangers(edge) == 0, 5, "nobody left")
        registered(good)


def test_limit_of_both_transports(processes, tmp_path):
    """§13: strangers over TCP leave no room for one over QUIC, and when they go it comes in."""
    edge = Edge(processes, tmp_path, extra=section("limits", unregistered=40))
    edge.start()
    crowd = [come(edge, source=f"127.0.3.{n % 50 + 1}") for n in range(200)]
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca) as late:
        try:
            until(lambda: strangers(edge) == 40, 3, "a full house")
            until(lambda: drops(edge, "accept", "unregistered") == 160, 3, "refusals")
            link = late.connect(wait=False)
            until(lambda: drops(edge, "accept", "unregistered") > 160, 3, "its refusal")
            assert not link.ready
        finally:
            for one in crowd:
                one.close()
        assert isinstance(late.register(link=ready(late, link))[1], rpc.Accepted)


def ready(daemon, link):
    daemon.hub.wait(lambda: link.ready or link.closed, 10, "the handshake")
    return link


def test_probe(edge):
    """Who asks for probe.cftunnel.com only looks: it gets a handshake and no more, and is no failure."""
    with handshake(edge, "probe.cftunnel.com") as probe:
        assert probe.version() == "TLSv1.3"
        took, said = ends(probe)
        assert took < seconds(2) and not said
    until(lambda: strangers(edge) == 0, 5, "nobody left")
    assert drops(edge, "handshake", "failed") == 0


def test_goodbye(edge, daemon):
    """§12 of the transport: after unregistration no new request comes, the running one ends, then the
    edge closes TCP, for the reference waits for that."""
    link, other = registered(daemon), registered(daemon, 1)
    edge.wait_links(2)
    other.rpc.call(rpc.REGISTRATION, 1, rpc.empty, 5)
    other.rpc.stream.send(b"", True)
    other.wait_closed_link(3)
    answer = held(edge)
    assert daemon.origin.came.wait(seconds(5))
    link.rpc.call(rpc.REGISTRATION, 1, rpc.empty, 5)
    link.rpc.stream.send(b"", True)
    until(lambda: edge.fetch("/x").status == 503, 5, "no new request")
    holds(lambda: link.closed is None, 0.3, "the connection of a running request")
    daemon.origin.go.set()
    assert answer().text == "hello\n"
    link.wait_closed_link(3)


def test_drain(edge, daemon):
    """§4: END_STREAM on the control stream of ours, no new connection, running requests end, then the
    links and the edge."""
    daemon.features.append("adit_1")
    link = registered(daemon)
    edge.wait_links(1)
    answer = held(edge)
    assert daemon.origin.came.wait(seconds(5))
    edge.adit("edge", "drain")
    link.rpc.stream.wait_end(5)
    assert link.rpc.stream.fin
    with pytest.raises(ConnectionError):
        come(edge)
    holds(lambda: link.closed is None, 0.3, "the connection of a running request")
    daemon.origin.go.set()
    assert answer().text == "hello\n"
    link.wait_closed_link(3)
    assert edge.process.wait_exit(5) == 0


def test_drain_of_the_reference(edge, daemon):
    """§4: daemons without our feature are drained by closing each link when it is empty, 1 s apart."""
    links = [registered(daemon, n) for n in range(3)]
    edge.wait_links(3)
    edge.adit("edge", "drain")
    for link in links:
        link.wait_closed_link(8)
    times = sorted(link.closed_at for link in links)
    assert times[-1] - times[0] > 0.8
    assert edge.process.wait_exit(5) == 0
