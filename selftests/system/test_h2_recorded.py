# SPDX-License-Identifier: Apache-2.0
"""T1: http2.json replayed over HTTP/2: the recorded requests of an edge, sent to aditd, and what the
edge sees; as data/README.md rules.

    PeerH2Edge (recorded fields and bytes) ==HTTP/2== aditd --> origins that send the recorded bytes
"""
import contextlib
import json
import pathlib
import signal
import socket
import sys
import threading
import time
import uuid

import pytest

from lib import h2frames as fr, h2peer, tunnelrpc as rpc
from lib.adit import Daemon, peer_edge_keys, write_token
from lib.h2_edge import PeerH2Edge
from lib.h2peer import META, PACKED, find
from lib.origin import Origin
from lib.proc import Processes
from lib.sockets import Listener
from lib.wait import seconds, until

pytestmark = pytest.mark.group("supervisor")

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
sys.path.insert(0, str(DATA))
import check_overrides  # noqa: E402  (it stays beside the vectors that it checks)

RECORDED = json.loads((DATA / "http2.json").read_text())
EXCHANGES = {e["name"]: e for e in RECORDED["exchanges"]}
CONTROL = RECORDED["control_stream"]
PLACES = check_overrides.resolve(str(DATA), {"http2.json": check_overrides.load(
    DATA / "overrides.json")["http2.json"]})
TCP_DEST = "127.0.0.1:9100"     # of the record; ours has a port of its own
FREE_FIELDS = ("date", "content-type", "cf-int-cloudflared-tracing", PACKED, META)
LIMITED = "tcp flow limit reached"


def octets(value):
    """A recorded text, or {"hex": ...}, as bytes."""
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value.encode()


class RecordedOrigin(Origin):
    """Answers each recorded path with the recorded bytes, as they are."""

    def __init__(self):
        self.answers = {}
        self.go = threading.Semaphore(0)        # one piece of a slow body each
        for exchange in EXCHANGES.values():
            made = exchange.get("origin_response")
            if made and not exchange["name"].startswith(("websocket accepted", "origin closes")):
                self.answers[dict(exchange["request_headers"])[":path"]] = octets(made)
        super().__init__()

    def _serve(self, connection, request):
        self.requests.append(request)
        answer = self.answers.get(request.target)
        if answer is None:
            name = "serve_" + request.target.strip("/").replace("-", "_")
            return getattr(self, name)(connection, request)
        request.read()
        connection.sendall(answer)
        return b"Connection: close" not in answer and answer.startswith(b"HTTP/")

    def serve_hangup(self, connection, request):
        return False

    def serve_short(self, connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial")
        return False

    def serve_shortchunk(self, connection, request):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
                           b"Transfer-Encoding: chunked\r\n\r\n7\r\npartial\r\n")
        return False

    def _slow(self, connection, kind):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: 30\r\n\r\n" % kind)
        for _ in range(3):
            assert self.go.acquire(timeout=seconds(20))
            connection.sendall(b"0123456789")
        return True

    def serve_slow_cl(self, connection, request):
        return self._slow(connection, b"application/json")

    def serve_slow_sse(self, connection, request):
        return self._slow(connection, b"text/event-stream")

    def serve_ws(self, connection, request):
        assert request.header("Sec-WebSocket-Key") == "dGhlIHNhbXBsZSBub25jZQ=="
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                           b"Connection: Upgrade\r\nSec-WebSocket-Protocol: chat\r\n"
                           b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nFIRST")
        got = request.reader.buffer or connection.recv(100)
        connection.sendall(b"echo:" + got)
        return False


def tcp_origin(connection):
    """Sends BANNER, echoes once, closes."""
    with connection, contextlib.suppress(OSError):
        connection.sendall(b"BANNER")
        got = connection.recv(100)
        if got:
            connection.sendall(b"echo:" + got)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(100)        # until the other end is over


