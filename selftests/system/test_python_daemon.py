# SPDX-License-Identifier: Apache-2.0
"""T3: adit-edge against an independent daemon in Python.

    curl, sockets --> adit-edge (2 workers) ==QUIC==> PeerDaemon (aioquic) with a callback
"""
import socket
import threading
import time
import uuid

import pytest

from lib import tunnelrpc as rpc
from lib.adit import DOMAIN, Edge
from lib.origin import digest, pattern
from lib.peer_daemon import Credentials, PeerDaemon, Response
from lib.proc import Processes
from lib.quicpeer import RpcClient
from lib.wait import seconds, until

pytestmark = pytest.mark.group("edge")

HOST = f"a.{DOMAIN}"
UNAUTHORIZED = rpc.Refused("Unauthorized: tunnel or secret not known", False, 0)


@pytest.fixture(name="edge", scope="module")
def fixture_edge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    processes = Processes(folder)
    try:
        made = Edge(processes, folder, tunnel_keys={"max_connections": 4})
        made.start()
        yield made
    finally:
        processes.close()


def application(request):
    """The callback: what the path asks for."""
    path = request.dest.split("?")[0]
    path = path[path.index("/", 8):] if path.startswith("http") else path
    if path == "/error":
        return Response(error="unable to reach the origin")
    if path == "/reset":
        return Response(200, [("Content-Length", "1000")], b"part", reset=0)
    if path == "/reset-chunked":
        return Response(200, [], b"part", reset=0)
    if path == "/short":
        return Response(200, [("Content-Length", "1000")], b"part")
    if path == "/hang":
        return None
    if path.startswith("/bytes/"):
        return Response(200, [], pattern(int(path.rsplit("/", 1)[1])))
    if path == "/sha256":
        return Response(200, [], digest(request.read(30)).encode())
    if path == "/hop":
        return Response(200, [("Connection", "x-hop"), ("X-Hop", "1"), ("Keep-Alive", "timeout=1"),
                              ("Transfer-Encoding", "chunked"), ("X-Stay", "1")], b"ok")
    if path.startswith("/status/"):
        return Response(int(path.rsplit("/", 1)[1]), [], b"HTTP/1.1 200 OK\r\n\r\n")
    return Response(200, [("Content-Type", "text/plain"), ("X-Twice", "1"), ("X-Twice", "2")],
                    f"{request.method} {path}".encode())


@pytest.fixture(name="daemon")
def fixture_daemon(edge):
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca,
                    application) as made:
        yield made
    until(lambda: edge.links() == 0, 10, "no link at the edge")


@pytest.fixture(name="registered")
def fixture_registered(daemon):
    """A daemon with one registered link."""
    daemon.link, outcome = daemon.register()
    assert isinstance(outcome, rpc.Accepted), outcome
    return daemon


def test_token(edge):
    """T3: the join token is the reference's with one more member; modes and pin are right."""
    token = edge.credentials
    assert set(token) == {"a", "t", "s", "x"}
    assert len(Credentials.from_token(edge.token).secret) == 32
    assert uuid.UUID(token["t"]).hex and len(token["a"]) == 32
    assert token["x"]["v"] == 1 and token["x"]["edge"] == [edge.advertise]
    assert token["x"]["pin"].startswith("sha256/")
    assert edge.token_file.stat().st_mode & 0o777 == 0o600
    assert token["s"] not in edge.init.log and edge.token not in edge.init.log


def test_init_overwrites_nothing(edge):
    """T3: a second init leaves CA, keys and configuration as they are."""
    before = {p: p.read_bytes() for p in edge.folder.rglob("*")
              if p.is_file() and p.suffix not in (".out", ".err")}
    again = edge.processes.run("init-again", edge.init.argv)
    assert again.code != 0 or again.log
    for path, content in before.items():
        assert path.read_bytes() == content, path


def test_register_and_serve(edge, registered):
    """T3: an independent daemon registers and serves one request."""
    outcome = registered.link.rpc.returns[1]
    accepted = rpc.read_connection_response(outcome.results)
    assert accepted.location == "tst" and len(accepted.uuid) == 16
    edge.wait_links(1)
    got = edge.fetch("/x?q=1", "-H", "Cookie: a=1", "-H", "Cookie: b=2")
    assert (got.status, got.text) == (200, "GET /x"), got
    assert got.header("x-twice") == "1, 2"
    request = registered.requests[0]
    assert request.kind == rpc.HTTP and request.host.split(":")[0] == HOST
    assert request.dest.endswith("/x?q=1")
    assert request.stream.number == 1
    assert request.metadata[:2] == [("HttpMethod", "GET"), ("HttpHost", request.host)]
    assert [v for n, v in request.headers if n.lower() == "cookie"] == ["a=1", "b=2"]


def test_head_bytes(edge, registered):
    """T3: the request head is what the independent encoder makes; its 8 bytes came in one piece."""
    edge.fetch("/bytes?x")
    request = registered.requests[0]
    data = bytes(request.stream.received[:request.offset])
    assert data == rpc.connect_request(request.kind, request.dest, request.metadata)


