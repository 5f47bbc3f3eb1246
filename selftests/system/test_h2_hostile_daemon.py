# SPDX-License-Identifier: Apache-2.0
"""T13: daemons over HTTP/2 that mean harm, and strangers, beside a good one at one adit-edge.

    visitors --> adit-edge (2 workers) ==HTTP/2==> PeerH2Daemon (good), tunnel home
                                       ==HTTP/2==> PeerH2Daemon (hostile), tunnel evil
"""
import asyncio
import contextlib
import hashlib
import itertools
import socket
import ssl
import uuid

import pytest

from lib import h2frames as fr, h2hostile, tunnelrpc as rpc
from lib.adit import DOMAIN, Edge, section
from lib.h2_daemon import DAEMON, ORIGIN, H2DaemonLink, PeerH2Daemon
from lib.h2hostile import CHEAP, OVERFLOW, VIOLATIONS, flood
from lib.h2peer import META, PACKED, pack
from lib.hostile import Gauges, Steadfast
from lib.peer_daemon import Credentials, Response
from lib.proc import Processes
from lib.wait import SLOW, seconds, until

pytestmark = pytest.mark.group("supervisor")

HOST, EVIL = f"a.{DOMAIN}", f"evil.{DOMAIN}"
GAUGES = ("adit_requests_active", "adit_buffer_bytes", "adit_edge_unregistered",
          "adit_edge_connections", "adit_edge_links")
# Windows of links that were busy stay larger for a while.
SLACK = {"adit_buffer_bytes": 4 << 20}
SECRET, TUNNEL, ACCOUNT = bytes(range(32)), str(uuid.UUID(int=0xEE << 64)), "e" * 32
FEW = 1 if SLOW == 1 else 10


class Setup:
    def __init__(self, folder):
        self.processes = Processes(folder)
        evil = section("tunnel evil", id=TUNNEL, account=ACCOUNT, hostname=EVIL,
                       secret_sha256=hashlib.sha256(SECRET).hexdigest())
        self.edge = Edge(self.processes, folder, extra=evil + section("front",
                                                                      client_concurrency=2000))
        self.edge.start()
        self.good = PeerH2Daemon(Credentials.from_token(self.edge.token), self.edge.address,
                                 self.edge.ca, lambda request: Response(
                                     200, [("Content-Length", "4")], b"good"))
        assert isinstance(self.good.register(0)[1], rpc.Accepted)
        # What the hostile one answers is decided by each test: None leaves the stream to it.
        self.answer = lambda request: None
        self.evil = PeerH2Daemon(Credentials(ACCOUNT, TUNNEL, SECRET), self.edge.address,
                                 self.edge.ca, lambda request: self.answer(request))
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
    made = Setup(tmp_path_factory.mktemp("h2hostile"))
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
                link.close_link()
    good = setup.good.links[0]
    assert good.closed is None and good.violation is None and setup.edge.process.is_running
    gauges.wait_return(30, SLACK)
    setup.evil.links.clear()
    setup.evil.requests.clear()
    setup.answer = lambda request: None


@pytest.fixture(name="link")
def fixture_link(setup):
    """A registered connection of the hostile daemon."""
    link, outcome = setup.evil.register(0)
    assert isinstance(outcome, rpc.Accepted), outcome
    until(lambda: setup.edge.links("evil") == 1, 10, "the hostile link")
    return link


# ---- visitors of the hostile daemon -------------------------------------------------------------------

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


def waiting(setup, count, text=None):
    """Visitors who have asked and wait."""
    visitors = []
    for number in range(count):
        visitor = socket.create_connection(("127.0.0.1", setup.edge.http_port), seconds(30))
        visitor.sendall(text or f"GET /{number} HTTP/1.1\r\nHost: {EVIL}\r\n\r\n".encode())
        visitors.append(visitor)
    return visitors


def leave(visitors):
    for visitor in visitors:
        visitor.close()


def by_hand(parts):
    """A handler that sends frames as parts(stream number, link) makes them."""
    def answer(request):
        link = request.stream.link
        link.by_hand()
        link.raw(parts(request.stream.number, link))
    return answer


