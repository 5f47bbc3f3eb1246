# SPDX-License-Identifier: Apache-2.0
"""T13: an edge over HTTP/2 that means harm, on some connections of an aditd whose others go well.

    PeerH2Edge: connection 0 good, others hostile ==HTTP/2== aditd (2 workers) --> Origin, Listener
"""
import contextlib
import itertools
import socket

import pytest

from lib import h2frames as fr, h2hostile, h2peer, tunnelrpc as rpc
from lib.adit import Daemon, peer_edge_keys, write_token
from lib.h2_edge import PeerH2Edge
from lib.h2hostile import CHEAP, OVERFLOW, VIOLATIONS, continuations, flood, opened_and_reset
from lib.hostile import Gauges, Steadfast
from lib.origin import Origin, pattern
from lib.proc import Processes
from lib.sockets import Listener, read_all, reset
from lib.wait import SLOW, holds, until

pytestmark = pytest.mark.group("supervisor")

HOST, DEAF = "app.example.com", "deaf.example.com"
CONNECTIONS = 8
GAUGES = ("adit_link_streams", "adit_requests_active", "adit_buffer_bytes")
# Windows of links and streams that were busy stay larger for a while.
SLACK = {"adit_buffer_bytes": 4 << 20, "descriptors": 60}
FEW = 1 if SLOW == 1 else 10


class Setup:
    def __init__(self, folder, authority):
        self.processes = Processes(folder)
        self.edge = PeerH2Edge(*authority.leaf("peer"))
        self.origin, self.deaf, self.tcp = Origin(), Origin("deaf"), Listener()
        # Its kernel takes next to nothing that the origin doesn't read.
        self.deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        token = write_token(folder / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                            bytes(32))
        self.daemon = Daemon(self.processes, folder, token_file=token, connections=CONNECTIONS,
                             rules=[(HOST, self.origin.service), (DEAF, self.deaf.service)],
                             tunnel_keys={"protocol": "http2", "grace_period": "20s"},
                             edge_keys=peer_edge_keys(self.edge, authority),
                             extra="[network]\nallow = 127.0.0.0/8\n[limits]\nstreams-per-link = 500\n")
        self.daemon.start()
        self.edge.wait_registered(CONNECTIONS, 30)
        self.turn = itertools.cycle(range(1, CONNECTIONS))

    def good(self):
        return next(k for k in self.edge.live if k.registration.index == 0)

    def ask(self, link=None):
        """A good request, on the good connection or another one."""
        link = link or self.good()
        return link.request(host=HOST, path="/good", timeout=20).body == b"origin origin /good\n"

    def victim(self):
        """A connection that may be maltreated, another one each time."""
        index = next(self.turn)
        return self.edge.wait(lambda: next((k for k in self.edge.live
                                            if k.registration.index == index), None), 60,
                              f"connection {index}")

    def successor(self, link, timeout=60):
        """The connection that takes a victim's place."""
        return self.edge.wait(lambda: next(
            (k for k in self.edge.live if k is not link
             and k.registration.index == link.registration.index), None), timeout, "its successor")

    def close(self):
        self.processes.close()
        self.origin.close()
        self.deaf.close()
        self.tcp.__exit__()
        self.edge.stop()


@pytest.fixture(name="setup", scope="module")
def fixture_setup(tmp_path_factory, authority):
    made = Setup(tmp_path_factory.mktemp("h2hostile"), authority)
    yield made
    made.close()


@pytest.fixture(name="gauges", scope="module")
def fixture_gauges(setup):
    assert setup.ask()
    return Gauges(setup.daemon, GAUGES)


@pytest.fixture(autouse=True)
def unharmed(setup, gauges):
    """The good connection is served all the time, and is still the same one; gauges return."""
    good = setup.good()
    with Steadfast(setup.ask):
        yield
    assert good.closed is None and good.violation is None and setup.daemon.process.is_running
    gauges.wait_return(30, SLACK)


# ---- one bad stream never costs the connection ---------------------------------------------------------

