# SPDX-License-Identifier: Apache-2.0
"""T5: whoever breaks off, the other side learns it: a truthful status or a broken connection.

    sockets --> adit-edge (2 workers) ==QUIC==> aditd (2 workers) --> origins that misbehave
"""
import contextlib
import socket
import time

import pytest

from lib import ports
from lib.adit import DOMAIN
from lib.origin import Origin, digest, pattern
from lib.visitor import CutShort, Visitor, chunked
from lib.wait import seconds, until

pytestmark = pytest.mark.group("http")

HOST, SILENT, ABSENT, FULL = (f"{n}.{DOMAIN}" for n in ("a", "silent", "absent", "full"))
MIB = 1 << 20
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe):
    with Origin("silent") as silent, contextlib.ExitStack() as stack:
        # A listener whose queue is full answers no further connection.
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        made = make_pipe("abort", edge={"hosts": [HOST, SILENT, ABSENT, FULL]}, rules=[
            (SILENT, silent.service, {"response_header_timeout": "1s"}),
            (ABSENT, f"http://127.0.0.1:{ports.free()}"),
            (FULL, f"http://127.0.0.1:{full.getsockname()[1]}", {"connect_timeout": "1s"})])
        yield made
        for program in (made.edge, made.daemon):    # nothing of what was broken off is left
            until(lambda p=program: p.counter("adit_requests_active") == 0, 5, "no request")


def get(pipe, target, host=HOST, method="GET", tls=False):
    """One request of a visitor on its own connection."""
    with Visitor(pipe.edge, tls) as visitor:
        visitor.request(method, target, host)
        return visitor.answer(method)


# ---- the visitor leaves ------------------------------------------------------------------------

def leave(visitor, how):
    visitor.reset() if how == "reset" else visitor.close()


def wait_cancelled(pipe, request):
    """The origin is told within a second, and both daemons have let go."""
    until(lambda: request.cancelled, 1, "the end of the origin's connection")
    for program in (pipe.edge, pipe.daemon):
        until(lambda p=program: p.counter("adit_requests_active") == 0, 2, "no request")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("how", ["close", "reset"])