STATUS, FROM_ORIGIN = (":status", "200"), (META, ORIGIN)
HEADS = {
    "no status": [(PACKED, ""), FROM_ORIGIN],
    "status 99": [(":status", "99"), (PACKED, ""), FROM_ORIGIN],
    "status 1000": [(":status", "1000"), (PACKED, ""), FROM_ORIGIN],
    "status of letters": [(":status", "2 0"), (PACKED, ""), FROM_ORIGIN],
    "two statuses": [STATUS, STATUS, (PACKED, ""), FROM_ORIGIN],
    "a pseudo field of requests": [STATUS, (":path", "/"), (PACKED, ""), FROM_ORIGIN],
    "a pseudo field behind fields": [(PACKED, ""), STATUS, FROM_ORIGIN],
    "an upper-case name": [STATUS, ("X-Upper", "1"), (PACKED, ""), FROM_ORIGIN],
    "a line feed outside": [STATUS, ("x-a", "a\nb"), (PACKED, ""), FROM_ORIGIN],
    "padding": [STATUS, (PACKED, "WC1B:MQ=="), FROM_ORIGIN],
    "no colon": [STATUS, (PACKED, "WC1B"), FROM_ORIGIN],
    "two colons": [STATUS, (PACKED, "WC1B:MQ:MQ"), FROM_ORIGIN],
    "no base64": [STATUS, (PACKED, "WC1B:M-"), FROM_ORIGIN],
    "a blank": [STATUS, (PACKED, "WC1B:MQ WC1C:MQ"), FROM_ORIGIN],
    "a line inside": [STATUS, (PACKED, pack([("X", "a\r\nSet-Cookie: evil=1")])), FROM_ORIGIN],
    "a NUL inside": [STATUS, (PACKED, pack([("X", "a\0b")])), FROM_ORIGIN],
    "a name with a line": [STATUS, (PACKED, pack([("X: 1\r\nevil=1", "a")])), FROM_ORIGIN],
    "an empty name": [STATUS, (PACKED, pack([("", "a")])), FROM_ORIGIN],
    "lengths that differ": [STATUS, (PACKED, pack([("Content-Length", "1"), ("Content-Length", "2")])),
                            FROM_ORIGIN],
    "10 000 fields": [STATUS, (PACKED, pack([("X", "1")] * 10_000)), FROM_ORIGIN],
    "a field of 300 000 bytes": [STATUS, (PACKED, pack([("X", "x" * 220_000)])), FROM_ORIGIN],
    "an upgrade that nobody asked for": [(":status", "101"), (PACKED, ""), FROM_ORIGIN],
}


@pytest.mark.parametrize("name", HEADS)
def test_odd_heads(setup, link, name):
    """T13: answers whose head is no head of an answer: a page, and nothing of it in the visitor's."""
    setup.answer = by_hand(lambda n, link: fr.whole_head(n, link.block(HEADS[name]), True))
    got = visit(setup, 1)[0]
    assert got.startswith(b"HTTP/1.1 502 "), got[:200]
    assert b"evil=1" not in got and link.closed is None


def test_odd_metas(setup, link):
    """T13: an answer whose meta field can't be read, or isn't there, is nobody's answer: a page."""
    texts = ["", "{}", "null", "{", '{"src":"elsewhere"}', '["src"]', "x" * 5000]
    setup.answer = lambda request: request.stream.send_head(
        [STATUS, (PACKED, ""), (META, texts[number_of(request)]), ("content-length", "0")], True)
    answers = visit(setup, len(texts))
    for text, got in zip(texts, answers):
        assert got.startswith(b"HTTP/1.1 502 "), (text, got[:100])
    assert link.closed is None


def test_a_502_tells_its_maker(setup, link):
    """T13: 502 of the daemon is a page of the edge's; 502 of the origin is the origin's."""
    heads = [[(":status", "502"), (META, DAEMON), ("content-length", "0")],
             H2DaemonLink.head(502, [("X-Own", "1"), ("Content-Length", "0")])]
    setup.answer = lambda request: request.stream.send_head(heads[number_of(request)], True)
    page, own = visit(setup, 2)
    assert page.startswith(b"HTTP/1.1 502 ") and b"Adit-Error:" in page
    assert own.startswith(b"HTTP/1.1 502 ") and b"X-Own: 1" in own and b"Adit-Error:" not in own