def test_bodies(edge, registered):
    """T3: 3 MB each way; a chunked upload arrives raw at a daemon without our extension."""
    body = pattern(3_000_000)
    assert edge.fetch("/bytes/3000000", timeout=60).body == body
    got = edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:", stdin=body, timeout=60)
    assert got.text == digest(body)
    request = registered.requests[-1]
    assert request.header("Transfer-Encoding") == "chunked"
    assert request.meta("AditFrames") is None and request.stream.fin
    got = edge.fetch("/sha256", "-X", "POST", "--data-binary", "@-", "-H", "Expect:",
                     stdin=body[:99_999])
    assert got.text == digest(body[:99_999])
    assert registered.requests[-1].header("Content-Length") == "99999"


def test_get_and_head_have_no_body(edge, registered):
    """T3: a GET is announced without a body and its stream is finished; HEAD gets none back."""
    assert edge.fetch("/x").status == 200
    request = registered.requests[-1]
    request.stream.wait_end(5)
    assert request.stream.fin and request.body_so_far == b""
    assert request.header("Transfer-Encoding") is None
    got = edge.fetch("/bytes/100", "-I")
    assert (got.code, got.status, got.body) == (0, 200, b"")


def test_hop_by_hop_answers(edge, registered):
    """T3: connection headers of an answer end at the edge."""
    got = edge.fetch("/hop")
    assert (got.code, got.status, got.text, got.header("x-stay")) == (0, 200, "ok", "1")
    assert got.header("x-hop") is None and got.header("keep-alive") is None


@pytest.mark.parametrize("status", [100, 101, 103, 199])
def test_interim_answers(edge, registered, status):
    """T3: a status below 200 is no answer to a request, and an upgrade that nobody asked for is
    none: the visitor gets a page, not a raw connection."""
    got = edge.fetch(f"/status/{status}")
    assert (got.code, got.status, got.header("adit-error")) == (0, 502, "origin-protocol"), got


@pytest.mark.parametrize("path", ["/reset", "/reset-chunked", "/short"])
def test_truncated_answers(edge, registered, path):
    """T3: an answer that ends early is never passed off as whole."""
    got = edge.fetch(path)
    assert got.code != 0 or got.status == 502, got
    assert got.status in (200, 502)


def test_error_answer(edge, registered):
    """T3: a ConnectResponse with an error is a 502 of the edge, and not the daemon's words."""
    got = edge.fetch("/error")
    assert got.status == 502 and "unable to reach" not in got.text
    assert got.header("adit-error")


def test_unregister(edge, registered):
    """T3: after unregistration no request goes to that link."""
    assert edge.fetch("/x").status == 200
    assert registered.unregister(registered.link).outcome == "results"
    until(lambda: edge.fetch("/x").status == 503, 5, "no tunnel")
    assert registered.link.closed is None or registered.link.closed[0] == 0
    count = len(registered.requests)
    assert edge.fetch("/x").header("adit-error") == "tunnel-offline"
    assert len(registered.requests) == count


@pytest.mark.parametrize("change", [
    {"secret": bytes(32)}, {"secret": b""}, {"secret": b"x" * 31}, {"account": "f" * 32},
    {"account": ""}, {"tunnel": uuid.UUID(int=7).bytes}])
def test_unauthorized(daemon, change):
    """T3, T4: wrong secret, account or tunnel: one text, no hint which, for good."""
    assert daemon.register(**change)[1] == UNAUTHORIZED


@pytest.mark.parametrize("change", [{"tunnel": b"short"}, {"tunnel": bytes(17)},
                                    {"client_id": b"x"}])
def test_malformed_registration(daemon, change):
    """T3: ids of wrong length are an RPC exception."""
    assert isinstance(daemon.register(**change)[1], str)


def test_too_many_connections(edge, daemon):
    """T3: the fifth connection of a tunnel with max-connections = 4."""
    for index in range(4):
        assert isinstance(daemon.register(index)[1], rpc.Accepted)
    refused = daemon.register(4)[1]
    assert refused == rpc.Refused("too many connections", True, 30 * 10**9)
    edge.wait_links(4)


def test_second_registration_replaces(edge, daemon):
    """T3: the same connector and index again: the newer is taken, the older is closed."""
    first, outcome = daemon.register(1)
    assert isinstance(outcome, rpc.Accepted)
    second, outcome = daemon.register(1)
    assert isinstance(outcome, rpc.Accepted)
    daemon.hub.wait(lambda: first.closed or first.streams[0].ended, 10, "the old link's end")
    assert second.closed is None
    for _ in range(4):
        assert edge.fetch("/x").status == 200
    assert all(r.stream.link is second for r in daemon.requests)


