# SPDX-License-Identifier: Apache-2.0
"""Short of memory for buffers (spec §13): new work is refused, what is stuck is reset, the rest goes on.

    sockets that fill a worker's 8 MiB and curl --> adit-edge ==QUIC==> aditd --> Origin
"""
import contextlib
import socket

import pytest

from lib.adit import DOMAIN, section
from lib.slow import StuckOrigin
from lib.wait import seconds, until

pytestmark = pytest.mark.group("http")

HOST = f"a.{DOMAIN}"
LITTLE = {"workers": 1, "process": {"memory": "8M"}}


def used(program):
    """Buffers in use and granted, as a part of the budget."""
    metrics = program.metrics()
    return metrics.sum("adit_buffer_bytes") / metrics.sum("adit_buffer_limit_bytes")


def connect(pipe):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(seconds(30))
    sock.connect(("127.0.0.1", pipe.edge.http_port))
    return sock


def overloaded(program):
    return program.counter("adit_request_errors_total", reason="overloaded")


def is_refused(answer):
    return (answer.status == 503 and answer.header("adit-error") == "overloaded"
            and int(answer.header("retry-after")) > 0)


def test_edge(make_pipe):
    """Heads that never end fill the edge: 503; a reader stuck for 5 s is cut, not shortened."""
    pipe = make_pipe("edge", connections=1,
                     edge={**LITTLE, "extra": section("front", header_timeout="60s",
                                                      client_concurrency=1000)})
    field = "X-Filler: " + "x" * 15000 + "\r\n"
    head = f"GET / HTTP/1.1\r\nHost: {HOST}\r\n" + 4 * field
    with contextlib.ExitStack() as held:
        stuck = held.enter_context(connect(pipe))
        stuck.sendall(f"GET /bytes/20000000 HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        until(lambda: used(pipe.edge) > 0.01, 10, "bytes on their way")
        for _ in range(200):
            if used(pipe.edge) >= 0.9:
                break
            held.enter_context(connect(pipe)).sendall(head.encode())
        until(lambda: used(pipe.edge) >= 0.9, 10, "nine tenths in use")
        before = overloaded(pipe.edge)
        assert is_refused(pipe.fetch("/x"))
        assert overloaded(pipe.edge) > before
        until(lambda: overloaded(pipe.edge) > before + 1, 15, "the stuck reader's end")
        got = 0
        with contextlib.suppress(ConnectionResetError):
            while data := stuck.recv(1 << 16):
                got += len(data)
        assert 0 < got < 20000000
    until(lambda: used(pipe.edge) < 0.5, 10, "memory back")
    assert pipe.fetch("/x").status == 200


def test_daemon(make_pipe, tmp_path):
    """Uploads to an origin that reads nothing fill the daemon: 503; the stuck ones end after 5 s."""
    stuck = f"stuck.wild.{DOMAIN}"
    body = bytes(400000)
    head = f"POST / HTTP/1.1\r\nHost: {stuck}\r\nContent-Length: {len(body)}\r\n\r\n"
    with contextlib.ExitStack() as held:
        service = held.enter_context(contextlib.closing(StuckOrigin(tmp_path))).service
        pipe = make_pipe("daemon", connections=1, daemon=LITTLE, rules=[(stuck, service)],
                         edge={"extra": section("front", client_concurrency=1000)})
        for _ in range(200):
            sock = held.enter_context(connect(pipe))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.send(head.encode() + body)
        until(lambda: used(pipe.daemon) >= 0.75, 20, "three quarters in use")
        until(lambda: overloaded(pipe.daemon) > 0, 20, "a stuck upload's end")
        until(lambda: pipe.fetch("/x").status == 200, 20, "an answer beside them")