class Setup:
    """One daemon on one connection for all cases of this file: it has to survive each of them."""

    def __init__(self, folder, authority, limits=""):
        self.processes = Processes(folder)
        self.edge = PeerH2Edge(*authority.leaf("peer"))
        self.origin, self.tcp = RecordedOrigin(), Listener()
        self.serving = self.tcp.serving(tcp_origin)
        self.serving.__enter__()
        token = write_token(folder / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                            bytes(32))
        self.daemon = Daemon(self.processes, folder, token_file=token, connections=1, workers=1,
                             rules=[(None, self.origin.service)],
                             tunnel_keys={"protocol": "http2"},
                             edge_keys=peer_edge_keys(self.edge, authority, kind="vendor"),
                             extra=f"[network]\nallow = 127.0.0.0/8\n{limits}")
        self.daemon.start()
        self.link = self.edge.wait_registered(1, 15)[0]

    def send(self, exchange):
        """Sends a recorded request; returns its stream."""
        fields = exchange["request_headers"]
        if isinstance(fields, str):     # "three headers of 400,000 octets each"
            fields = [*self.link.request_fields(), *[(f"x-{n}", "v" * 400_000) for n in range(3)]]
        fields = [(n, v.replace(TCP_DEST, self.tcp.address)) for n, v in fields]
        stream = self.link.open_request(fields, exchange["request_end_stream_in_headers"])
        if "request_body" in exchange:
            stream.send(exchange["request_body"].encode(),
                        "[keep open]" not in exchange.get("note", ""))
        return stream

    def close(self):
        self.processes.close()
        self.serving.__exit__(None, None, None)
        self.tcp.__exit__()
        self.origin.close()
        self.edge.stop()


@pytest.fixture(name="setup", scope="module")
def fixture_setup(tmp_path_factory, authority):
    made = Setup(tmp_path_factory.mktemp("h2recorded"), authority)
    yield made
    made.close()


@pytest.fixture(name="alive")
def fixture_alive(setup):
    """After every case the same process still serves on the same connection."""
    yield
    assert setup.daemon.process.is_running, setup.daemon.process.tail()
    assert setup.link.closed is None and setup.link.violation is None
    assert setup.link.request(host="app.example.com", path="/plain").body == b"hello"


# ---- exchanges --------------------------------------------------------------------------------------

def seen_head(exchange):
    return next((s for s in exchange["edge_sees"] if s["frame"] == "HEADERS"), None)


def seen_body(exchange):
    return b"".join(octets(s["data"]) for s in exchange["edge_sees"] if s["frame"] == "DATA")


def seen_trailers(exchange):
    heads = [s for s in exchange["edge_sees"] if s["frame"] == "HEADERS"]
    return [tuple(f) for f in heads[1]["fields"]] if len(heads) > 1 else None


def seen_end(exchange):
    """How the daemon's half ends; RST_STREAM NO_ERROR behind a whole answer is free."""
    for frame in exchange["edge_sees"]:
        if frame.get("end_stream"):
            return "fin"
        if frame["frame"] == "RST_STREAM":
            return "reset", frame["error_code"]
    raise AssertionError("a recorded exchange without an end")


def named(fields, without=()):
    """Fields in a form that does not depend on their order; recorded values hold UTF-8 or hex."""
    return sorted((n.lower(), v) for n, v in fields if n.lower() not in without)


def latin(fields):
    return [(n, octets(v).decode("latin-1")) for n, v in fields]


def check_head(exchange, got, without=()):
    """The head as recorded, but for what overrides take out: no sniffed type, meta always."""
    head = seen_head(exchange)
    recorded = [tuple(f) for f in head["fields"]]
    assert named(got.fields, FREE_FIELDS) == named(recorded, FREE_FIELDS)
    assert find(got.fields, "content-type") is None
    assert find(got.fields, META) == find(recorded, META)
    assert (find(got.fields, PACKED) is None) == (find(recorded, PACKED) is None)
    if find(recorded, PACKED):
        want = latin(head["decoded_user_headers_sorted"])
        assert named(got.headers, without) == named(want, without)