GOOD = [(":method", "GET"), (":scheme", "https"), (":authority", HOST), (":path", "/x")]
BAD_HEADS = {
    "an upper-case name": [*GOOD, ("X-Upper", "1")],
    "a name with a blank": [*GOOD, ("x a", "1")],
    "an empty name": [*GOOD, ("", "1")],
    "a NUL in a value": [*GOOD, ("x-a", "a\0b")],
    "a line feed in a value": [*GOOD, ("x-a", "a\nset-cookie: evil=1")],
    "a carriage return in a value": [*GOOD, ("x-a", "a\rb")],
    "no method": GOOD[1:], "no path": GOOD[:3], "an empty path": [*GOOD[:3], (":path", "")],
    "no scheme": [GOOD[0], *GOOD[2:]], "another scheme": [GOOD[0], (":scheme", "ftp"), *GOOD[2:]],
    "two methods": [GOOD[0], *GOOD], "two paths": [*GOOD, GOOD[3]],
    "a pseudo field behind fields": [*GOOD[:3], ("x-a", "1"), GOOD[3]],
    "a pseudo field that doesn't exist": [*GOOD, (":proto", "x")],
    "a status in a request": [*GOOD, (":status", "200")],
    "a method that is no token": [(":method", "G T"), *GOOD[1:]],
    "a line feed in a path": [*GOOD[:3], (":path", "/x\r\nHost: evil")],
    "two lengths": [*GOOD, ("content-length", "1"), ("content-length", "2")],
    "a length that is none": [*GOOD, ("content-length", "-1")],
}


@pytest.mark.parametrize("name", BAD_HEADS)
def test_bad_heads(setup, name):
    """T13: what is no head is reset or answered with 400; the connection goes on."""
    link, before = setup.victim(), len(setup.origin.requests)
    got = link.open_request(BAD_HEADS[name], True).answer()
    assert got.end in (("reset", fr.PROTOCOL_ERROR), "fin") and got.status in (0, 400, 502), got
    assert all("evil" not in str(r.headers) for r in setup.origin.requests[before:])
    assert setup.ask(link)


@pytest.mark.parametrize("field", ["connection", "keep-alive", "proxy-connection",
                                   "transfer-encoding", "upgrade"])
def test_forbidden_fields(setup, field):
    """T13: fields of another protocol are 400, with meta."""
    link = setup.victim()
    got = link.open_request([*GOOD, (field, "x")], True).answer()
    assert (got.status, got.meta, got.end) == (400, {"src": "cloudflared"}, "fin")
    assert setup.ask(link)


