# SPDX-License-Identifier: Apache-2.0
"""T3: the recorded streams of a real edge, sent byte for byte to aditd; the answers against the record.

    PeerEdge (recorded bytes) ==QUIC==> aditd --> an origin that behaves like the recorded one
"""
import json
import pathlib

import pytest

from lib import capnp, tunnelrpc as rpc
from lib.adit import Daemon, peer_edge_keys, write_token
from lib.origin import Origin
from lib.peer_edge import PeerEdge
from lib.ports import free
from lib.proc import Processes
from lib.wait import holds, until

pytestmark = pytest.mark.group("link")

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
VECTORS = {v["name"]: v for v in json.loads((DATA / "edge-protocol.json").read_text())}
RESET_AND_STOP = (("reset", 0), 0)


class RecordedOrigin(Origin):
    """The paths that the recorded requests name."""

    def serve_hello(self, connection, request):
        request.read()
        self.answer(connection, request, b"hello body",
                    headers="X-Origin: yes\r\nX-Multi: 1\r\nX-Multi: 2\r\n")

    def serve_echo(self, connection, request):
        got = bytearray()
        request._sink = got.extend
        request.read()
        self.answer(connection, request, bytes(got))

    def serve_chunked(self, connection, request, *_):
        request.read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                           + b"4\r\npart\r\n" * 3 + b"0\r\n\r\n")

    def serve_trailer(self, connection, request):
        request.read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                           b"4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n")

    def serve_abort(self, connection, request, *_):
        request.read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npartial")
        return False

    def serve_never(self, connection, request):
        return self.serve_silent(connection, request)


class Setup:
    """One daemon on one peer for all cases of this file: it has to survive each of them."""

    def __init__(self, folder, authority):
        self.processes = Processes(folder)
        self.edge = PeerEdge(*authority.leaf("peer"))
        self.origin = RecordedOrigin()
        token = write_token(folder / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                            bytes(32))
        self.daemon = Daemon(self.processes, folder, token_file=token, connections=1, rules=[
            ("app.example.com", self.origin.service),
            ("dead.example.com", f"http://127.0.0.1:{free()}"), (None, "http_status:404")],
            edge_keys=peer_edge_keys(self.edge, authority))
        self.daemon.start()
        self.link = self.edge.wait_registered(1, 15)[0]

    def send(self, data, fin):
        stream = self.link.data_stream()
        stream.send(data, fin)
        return stream

    def close(self):
        self.processes.close()
        self.origin.close()
        self.edge.stop()


@pytest.fixture(name="setup", scope="module")
def fixture_setup(tmp_path_factory, authority):
    made = Setup(tmp_path_factory.mktemp("recorded"), authority)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def alive(setup):
    """After every case the same process still serves on the same connection."""
    yield
    assert setup.daemon.process.is_running, setup.daemon.process.tail()
    assert setup.link.closed is None
    assert setup.link.request(host="app.example.com", path="/hello").body == b"hello body"


def raw(name):
    return bytes.fromhex(VECTORS[name]["hex"])


def recorded_answer(name):
    data = raw(name)
    length = capnp.frame_length(data[8:])
    error, metadata = rpc.read_connect_response(data[8:8 + length])
    return error, metadata, data[8 + length:]


WITH_ANSWER = [n[:-len("/daemon")] for n, v in VECTORS.items()
               if n.startswith("captured/http/") and n.endswith("/daemon") and v["hex"]]
# The edge's half stayed open in these.
KEPT_OPEN = ("get-edge-keeps-its-write-side-open", "post-content-length-body-no-fin")
# What differs in every run or is the origin's own.
OWN_HEADERS = ("date", "content-type", "content-length", "cf-int-cloudflared-tracing")


def named(metadata):
    """Header fields in a form that does not depend on their order."""
    return sorted((k.lower(), v) for k, v in metadata
                  if k.lower().removeprefix("httpheader:") not in OWN_HEADERS)


@pytest.mark.parametrize("name", WITH_ANSWER)
def test_recorded_request(setup, name):
    """T3: status, headers, body, error or not, and the end of the stream are as recorded."""
    fin = not name.endswith(KEPT_OPEN)
    stream = setup.send(raw(f"{name}/edge"), fin)
    got = stream.answer(10)
    error, metadata, body = recorded_answer(f"{name}/daemon")
    assert got.metadata is not None, got
    if error:       # overrides: captured/http/{no-origin,bad-*,header-*,post-content-length-11-*}
        assert got.error and got.end == "fin" and got.body == b""
        return
    assert got.error == ""
    assert got.metadata[0] == metadata[0]
    assert named(got.metadata) == named(metadata)
    assert got.body == body
    end = VECTORS[f"{name}/daemon"]["fields"]["daemon_send_side_end"]
    assert got.end == ("fin" if end == "FIN" else ("reset", 0))
    if not fin:
        stream.wait(lambda: stream.stop_code is not None, 5, "STOP_SENDING")
        assert stream.stop_code == 0