def test_visitor_leaves_before_the_answer(pipe, how, tls):
    """T5: the origin of a visitor that waits and leaves is free within a second."""
    count = len(pipe.origin.requests)
    visitor = Visitor(pipe.edge, tls)
    visitor.request("GET", "/silent", HOST)
    request = pipe.origin.wait_requests(count + 1)[-1]
    leave(visitor, how)
    wait_cancelled(pipe, request)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_visitor_leaves_a_stuck_upload(pipe, how, tls, framing):
    """T5: the same while the origin does not read and the edge holds the visitor back. (A FIN waits
    in the visitor's kernel for what was sent before it; a reset doesn't.)"""
    count = len(pipe.origin.requests)
    visitor = Visitor(pipe.edge, tls)
    if framing == "length":
        visitor.request("POST", "/stall", HOST, f"Content-Length: {1 << 40}")
        piece = bytes(0x10000)
    else:
        visitor.request("POST", "/stall", HOST, "Transfer-Encoding: chunked")
        piece = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    request = pipe.origin.wait_requests(count + 1)[-1]
    if how == "close":
        visitor.send(b"".join([piece] * (MIB // len(piece))))
    else:
        visitor.push(piece)
    assert not request.cancelled
    leave(visitor, how)
    wait_cancelled(pipe, request)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_visitor_leaves_during_the_answer(pipe, how):
    """T5: the same in the middle of an answer that the visitor does not read."""
    origin = pipe.origin
    count = len(origin.requests)
    visitor = Visitor(pipe.edge)
    visitor.request("GET", f"/bytes/{256 * MIB}", HOST)
    assert visitor.head().status == 200
    origin.wait_requests(count + 1)
    before = len(origin.open)
    leave(visitor, how)
    until(lambda: len(origin.open) < before, 1, "the end of the origin's connection")


def test_visitor_leaves_between_requests(pipe):
    """T5: requests that a visitor had sent ahead are not begun after it has left."""
    count = len(pipe.origin.requests)
    visitor = Visitor(pipe.edge)
    visitor.request("GET", "/silent", HOST)
    visitor.request("GET", "/ahead", HOST)
    request = pipe.origin.wait_requests(count + 1)[-1]
    visitor.close()
    wait_cancelled(pipe, request)
    assert not any(r.target == "/ahead" for r in pipe.origin.requests)


# ---- the origin breaks off ---------------------------------------------------------------------

@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("target", ["/abort/300000", "/abort-chunked/300000", "/reset/300000"])
def test_origin_breaks_off(pipe, target, tls):
    """T5: an answer that ends early is never a whole one for the visitor."""
    with Visitor(pipe.edge, tls) as visitor:
        visitor.request("GET", target, HOST)
        head = visitor.head()
        assert head.status == 200
        with pytest.raises(CutShort) as cut:
            visitor.body(head)
    got = cut.value.body
    if "chunked" not in target:
        assert pattern(300_000).startswith(got)
    if "reset" not in target:
        assert len(got) >= 300_000, "what had come before is handed on"


@pytest.mark.parametrize("host, target, status, reasons", [
    (ABSENT, "/", 502, ["origin-refused"]),
    (SILENT, "/silent", 504, ["origin-timeout"]),
    (FULL, "/", 504, ["origin-timeout"]),
    (HOST, "/close", 502, ["origin-reset"]),
    (HOST, "/garbage", 502, ["origin-protocol"]),
    (HOST, "/headers/10000", 502, ["origin-protocol"])])
def test_origin_gives_no_answer(pipe, host, target, status, reasons):
    """T5: absent, silent, not accepting, closing, babbling, and one with 10 000 fields."""
    started = time.monotonic()
    got = get(pipe, target, host)
    assert (got.status, got.header("adit-error") in reasons) == (status, True), got
    assert time.monotonic() - started < seconds(4)


def test_two_hundred_fields_pass(pipe):
    """T5: as many fields as the limit says do pass."""
    got = get(pipe, "/headers/180")
    assert got.status == 200 and got.header("X-179") == "179" and got.body == b"many\n"


RAW = {
    "tls-alert": (b"\x15\x03\x03\x00\x02\x02\x28", 502),
    "http2": (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18), 502),
    "no-version": (b"200 OK\r\n\r\n", 502),
    "version": (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", 502),
    "status-word": (b"HTTP/1.1 abc OK\r\n\r\n", 502),
    "status-low": (b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", 502),
    "head-cut": (OK + b"Content-Le", 502),
    "line-cut": (b"HTTP/1.1 20", 502),
    "long-line": (OK + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 502),
    "endless-head": (OK + b"X: y\r\n" * 20_000, 502),
    "lengths-differ": (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 502),
    "length-list": (OK + b"Content-Length: 5, 6\r\n\r\nhello!", 502),
    "length-sign": (OK + b"Content-Length: +5\r\n\r\nhello", 502),
    "length-huge": (OK + b"Content-Length: 99999999999999999999\r\n\r\nhello", 502),
    "coding-unknown": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 502),
    "coding-twice": (OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                     b"0\r\n\r\n", 502),
    "switch": (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
               502),
    "only-100": (b"HTTP/1.1 100 Continue\r\n\r\n", 502),
    "nul": (OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n", 502),
    "lengths-same": (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "folded": (OK + b"X-Folded: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "bare-lf": (b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello", b"hello"),
    "until-close": (OK + b"\r\nhello", b"hello"),
    "http-1.0": (b"HTTP/1.0 200 OK\r\n\r\nhello", b"hello"),
    "length-and-chunked": (OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
                           b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "surplus": (OK + b"Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n", b"hello"),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK
                + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    "short": (OK + b"Content-Length: 6\r\n\r\nhello", None),
    "chunk-short": (OK + b"Transfer-Encoding: chunked\r\n\r\n6\r\nhello", None),
    "no-last-chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", None),
    "bad-chunk-size": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", None),
    "chunk-size-huge": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
                        b"fffffffffffffffff\r\n", None),
    "trailers-cut": (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n", None),
}


@pytest.mark.parametrize("name", RAW)
def test_odd_answers(pipe, name):
    """T5: what an origin says is a whole answer, an error page, or a broken body; nothing between."""
    raw, expected = RAW[name]
    pipe.origin.raw[name] = raw
    if isinstance(expected, int):
        got = get(pipe, f"/raw/{name}")
        assert (got.status, got.header("adit-error") is not None) == (expected, True), got
    elif expected is None:
        with pytest.raises(CutShort) as cut:
            get(pipe, f"/raw/{name}")
        assert cut.value.body.startswith(b"hello") or b"hello" in cut.value.body
    else:
        got = get(pipe, f"/raw/{name}")
        assert (got.status, got.body) == (200, expected), got


def test_interim_answers_are_counted(pipe):
    """T5: 1xx answers of an origin are dropped and counted (100 only ends a wait)."""
    pipe.origin.raw["hints"] = (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + OK
                                + b"Content-Length: 0\r\n\r\n")
    before = pipe.daemon.counter("adit_drops_total", where="answer", reason="interim")
    with Visitor(pipe.edge) as visitor:
        visitor.request("GET", "/raw/hints", HOST)
        assert visitor.head().status == 200
    until(lambda: pipe.daemon.counter("adit_drops_total", where="answer", reason="interim")
          == before + 3, 5, "three counted")


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_where_there_is_none(pipe, status):
    """T5: 204 and 304 end with their head, whatever their fields say."""
    pipe.origin.raw[f"s{status}"] = (f"HTTP/1.1 {status} X\r\nContent-Length: 5\r\n"
                                     "\r\n").encode()
    with Visitor(pipe.edge) as visitor:
        for _ in range(2):      # the connection goes on
            visitor.request("GET", f"/raw/s{status}", HOST)
            got = visitor.answer()
            assert (got.status, got.header("transfer-encoding")) == (status, None), got


# ---- answers before the request has ended --------------------------------------------------------

@pytest.mark.parametrize("target", ["/early", "/early-wait"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_early_answer(pipe, target, framing):
    """T5: an answer that comes before the request's end reaches the visitor while it uploads."""
    with Visitor(pipe.edge) as visitor:
        if framing == "length":
            visitor.request("POST", target, HOST, f"Content-Length: {64 * MIB}")
            piece = bytes(1000)
        else:
            visitor.request("POST", target, HOST, "Transfer-Encoding: chunked")
            piece = chunked(bytes(1000))[:-5]
        visitor.send(piece)
        with contextlib.suppress(OSError):
            visitor.send(piece * 1000)
        got = visitor.answer()
        assert (got.status, got.body) == (200, b"early\n"), got
        assert visitor.rest() == b"", "the connection ends, for the request never does"


def test_error_page_during_an_upload(pipe):
    """T5: an origin that is absent is told of while the visitor uploads."""
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/", ABSENT, f"Content-Length: {64 * MIB}")
        with contextlib.suppress(OSError):
            visitor.send(bytes(4 * MIB))
        assert visitor.answer().status == 502


def test_upload_that_breaks_off_is_not_whole(pipe):
    """T5: the origin of an upload that ends early never sees its end."""
    for fields, piece in (("Content-Length: 1000000", pattern(1000)),
                          ("Transfer-Encoding: chunked", chunked(pattern(1000))[:-5])):
        count = len(pipe.origin.requests)
        with Visitor(pipe.edge) as visitor:
            visitor.request("POST", "/sha256", HOST, fields, body=piece)
            request = pipe.origin.wait_requests(count + 1)[-1]
            until(lambda r=request: r.length == 1000, 5, "what was sent")
        until(lambda: pipe.daemon.counter("adit_requests_active") == 0, 2, "no request")
        assert not request.complete and request.hash.hexdigest() == digest(pattern(1000))


# ---- connections that the origin has closed ------------------------------------------------------

@pytest.fixture(name="narrow", scope="module")
def fixture_narrow(make_pipe):
    """One link, one worker: the second request takes the first one's connection."""
    return make_pipe("narrow", edge={"workers": 1}, daemon={"workers": 1}, connections=1)


def stale(pipe, method, *fields, body=b""):
    """A request on a connection that ends as it arrives; the answer, and how often it arrived."""
    origin = pipe.origin
    assert get(pipe, "/stale").body == b"fresh\n"
    before = len(origin.requests)
    with Visitor(pipe.edge) as visitor:
        visitor.request(method, "/again", HOST, *fields, body=body)
        got = visitor.answer(method)
    return got, [r.target for r in origin.requests[before:]].count("/again")


@pytest.mark.parametrize("method, fields", [
    ("GET", []), ("HEAD", []), ("OPTIONS", []), ("DELETE", []), ("PUT", ["Content-Length: 0"]),
    ("PROPFIND", []), ("POST", ["Content-Length: 0", "Idempotency-Key: 1"]),
    ("PATCH", ["Content-Length: 0", "Idempotency-Key: 1"])])
def test_stale_connection_is_retried(narrow, method, fields):
    """T5: a kept-alive connection that ends as the request is sent: once more on a fresh one."""
    got, arrived = stale(narrow, method, *fields)
    assert (got.status, arrived) == (200, 2), got


@pytest.mark.parametrize("method, fields, body", [
    ("POST", ["Content-Length: 0"], b""), ("PATCH", ["Content-Length: 0"], b""),
    ("POST", ["Content-Length: 5"], b"hello"), ("PUT", ["Content-Length: 5"], b"hello"),
    ("POST", ["Content-Length: 5", "Idempotency-Key: 1"], b"hello")])
def test_stale_connection_is_not_retried(narrow, method, fields, body):
    """T5: but not what may have had an effect, and not when body bytes are gone."""
    got, arrived = stale(narrow, method, *fields, body=body)
    assert (got.status, got.header("adit-error"), arrived) == (502, "origin-reset", 1), got


def test_closed_idle_connection(narrow):
    """T5: one that ended before the request is not used for any method."""
    origin = narrow.origin
    assert get(narrow, "/x").status == 200
    until(lambda: origin.open, 1, "an idle connection")
    for connection in list(origin.open):
        connection.shutdown(2)
    until(lambda: not origin.open, 5, "its end")
    before = len(origin.requests)
    with Visitor(narrow.edge) as visitor:
        visitor.request("POST", "/sha256", HOST, "Content-Length: 5", body=b"hello")
        assert visitor.answer().body.decode() == digest(b"hello")
    assert len(origin.requests) == before + 1