# Names whose expectation differs from the record, each with a test of its own below.
OVERRIDDEN = ("origin body shorter than content-length", "slow body with content-length",
              "slow body with content-length and SSE type", "header connection",
              "header te other than trailers", "header list too large", "websocket accepted", "tcp",
              "tcp with websocket key")
PLAIN = [n for n in EXCHANGES if n not in (*OVERRIDDEN, LIMITED)]


@pytest.mark.parametrize("name", PLAIN)
def test_exchange(setup, alive, name):
    """T1: head, the visitor's fields, body, trailers and end are as recorded."""
    exchange = EXCHANGES[name]
    got = setup.send(exchange).answer(10)
    assert got.end == seen_end(exchange)
    if seen_head(exchange) is None:
        assert got.fields is None
        return
    # Overrides: exchanges/http GET /control: no hop-by-hop fields, Sec-Websocket-Accept is free;
    # exchanges/http GET /trailers: Trailer is free.
    without = {"http GET /control": ("sec-websocket-accept", "keep-alive", "upgrade"),
               "http GET /trailers": ("trailer",)}.get(name, ())
    check_head(exchange, got, without)
    if name == "http GET /control":
        assert got.header("Keep-Alive") is None and got.header("Upgrade") is None
    assert got.body == seen_body(exchange)
    assert named(got.trailers or []) == named(seen_trailers(exchange) or [])


def test_order(setup, alive):
    """T1, override exchanges/*/decoded_user_headers_sorted: the origin's order."""
    got = setup.send(EXCHANGES["http GET /odd"]).answer()
    assert [n.lower() for n, _ in got.headers] == [
        "x-lower-name", "x-latin1", "x-utf8", "x-tab", "x-empty", "x-semi", "x_under",
        "content-length"]


def test_short_body(setup, alive):
    """T1, override exchanges/origin body shorter than content-length: the head, what came, the reset."""
    got = setup.send(EXCHANGES["origin body shorter than content-length"]).answer()
    assert (got.status, find(got.fields, "content-length")) == (200, "100")
    assert (got.body, got.end) == (b"partial", ("reset", 2))


@pytest.mark.parametrize("name", ["slow body with content-length",
                                  "slow body with content-length and SSE type"])
def test_slow_body(setup, alive, name):
    """T1, override exchanges/slow body with content-length: the head and each piece at once."""
    stream = setup.send(EXCHANGES[name])
    assert stream.wait_head() and stream.status == 200 and not stream.received
    for count in (10, 20, 30):
        assert len(stream.received) == count - 10
        setup.origin.go.release()
        assert len(stream.wait_bytes(count)) == count
    got = stream.answer()
    check_head(EXCHANGES[name], got)
    assert got.body == b"0123456789" * 3 and got.end == "fin"


@pytest.mark.parametrize("name", ["header connection", "header te other than trailers",
                                  "header list too large"])
def test_refused_head(setup, alive, name):
    """T1, overrides exchanges/header *: the recorded status, and who says so."""
    got = setup.send(EXCHANGES[name]).answer()
    assert got.status == int(find(seen_head(EXCHANGES[name])["fields"], ":status"))
    assert (got.meta, got.end) == ({"src": "cloudflared"}, "fin")


@pytest.mark.parametrize("name", ["websocket accepted", "tcp", "tcp with websocket key"])
def test_two_ways(setup, alive, name):
    """T1, overrides exchanges/websocket accepted, exchanges/tcp*: END_STREAM and no reset behind it."""
    exchange = EXCHANGES[name]
    stream = setup.send(exchange)
    got = stream.answer()
    check_head(exchange, got)
    assert (got.body, got.end) == (seen_body(exchange), "fin")
    assert stream.reset_code is None, "our half stays usable"
    stream.send(b"", True)


