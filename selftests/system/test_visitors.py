# SPDX-License-Identifier: Apache-2.0
"""Limits of visitors (docs/limits.md): status, counter, and the others go on.

    sockets and curl --> adit-edge, [front] with small values ==QUIC==> aditd --> Origin
"""
import contextlib
import json
import socket
import time

import pytest

from lib.adit import DOMAIN, section
from lib.wait import lasts, seconds, until

pytestmark = pytest.mark.group("edge")

HOST = f"a.{DOMAIN}"
FRONT = {"max_body": "10K", "header_timeout": "1s", "idle_timeout": "1s", "body_timeout": "1s",
         "client_concurrency": 8, "trusted_proxies": "127.0.0.2"}


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe):
    return make_pipe(edge={"extra": section("front", **FRONT)})


@contextlib.contextmanager
def visitor(pipe, data=b"", source="127.0.0.1"):
    with socket.create_connection(("127.0.0.1", pipe.edge.http_port), timeout=seconds(10),
                                  source_address=(source, 0)) as sock:
        sock.sendall(data)
        yield sock


def all_of(sock, resets=True):
    """What comes until the end of the connection, which may be a reset, and how long that took."""
    started, answer = time.monotonic(), b""
    with contextlib.suppress(*[ConnectionResetError] * resets):
        while data := sock.recv(65536):
            answer += data
    return answer, time.monotonic() - started


def head(*fields, method="POST", target="/sha256"):
    lines = [f"{method} {target} HTTP/1.1", f"Host: {HOST}", *fields]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n"


def errors(pipe, reason):
    return pipe.edge.counter("adit_request_errors_total", reason=reason)


@pytest.mark.parametrize("request_bytes", [
    head("Content-Length: 10241") + bytes(10241),
    head("Transfer-Encoding: chunked") + b"2801\r\n" + bytes(0x2801) + b"\r\n0\r\n\r\n"],
    ids=["length", "chunked"])
def test_body_too_large(pipe, request_bytes):
    """max-body: 413, counted."""
    before = errors(pipe, "body-too-large")
    with visitor(pipe, request_bytes) as sock:
        answer, _ = all_of(sock)
    assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]
    until(lambda: errors(pipe, "body-too-large") > before, 5, "the counter")


def test_body_of_the_limit(pipe):
    """max-body: exactly as much passes."""
    with visitor(pipe, head("Content-Length: 10240", "Connection: close") + bytes(10240)) as sock:
        answer, _ = all_of(sock)
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:200]


def test_slow_head(pipe):
    """header-timeout: 408, counted, closed in time."""
    before = errors(pipe, "header-timeout")
    with visitor(pipe, b"GET / HTTP/1.1\r\nHo") as sock:
        answer, took = all_of(sock)
    assert answer.startswith(b"HTTP/1.1 408 "), answer[:200]
    assert 0.5 < took < seconds(4)
    until(lambda: errors(pipe, "header-timeout") > before, 5, "the counter")


def test_stuck_body(pipe):
    """body-timeout: a body that makes no progress ends the request."""
    with visitor(pipe, head("Content-Length: 1000") + b"x") as sock:
        answer, took = all_of(sock)
    assert not answer or answer.startswith(b"HTTP/1.1 408 "), answer[:200]
    assert 0.5 < took < seconds(5)


def test_idle(pipe):
    """idle-timeout: a connection that asks nothing more is closed without a word, and not reset."""
    with visitor(pipe, head(method="GET", target="/x")) as sock:
        answer, took = all_of(sock, resets=False)
    assert answer.count(b"HTTP/1.1 ") == 1 and answer.startswith(b"HTTP/1.1 200 "), answer
    assert 0.5 < took < seconds(4)


def test_idle_while_it_reads(pipe):
    """idle-timeout: what the kernel still has to deliver when that is over is delivered."""
    size = 60000
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(seconds(10))
        sock.connect(("127.0.0.1", pipe.edge.http_port))
        sock.sendall(head(method="GET", target=f"/bytes/{size}"))
        lasts(seconds(1.5), "a visitor that doesn't read")
        answer, _ = all_of(sock, resets=False)
    assert len(answer.partition(b"\r\n\r\n")[2]) == size


def test_connections_of_a_client(pipe):
    """client-concurrency: 8 on each of two workers; another address is served meanwhile."""
    with contextlib.ExitStack() as held:
        for _ in range(40):
            held.enter_context(visitor(pipe, source="127.0.0.9"))
        until(lambda: pipe.edge.counter("adit_drops_total", where="accept", reason="client") >= 24,
              5, "24 refused connections")
        assert pipe.fetch("/x").status == 200


@pytest.mark.parametrize("source, expected", [("127.0.0.1", "127.0.0.1"),
                                              ("127.0.0.2", "198.51.100.7, 127.0.0.2")])
def test_trusted_proxy(pipe, source, expected):
    """trusted-proxies: its X-Forwarded-For is kept and appended to, nobody else's."""
    fields = ["X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https", "Connection: close"]
    with visitor(pipe, head(*fields, method="GET", target="/echo"), source) as sock:
        answer, _ = all_of(sock)
    seen = {n.lower(): v for n, v in json.loads(answer[answer.index(b"{"):])["headers"]}
    assert seen["x-forwarded-for"] == expected
    assert seen["x-forwarded-proto"] == ("https" if source == "127.0.0.2" else "http")


def test_requests_in_progress(make_pipe):
    """[limits] streams of the daemon: 503 with Retry-After, counted at both ends; then it serves."""
    pipe = make_pipe("streams", connections=1,
                     daemon={"workers": 1, "extra": section("limits", streams=1)})
    with visitor(pipe, head("Connection: close", method="GET", target="/slow/20/100")) as first:
        assert first.recv(10) == b"HTTP/1.1 2"
        refused = pipe.fetch("/x")
        assert (refused.status, refused.header("adit-error")) == (503, "overloaded"), refused
        assert int(refused.header("retry-after")) > 0
        for program in (pipe.daemon, pipe.edge):
            assert program.counter("adit_request_errors_total", reason="overloaded") == 1
        assert all_of(first)[0].count(b"line") == 20
    assert pipe.fetch("/x").status == 200


def test_costly_rule(make_pipe):
    """§8: a path expression that reaches its match limit: 503, counted, the rule is named."""
    host = f"cost.wild.{DOMAIN}"
    pipe = make_pipe("cost", rules=[(host, "http_status:204", {"path": "^/(a|aa)+$"})])
    assert pipe.fetch("/aaa", host=host).status == 204
    refused = pipe.fetch(f"/{'a' * 200}b", host=host)
    assert (refused.status, refused.header("adit-error")) == (503, "rule-cost"), refused
    assert pipe.daemon.counter("adit_request_errors_total", reason="rule-cost") == 1
    pipe.daemon.process.wait_line("rule-cost.*rule=rule1|rule=rule1.*rule-cost", 5)