WHOLE = H2DaemonLink.head(200, [("Content-Length", "1000000")])
STAGES = {"nothing": (None, b""), "head": (WHOLE, b""), "half a body": (WHOLE, bytes(500_000)),
          "unknown length": (H2DaemonLink.head(200, []), b"part")}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_ends_at_every_stage(setup, link, method):
    """T13: RST_STREAM with odd codes and END_STREAM too early at each stage of an answer: a page, an
    answer or a connection that breaks off; never a short body passed off as whole."""
    cases = [(stage, code) for stage in STAGES for code in (None, 0, 2, 7, 8, 0xffffffff)]

    def answer(request):
        (head, data), code = STAGES[cases[number_of(request)][0]], cases[number_of(request)][1]
        if head:
            request.stream.send_head(head)
            request.stream.send(data, code is None)
            request.stream.wait_sent()
        if code is not None or not head:
            request.stream.reset(code or 0)
    setup.answer = answer
    answers = visit(setup, len(cases), method, b"x" * 200_000 if method == "POST" else b"")
    assert not any("Timeout" in status for status in statuses(answers)), statuses(answers)
    for (stage, _), got in zip(cases, answers):
        if stage == "nothing":
            assert got.startswith(b"HTTP/1.1 50"), got[:100]
        elif STAGES[stage][0] is WHOLE:
            assert len(got) < 1_000_000
    assert link.closed is None


OUT_OF_ORDER = {
    "DATA before a head": lambda n, link: fr.data(n, b"x", True),
    "a body longer than its length": lambda n, link: fr.headers(n, link.block(
        H2DaemonLink.head(200, [("Content-Length", "3")]))) + fr.data(n, b"abcdef", True),
    "a second head": lambda n, link: fr.headers(n, link.block(H2DaemonLink.head(200, []))) * 2,
    "DATA behind the end": lambda n, link: fr.headers(n, link.block(WHOLE), True) + fr.data(n, b"x"),
    "a head behind the end": lambda n, link: fr.headers(n, link.block(WHOLE), True) + fr.headers(
        n, link.block(WHOLE)),
    "pseudo fields in trailers": lambda n, link: fr.headers(n, link.block(
        H2DaemonLink.head(200, []))) + fr.headers(n, link.block([(":status", "200")]), True),
    "trailers without an end": lambda n, link: fr.headers(n, link.block(
        H2DaemonLink.head(200, []))) + fr.headers(n, link.block([("x-a", "1")]), False),
}


@pytest.mark.parametrize("name", OUT_OF_ORDER)
def test_out_of_order(setup, link, name):
    """T13: frames of an answer in an order that HTTP/2 forbids: the visitor doesn't wait."""
    setup.answer = by_hand(OUT_OF_ORDER[name])
    got = visit(setup, 1)[0]
    assert b"Timeout" not in got and not got.endswith(b"abcdef")


def test_hundred_interim_answers(setup, link):
    """T13: interim heads without end: dropped, and the answer comes; or the stream is given up."""
    def answer(request):
        for _ in range(100):
            request.stream.send_head([(":status", "103"), ("link", "</x>")])
        request.stream.send_head(H2DaemonLink.head(200, [("Content-Length", "0")]), True)
    setup.answer = answer
    got = visit(setup, 1)[0]
    assert got.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 502 ")) and b"103" not in got


def test_goaway_in_the_middle(setup, link):
    """T13: behind a daemon's GOAWAY running answers finish, and nothing new is sent to it."""
    setup.answer = lambda request: None
    with contextlib.ExitStack() as stack:
        visitor = stack.enter_context(waiting(setup, 1)[0])
        stream = setup.evil.wait_requests(1)[0].stream
        link.go_away(stream.number)
        until(lambda: setup.edge.fetch("/", host=EVIL).status == 503, 10, "no other request there")
        stream.send_head(H2DaemonLink.head(200, [("Content-Length", "4")]))
        stream.send(b"late", True)
        text = b""
        while not text.endswith(b"late"):
            piece = visitor.recv(4096)
            assert piece, text
            text += piece
        assert text.startswith(b"HTTP/1.1 200 ")


