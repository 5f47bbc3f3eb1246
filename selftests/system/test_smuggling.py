# SPDX-License-Identifier: Apache-2.0
"""T7: hostile visitors. One request in is at most one request out, and nobody else notices.

    sockets --> adit-edge (2 workers), [front] with short timeouts ==QUIC==> aditd --> origin with a log
"""
import contextlib
import os
import threading
import time

import pytest

from lib.adit import DOMAIN, section
from lib.visitor import Visitor
from lib.wait import SLOW, during, seconds, until

pytestmark = pytest.mark.group("http")

HOST = f"a.{DOMAIN}"
FRONT = {"header_timeout": "2s", "idle_timeout": "2s", "body_timeout": "2s",
         "client_concurrency": 400}
INNER = b"GET /smuggled HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"


def post(*fields, body=b"", target="/one", version="1.1", end=b"\r\n"):
    """A POST with these field lines as they are."""
    lines = [f"POST {target} HTTP/{version}".encode(), b"Host: " + HOST.encode(), *fields]
    return b"".join(line + end for line in lines) + end + body


TE = b"Transfer-Encoding: chunked"
# name: (bytes, statuses that may be answered). Whatever is answered, /smuggled must never arrive, and
# at most one request may.
CASES = {
    # a length and a coding
    "cl-te": (post(b"Content-Length: 4", TE, body=b"0\r\n\r\n" + INNER), {400}),
    "te-cl": (post(TE, b"Content-Length: 4", body=CHUNKS + INNER), {400}),
    "te-cl-0": (post(TE, b"Content-Length: 0", body=CHUNKS + INNER), {400}),
    "te-identity-cl": (post(b"Transfer-Encoding: identity", b"Content-Length: 5", body=b"hello"),
                       {400, 501}),
    "te-twice": (post(TE, TE, body=CHUNKS + INNER), {400}),
    "te-twice-other": (post(TE, b"Transfer-Encoding: identity", body=CHUNKS + INNER), {400}),
    "te-list": (post(b"Transfer-Encoding: chunked, identity", body=CHUNKS + INNER), {400, 501}),
    "te-list-last": (post(b"Transfer-Encoding: identity, chunked", body=CHUNKS + INNER),
                     {400, 501}),
    "te-list-twice": (post(b"Transfer-Encoding: chunked, chunked", body=CHUNKS + INNER),
                      {400, 501}),
    "te-gzip": (post(b"Transfer-Encoding: gzip, chunked", body=CHUNKS + INNER), {400, 501}),
    "te-unknown": (post(b"Transfer-Encoding: xchunked", body=CHUNKS + INNER), {400, 501}),
    "te-quoted": (post(b'Transfer-Encoding: "chunked"', body=CHUNKS + INNER), {400, 501}),
    "te-parameter": (post(b"Transfer-Encoding: chunked;a=b", body=CHUNKS + INNER), {400, 501}),
    "te-empty": (post(b"Transfer-Encoding:", body=CHUNKS + INNER), {400, 501}),
    "te-vertical-tab": (post(b"Transfer-Encoding: \x0bchunked", body=CHUNKS + INNER), {400, 501}),
    "te-nul": (post(b"Transfer-Encoding: chunked\x00", body=CHUNKS + INNER), {400, 501}),
    "te-high-byte": (post(b"Transfer-Encoding: chunked\xa0", body=CHUNKS + INNER), {400, 501}),
    "te-space-before-colon": (post(b"Transfer-Encoding : chunked", body=CHUNKS + INNER), {400}),
    "te-tab-before-colon": (post(b"Transfer-Encoding\t: chunked", body=CHUNKS + INNER), {400}),
    "te-leading-space": (post(b" Transfer-Encoding: chunked", body=CHUNKS + INNER), {400}),
    "te-folded": (post(b"Transfer-Encoding:\r\n chunked", body=CHUNKS + INNER), {400}),
    "te-folded-behind": (post(TE + b"\r\n , identity", body=CHUNKS + INNER), {400}),
    "te-hidden-by-cr": (post(b"X: a\rTransfer-Encoding: chunked", b"Content-Length: 5",
                             body=b"hello"), {400}),
    "te-hidden-by-lf": (post(b"X: a\nTransfer-Encoding: chunked", b"Content-Length: 5",
                             body=b"hello" + INNER), {400}),
    "te-http-1.0": (post(TE, version="1.0", body=CHUNKS + INNER), {400}),
    "te-named-by-connection": (post(TE, b"Connection: Transfer-Encoding", body=CHUNKS), {200, 400}),
    "te-underscore": (post(b"Transfer_Encoding: chunked", b"Content-Length: 5", body=b"hello"),
                      {200, 400}),
    # lengths
    "cl-twice-differs": (post(b"Content-Length: 5", b"Content-Length: 0", body=b"hello" + INNER),
                         {400}),
    "cl-twice-same": (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), {400}),
    "cl-list": (post(b"Content-Length: 5, 5", body=b"hello"), {400}),
    "cl-plus": (post(b"Content-Length: +5", body=b"hello"), {400}),
    "cl-minus": (post(b"Content-Length: -5", body=b"hello"), {400}),
    "cl-hex": (post(b"Content-Length: 0x5", body=b"hello"), {400}),
    "cl-words": (post(b"Content-Length: 5 5", body=b"hello"), {400}),
    "cl-comment": (post(b"Content-Length: 5 ;x", body=b"hello"), {400}),
    "cl-fraction": (post(b"Content-Length: 5.0", body=b"hello"), {400}),
    "cl-empty": (post(b"Content-Length:", body=INNER), {400}),
    "cl-nul": (post(b"Content-Length: 5\x00", body=b"hello"), {400}),
    "cl-overflow": (post(b"Content-Length: 18446744073709551621", body=b"hello"), {400}),
    "cl-space-before-colon": (post(b"Content-Length : 5", body=b"hello" + INNER), {400}),
    "cl-folded": (post(b"Content-Length:\r\n 5", body=b"hello"), {400}),
    "cl-vertical-tab": (post(b"Content-Length: \x0b5", body=b"hello"), {400}),
    "cl-named-by-connection": (post(b"Content-Length: 5", b"Connection: Content-Length",
                                    body=b"hello"), {200, 400}),
    "cl-get": (b"GET /one HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\nContent-Length: "
               + str(len(INNER)).encode() + b"\r\n\r\n" + INNER, {200}),
    "cl-whole-request": (post(b"Content-Length: %d" % len(INNER), body=INNER), {200}),
    # chunks
    "chunk-hex-prefix": (post(TE, body=b"0x5\r\nhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-plus": (post(TE, body=b"+5\r\nhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-minus": (post(TE, body=b"-5\r\nhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-leading-space": (post(TE, body=b" 5\r\nhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-trailing-space": (post(TE, body=b"5 \r\nhello\r\n0\r\n\r\n"), {200, 400}),
    "chunk-empty-size": (post(TE, body=b"\r\nhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-overflow": (post(TE, body=b"10000000000000005\r\nhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-bare-lf": (post(TE, body=b"5\nhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-bare-cr": (post(TE, body=b"5\rhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-data-lf": (post(TE, body=b"5\r\nhello\n0\r\n\r\n" + INNER), {400}),
    "chunk-data-none": (post(TE, body=b"5\r\nhello0\r\n\r\n" + INNER), {400}),
    "chunk-data-long": (post(TE, body=b"5\r\nhelloXX0\r\n\r\n" + INNER), {400}),
    "chunk-extension-lf": (post(TE, body=b"5;a\nhello\r\n0\r\n\r\n" + INNER), {400}),
    "chunk-extension-nul": (post(TE, body=b"5;a\x00\r\nhello\r\n0\r\n\r\n"), {200, 400}),
    "chunk-last-lf": (post(TE, body=b"5\r\nhello\r\n0\n\n" + INNER), {400}),
    "chunk-last-signed": (post(TE, body=b"5\r\nhello\r\n-0\r\n\r\n" + INNER), {400}),
    "chunk-cr-in-size": (post(TE, body=b"5\r\r\nhello\r\n0\r\n\r\n" + INNER), {400}),
    # trailers
    "trailer-cl": (post(TE, body=b"5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"), {200, 400}),
    "trailer-te": (post(TE, body=b"5\r\nhello\r\n0\r\n" + TE + b"\r\n\r\n"), {200, 400}),
    "trailer-host": (post(TE, body=b"5\r\nhello\r\n0\r\nHost: other\r\n\r\n"), {200, 400}),
    "trailer-folded": (post(TE, body=b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"), {200, 400}),
    "trailer-bare-lf": (post(TE, body=b"5\r\nhello\r\n0\r\nX: a\n\n" + INNER), {400}),
    "trailer-no-colon": (post(TE, body=b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n"), {200, 400}),
    "trailer-nul": (post(TE, body=b"5\r\nhello\r\n0\r\nX: a\x00b\r\n\r\n"), {200, 400}),
    # lines of the head
    "bare-lf": (post(b"Content-Length: 5", body=b"hello", end=b"\n"), {400}),
    "bare-lf-one": (post(b"X: a\nY: b", b"Content-Length: 5", body=b"hello"), {400}),
    "bare-lf-end": (post(b"Content-Length: 5")[:-2] + b"\nhello" + INNER, {400}),
    "bare-cr": (post(b"X: a\rY: b", b"Content-Length: 5", body=b"hello"), {400}),
    "bare-cr-ends": (post(b"Content-Length: 5", body=b"hello", end=b"\r"), {400, 408, 431}),
    "cr-cr-lf": (post(b"Content-Length: 5\r", body=b"hello"), {400}),
    "folded": (post(b"X: a\r\n b", b"Content-Length: 5", body=b"hello"), {400}),
    "folded-tab": (post(b"X: a\r\n\tb", b"Content-Length: 5", body=b"hello"), {400}),
    "folded-first": (post(b" X: a", b"Content-Length: 5", body=b"hello"), {400}),
    "no-colon": (post(b"nonsense", b"Content-Length: 5", body=b"hello"), {400}),
    "no-name": (post(b": a", b"Content-Length: 5", body=b"hello"), {400}),
    "name-space": (post(b"X Y: a", b"Content-Length: 5", body=b"hello"), {400}),
    "name-nul": (post(b"X\x00Y: a", b"Content-Length: 5", body=b"hello"), {400}),
    "name-high-byte": (post(b"X\xff: a", b"Content-Length: 5", body=b"hello"), {400}),
    "value-nul": (post(b"X: a\x00b", b"Content-Length: 5", body=b"hello"), {400}),
    "value-del": (post(b"X: a\x7fb", b"Content-Length: 5", body=b"hello"), {400}),
    # request line and host
    "version-0.9": (b"GET /one\r\n\r\n" + INNER, {400}),
    "version-2": (post(version="2.0", body=INNER), {400, 505}),
    "version-1.2": (post(b"Content-Length: 0", version="1.2"), {200, 400, 505}),
    "version-long": (post(version="1.10", body=INNER), {400, 505}),
    "version-lower": (post().replace(b"HTTP/", b"http/", 1), {400}),
    "version-space": (post().replace(b"HTTP/1.1", b"HTTP/ 1.1", 1), {400, 505}),
    "version-other": (post().replace(b"HTTP/1.1", b"RTSP/1.0", 1), {400, 505}),
    "target-space": (post(target="/one two"), {400, 505}),
    "target-tab": (post(target="/one\ttwo"), {400, 505}),
    "target-line": (b"GET /one HTTP/1.1 HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n",
                    {400, 505}),
    "target-fragment": (post(target="/one#two"), {400}),
    "target-high-byte": (post().replace(b"/one", b"/\xc3\xa9", 1), {400}),
    "target-relative": (post(target="one"), {400}),
    "target-star": (post(target="*"), {400}),
    "target-connect": (b"CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n" + INNER, {400, 501}),
    "target-absolute-other": (post(b"Content-Length: 0", target="http://nobody.example.org/one"),
                              {404}),
    "target-userinfo": (post(target=f"http://x@{HOST}/one"), {400, 404}),
    "host-none": (b"GET /one HTTP/1.1\r\n\r\n", {400}),
    "host-twice": (post(b"Host: " + HOST.encode()), {400}),
    "host-space": (post().replace(HOST.encode(), HOST.encode() + b" x", 1), {400}),
    "host-slash": (post().replace(HOST.encode(), HOST.encode() + b"/x", 1), {400}),
    "host-list": (post().replace(HOST.encode(), HOST.encode() + b", other", 1), {400, 404}),
    "host-space-before-colon": (post().replace(b"Host:", b"Host :", 1), {400}),
    "method-space": (b" " + post(), {400}),
    "method-unknown": (post().replace(b"POST", b"FROB", 1), {501}),
    "method-lower": (post().replace(b"POST", b"post", 1), {400, 501}),
    "method-nul": (post().replace(b"POST", b"PO\x00T", 1), {400}),
    "method-colon": (b"GET: /one HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n", {400}),
    "upgrade-h2c": (post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c",
                         b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA", b"Content-Length: 5",
                         body=b"hello"), {200}),
    "http2-preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + INNER, {400, 501, 505}),
    "expect-other": (post(b"Expect: x", b"Content-Length: 5", body=b"hello"), {417}),
}


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe):
    return make_pipe("hostile", edge={"extra": section("front", **FRONT)})


def descriptors(program):
    return len(os.listdir(f"/proc/{program.process.pid}/fd"))


def gauges(pipe):
    """What a program holds for visitors."""
    edge = pipe.edge.metrics()
    return {"requests": edge.sum("adit_requests_active"), "descriptors": descriptors(pipe.edge),
            "buffers": edge.sum("adit_buffer_bytes"),
            "at the daemon": pipe.daemon.counter("adit_requests_active")}


@contextlib.contextmanager
def unharmed(pipe):
    """While it lasts a good request is answered again and again; what is held returns afterwards."""
    until(lambda: pipe.edge.counter("adit_requests_active") == 0, 5, "no request")
    before, over, faults, served = gauges(pipe), threading.Event(), [], []

    def watch():
        while not (served and over.wait(0.2)):
            started = time.monotonic()
            got = pipe.fetch("/good", timeout=10)
            served.append(got.status)
            if got.status != 200 or time.monotonic() - started > seconds(3):
                faults.append((got.status, got.error, time.monotonic() - started))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    assert served and not faults, faults
    until(lambda: all(now <= before[name] for name, now in gauges(pipe).items()), 15,
          f"what was held at the start: {before}")


def exchange(pipe, data):
    """Sends bytes; the status of the first answer (0: none), and whether the connection ended."""
    with Visitor(pipe.edge, timeout=10) as visitor:
        with contextlib.suppress(OSError):
            visitor.send(data)
        try:
            return visitor.answer().status
        except (OSError, EOFError, ValueError):
            return 0


def test_there_are_enough_cases():
    """T7: at least 60."""
    assert len(CASES) >= 60


def test_smuggling(pipe):
    """T7: every case gets one of its statuses; the origin sees it once at most, and never what was
    hidden in it."""
    faults = []
    with unharmed(pipe):
        for name, (data, statuses) in CASES.items():
            before = len(pipe.origin.requests)
            status = exchange(pipe, data)
            arrived = [r for r in pipe.origin.requests[before:] if r.target != "/good"]
            if status not in statuses:
                faults.append(f"{name}: answered {status}, expected {statuses}")
            if len(arrived) > 1:
                faults.append(f"{name}: {[(r.method, r.target) for r in arrived]}")
    every = [r.target for r in pipe.origin.requests]
    assert not faults, "\n".join(faults)
    assert "/smuggled" not in every


def test_framing_is_made_anew(pipe):
    """T7: what reaches the origin has one framing field and one Host, whatever came."""
    sent = post(TE, b"Connection: Content-Length, Host", b"X-Kept: 1", body=CHUNKS, target="/anew")
    assert exchange(pipe, sent) == 200
    request = next(r for r in pipe.origin.requests if r.target == "/anew")
    names = [n.lower() for n, _ in request.headers]
    assert names.count("host") == 1 and names.count("x-kept") == 1
    assert names.count("transfer-encoding") + names.count("content-length") == 1
    assert request.length == 5


def test_split_everywhere(pipe):
    """T7: a request in pieces of one byte is the same request."""
    data = post(TE, b"X: 1", body=b"5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n", target="/pieces")
    with Visitor(pipe.edge) as visitor:
        for byte in data:
            visitor.send(bytes([byte]))
        assert visitor.answer().status == 200
    found = [r for r in pipe.origin.requests if r.target == "/pieces"]
    assert len(found) == 1 and found[0].length == 5


# ---- slow and loud ones --------------------------------------------------------------------------

MANY = 200 if SLOW <= 1 else 60


def hold(pipe, first, drip, duration):
    """MANY visitors that begin a request and drip bytes until the edge ends them all; how many did
    not end."""
    visitors = [Visitor(pipe.edge, source=f"127.0.0.{20 + n % 4}") for n in range(MANY)]
    try:
        for visitor in visitors:
            visitor.send(first)
            visitor.socket.setblocking(False)
        left = set(visitors)
        for _ in during(seconds(duration), 0.1):
            for visitor in list(left):
                try:
                    if drip:
                        visitor.socket.send(drip)
                    while visitor.socket.recv(65536):
                        pass
                    left.discard(visitor)
                except BlockingIOError:
                    continue
                except OSError:
                    left.discard(visitor)
            if not left:
                break
        return len(left)
    finally:
        for visitor in visitors:
            visitor.close()


@pytest.mark.parametrize("first, drip", [
    (b"GET /slow HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n", b"X"),
    (b"", b"G"),
    (b"", b""),
    (post(b"Content-Length: 100000", target="/sha256"), b""),
    (post(TE, target="/sha256"), b"")], ids=["head", "method", "silent", "body", "chunks"])
def test_slow_visitors(pipe, first, drip):
    """T7: visitors who never end a head or a body are ended by [front]'s timeouts."""
    with unharmed(pipe):
        assert hold(pipe, first, drip, 8) == 0


def test_slow_readers(pipe):
    """T7: visitors who never read a large answer are ended when nothing moves."""
    request = f"GET /bytes/{16 << 20} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
    with unharmed(pipe):
        visitors = [Visitor(pipe.edge, source="127.0.0.30") for _ in range(20)]
        for visitor in visitors:
            visitor.send(request)
        until(lambda: pipe.daemon.counter("adit_requests_active") >= 20, 10, "20 answers")
        until(lambda: pipe.daemon.counter("adit_requests_active") <= 1, 15, "their end")
        for visitor in visitors:
            visitor.close()


@pytest.mark.parametrize("line", [b"X: y\r\n", b"X-Long: " + b"z" * 20_000 + b"\r\n", b"\r\n",
                                  b"Z" * 4096], ids=["fields", "long", "empty", "no-line"])
def test_header_floods(pipe, line):
    """T7: heads without an end are refused at their limits, however fast they come."""
    def flood():
        with Visitor(pipe.edge, source="127.0.0.40") as visitor:
            with contextlib.suppress(OSError):
                if line != b"\r\n":
                    visitor.send(b"GET / HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n")
                for _ in range(200):
                    visitor.send(line * max(1, 4096 // len(line)))
            answers.append(visitor.rest()[:13])
    answers = []
    with unharmed(pipe):
        threads = [threading.Thread(target=flood) for _ in range(MANY // 4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = {b"HTTP/1.1 400 ", b"HTTP/1.1 431 ", b""}    # none: the reset destroyed it
    assert len(answers) == MANY // 4 and set(answers) <= expected, set(answers)
    assert {b"HTTP/1.1 400 ", b"HTTP/1.1 431 "} & set(answers)


def test_endless_chunks(pipe):
    """T7: extensions and trailers without an end are refused at their limit."""
    for body in (b"1;" + b"x" * 100_000, b"1\r\nx\r\n" * 10 + b"0\r\n" + b"X: y\r\n" * 10_000):
        with unharmed(pipe):
            assert exchange(pipe, post(TE, body=body, target="/sha256")) in (0, 400)