def test_flow_limit(tmp_path, authority):
    """T1: the only flow that may be open is, so another is refused, and the edge is told why."""
    setup = Setup(tmp_path, authority, "[limits]\nflows = 1\n")
    try:
        first = setup.send(EXCHANGES["tcp"])
        assert first.wait_head() and first.status == 200
        got = setup.send(EXCHANGES[LIMITED]).answer()
        check_head(EXCHANGES[LIMITED], got)
        assert (got.body, got.end) == (seen_body(EXCHANGES[LIMITED]), seen_end(EXCHANGES[LIMITED]))
        first.send(b"x", True)
        first.answer()
        until(lambda: setup.daemon.metrics().sum("cloudflared_tcp_active_sessions") == 0, 10, "the end of the first")
        again = setup.send(EXCHANGES["tcp"])
        assert again.wait_head() and again.status == 200
    finally:
        setup.close()


def test_cases_are_told_apart():
    """T1: what was run as recorded, what overridden."""
    touched = [n for n in EXCHANGES if any(
        e["kind"] == "behaviour" for _, e in
        check_overrides.lookup(PLACES, "http2.json", f"exchanges/{n}"))]
    print(f"exchanges: {len(EXCHANGES)}; touched by overrides of behaviour: {len(touched)}")
    assert set(OVERRIDDEN) - set(touched) == {"slow body with content-length and SSE type"}


# ---- the connection and its control stream -----------------------------------------------------------

def test_connection_start(setup):
    """T1, overrides connection_start/*: what SETTINGS promises, and a window for many streams."""
    assert setup.link.seen[0].kind == fr.SETTINGS
    settings = setup.link.peer_settings
    assert 100 <= settings[fr.MAX_CONCURRENT_STREAMS] <= 100_000
    assert settings[fr.MAX_HEADER_LIST_SIZE] >= 1 << 16
    stream = settings.get(fr.INITIAL_WINDOW_SIZE, 65535)
    granted = [f.word() for f in setup.link.frames(fr.WINDOW_UPDATE) if f.number == 0]
    assert stream > 0 and 65535 + granted[0] >= 8 * stream
    assert setup.link.server_name == "h2.cftunnel.com"
    assert 16 not in h2peer.hello_extensions(setup.edge.hellos[0])


def message(number):
    return bytes.fromhex(CONTROL["messages"][number]["hex"])


@pytest.fixture(name="control")
def fixture_control(processes, tmp_path, authority):
    """control(answer to the registration) -> (daemon, edge), with the recorded account."""
    inputs, edges = CONTROL["inputs"], []
    token = write_token(tmp_path / "token", inputs["account_tag"], inputs["tunnel_id"],
                        inputs["tunnel_secret_ascii"].encode())

    def start(answer):
        edges.append(PeerH2Edge(*authority.leaf("peer"), policy=lambda *_: answer))
        daemon = Daemon(processes, tmp_path, token_file=token, connections=1,
                        rules=[(None, "http_status:404")], tunnel_keys={"protocol": "http2"},
                        edge_keys=peer_edge_keys(edges[-1], authority, kind="vendor"))
        daemon.start()
        return daemon, edges[-1]
    yield start
    for edge in edges:
        edge.stop()


def test_control_stream(control):
    """T1: the recorded messages of the edge register a daemon, whose own are as recorded."""
    daemon, edge = control(message(3))
    edge.bootstrap_reply = lambda frame: message(2)
    link = edge.wait_registered(1, 15)[0]
    daemon.wait_ready()
    # Override control_stream/response_headers.
    assert find(link.control.fields, ":status") == "200"
    assert find(link.control.fields, META) == '{"src":"origin"}'
    assert find(link.control.fields, "content-type") is None

    link.control.wait(lambda: len(link.reader.frames) >= 4, what="messages")
    mine, recorded = link.reader.frames, rpc.read_frame(message(1))
    assert mine[0].raw == message(0)
    assert (mine[1].which, mine[1].interface, mine[1].method) == ("call", rpc.REGISTRATION, 0)
    sent, want = link.registration, rpc.Registration.read(recorded.params)
    for member in ("account", "secret", "tunnel", "index", "arch", "origin_ip", "replace_existing",
                   "compression", "attempts"):
        assert getattr(sent, member) == getattr(want, member), member
    assert uuid.UUID(bytes=sent.client_id).version == 4
    # All of the record's features that need nothing which this version lacks.
    assert set(want.features) - set(sent.features) <= {"support_datagram_v2"}
    assert {"serialized_headers", "allow_remote_config"} <= set(sent.features)
    target = None if mine[1].target[0] == "promised" else mine[1].target[1]
    assert mine[1].raw == rpc.call(mine[1].question, rpc.REGISTRATION, 0, sent.params, target)
    finishes = [f.raw for f in mine if f.which == "finish"]
    assert finishes[0] == message(4)


