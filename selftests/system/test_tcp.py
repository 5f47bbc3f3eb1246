# SPDX-License-Identifier: Apache-2.0
"""T3, T11: TCP through [tcp] ports of the edge and [network] of the daemon; plain sockets at both
ends, a daemon and an edge on aioquic where the other side has to be another one.

    socket --[tcp]--> adit-edge (2 workers) ==QUIC, 2 links==> aditd (2 workers) --[network]--> socket
"""
import contextlib
import hashlib
import signal
import socket
import threading

import pytest

from lib import ports, wait
from lib.adit import DOMAIN, Daemon, peer_edge_keys, section, write_token
from lib.origin import pattern
from lib.peer_daemon import FEATURES, Credentials, PeerDaemon, Response
from lib.peer_edge import PeerEdge
from lib.proc import Processes
from lib.sockets import Listener, read_all, reset
from lib.tunnelrpc import HTTP, TCP, WEBSOCKET, connect_request, connect_response, http_response
from lib.wait import holds, seconds, until
from lib.websocket import RawOrigin, raw_visitor, read_head

pytestmark = pytest.mark.group("http")

MANY = (1 << 30) if wait.SLOW == 1 else (1 << 26)   # bytes each way
ACK = connect_response("", [])
TUNNEL, ACCOUNT = "6ff42ae2-765d-4adf-8112-31c55c1551ef", "0123456789abcdef0123456789abcdef"


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe):
    names = ("plain", "deaf", "other")
    at = {name: ports.free() for name in names}
    with Listener() as origin, Listener("127.0.0.2") as forbidden, RawOrigin() as raw:
        dest = {"plain": origin.address, "deaf": f"127.0.0.1:{ports.free()}",
                "other": forbidden.address}
        extra = "".join(section(f"tcp {name}", listen=f"127.0.0.1:{at[name]}", tunnel="home",
                                dest=dest[name]) for name in names)
        pipe = make_pipe(
            edge={"extra": extra + "[front]\nclient-concurrency = 10000\n",
                  "hosts": [f"{n}.{DOMAIN}" for n in ("a", "raw")]},
            rules=[(f"raw.{DOMAIN}", raw.service)],
            daemon={"extra": "[network]\nallow = 127.0.0.0/8\ndeny = 127.0.0.2/32\n"})
        pipe.tcp, pipe.dest, pipe.forbidden, pipe.raw = origin, dest, forbidden, raw
        pipe.at = at
        yield pipe


def dial(pipe, name="plain"):
    connection = socket.create_connection(("127.0.0.1", pipe.at[name]), timeout=seconds(60))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


@pytest.fixture(name="joined")
def fixture_joined(pipe):
    """(visitor, origin): two sockets with the pipe between them."""
    with dial(pipe) as visitor, pipe.tcp.accept() as origin:
        yield visitor, origin


def send_many(connection, count, result):
    block, total, sha = pattern(1 << 20), 0, hashlib.sha256()
    while total < count:
        piece = block[total % 977:]
        piece = piece[:count - total]
        connection.sendall(piece)
        sha.update(piece)
        total += len(piece)
    connection.shutdown(socket.SHUT_WR)
    result.append(sha.hexdigest())


def receive_many(connection):
    """(bytes, SHA-256) of all that comes."""
    buffer, total, sha = bytearray(1 << 20), 0, hashlib.sha256()
    view = memoryview(buffer)
    while got := connection.recv_into(buffer):
        sha.update(view[:got])
        total += got
    return total, sha.hexdigest()


