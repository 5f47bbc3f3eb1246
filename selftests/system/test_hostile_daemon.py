# SPDX-License-Identifier: Apache-2.0
"""T7: daemons that mean harm, strangers and one with a good token, beside a good daemon at one edge.

    visitors --> adit-edge (2 workers) ==QUIC==> PeerDaemon (good), tunnel home
                                       ==QUIC==> PeerDaemon (hostile), tunnel evil
"""
import asyncio
import hashlib
import itertools
import json
import os
import pathlib
import socket
import uuid

import pytest

from lib import hostile, tunnelrpc as rpc
from lib.adit import DOMAIN, Edge, section
from lib.hostile import (Gauges, Steadfast, cuts, in_pieces, reset_frame, send_frames, stop_frame,
                         stream_frame)
from lib.peer_daemon import Credentials, PeerDaemon, Response
from lib.proc import Processes
from lib.wait import SLOW, seconds, until

pytestmark = pytest.mark.group("http")

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
VECTORS = {v["name"]: v for v in json.loads((DATA / "edge-protocol.json").read_text())}
HOST, EVIL = f"a.{DOMAIN}", f"evil.{DOMAIN}"
HALF_OPEN = 20_000
GAUGES = ("adit_requests_active", "adit_buffer_bytes", "adit_edge_unregistered",
          "adit_edge_connections", "adit_edge_links")
# Windows of links that were busy stay larger for a while.
SLACK = {"adit_buffer_bytes": 4 << 20}
SECRET, TUNNEL, ACCOUNT = bytes(range(32)), str(uuid.UUID(int=0xEE << 64)), "e" * 32


def raw(name):
    return bytes.fromhex(VECTORS[name]["hex"])