def test_goaway_below_a_request(setup, link):
    """T13: requests over the GOAWAY's last stream were not taken: a page, or another link."""
    visitors = waiting(setup, 3)
    setup.evil.wait_requests(3)
    link.go_away(0, fr.NO_ERROR)
    for visitor in visitors:
        assert visitor.recv(100).startswith(b"HTTP/1.1 50")
    leave(visitors)


@pytest.mark.parametrize("how", ["control reset", "TCP reset", "GOAWAY and FIN"])
def test_a_link_that_dies(setup, link, how):
    """T13: a connection that goes with requests on it: pages at once, and no link any more."""
    visitors = waiting(setup, 10)
    setup.evil.wait_requests(10)
    if how == "control reset":
        link.controls[0].reset(fr.CANCEL)
    elif how == "TCP reset":
        link.kill()
    else:
        link.close_link(fr.INTERNAL_ERROR, "broken")
    for visitor in visitors:
        visitor.settimeout(seconds(5))
        assert visitor.recv(100).startswith(b"HTTP/1.1 50")
    leave(visitors)
    until(lambda: setup.edge.links("evil") == 0, 10, "no link")


# ---- who takes nothing, gives nothing --------------------------------------------------------------------

def test_a_daemon_that_never_reads(setup, link, gauges):
    """T13: 50 uploads of 4 MB to a daemon that grants nothing more: bounded, and over with the link."""
    link.stop_crediting()
    visitors = waiting(setup, 50, f"POST / HTTP/1.1\r\nHost: {EVIL}\r\nContent-Length: 4000000\r\n\r\n"
                       .encode())
    for visitor in visitors:
        visitor.setblocking(False)
    for _ in range(20):
        for visitor in visitors:
            with contextlib.suppress(BlockingIOError):
                visitor.send(bytes(65536))
        assert setup.ask()
    seen = setup.edge.metrics()
    assert seen.sum("adit_buffer_bytes") < seen.sum("adit_buffer_limit_bytes") * 0.9
    gauges.bound_memory(64)
    link.close_link()
    leave(visitors)


def test_a_daemon_that_never_answers(setup, link):
    """T13: 100 visitors of a silent daemon leave: their streams are gone, the link stays."""
    visitors = waiting(setup, 100)
    until(lambda: setup.edge.counter("adit_requests_active") >= 100, 10, "waiting visitors")
    setup.evil.wait_requests(100)
    leave(visitors)
    until(lambda: setup.edge.counter("adit_requests_active") <= 2, 10, "no waiting visitor")
    setup.evil.hub.wait(lambda: all(r.stream.ended for r in setup.evil.requests), 10, "resets")
    assert link.closed is None
    link.ping()


def test_a_silent_link(setup, link):
    """T13: a daemon whose process hangs: its link ends by its missing answers to PINGs."""
    link.stop_reading()
    visitors = waiting(setup, 5)
    until(lambda: setup.edge.links("evil") == 0, 45, "the end of the link")
    for visitor in visitors:
        assert visitor.recv(100).startswith(b"HTTP/1.1 50")
    leave(visitors)