def test_control_stream_ends(control):
    """T1: the recorded ending: unregistration, then Abort and the end of the stream; GOAWAY first."""
    daemon, edge = control(message(3))
    link = edge.wait_registered(1, 15)[0]
    daemon.wait_ready()
    daemon.process.signal(signal.SIGTERM)
    link.control.wait_end(10)
    assert link.unregistered and link.control.end == "fin"
    kinds = [f.which for f in link.reader.frames]
    assert kinds[-1] == "abort" and link.reader.frames[-1].reason
    call = next(f for f in link.reader.frames if f.which == "call" and f.method == 1)
    assert (call.interface, kinds.index("abort") > kinds.index("call")) == (rpc.REGISTRATION, True)
    link.wait_closed_link(10)
    assert link.goaway and link.goaway[1] == 0, "row 17: GOAWAY, without an error"
    assert daemon.process.wait_exit(10) == 0


@pytest.mark.parametrize("case", [c["case"] for c in CONTROL["registration_error_returns"]])
def test_refused_registration(control, case):
    """T1, row 2: after each recorded refusal the daemon closes the connection itself."""
    recorded = next(c for c in CONTROL["registration_error_returns"] if c["case"] == case)
    started = time.monotonic()
    daemon, edge = control(bytes.fromhex(recorded["return_message_hex"]))
    link = edge.wait_registrations(1, 15)[0]
    link.wait_closed_link(10)
    assert link.peer_closed and daemon.process.is_running
    want = rpc.read_connection_response(
        rpc.read_frame(bytes.fromhex(recorded["return_message_hex"])).results)
    if want.retry_after_ns:
        # retryAfter is honoured: no second registration before.
        second = edge.wait_registrations(2, 30)[1]
        assert second.connected_at - link.connected_at >= want.retry_after_ns / 1e9 - 0.5
    elif not want.should_retry and want.cause != "EDUPCONN":
        until(lambda: want.cause in daemon.process.tail(200), 5, "the cause in the log")
        assert len(edge.links) <= 2 + (time.monotonic() - started) / 30, "refused for good: no hammering"


# ---- configuration updates ---------------------------------------------------------------------------

UPDATES = RECORDED["configuration_updates"]


@pytest.mark.parametrize("number", range(len(UPDATES)), ids=[u["note"] for u in UPDATES])
def test_configuration_update(setup, alive, number):
    """T1: what can't be read is answered as recorded; the rest gets a version and, refused, a reason.

    This version takes its configuration from the local file alone: updates that the record applies are
    refused with that reason (ids of the versions applied come with the updates themselves).
    """
    recorded = UPDATES[number]
    got = setup.link.configure(recorded["body"].encode())
    head = [tuple(f) for f in recorded["edge_sees"][0]["fields"]]
    assert (str(got.status), got.end) == (find(head, ":status"), "fin")
    if got.status == 502:
        assert got.meta == {"src": "cloudflared"} and got.body == b""
        assert find(got.fields, "content-length") == find(head, "content-length")
        return
    # Override configuration_updates/*/edge_sees/0/fields.
    assert got.meta == {"src": "origin"}
    assert find(got.fields, "content-type") in (None, "application/json")
    assert int(find(got.fields, "content-length")) == len(got.body)
    answer = json.loads(got.body)
    assert sorted(answer) == ["err", "lastAppliedVersion"]
    assert isinstance(answer["lastAppliedVersion"], int)
    if answer["err"] is not None:
        assert list(answer["err"]) == ["message"] and answer["err"]["message"]