class Setup:
    def __init__(self, folder):
        self.processes = Processes(folder)
        evil = section("tunnel evil", id=TUNNEL, account=ACCOUNT, hostname=EVIL,
                       secret_sha256=hashlib.sha256(SECRET).hexdigest())
        front = section("front", client_concurrency=2000)
        limits = section("limits", unregistered_per_address=200)
        self.edge = Edge(self.processes, folder, extra=evil + front + limits)
        self.edge.start()
        good = Credentials.from_token(self.edge.token)
        self.good = PeerDaemon(good, self.edge.address, self.edge.ca,
                               lambda request: Response(200, [("Content-Length", "4")],
                                                            b"good"))
        assert isinstance(self.good.register(0)[1], rpc.Accepted)
        # What the hostile one answers is decided by each test: None leaves the stream to it.
        self.answer = lambda request: None
        self.evil = PeerDaemon(Credentials(ACCOUNT, TUNNEL, SECRET), self.edge.address, self.edge.ca,
                               lambda request: self.answer(request), idle_timeout=8.0)
        self.edge.wait_links(1)

    def ask(self):
        """A good request, as a visitor of the good daemon."""
        with socket.create_connection(("127.0.0.1", self.edge.http_port), seconds(20)) as visitor:
            visitor.sendall(f"GET /x HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
            with visitor.makefile("rb") as answer:
                text = answer.read()
        return text.startswith(b"HTTP/1.1 200 ") and text.endswith(b"good")

    def close(self):
        self.good.stop()
        self.evil.stop()
        self.processes.close()


@pytest.fixture(name="setup", scope="module")
def fixture_setup(tmp_path_factory):
    made = Setup(tmp_path_factory.mktemp("hostile"))
    yield made
    made.close()


@pytest.fixture(name="gauges", scope="module")
def fixture_gauges(setup):
    assert setup.ask()
    return Gauges(setup.edge, GAUGES)


@pytest.fixture(autouse=True)
def unharmed(setup, gauges):
    """The good tunnel is served all the time over the same link; gauges return."""
    with Steadfast(setup.ask):
        yield
        for link in setup.evil.links:
            if link.closed is None:
                link.close_link(0)
    assert setup.good.links[0].closed is None and setup.edge.process.is_running
    gauges.wait_return(30, SLACK)
    setup.evil.links.clear()
    setup.answer = lambda request: None


@pytest.fixture(name="link")
def fixture_link(setup):
    """A registered connection of the hostile daemon."""
    link, outcome = setup.evil.register(0)
    assert isinstance(outcome, rpc.Accepted), outcome
    until(lambda: setup.edge.links("evil") == 1, 10, "the hostile link")
    return link


# ---- visitors of the hostile daemon ---------------------------------------------------------------

async def _visit(port, number, method, body, patience):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    writer.write(f"{method} /{number} HTTP/1.1\r\nHost: {EVIL}\r\n{length}Connection: close\r\n\r\n"
                 .encode() + body)
    try:
        return await asyncio.wait_for(reader.read(), patience)
    except (OSError, TimeoutError) as error:
        return repr(error).encode()
    finally:
        writer.close()


def visit(setup, count, method="GET", body=b"", patience=30):
    """`count` visitors, 50 at a time; their answers, in order."""
    async def run():
        room = asyncio.Semaphore(50)

        async def one(number):
            async with room:
                return await _visit(setup.edge.http_port, number, method, body, seconds(patience))
        return await asyncio.gather(*(one(n) for n in range(count)))
    return asyncio.run(run())


def statuses(answers):
    """How many answers have each status; b"" is a connection that broke off."""
    found = {}
    for answer in answers:
        status = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else repr(answer)
        found[status] = found.get(status, 0) + 1
    return found


def number_of(request):
    return int(request.dest.split("/")[-1])


def pieces(cases):
    """A handler that sends case N, in parts of their own packets, to request N."""
    def answer(request):
        parts = cases[number_of(request)]
        for number, part in enumerate(parts):
            request.stream.send(part, number == len(parts) - 1)
            if number < len(parts) - 1:
                request.stream.wait_sent()
    return answer


GOOD_ANSWER = rpc.http_response(200, [("X-A", "1"), ("Content-Length", "4")]) + b"body"


def test_every_byte(setup, link):
    """T7: a good answer cut at every byte, version bytes apart, byte by byte: always that answer."""
    cases = [*cuts(GOOD_ANSWER), [GOOD_ANSWER[:6], GOOD_ANSWER[6:7], GOOD_ANSWER[7:]],
             [bytes([b]) for b in GOOD_ANSWER]]
    setup.answer = pieces(cases)
    answers = visit(setup, len(cases))
    assert statuses(answers) == {"200": len(cases)}
    assert all(a.endswith(b"\r\n\r\nbody") for a in answers)


def test_malformed_at_every_byte(setup, link):
    """T7: every malformed vector as an answer, cut at every byte: a page or an answer for each, never
    a visitor who waits."""
    names = [n for n in VECTORS if n.startswith(("malformed/", "evolution/", "connect-request/"))]
    cases = [case for name in names if raw(name) for case in [[raw(name)], *cuts(raw(name))]]
    if SLOW > 1:
        cases = cases[::20]
    setup.answer = pieces(cases)
    answers = visit(setup, len(cases))
    found = statuses(answers)
    assert set(found) <= {"200", "502"} and found["502"] > len(cases) * 0.9, found
    assert link.closed is None


def test_odd_heads(setup, link):
    """T7: answers whose head is no head of an answer."""
    def response(*metadata):
        return rpc.connect_response("", list(metadata))
    status = ("HttpStatus", "200")
    cases = [response(), response(("HttpStatus", "")), response(("HttpStatus", "99")),
             response(("HttpStatus", "1000")), response(("HttpStatus", "-1")),
             response(("HttpStatus", "101")), response(("HttpStatus", "2 0")),
             response(status, ("HttpHeader:Bad Name", "1")),
             response(status, ("HttpHeader:X", "a\r\nSet-Cookie: evil=1")),
             response(status, ("HttpHeader:X", "a\0b")), response(status, ("HttpHeader:", "1")),
             response(status, ("HttpHeader:Content-Length", "1"), ("HttpHeader:Content-Length", "2")),
             response(status, *[("HttpHeader:X", "1")] * 10_000),
             response(status, ("HttpHeader:X", "x" * 100_000)),
             response(status, ("HttpHeader:X", "x" * 300_000)),
             rpc.connect_response("x" * 200_000), rpc.connect_response("\r\nX: 1\0")]
    setup.answer = pieces([[c] for c in cases])
    answers = visit(setup, len(cases))
    assert statuses(answers) == {"502": len(cases)}, [(n, a[:80]) for n, a in enumerate(answers)
                                                      if not a.startswith(b"HTTP/1.1 502")]
    assert not any(b"evil=1" in a for a in answers)


HEAD_ONLY = rpc.http_response(200, [("Content-Length", "1000000")])
STAGES = {
    "nothing": b"", "signature": GOOD_ANSWER[:6], "half a head": GOOD_ANSWER[:40],
    "head": HEAD_ONLY, "half a body": HEAD_ONLY + bytes(500_000),
    "chunked": rpc.http_response(200, []) + b"part",
}
ENDS = [("reset",), ("reset", "stop"), ("stop", "reset"), ("fin", "stop"), ("stop", "fin")]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ends_at_every_stage(setup, link, method):
    """T7: RESET_STREAM, STOP_SENDING and FIN in every order at each stage of an answer: a page, an
    answer or a connection that breaks off; nobody waits."""
    cases = [(data, ends, code) for data in STAGES.values() for ends in ENDS
             for code in (0, 7, (1 << 62) - 1)]

    def answer(request):
        data, ends, code = cases[number_of(request)]
        number = request.stream.number
        hostile.send_pieces(request.stream.link, [(request.stream, [data])], fin=False)
        for end in ends:
            send_frames(request.stream.link, [{
                "reset": reset_frame(number, code, len(data)), "stop": stop_frame(number, code),
                "fin": stream_frame(number, b"", len(data), True)}[end]])
    setup.answer = answer
    body = b"x" * 200_000 if method == "POST" else b""
    answers = visit(setup, len(cases), method, body)
    found = statuses(answers)
    assert not any("Timeout" in status for status in found), found
    for (data, ends, _), got in zip(cases, answers):
        if data[:9] == HEAD_ONLY[:9] and len(data) >= len(HEAD_ONLY):
            assert len(got) < 1_000_000, "a short body was passed off as whole"
    assert link.closed is None


def test_a_daemon_that_never_reads(setup, link, gauges):
    """T7: 50 uploads of 4 MB to a daemon that grants nothing more: bounded, and over with the link."""
    hostile.stop_crediting(link)
    visitors = []
    for _ in range(50):
        visitor = socket.create_connection(("127.0.0.1", setup.edge.http_port))
        visitor.sendall(f"POST / HTTP/1.1\r\nHost: {EVIL}\r\nContent-Length: 4000000\r\n\r\n".encode())
        visitor.setblocking(False)
        visitors.append(visitor)
    for _ in range(20):
        for visitor in visitors:
            try:
                visitor.send(bytes(65536))
            except BlockingIOError:
                continue
        assert setup.ask()
    seen = setup.edge.metrics()
    assert seen.sum("adit_buffer_bytes") < seen.sum("adit_buffer_limit_bytes") * 0.9
    gauges.bound_memory(64)
    link.close_link(0)
    for visitor in visitors:
        visitor.close()


def test_a_daemon_that_never_answers(setup, link):
    """T7: 100 visitors of a silent daemon leave: their streams are gone, the link stays."""
    visitors = []
    for _ in range(100):
        visitor = socket.create_connection(("127.0.0.1", setup.edge.http_port))
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {EVIL}\r\n\r\n".encode())
        visitors.append(visitor)
    until(lambda: setup.edge.counter("adit_requests_active") >= 100, 10, "waiting visitors")
    assert setup.ask()
    for visitor in visitors:
        visitor.close()
    until(lambda: setup.edge.counter("adit_requests_active") <= 2, 10, "no waiting visitor")
    assert link.closed is None


def test_a_silent_link(setup, link, gauges):
    """T7: a daemon that acknowledges nothing any more is suspect, and ends by its idle time."""
    before = setup.edge.counter("adit_edge_suspicions_total")
    visitor = socket.create_connection(("127.0.0.1", setup.edge.http_port), seconds(30))
    with visitor:
        link.abandon()
        visitor.sendall(f"GET / HTTP/1.1\r\nHost: {EVIL}\r\n\r\n".encode())
        until(lambda: setup.edge.counter("adit_edge_suspicions_total") > before, 10, "a suspicion")
        assert visitor.recv(100).startswith(b"HTTP/1.1 503 ")  # there was no other link


# ---- streams that a daemon opens ------------------------------------------------------------------

@pytest.mark.parametrize("registered", [False, True])
def test_streams_of_a_daemon(setup, registered):
    """T7: calls and garbage on streams that nobody asked for, cut at every byte; before registration
    nothing of it is served, and the connection ends after its 5 s."""
    link = setup.evil.register(0)[0] if registered else setup.evil.connect()
    if not registered:
        link.open_stream().send(rpc.bootstrap(0)[:8])   # the control stream
    call = (rpc.RPC_SIGNATURE + rpc.bootstrap(0)
            + rpc.call(1, rpc.CONFIGURATION, 0, rpc.update_configuration(1, b"{}")) + rpc.abort())
    cases = [*cuts(call), *([os.urandom(n)] for n in range(1, 100)),
             *([raw(n)] for n in VECTORS if n.startswith(("malformed/", "captured/http")) and raw(n))]
    for some in range(0, len(cases), 60):
        in_pieces(link, cases[some:some + 60], link.open_stream)
    assert setup.ask()
    if registered:
        assert link.closed is None
    else:
        link.wait_closed_link(9)


@pytest.mark.parametrize("registered", [False, True])
def test_half_open_streams(setup, gauges, registered):
    """T7: 20 000 half-open streams on ten connections: bounded, and over with those."""
    links = []
    for index in range(10):
        link = setup.evil.register(index)[0] if registered else setup.evil.connect()
        links.append(link)
        if not registered:
            link.open_stream().send(rpc.bootstrap(0)[:8])
        first, room = link.quic._local_next_stream_id_bidi, link.quic._remote_max_streams_bidi
        count = min(HALF_OPEN // 10, room - first // 4)
        send_frames(link, (stream_frame(first + 4 * n, rpc.RPC_SIGNATURE) for n in range(count)))
    for _ in range(5):
        assert setup.ask()
    gauges.bound_memory(96)


@pytest.mark.parametrize("garbage", [
    lambda: os.urandom(4096), lambda: bytes(4096), lambda: b"\xff" * 4096,
    lambda: rpc.bootstrap(0) * 500, lambda: rpc.finish(7) * 500, lambda: rpc.abort(),
    lambda: rpc.bootstrap(0) + rpc.call(1, rpc.REGISTRATION, 1, rpc.empty) * 100,
    lambda: raw("malformed/too-many-segments"), lambda: raw("malformed/oversize")])
@pytest.mark.parametrize("registered", [False, True])
def test_garbage_on_control(setup, registered, garbage):
    """T7: what is no RPC on a control stream, before and after registration."""
    if registered:
        link = setup.evil.register(0)[0]
        link.rpc.stream.on_data = None
        link.rpc.stream.send(garbage(), True)
    else:
        link = setup.evil.connect()
        link.open_stream().send(garbage(), True)
    link.wait_closed_link(9) if not registered else link.stream(0).wait_end(9)
    assert setup.ask()


VIOLATIONS = {
    "a frame that doesn't exist": [b"\x21" + bytes(8)],
    "a stream beyond the limit": [stream_frame(4 * (1 << 20), b"x")],
    "bytes beyond the window": [stream_frame(4 * 80, b"x", 1 << 40)],
    "two final sizes": [stream_frame(4 * 81, b"xx", 0, True), stream_frame(4 * 81, b"xxx", 0, True)],
    "a stream of the edge that isn't there": [stream_frame(1 + 4 * 5000, b"x")],
    "a reset of the edge's own half": [reset_frame(3)],
    "an acknowledgement of nothing": [b"\x02" + rpc.varint(1 << 40) + b"\0\0\0"],
    "the edge's own frame": [b"\x1e"],
    "a token for an edge": [b"\x07\x01x"],
    "an id that retires more than there is": [b"\x18\x09\x0a\x08" + bytes(24)],
    "a retired id that never was": [b"\x19" + rpc.varint(1 << 30)],
    "broken TLS": [b"\x06\0\x04\xff\xff\xff\xff"],
    "a datagram that is too long for its packet": [b"\x31\x44\x00x"],
    "more streams than there are numbers": [b"\x12" + rpc.varint((1 << 60) + 1)],
}


@pytest.mark.parametrize("registered", [False, True])
def test_violations(setup, registered):
    """T7: broken rules of QUIC end each such connection with an error of its own, and no other."""
    for name, frames in VIOLATIONS.items():
        link = setup.evil.register(0)[0] if registered else setup.evil.connect()
        send_frames(link, frames)
        code = link.wait_closed_link(10)[0]
        assert link.peer_closed and 1 <= code <= 0x1ff, (name, link.closed)


@pytest.mark.parametrize("frame", [b"\x01", b"\x1a" + bytes(8), b"\x10" + rpc.varint(1 << 30),
                                   b"\x14" + rpc.varint(0), b"\x31\x04junk", stop_frame(0),
                                   b"\x11\x00" + rpc.varint(1 << 30)])
def test_floods(setup, link, frame):
    """T7: 20 000 frames of a kind that costs the sender nothing: the good tunnel doesn't notice."""
    send_frames(link, itertools.repeat(frame, 20_000))
    assert setup.ask()