def test_windows_that_shrink(setup, link):
    """T13: SETTINGS that make windows negative in the middle of an upload, then grow them."""
    body = bytes(range(256)) * 8192
    setup.answer = lambda request: None
    visitor = waiting(setup, 1, f"POST /0 HTTP/1.1\r\nHost: {EVIL}\r\nConnection: close\r\n"
                                f"Content-Length: {len(body)}\r\n\r\n".encode())[0]
    visitor.setblocking(False)
    sent = 0
    stream = setup.evil.wait_requests(1)[0].stream
    link.by_hand()

    def push():
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            sent += visitor.send(body[sent:])
        return len(stream.received) > 100_000
    until(push, 10, "the upload under way")
    link.raw(fr.settings((fr.INITIAL_WINDOW_SIZE, 0)) + fr.ping(b"shrunken"))
    link.hub.wait(lambda: b"shrunken" in link.pongs, 10, "the answer")
    link.raw(fr.settings((fr.INITIAL_WINDOW_SIZE, 1 << 24)))
    until(lambda: push() and len(stream.received) == len(body), 20, "the whole upload")
    assert bytes(stream.received) == body
    link.raw(fr.headers(stream.number, link.block(
        H2DaemonLink.head(200, [("Content-Length", "0")])), True))
    visitor.setblocking(True)
    assert visitor.recv(100).startswith(b"HTTP/1.1 200 ")
    visitor.close()


@pytest.mark.parametrize("increment", [0, OVERFLOW])
def test_windows_of_a_stream(setup, link, increment):
    """T13: a stream's window that grows by nothing or too much: the end of that stream at least. What
    it carried begins again where it can."""
    visitor = waiting(setup, 1)[0]
    stream = setup.evil.wait_requests(1)[0].stream
    link.by_hand()
    link.raw(fr.window(stream.number, increment) * 2)
    link.hub.wait(lambda: stream.reset_code is not None or link.closed, 10, "the end of the stream")
    assert link.closed or stream.reset_code == fr.FLOW_CONTROL_ERROR
    link.close_link()
    assert visitor.recv(100).startswith(b"HTTP/1.1 50")
    visitor.close()


def test_bytes_beyond_the_window(setup, link):
    """T13: an answer of which a visitor takes nothing, pushed on beyond the window."""
    visitor = waiting(setup, 1)[0]
    stream = setup.evil.wait_requests(1)[0].stream
    link.by_hand()
    link.raw(fr.headers(stream.number, link.block(H2DaemonLink.head(200, []))))
    flood(link, (fr.data(stream.number, bytes(16000)) for _ in range(8192)),
          lambda: stream.reset_code is not None)
    stream.wait_end(20)
    code = stream.reset_code if stream.reset_code is not None else link.wait_closed_link()[0]
    assert code == fr.FLOW_CONTROL_ERROR
    visitor.close()


# ---- before registration, floods, broken rules -----------------------------------------------------------

def test_never_registering(setup):
    """T13: a daemon that takes the control stream and says nothing is gone after its 5 s."""
    link = setup.evil.connect()
    link.wait_closed_link(9)
    assert link.peer_closed and link.closed_at - link.ready_at > 3


def test_refused_and_lingering(setup):
    """T13: a refused daemon that stays: the edge closes TCP itself."""
    link, outcome = setup.evil.register(0, secret=bytes(32))
    assert isinstance(outcome, rpc.Refused) and not outcome.should_retry
    link.wait_closed_link(5)
    assert link.peer_closed


def test_tls_and_no_preface(setup):
    """T13: strangers that stop after TLS, or in the middle of it, or speak HTTP/1.1, are gone in time."""
    context = ssl.create_default_context(cafile=str(setup.edge.ca))
    address = (setup.edge.host, setup.edge.port)
    strangers = [socket.create_connection(address, seconds(20)) for _ in range(4)]
    strangers[0].sendall(b"\x16\x03\x01")
    silent, talking = (context.wrap_socket(s, server_hostname="h2.cftunnel.com")
                       for s in strangers[2:])
    with contextlib.suppress(OSError):
        talking.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    for stranger in (strangers[0], strangers[1], silent, talking):
        with contextlib.suppress(OSError), stranger:
            while stranger.recv(4096):
                pass


@pytest.mark.parametrize("registered", [False, True])
@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations(setup, name, registered):
    """T13: broken rules of HTTP/2 end that connection with an error, and no other."""
    link = (setup.evil.register(0)[0] if registered else setup.evil.connect()).by_hand()
    data, codes = VIOLATIONS[name]
    link.raw(data)
    link.raw(fr.ping())     # for what shows itself only with the next frame
    assert link.wait_closed_link(10)[0] in codes and link.peer_closed