def test_oversized_heads(setup, gauges):
    """T13: a head over each limit is 431 with meta; nothing of it stays."""
    link = setup.victim()
    limit = link.peer_settings[fr.MAX_HEADER_LIST_SIZE]
    for fields in ([("x-%d" % n, "v" * 8000) for n in range(limit // 8000 + 1)],
                   [("x-%d" % n, "") for n in range(9000)]):
        got = link.open_request([*GOOD, *fields], True).answer(20)
        assert (got.status, got.meta, got.end) == (431, {"src": "cloudflared"}, "fin")
        assert setup.ask(link)
    gauges.bound_memory(32)


def test_one_field_too_long(setup):
    """T13, row 13: one field of any length costs the stream and no more."""
    link = setup.victim()
    for size in (20_000, 60_000, 300_000, 1_500_000):
        for field in (("x-long", "v" * size), ("x" * size, "1")):
            got = link.open_request([*GOOD, field], True).answer(20)
            assert (got.status, got.meta) == (431, {"src": "cloudflared"})
        assert setup.ask(link)


@pytest.mark.parametrize("length, body, fin", [("3", b"abcdef", True), ("10", b"abc", True),
                                               ("3", b"abcdef", False), ("0", b"x", True)])
def test_lengths_that_lie(setup, length, body, fin):
    """T13: a body that is not as long as announced is a reset, whatever the origin made of it."""
    link = setup.victim()
    stream = link.open_request([(":method", "POST"), *GOOD[1:3], (":path", "/echo"),
                                ("content-length", length)])
    stream.send(body, fin)
    stream.wait(lambda: stream.reset_code is not None or stream.ended, 10, "the reset")
    # With no body announced the answer may be there before the body is.
    assert (stream.end == ("reset", fr.PROTOCOL_ERROR) or stream.status in (400, 502)
            or length == "0")
    assert setup.ask(link)


STAGES = {
    "nothing": ("GET", "/silent", b"", False), "head": ("GET", "/silent", b"", True),
    "half a body": ("POST", "/echo", bytes(50_000), False),
    "body": ("POST", "/echo", bytes(100_000), True),
    "answer": ("GET", "/bytes/3000000", b"", True), "slow answer": ("GET", "/slow/100/20", b"", True),
    "unread": ("POST", "/stall", bytes(100_000), False),
}


@pytest.mark.parametrize("stage", STAGES)
def test_resets_at_every_stage(setup, stage):
    """T13: RST_STREAM with odd codes at every stage of a request; twice; with bytes behind it."""
    method, path, body, fin = STAGES[stage]
    link = setup.victim()
    streams = [link.send_request(method, HOST, path, body=body, fin=fin) for _ in range(24)]
    if "answer" in stage:
        link.hub.wait(lambda: all(s.received for s in streams), 20, "answers on their way")
    for stream, code in zip(streams, itertools.cycle([0, 2, 5, 8, 11, 0xffffffff])):
        stream.reset(code)
        link.raw(fr.reset(stream.number, code))
    link.raw(b"".join(fr.data(s.number, b"late") for s in streams[:4]) if not fin else b"")
    link.ping()
    assert setup.ask(link)


def test_crossed_ends(setup):
    """T13, row 7: END_STREAM that crosses the origin's bytes loses none and doubles none."""
    link = setup.victim()
    count = 400 // FEW

    def serve(connection):
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"BANNER")
            assert read_all(connection) == b""
    with setup.tcp.serving(serve):
        streams = [link.send_request(host=setup.tcp.address, kind=rpc.TCP)
                   for _ in range(count)]
        for stream in streams:
            got = stream.answer(20)
            assert (got.status, got.body, got.end) == (200, b"BANNER", "fin")
    assert setup.ask(link)


def test_half_closes(setup):
    """T13, row 7: each direction of a TCP stream ends alone; an origin's reset is no clean end."""
    link = setup.victim()
    stream = link.send_request(host=setup.tcp.address, kind=rpc.TCP, fin=False)
    with setup.tcp.accept() as origin:
        origin.sendall(b"down")
        origin.shutdown(socket.SHUT_WR)
        got = stream.answer()
        assert (got.body, got.end) == (b"down", "fin")
        stream.send(b"up" * 50_000, True)
        assert read_all(origin) == b"up" * 50_000
    stream = link.send_request(host=setup.tcp.address, kind=rpc.TCP, fin=False)
    origin = setup.tcp.accept()
    assert stream.wait_head()
    origin.sendall(b"part")
    stream.wait_bytes(4)
    reset(origin)
    stream.wait_end()
    assert stream.end[0] == "reset" and stream.reset_code != 0
    assert setup.ask(link)


def test_stalled_uploads(setup, gauges):
    """T13, row 6: uploads that no origin takes leave room for all others on the same connection."""
    link = setup.victim()
    streams = [link.send_request("POST", DEAF, "/stall", body=pattern(16 << 20)) for _ in range(8)]
    setup.deaf.wait_requests(8)
    for _ in range(5):
        got = link.request("POST", HOST, "/sha256", body=pattern(1 << 20), timeout=20)
        assert got.status == 200 and setup.ask(link)
    assert all(s.out for s in streams), "an upload that nobody takes was taken"
    gauges.bound_memory(64)
    for stream in streams:
        stream.reset()
    assert setup.ask(link)
    link.close_link()       # its windows have grown, and stay so as long as it lives


def test_an_edge_that_grants_nothing(setup, gauges):
    """T13: 100 answers of 4 MB, of which nothing is taken: bounded, the rest of the connection works."""
    link = setup.victim()
    link.stop_crediting()
    streams = [link.send_request(host=HOST, path="/bytes/4000000") for _ in range(100 // FEW)]
    setup.edge.wait(lambda: sum(len(s.received) for s in streams) > h2peer.STREAM_WINDOW, 30,
                    "what it granted at first")
    for _ in range(5):
        assert setup.ask() and setup.ask(link)
    held = setup.daemon.metrics()
    assert held.sum("adit_buffer_bytes") < held.sum("adit_buffer_limit_bytes") * 0.9
    gauges.bound_memory(96)
    link.close_link()


def test_windows_that_shrink(setup):
    """T13: SETTINGS that make windows negative in the middle of an answer, and grow them again."""
    link = setup.victim().by_hand()
    stream = link.send_request(host=HOST, path="/bytes/3000000", fin=True)
    stream.wait_bytes(100_000)
    link.raw(fr.settings((fr.INITIAL_WINDOW_SIZE, 0)))
    link.hub.wait(lambda: len([f for f in link.frames(fr.SETTINGS) if f.flags & fr.ACK]) >= 2
                  or link.closed, 10, "the SETTINGS acknowledged")
    stalled = len(stream.received)
    assert stalled < 3_000_000 and link.closed is None
    link.ping()
    assert len(stream.received) == stalled
    link.raw(fr.settings((fr.INITIAL_WINDOW_SIZE, 1 << 24)))
    stream.wait_end(20)
    assert stream.end == "fin" and bytes(stream.received) == pattern(3_000_000)
    link.close_link()


@pytest.mark.parametrize("increment", [0, OVERFLOW])
def test_windows_of_a_stream(setup, increment):
    """T13: a stream's window that grows by nothing or too much: the end of that stream at least."""
    link = setup.victim().by_hand()
    stream = link.send_request(host=HOST, path="/silent")
    link.raw(fr.window(stream.number, increment))
    stream.wait_end()
    assert stream.end in (("reset", fr.PROTOCOL_ERROR), ("reset", fr.FLOW_CONTROL_ERROR), "lost")
    link.close_link()


def test_bytes_beyond_the_window(setup):
    """T13: DATA that nobody granted: FLOW_CONTROL_ERROR, for the stream or the connection."""
    link = setup.victim().by_hand()
    stream = link.send_request("POST", DEAF, "/stall", fin=False)
    flood(link, (fr.data(stream.number, bytes(16000)) for _ in range(8192)),
          lambda: stream.reset_code is not None)
    stream.wait_end(20)
    code = stream.reset_code if stream.reset_code is not None else link.wait_closed_link()[0]
    assert code == fr.FLOW_CONTROL_ERROR
    link.close_link()


def test_more_streams_than_allowed(setup, gauges):
    """T13, row 14: streams beyond the announced limit are refused, those within are served."""
    link = setup.victim()
    limit = link.peer_settings[fr.MAX_CONCURRENT_STREAMS]
    assert limit == 500
    link.by_hand()
    fields, first = link.request_fields(host=HOST, path="/silent"), h2hostile.next_number(link)
    blocks, before = [link.block(fields), link.block(fields)], len(link.frames(fr.RST_STREAM))
    flood(link, (fr.headers(first + 2 * n, blocks[min(n, 1)], True) for n in range(limit + 200)))
    link.hub.wait(lambda: len(link.frames(fr.RST_STREAM)) >= before + 150 or link.closed, 30,
                  "refusals")
    refused = {f.word() for f in link.frames(fr.RST_STREAM)[before:]}
    assert link.closed or refused == {fr.REFUSED_STREAM}
    for _ in range(3):
        assert setup.ask()
    gauges.bound_memory(200)
    link.close_link()


# ---- the control stream and the end of a connection ---------------------------------------------------

def test_control_stream_reset(setup):
    """T13, row 4: RST of the control stream is the loss of the connection, which is replaced."""
    link = setup.victim()
    link.control.reset(fr.CANCEL)
    link.wait_closed_link(10)
    assert link.peer_closed
    assert setup.ask(setup.successor(link))


def test_control_stream_ended(setup):
    """T13, row 4: END_STREAM on it means going away: a successor at once, running streams finish."""
    link = setup.victim()
    stream = link.send_request(host=HOST, path="/slow/40/50")
    stream.wait_head()
    link.control.send(b"", True)
    assert setup.ask(setup.successor(link, 10))
    got = stream.answer(20)
    assert (got.status, got.end) == (200, "fin")
    link.wait_closed_link(20)


def test_goaway_in_the_middle(setup):
    """T13, row 12: behind GOAWAY running streams finish, later ones are refused, a successor comes."""
    link = setup.victim()
    stream = link.send_request(host=HOST, path="/slow/40/50")
    stream.wait_head()
    link.go_away()
    setup.successor(link, 10)
    late = link.send_request(host=HOST, path="/good")
    late.wait_end()
    assert late.end == ("reset", fr.REFUSED_STREAM) or link.closed
    got = stream.answer(20)
    assert (got.status, got.end) == (200, "fin")
    link.wait_closed_link(20)


def test_goaway_with_an_error(setup):
    """T13: GOAWAY with a code, then the end of TCP in the middle of answers: replaced."""
    link = setup.victim()
    for _ in range(10):
        link.send_request(host=HOST, path="/slow/100/50")
    link.close_link(fr.INTERNAL_ERROR, "broken")
    assert setup.ask(setup.successor(link))


def test_tcp_reset_in_the_middle(setup):
    """T13: the same by a reset of TCP; origins see the end of their requests."""
    link, before = setup.victim(), len(setup.origin.requests)
    for _ in range(10):
        link.send_request(host=HOST, path="/silent")
    setup.origin.wait_requests(before + 10)
    link.kill()
    mine = [r for r in setup.origin.requests[before:] if r.target == "/silent"]
    until(lambda: all(r.cancelled for r in mine), 10, "cancelled requests")
    assert setup.ask(setup.successor(link))


def test_second_control_stream(setup):
    """T13: another control stream is answered or reset; it costs nothing and registers nobody else."""
    link = setup.victim()
    stream = link.open_request([*link.request_fields(), (h2peer.UPGRADE, h2peer.CONTROL)])
    stream.wait(lambda: stream.fields or stream.ended, 10, "an answer")
    stream.reset()
    link.ping()
    assert setup.ask(link)


def test_control_stream_never_opened(processes, tmp_path, authority):
    """T13, row 1: an edge without a control stream is given up after the deadline and dialled again."""
    token = write_token(tmp_path / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef", bytes(32))
    with PeerH2Edge(*authority.leaf("peer"), open_control=False) as edge:
        daemon = Daemon(processes, tmp_path, token_file=token, connections=1,
                        rules=[(None, "http_status:404")], tunnel_keys={"protocol": "http2"},
                        edge_keys=peer_edge_keys(edge, authority))
        daemon.start()
        link = edge.wait_links(1)[0]
        link.wait_closed_link(9)
        assert link.peer_closed and 3 < link.closed_at - link.ready_at
        edge.open_control = True
        assert edge.wait_registered(1, 30)[0].request().status == 404


# ---- floods and broken rules ----------------------------------------------------------------------------

@pytest.mark.parametrize("name", VIOLATIONS)
def test_violations(setup, name):
    """T13: broken rules of HTTP/2 end that connection with an error, and no other."""
    link = setup.victim().by_hand()
    data, codes = VIOLATIONS[name]
    link.raw(data)
    link.raw(fr.ping())     # for what shows itself only with the next frame
    assert link.wait_closed_link(10)[0] in codes and link.peer_closed


CLIENT_VIOLATIONS = {
    "a stream of the server's": lambda link: fr.headers(2, link.block(GOOD), True),
    "a stream number that was used": lambda link: fr.headers(1, link.block(GOOD), True),
    "a promise": lambda link: fr.frame(fr.PUSH_PROMISE, 4, 1, bytes(4) + link.block(GOOD)),
    "a frame between a head's": lambda link: fr.headers(101, link.block(GOOD), True, False) + fr.ping(),
    "a head that can't be decoded": lambda link: fr.headers(101, b"\xff\xff\xff\xff\xff\x7f" * 4, True),
    "a stream that depends on itself": lambda link: fr.frame(
        fr.HEADERS, 0x25, 101, (101).to_bytes(4, "big") + b"\x10" + link.block(GOOD)),
}


@pytest.mark.parametrize("name", CLIENT_VIOLATIONS)
def test_client_violations(setup, name):
    """T13: what a client may not send: an error of the stream or the connection, never silence."""
    link = setup.victim().by_hand()
    link.raw(CLIENT_VIOLATIONS[name](link))
    link.raw(fr.ping())
    link.hub.wait(lambda: link.closed or link.frames(fr.RST_STREAM) or link.pongs, 10, "a reaction")
    assert setup.ask()
    link.close_link()


@pytest.mark.parametrize("size", [0, 1, 1000])
def test_continuation_flood(setup, gauges, size):
    """T13: a head that never ends is cut off, whatever its frames hold."""
    link = setup.victim().by_hand()
    flood(link, continuations(link, h2hostile.next_number(link), GOOD, 1_000_000 // FEW, size))
    link.wait_closed_link(20)
    assert link.peer_closed
    gauges.bound_memory(32)


def test_rapid_resets(setup, gauges):
    """T13: streams that are reset at once, by the thousand: the connection ends, the origin is spared."""
    link, before = setup.victim().by_hand(), setup.origin.connections
    flood(link, opened_and_reset(link, GOOD, h2hostile.next_number(link), 100_000 // FEW))
    link.wait_closed_link(20)
    assert link.closed[0] in (fr.ENHANCE_YOUR_CALM, None)
    assert setup.origin.connections - before < 5000
    gauges.bound_memory(64)


@pytest.mark.parametrize("name", CHEAP)
def test_cheap_frames(setup, gauges, name):
    """T13: cheap frames without end are answered, or end the connection; others don't notice."""
    link = setup.victim().by_hand()
    flood(link, (CHEAP[name] for _ in range(200_000 // FEW)))
    assert link.closed is None or link.closed[0] in (fr.ENHANCE_YOUR_CALM, None)
    gauges.bound_memory(32)
    link.close_link()


@pytest.mark.parametrize("kind", ["empty DATA", "DATA of a byte", "window updates", "unknown frames",
                                  "padding"])
def test_frames_of_a_stream(setup, gauges, kind):
    """T13: the same on a stream that lives."""
    link = setup.victim().by_hand()
    stream = link.send_request("POST", HOST, "/stall", fin=False)
    made = {"empty DATA": fr.data(stream.number), "DATA of a byte": fr.data(stream.number, b"x"),
            "window updates": fr.window(stream.number, 1),
            "unknown frames": fr.frame(0xee, 0xff, stream.number, bytes(100)),
            "padding": fr.frame(fr.DATA, fr.PADDED, stream.number, b"\xff" + bytes(255))}[kind]
    flood(link, itertools.repeat(made, 100_000 // FEW))
    for _ in range(3):
        assert setup.ask()
    gauges.bound_memory(64)
    link.close_link()


def test_a_peer_that_never_reads(setup, gauges):
    """T13: PINGs without end to one who answers, by somebody who reads nothing: bounded, then over."""
    link = setup.victim().by_hand()
    link.stop_reading()
    sock = link.transport.get_extra_info("socket")
    assert sock is not None
    link.raw(fr.ping() * 200_000)
    for _ in range(5):
        assert setup.ask()
    gauges.bound_memory(32)
    link.kill()


def test_a_peer_that_is_silent(setup):
    """T13, row 5: a connection that answers nothing any more is missed and replaced."""
    link = setup.victim().by_hand()
    link.stop_reading()
    setup.successor(link, 45)
    assert link.closed is None
    link.close_link()


def test_trailers_of_an_origin(setup):
    """T13, row 16: trailers of an origin pass, but none that looks like the transport's own."""
    setup.origin.raw["trailers"] = (
        b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n"
        b"X-Sum: 1\r\nCf-Int-X: 2\r\nCf-Cloudflared-Response-Meta: 3\r\nCF-Proxy-Y: 4\r\n\r\n")
    got = setup.victim().request(host=HOST, path="/raw/trailers")
    assert (got.body, got.trailers, got.end) == (b"body", [("x-sum", "1")], "fin")


def test_trailers_of_an_edge(setup):
    """T13: pseudo fields in trailers, upper case, or too many bytes of them, cost the stream."""
    link = setup.victim()
    head = [(":method", "POST"), *GOOD[1:3], (":path", "/echo"), ("trailer", "x-sum")]
    for fields, is_good in (([("x-sum", "1")], True), ([(":path", "/evil")], False),
                            ([("X-Sum", "1")], False), ([("x-a", "v" * 40_000)], False)):
        stream = link.open_request(head)
        stream.send(b"body")
        stream.send_trailers(fields)
        got = stream.answer()
        assert got.status == 200 if is_good else got.end[0] == "reset" or got.status in (400, 431, 502)
    holds(lambda: link.closed is None, 0.2, "the connection")
    assert setup.ask(link)