@pytest.mark.parametrize("case, body", [
    ("http-get", b""), ("http-post-content-length", b"hello world"),
    ("http-post-chunked", b"some body"), ("http-traced", b""), ("minimal", b"")])
def test_vector_requests(setup, case, body):
    """T3: the generated request heads are served (the origin knows none of their paths but `/`)."""
    before = len(setup.origin.requests)
    got = setup.send(raw(f"connect-request/{case}") + body, True).answer(10)
    assert got.end == "fin" and got.error == ""
    if case == "minimal":
        assert got.status == 404        # empty host: the catch-all
        return
    assert got.status == 200
    request = setup.origin.requests[before]
    assert request.header("Host") == "app.example.com"
    assert request.length == len(body)
    assert request.header("Cf-Trace-Id") is None
    if case == "http-get":
        assert request.target == "/path/to?q=1&r=%20x"
        assert request.header("Cf-Ray") == "8a1b2c3d4e5f6a7b-LHR"


@pytest.mark.parametrize("sizes", [[1] * 8, [6, 1, 1], [6, 2, 8], [7], [3, 5, 4]])
def test_segmentation(setup, sizes):
    """T3: a head in any pieces is one head (override: the recorded reset is not ours)."""
    data = raw("captured/http/head/edge")
    parts, at = [], 0
    for size in sizes:
        parts.append(data[at:at + size])
        at += size
    stream = setup.link.data_stream()
    stream.pieces([*parts, data[at:]], True)
    assert stream.answer().status == 200


MALFORMED = [n for n, v in VECTORS.items()
             if n.startswith("malformed/") and "response" not in n
             and not v["fields"]["go_result"].startswith("accepted")]


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(setup, name):
    """T3: what the record calls an error resets the stream without a ConnectResponse."""
    stream = setup.send(raw(name), True)
    got = stream.answer(10)
    if name == "malformed/unknown-connection-type":     # override: error, or reset
        assert got.error or got.end == ("reset", 0)
        return
    assert got.metadata is None and got.end == ("reset", 0), got


@pytest.mark.parametrize("name", ["unknown-signature", "too-many-segments", "empty-segment",
                                  "root-out-of-bounds"])
def test_malformed_without_fin(setup, name):
    """T3: the same with the edge's half still open: RESET_STREAM(0) and STOP_SENDING(0)."""
    stream = setup.send(raw(f"malformed/{name}"), False)
    stream.wait(lambda: stream.ended and stream.stop_code is not None, 10, "reset and stop")
    assert (stream.end, stream.stop_code) == RESET_AND_STOP


LENIENT = [n for n, v in VECTORS.items()
           if n.startswith(("malformed/", "evolution/", "multi-segment/connect"))
           and "response" not in n and "limit-edge" not in n
           and v["fields"].get("go_result", "accepted").startswith("accepted")]


@pytest.mark.parametrize("name", LENIENT)
def test_lenient(setup, name):
    """T3: odd encodings that the record accepts are requests: an answer and FIN, no reset."""
    got = setup.send(raw(name), True).answer(10)
    assert got.metadata is not None and got.end == "fin", got


def test_silent_stream_waits(setup):
    """T3: a stream whose head stops half way waits (no limit for data streams), reset ends it."""
    data = raw("captured/http/head/edge")
    stream = setup.send(data[:20], False)
    holds(lambda: not stream.ended, 1.0, "the stream is open")
    stream.send(data[20:], True)
    assert stream.answer().status == 200
    gone = setup.send(data[:20], False)
    gone.reset(4)
    assert gone.wait_end() == ("reset", 0)


def test_fin_while_origin_is_silent(setup):
    """T3: the edge's FIN does not end a pending answer; STOP_SENDING does."""
    stream = setup.send(raw("captured/http/edge-fin-while-origin-silent-must-stay-open/edge"), True)
    until(lambda: setup.origin.requests[-1].target == "/never", 10, "the request at the origin")
    holds(lambda: not stream.ended, 1.0, "the stream is open")
    stream.stop(0)
    assert stream.wait_end() == ("reset", 0)