@pytest.mark.timeout(400)
def test_much_each_way(joined):
    """T3: 1 GiB each way at the same time, equal hashes."""
    sent, received, threads = ([], []), [None, None], []

    def receive(number):
        received[number] = receive_many(joined[number])
    for number in (0, 1):
        threads.append(threading.Thread(target=send_many,
                                        args=(joined[number], MANY, sent[number])))
        threads.append(threading.Thread(target=receive, args=(number,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert received[1] == (MANY, sent[0][0])
    assert received[0] == (MANY, sent[1][0])


def test_origin_speaks_first(joined):
    """T3: a protocol in which the visitor waits for a greeting."""
    visitor, origin = joined
    origin.sendall(b"220 hello\r\n")
    assert visitor.recv(100) == b"220 hello\r\n"
    visitor.sendall(b"QUIT\r\n")
    assert origin.recv(100) == b"QUIT\r\n"


@pytest.mark.parametrize("way", ["up", "down"])
def test_half_close(joined, way):
    """T3: the end of one direction keeps the answer in the other."""
    first, second = joined if way == "up" else reversed(joined)
    first.sendall(b"question")
    first.shutdown(socket.SHUT_WR)
    assert read_all(second) == b"question"
    answer = pattern(3 << 20)
    sender = threading.Thread(target=lambda: (second.sendall(answer), second.close()))
    sender.start()
    assert read_all(first) == answer
    sender.join()


@pytest.mark.parametrize("way", ["up", "down"])
def test_reset(joined, way):
    """T3: a reset passes as a reset."""
    first, second = joined if way == "up" else reversed(joined)
    first.sendall(b"x")
    assert second.recv(1) == b"x"
    reset(first)
    with pytest.raises(ConnectionResetError):
        while second.recv(1):
            pass


def assert_refused(pipe, name, reason, timeout=10):
    """A visitor of this port is reset, and both sides have counted why."""
    labels = {"tunnel": "home", "hostname": f"tcp/{name}", "reason": reason}
    before = pipe.edge.counter("adit_request_errors_total", **labels)
    with pytest.raises(ConnectionResetError), dial(pipe, name) as visitor:
        visitor.recv(1)
    until(lambda: pipe.edge.counter("adit_request_errors_total", **labels) == before + 1,
          timeout, f"{reason} counted at the edge")


def test_forbidden_destination(pipe):
    """T3: a destination outside the allow-list is refused and counted, and never dialled."""
    labels = {"rule": "network", "reason": "access-denied"}
    before = pipe.daemon.counter("adit_request_errors_total", **labels)
    sessions = pipe.daemon.counter("cloudflared_tcp_total_sessions")
    assert_refused(pipe, "other", "access-denied")
    assert pipe.daemon.counter("adit_request_errors_total", **labels) == before + 1
    assert pipe.daemon.counter("cloudflared_tcp_total_sessions") == sessions
    pipe.daemon.process.wait_line(
        f"flow refused .*access-denied.*{pipe.forbidden.address}")
    pipe.forbidden.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        pipe.forbidden.accept()
    pipe.forbidden.socket.settimeout(seconds(10))


@contextlib.contextmanager
def changed(program, old, new):
    """Another configuration for a while; what `adit reload` says of it."""
    text = program.config.read_text()
    assert old in text
    program.write(text.replace(old, new))
    try:
        yield program.adit("reload").stdout
    finally:
        program.write(text)
        program.adit("reload")


def test_reload(pipe):
    """T3, T8: [network] takes effect on reload, running flows stay; [tcp] needs a restart and goes
    on as it was, with tunnels that stand elsewhere now, or that have gone."""
    with dial(pipe) as visitor, pipe.tcp.accept() as origin:
        with changed(pipe.daemon, "deny = 127.0.0.2/32", "deny = 127.0.0.1/32") as said:
            assert said == "changed:\n  network.deny\n"
            assert_refused(pipe, "plain", "access-denied")
            with dial(pipe, "other") as other, pipe.forbidden.accept() as reached:
                other.sendall(b"now")
                assert reached.recv(10) == b"now"
            visitor.sendall(b"still")
            assert origin.recv(10) == b"still"
        other = ("[tunnel new]\nid = 6ff42ae2-765d-4adf-8112-31c55c1551ff\naccount = a\n"
                 f"secret-sha256 = {'0' * 64}\n")
        with changed(pipe.edge, "[tunnel home]", other + "[tunnel home]") as said:
            assert said == "changed:\n  tunnel.new (new)\n"
            with dial(pipe) as second, pipe.tcp.accept() as again:
                second.sendall(b"moved")
                assert again.recv(10) == b"moved"
        with changed(pipe.edge, f"dest = {pipe.dest['deaf']}", "dest = 127.0.0.1:9") as said:
            assert said == "after a restart:\n  tcp.deaf.dest\n"
            assert_refused(pipe, "deaf", "origin-refused")
        visitor.sendall(b"still")
        assert origin.recv(10) == b"still"


def test_access_log(pipe):
    """T3: one line for each flow at either end, with one id, what went through, and how it ended."""
    with contextlib.ExitStack() as opened:
        for program in (pipe.edge, pipe.daemon):
            opened.enter_context(changed(program, "level = debug", "level = debug\naccess = on"))
        with dial(pipe) as visitor, pipe.tcp.accept() as origin:
            visitor.sendall(b"12345")
            assert origin.recv(10) == b"12345"
            origin.sendall(b"123")
            assert visitor.recv(10) == b"123"
            visitor.shutdown(socket.SHUT_WR)
            assert origin.recv(10) == b""
        lines = [program.process.wait_line(r"access: request .*method=TCP .*", 10).group(0)
                 for program in (pipe.edge, pipe.daemon)]
        with pytest.raises(ConnectionResetError), dial(pipe, "deaf") as visitor:
            visitor.recv(1)
        for program in (pipe.edge, pipe.daemon):
            program.process.wait_line(r"method=TCP .*status=502 reason=origin-refused", 10)
    for line in lines:
        assert f"host={pipe.dest['plain']} " in line and "status=200 reason=none" in line
        assert "bytes_in=5 bytes_out=3" in line
    assert "rule=home" in lines[0] and "rule=network" in lines[1]
    assert len({line.rsplit("ray=", 1)[1] for line in lines}) == 1


def test_nobody_listens(pipe):
    """T3: a destination that refuses the connection."""
    assert_refused(pipe, "deaf", "origin-refused")


def test_many_small(pipe):
    """T3: flows one after the other and at the same time; the gauges return."""
    def one(number):
        with dial(pipe) as visitor:
            visitor.sendall(b"%d" % number)
            visitor.shutdown(socket.SHUT_WR)
            return read_all(visitor)

    def serve(connection):
        with connection:
            connection.sendall(read_all(connection)[::-1])
    results = {}
    threads = [threading.Thread(target=lambda n=n: results.update({n: one(n)}))
               for n in range(100, 300)]
    with pipe.tcp.serving(serve):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == {n: str(n).encode()[::-1] for n in range(100, 300)}
    for program in (pipe.edge, pipe.daemon):
        until(lambda p=program: p.counter("adit_requests_active") == 0, 10, "no flow left")
    assert pipe.daemon.counter("cloudflared_tcp_active_sessions") == 0


def test_stop_with_open_flows(pipe):
    """T3: a daemon that stops lets flows go on for its grace period and then breaks them off, at both
    ends; nothing is left at the edge."""
    with dial(pipe) as visitor, pipe.tcp.accept() as origin, \
            contextlib.closing(raw_visitor(pipe.edge.http_port, f"raw.{DOMAIN}")) as socket_visitor, \
            pipe.raw.accept() as socket_origin:
        assert read_head(socket_visitor)[0].startswith("HTTP/1.1 101 ")
        pipe.daemon.process.signal(signal.SIGTERM)
        pipe.daemon.process.wait_line("notice .*(drain|stop)", 10)
        for one, other in ((visitor, origin), (socket_origin, socket_visitor)):
            one.sendall(b"still")
            assert other.recv(10) == b"still"
        assert pipe.daemon.process.wait_exit(20) == 0
        for end in (visitor, origin, socket_visitor, socket_origin):
            with pytest.raises(ConnectionResetError):
                end.recv(1)
    until(lambda: pipe.edge.counter("adit_requests_active") == 0, 10, "no flow left at the edge")
    pipe.daemon.serve()


@pytest.fixture(name="strangers")
def fixture_strangers(pipe):
    """Makes daemons on aioquic take the place of ours; ours returns afterwards."""
    made = contextlib.ExitStack()
    pipe.daemon.stop()

    def make(handler, features=FEATURES):
        credentials = Credentials.from_token(pipe.edge.token)
        peer = made.enter_context(PeerDaemon(credentials, pipe.edge.address, pipe.edge.ca,
                                             handler, features))
        peer.register()
        return peer
    with made:
        yield make
    pipe.daemon.serve()


@pytest.mark.parametrize("is_ours", [False, True])
def test_request_and_held_end(pipe, strangers, is_ours):
    """T3, T11: what the edge asks; the visitor's end is kept from a daemon without adit_1 until its
    own has come, since it would end both directions."""
    seen, may_end = [], threading.Event()

    def serve(request):
        request.stream.send(ACK, False)
        request.stream.wait(lambda: request.body_so_far == b"question", seconds(10), "the question")
        seen.append(request)
        may_end.wait(seconds(20))
        request.stream.send(b"answer", True)
    strangers(serve, FEATURES + (["adit_1"] if is_ours else []))
    try:
        with dial(pipe) as visitor:
            visitor.sendall(b"question")
            visitor.shutdown(socket.SHUT_WR)
            request = until(lambda: seen and seen[0], 10, "the question at the daemon")
            assert (request.kind, request.dest) == (TCP, pipe.dest["plain"])
            assert [key for key, _ in request.metadata] == ["FlowID"]
            if is_ours:
                until(lambda: request.stream.fin, 10, "the visitor's end")
            else:
                holds(lambda: not request.stream.fin, 1.0, "the end is held")
            may_end.set()
            assert read_all(visitor) == b"answer"
            until(lambda: request.stream.fin, 10, "the visitor's end at last")
    finally:
        may_end.set()


def test_lost_before_the_answer(pipe, strangers):
    """T3: a link that breaks before the answer: the request goes to another one."""
    asked = []

    def serve(request):
        asked.append(request)
        if len(asked) == 1:
            request.stream.reset(0)
            return None
        return Response(error="origin-timeout: too slow")
    strangers(serve)
    assert_refused(pipe, "plain", "origin-timeout")
    assert len(asked) == 2


def test_visitor_leaves_early(pipe, strangers):
    """T3: a visitor that is reset before the answer: the daemon hears of it at once."""
    asked = []
    strangers(asked.append)
    visitor = dial(pipe)
    visitor.sendall(b"early")
    request = until(lambda: asked and asked[0], 10, "the request")
    reset(visitor)
    until(lambda: request.stream.ended and request.stream.stop_code is not None, 10, "its end")
    assert not request.body_so_far
    until(lambda: pipe.edge.counter("adit_requests_active") == 0, 10, "no flow left")


def test_early_bytes(pipe):
    """T3: much that the visitor sends before the destination is connected, and its end."""
    data = pattern(3 << 20)
    with dial(pipe) as visitor:
        sender = threading.Thread(target=lambda: (visitor.sendall(data),
                                                  visitor.shutdown(socket.SHUT_WR)))
        sender.start()
        with pipe.tcp.accept() as origin:
            assert read_all(origin) == data
            origin.sendall(b"thanks")
        assert read_all(visitor) == b"thanks"
        sender.join()


def test_no_daemon(pipe, strangers):
    """T3: nobody is behind the tunnel."""
    del strangers
    until(lambda: pipe.edge.links() == 0, 10, "no link left")
    assert_refused(pipe, "plain", "tunnel-offline")


def test_two_kinds_of_daemons(pipe):
    """T11: a daemon that doesn't announce adit_1 and one that does, on one edge: both serve
    requests, WebSockets and TCP."""
    kinds = []

    def serve(request):
        kinds.append(request.kind)
        if request.kind == HTTP:
            return Response(200, [("Content-Type", "text/plain")], b"stranger\n")
        request.stream.send(ACK if request.kind == TCP else http_response(
            101, [("Upgrade", "websocket"), ("Connection", "Upgrade")]), False)
        request.stream.send(b"stranger\n", True)
        return None

    def by_http():
        return pipe.fetch("/kind").text.split()[0]

    def by_tcp():
        with dial(pipe) as visitor:
            visitor.shutdown(socket.SHUT_WR)
            return read_all(visitor).split()[0].decode()

    def by_websocket():
        with contextlib.closing(raw_visitor(pipe.edge.http_port, f"a.{DOMAIN}", "/ws")) as visitor:
            head, rest = read_head(visitor)
            if not head.startswith("HTTP/1.1 101 "):
                return "origin"     # the origin of ours makes no WebSocket of it
            return (rest + read_all(visitor)).split()[0].decode()

    def answer(connection):
        with connection:
            connection.sendall(b"origin\n")
            read_all(connection)
    credentials = Credentials.from_token(pipe.edge.token)
    with PeerDaemon(credentials, pipe.edge.address, pipe.edge.ca, serve) as peer, \
            pipe.tcp.serving(answer):
        pipe.edge.wait_links(2)
        peer.register()
        pipe.edge.wait_links(3)
        for ask in (by_http, by_tcp, by_websocket):
            seen = set()
            for _ in range(60):
                seen.add(ask())
                if len(seen) == 2:
                    break
            assert seen == {"stranger", "origin"}, (ask, seen)
    assert {HTTP, TCP, WEBSOCKET} <= set(kinds)
    until(lambda: pipe.edge.links() == 2, 20, "the stranger's link to end")


# ---- aditd at another edge


@pytest.fixture(name="edge")
def fixture_edge(tmp_path, authority):
    """An edge on aioquic, an aditd that takes it for the vendor's, and a listener."""
    chain, key = authority.leaf("peer")
    processes = Processes(tmp_path)
    with PeerEdge(chain, key) as edge, Listener() as origin:
        token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(range(32)))

        def start(extra="", **keys):
            daemon = Daemon(processes, tmp_path, token_file=token, connections=1, extra=extra,
                            rules=[(None, "http_status:404")],
                            edge_keys=peer_edge_keys(edge, authority, **keys))
            daemon.serve()
            return daemon, edge.wait_registered()[0], origin
        yield start
        processes.close()


def flow(link, dest, early=b""):
    stream = link.data_stream()
    stream.send(connect_request(TCP, dest, [("FlowID", "f1")]) + early, False)
    return stream


def test_wire(edge):
    """T3: the bytes of an answer, early bytes, and both ends, as the recorded ones."""
    daemon, link, origin = edge("[network]\nallow = 127.0.0.1/32\n", kind="vendor")
    stream = flow(link, origin.address, b"early")
    with origin.accept() as connection:
        assert connection.recv(100) == b"early"
        connection.sendall(b"prompt")
        stream.wait(lambda: len(stream.received) >= len(ACK) + 6, seconds(10), "the answer")
        assert len(ACK) == 48 and bytes(stream.received) == ACK + b"prompt"
        stream.send(b" late", True)
        assert read_all(connection) == b" late"
        connection.sendall(b" and on")
    stream.wait_end()
    assert bytes(stream.received) == ACK + b"prompt and on" and stream.end == "fin"
    assert daemon.counter("cloudflared_tcp_total_sessions") == 1
    until(lambda: daemon.counter("cloudflared_tcp_active_sessions") == 0, 10, "the flow's end")
    assert daemon.counter("adit_body_bytes_total", rule="network", dir="in") == len(b"early late")
    assert daemon.counter("adit_body_bytes_total", rule="network", dir="out") \
        == len(b"prompt and on")


@pytest.mark.parametrize("dest, words", [
    ("localhost:22", "bad-request: not an ip:port"), ("127.0.0.1", "bad-request: not an ip:port"),
    ("", "bad-request: not an ip:port"), ("127.1:22", "bad-request: not an ip:port"),
    ("192.0.2.1:0", "bad-request: not an ip:port"),
    ("127.0.0.1:22", "access-denied: "), ("[::1]:22", "access-denied: "),
    ("[::ffff:127.0.0.1]:22", "access-denied: "), ("0.0.0.0:22", "access-denied: "),
    ("169.254.169.254:80", "access-denied: "), ("[ff02::1]:80", "access-denied: "),
])
def test_refusals_of_the_default(edge, dest, words):
    """T3: without [network] another edge reaches neither this host nor its link."""
    daemon, link, _ = edge(kind="vendor")
    answer = flow(link, dest).answer()
    assert answer.error.startswith(words) and answer.end == "fin" and not answer.body
    reason = words.split(":")[0]
    assert daemon.counter("adit_request_errors_total", rule="network", reason=reason) == 1


def test_resets_of_an_edge(edge):
    """T3: the edge's reset is the origin's, and the origin's the edge's."""
    _, link, origin = edge("[network]\nallow = 127.0.0.1/32\n", kind="vendor")
    stream = flow(link, origin.address)
    with origin.accept() as connection:
        stream.wait(lambda: bytes(stream.received) == ACK, seconds(10), "the answer")
        stream.reset(5)
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    stream = flow(link, origin.address)
    connection = origin.accept()
    stream.wait(lambda: bytes(stream.received) == ACK, seconds(10), "the answer")
    reset(connection)
    stream.wait_end()
    assert stream.end[0] == "reset"


def full_listener():
    """A listener whose queue is full: who connects to it waits."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    waiting = []
    for _ in range(2):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
        waiting.append(client)
    return listener, waiting


def test_slow_dial(edge):
    """T3: a destination that doesn't answer, and an edge that gives up meanwhile."""
    daemon, link, _ = edge("[network]\nallow = 127.0.0.1/32\n", kind="vendor")
    listener, waiting = full_listener()
    with contextlib.ExitStack() as opened:
        for each in (listener, *waiting):
            opened.enter_context(each)
        dest = "127.0.0.1:%d" % listener.getsockname()[1]
        stream = flow(link, dest)
        until(lambda: daemon.counter("cloudflared_tcp_active_sessions") == 1, 10, "the flow")
        stream.reset(0)
        stream.stop(0)
        until(lambda: daemon.counter("cloudflared_tcp_active_sessions") == 0, 4, "its end")
        assert daemon.counter("adit_request_errors_total", rule="network",
                              reason="visitor-gone") == 1
        answer = flow(link, dest).answer(seconds(20))
        assert answer.error.startswith("origin-timeout: ")
