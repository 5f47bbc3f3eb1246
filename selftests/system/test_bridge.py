# SPDX-License-Identifier: Apache-2.0
"""T2: visitors and the only link on different workers of the edge meet in bridges.

    64 visitors --> adit-edge: worker 0 <=bridge=> worker 1 ==one link==> aditd (2 workers) --> origin
"""
import http.client
import socket
import threading
import time

import pytest

from lib import ports
from lib.adit import DOMAIN, section
from lib.origin import digest, pattern
from lib.sockets import Listener, read_all, reset
from lib.wait import SLOW, seconds, until

pytestmark = pytest.mark.group("http")

VISITORS, ROUNDS, SIZE = 64, 4, 60_000


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe):
    at = ports.free()
    with Listener() as listener:
        pipe = make_pipe(connections=1, edge={"extra": section(
            "tcp plain", listen=f"127.0.0.1:{at}", tunnel="home", dest=listener.address)},
            daemon={"extra": "[network]\nallow = 127.0.0.1/32\n"})
        pipe.at, pipe.tcp = at, listener
        yield pipe


def visit(edge, number, faults):
    """One visitor on a connection of its own: bodies up and down, checked."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", edge.http_port, timeout=60)
        for turn in range(ROUNDS):
            body = pattern(SIZE + number)[turn:]
            connection.request("POST", "/sha256", body, {"Host": f"a.{DOMAIN}"})
            answer = connection.getresponse()
            got = answer.read()
            if got.decode() != digest(body):
                faults.append(f"visitor {number}: wrong sum, {answer.status} {got[:80]}")
            connection.request("GET", f"/bytes/{SIZE + turn}", headers={"Host": f"a.{DOMAIN}"})
            if connection.getresponse().read() != pattern(SIZE + turn):
                faults.append(f"visitor {number}: wrong body")
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        faults.append(f"visitor {number}: {error!r}")


def test_sixty_four_visitors(pipe):
    """T2: one link, 64 visitors: bridge messages both ways, both workers served."""
    before = pipe.edge.metrics()
    faults = []
    threads = [threading.Thread(target=visit, args=(pipe.edge, n, faults))
               for n in range(VISITORS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults, faults[:5]
    after = pipe.edge.metrics()

    def moved(name, **labels):
        return after.sum(name, **labels) - before.sum(name, **labels)
    assert moved("adit_bridge_messages_total", from_=0, to=1) > 0
    assert moved("adit_bridge_messages_total", from_=1, to=0) > 0
    for worker in (0, 1):
        assert moved("adit_worker_busy_seconds_total", worker=worker) > 0
    assert len(pipe.origin.requests) == 2 * VISITORS * ROUNDS


def test_large_bodies_cross(pipe):
    """T2: 10 MiB each way over bridges, on enough connections to meet both workers."""
    for _ in range(4):
        got = pipe.fetch(f"/bytes/{10 << 20}")
        assert got.code == 0 and digest(got.body) == digest(pattern(10 << 20))
    for _ in range(4):
        got = pipe.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                         stdin=pattern(10 << 20))
        assert got.text == digest(pattern(10 << 20))


def test_flows_cross(pipe):
    """T2, T3: TCP over bridges: bytes, the end of one direction, and resets, on enough flows to meet
    both workers."""
    before = pipe.edge.counter("adit_bridge_messages_total")
    data = pattern(1 << 20)
    for number in range(24):
        with socket.create_connection(("127.0.0.1", pipe.at), seconds(20)) as visitor, \
                pipe.tcp.accept() as origin:
            visitor.settimeout(seconds(20))
            first, second = (visitor, origin) if number % 2 else (origin, visitor)
            first.sendall(b"question")
            if number % 3 == 0:
                assert second.recv(8, socket.MSG_WAITALL) == b"question"
                reset(first)
                with pytest.raises(ConnectionResetError):
                    while second.recv(1):
                        pass
                continue
            first.shutdown(socket.SHUT_WR)
            assert read_all(second) == b"question"
            sender = threading.Thread(target=lambda end=second: (end.sendall(data),
                                                                 end.shutdown(socket.SHUT_WR)))
            sender.start()
            assert read_all(first) == data
            sender.join()
    assert pipe.edge.counter("adit_bridge_messages_total") > before


def resident(process):
    """MiB of memory that a process holds."""
    return int(process.status("VmRSS").split()[0]) / 1024


def test_stalled_readers(pipe):
    """T2 (credit): 100 visitors that never read and one that does, on one link: he gets his 10 MiB,
    memory stays within its budget."""
    before = [resident(p.process) for p in (pipe.edge, pipe.daemon)]
    stalled = []
    try:
        for _ in range(100):
            visitor = socket.create_connection(("127.0.0.1", pipe.edge.http_port), timeout=20)
            visitor.sendall(f"GET /bytes/{8 << 20} HTTP/1.1\r\nHost: a.{DOMAIN}\r\n\r\n".encode())
            stalled.append(visitor)
        until(lambda: pipe.daemon.counter("adit_requests_active") >= 100, 20, "100 requests")
        started = time.monotonic()
        for _ in range(3):
            got = pipe.fetch(f"/bytes/{10 << 20}", timeout=20)
            assert got.code == 0 and digest(got.body) == digest(pattern(10 << 20)), got.error
        assert time.monotonic() - started < seconds(15)
        assert pipe.fetch("/x").seconds < seconds(1)
        for program, old in zip((pipe.edge, pipe.daemon), before):
            grown = resident(program.process) - old
            assert grown < 200 * SLOW, f"{program.name} grew by {grown:.0f} MiB"
    finally:
        for visitor in stalled:
            visitor.close()


def test_stalled_upload(pipe):
    """T2 (credit): an origin that does not read stops its own uploads only."""
    stalled = []
    try:
        for _ in range(10):
            visitor = socket.create_connection(("127.0.0.1", pipe.edge.http_port), timeout=20)
            head = (f"POST /stall HTTP/1.1\r\nHost: a.{DOMAIN}\r\n"
                    f"Content-Length: {64 << 20}\r\n\r\n")
            visitor.sendall(head.encode())
            visitor.setblocking(False)
            stalled.append(visitor)
        piece = bytes(1 << 18)

        def push():
            """Sends what the edge takes; True once it takes no more."""
            taken = 0
            for visitor in stalled:
                try:
                    taken += visitor.send(piece)
                except BlockingIOError:
                    continue
            return taken == 0
        until(push, 30, "back-pressure at the visitors")
        got = pipe.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                         stdin=pattern(4 << 20), timeout=20)
        assert got.text == digest(pattern(4 << 20))
    finally:
        for visitor in stalled:
            visitor.close()
        pipe.origin.release.set()   # what is stuck at the origin is noticed when it moves


def test_nothing_is_left(pipe):
    """T2: when the visitors are gone no request and no buffer of theirs remains."""
    until(lambda: pipe.edge.counter("adit_requests_active") == 0, 5, "no active request")
    until(lambda: pipe.daemon.counter("adit_requests_active") == 0, 5, "none at the daemon")