def test_several_connectors(edge, daemon):
    """T3: two connectors of one tunnel both get requests."""
    with PeerDaemon(daemon.credentials, edge.address, edge.ca, application) as other:
        for one in (daemon, other):
            assert isinstance(one.register()[1], rpc.Accepted)
        edge.wait_links(2)

        def both():
            assert edge.fetch("/x").status == 200
            return daemon.requests and other.requests
        until(both, 15, "requests at both connectors")


def test_link_lost_with_a_request(edge, registered):
    """T3, T4: the link dies under a request: 502 tunnel-lost."""
    result = []
    thread = threading.Thread(target=lambda: result.append(edge.fetch("/hang", "-X", "POST",
                                                                      "-d", "x")))
    thread.start()
    registered.wait_requests(1)
    registered.link.close_link(0)
    thread.join(seconds(20))
    assert result[0].status == 502 and result[0].header("adit-error") == "tunnel-lost", result


def test_visitor_leaves(edge, registered):
    """T3: a visitor who goes away: the edge sends STOP_SENDING on his stream."""
    with socket.create_connection(("127.0.0.1", edge.http_port)) as visitor:
        visitor.sendall(f"GET /hang HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        request = registered.wait_requests(1)[0]
    request.stream.wait(lambda: request.stream.stop_code is not None, 10, "STOP_SENDING")


def test_probe_name(edge, daemon):
    """T3: a connection by the probe's name completes its handshake and may leave at once."""
    link = daemon.connect("probe.cftunnel.com")
    assert link.ready and link.alpn == "argotunnel"
    link.close_link(0, "precheck complete")


def test_foreign_alpn(edge, daemon):
    """T3: no common ALPN: CRYPTO_ERROR 0x178."""
    daemon.members["alpn_protocols"] = ["h3"]
    link = daemon.connect()
    assert link.wait_closed_link()[0] == 0x178


def test_edge_parameters(edge, daemon):
    """T3: transport parameters that the protocol asks of an edge."""
    quic = daemon.connect().quic
    assert quic._remote_max_idle_timeout == 60
    assert quic._remote_max_streams_bidi >= 100
    assert (quic._remote_max_datagram_frame_size or 0) >= 1400


def test_rpc_robustness(edge, daemon):
    """T3: odd but legal RPC: null transform, late bootstrap order, unknown method, unknown target."""
    link = daemon.connect()
    stream = link.open_stream()
    client = RpcClient(stream)
    params = daemon.registration().params
    stream.send(rpc.bootstrap(0) + rpc.call(1, rpc.REGISTRATION, 0, params, null_transform=True))
    assert client.wait(1).outcome == "results"
    for question, message in (
            (5, rpc.call(5, rpc.REGISTRATION, 77, rpc.empty, 0)),
            (6, rpc.call(6, 0x1234, 0, rpc.empty, 0)),
            (7, rpc.call(7, rpc.REGISTRATION, 1, rpc.empty, 999))):
        stream.send(message)
        assert client.wait(question).outcome == "exception"
    stream.send(rpc.finish(99) + rpc.release(99))
    stream.send(rpc.call(8, rpc.REGISTRATION, 2, rpc.local_configuration(b"{}"), 0))
    assert client.wait(8).outcome == "results"


@pytest.mark.parametrize("data", [b"\0" * 8, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n",
                                  rpc.bootstrap(0)[:20]])
def test_garbage_on_the_control_stream(edge, daemon, data):
    """T3: garbage before a registration ends that connection's control stream, and nothing else."""
    link = daemon.connect()
    stream = link.open_stream()
    stream.send(data, True)
    stream.wait_end(10)
    assert isinstance(daemon.register(2)[1], rpc.Accepted)


def test_local_configuration_is_limited(edge, registered):
    """T3: a configuration over 4 MiB is refused or ends the link; the edge lives."""
    link = registered.link
    frame = registered.upload(link, b" " * (5 << 20), 20)
    assert frame is None or frame.outcome == "exception"
    assert edge.process.is_running
    assert isinstance(registered.register(3)[1], rpc.Accepted)
    assert edge.fetch("/x").status == 200


def test_unregistered_connections_end(edge, daemon):
    """T9 (small): a connection that does not register is closed after its 5 s."""
    link = daemon.connect()
    started = time.monotonic()
    link.wait_closed_link(9)
    assert 3.5 < time.monotonic() - started < seconds(8)


def test_secret_is_nowhere(edge, registered):
    """T4: neither log nor run folder of the edge hold the secret."""
    secret = edge.credentials["s"]
    assert secret not in edge.process.log
    for path in edge.run.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes()


def test_pipelined_visitor(edge, registered):
    """T3: two requests in one write of a visitor get two answers in order."""
    with socket.create_connection(("127.0.0.1", edge.http_port), timeout=10) as visitor:
        one = f"GET /one HTTP/1.1\r\nHost: {HOST}\r\n\r\n"
        two = f"GET /two HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
        visitor.sendall((one + two).encode())
        with visitor.makefile("rb") as answers:
            text = answers.read()
        assert text.count(b"HTTP/1.1 200") == 2
        assert 0 < text.index(b"GET /one") < text.index(b"GET /two")