def test_streams_of_a_daemon(setup, link):
    """T13: a server opens no streams: a head or a promise of its own ends the connection."""
    link.by_hand()
    block = link.block([(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/")])
    link.raw(fr.headers(2, block, True))
    assert link.wait_closed_link()[0] == fr.PROTOCOL_ERROR
    other = setup.evil.register(0)[0].by_hand()
    other.raw(fr.frame(fr.PUSH_PROMISE, 4, 1, (2).to_bytes(4, "big") + other.block([])))
    assert other.wait_closed_link()[0] == fr.PROTOCOL_ERROR


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_continuation_flood(setup, link, gauges, size):
    """T13: a head that never ends is cut off, whatever its frames hold; the visitor gets a page."""
    visitor = waiting(setup, 1)[0]
    number = setup.evil.wait_requests(1)[0].stream.number
    link.by_hand()
    block = link.block(WHOLE)
    flood(link, itertools.chain([fr.headers(number, block, False, False)], itertools.repeat(
        fr.continuation(number, b"\x88" * size, False), 1_000_000 // FEW)))
    link.wait_closed_link(20)
    assert link.peer_closed
    assert visitor.recv(100).startswith(b"HTTP/1.1 50")
    visitor.close()
    gauges.bound_memory(32)


def test_rapid_resets(setup, link):
    """T13: a daemon that resets every stream at once: pages for all, the good one isn't slowed."""
    setup.answer = lambda request: request.stream.reset(fr.REFUSED_STREAM)
    answers = visit(setup, 2000 // FEW)
    assert set(statuses(answers)) <= {"502", "503"}, statuses(answers)


@pytest.mark.parametrize("name", CHEAP)
def test_cheap_frames(setup, link, gauges, name):
    """T13: cheap frames without end are answered, or end the connection; others don't notice."""
    link.by_hand()
    flood(link, (CHEAP[name] for _ in range(200_000 // FEW)))
    assert link.closed is None or link.closed[0] in (fr.ENHANCE_YOUR_CALM, None)
    gauges.bound_memory(32)


@pytest.mark.parametrize("kind", ["empty DATA", "DATA of a byte", "window updates", "unknown frames",
                                  "padding"])
def test_frames_of_a_stream(setup, link, gauges, kind):
    """T13: the same on an answer that lives."""
    visitor = waiting(setup, 1)[0]
    number = setup.evil.wait_requests(1)[0].stream.number
    link.by_hand()
    link.raw(fr.headers(number, link.block(H2DaemonLink.head(200, []))))
    made = {"empty DATA": fr.data(number), "DATA of a byte": fr.data(number, b"x"),
            "window updates": fr.window(number, 1),
            "unknown frames": fr.frame(0xee, 0xff, number, bytes(100)),
            "padding": fr.frame(fr.DATA, fr.PADDED, number, b"\xff" + bytes(255))}[kind]
    flood(link, itertools.repeat(made, 100_000 // FEW))
    for _ in range(3):
        assert setup.ask()
    gauges.bound_memory(64)
    visitor.close()


def test_a_peer_that_reads_nothing(setup, link, gauges):
    """T13: PINGs without end by somebody who reads no answer: bounded, then over."""
    link.by_hand()
    link.stop_reading()
    link.raw(fr.ping() * 200_000)
    for _ in range(5):
        assert setup.ask()
    gauges.bound_memory(32)
    link.kill()


def test_control_stream_of_garbage(setup):
    """T13: a control stream that carries no RPC, RPC at every cut, or ends: no link, no harm."""
    call = rpc.bootstrap(0) + rpc.call(1, rpc.REGISTRATION, 0, setup.evil.registration(0).params)
    cases = [bytes(100), b"\xff" * 100, b"GET / HTTP/1.1\r\n\r\n", *(call[:n] for n in
                                                                   range(0, len(call), 64 * FEW))]
    for data in cases:
        link = setup.evil.connect()
        link.controls[0].send_head([STATUS, FROM_ORIGIN])
        link.controls[0].send(data, True)
        link.wait_closed_link(9)
    assert setup.edge.links("evil") == 0 and h2hostile.next_number(link) == 3
