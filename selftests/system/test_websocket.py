# SPDX-License-Identifier: Apache-2.0
"""T3: WebSockets through the whole pipe (python3-websockets at both ends, raw sockets where a
library would hide what happens).

    websockets --ws(s)--> adit-edge (2 workers) ==QUIC, 2 links==> aditd (2 workers) --> websockets
"""
import asyncio
import contextlib
import socket
import ssl
import threading

import pytest
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from lib import crowd, ports, wait
from lib.adit import DOMAIN, Daemon, peer_edge_keys, write_token
from lib.origin import Origin, pattern
from lib.peer_daemon import FEATURES, Credentials, PeerDaemon
from lib.peer_edge import PeerEdge
from lib.pipe import Pipe
from lib.proc import Processes
from lib.sockets import read_all, reset
from lib.tunnelrpc import WEBSOCKET, http_response
from lib.wait import holds, seconds, until
from lib.websocket import (EchoOrigin, RawOrigin, accept_of, field, raw_visitor, read_head,
                           tls_socket)

pytestmark = pytest.mark.group("http")

TUNNEL, ACCOUNT = "6ff42ae2-765d-4adf-8112-31c55c1551ef", "0123456789abcdef0123456789abcdef"
IDLE = 1000 if wait.SLOW == 1 else 100
IDLE_COST = 8 << 10     # bytes of RSS for one at either end, release build
NAMES = [f"{n}.{DOMAIN}" for n in ("a", "ws", "tls", "unix", "raw", "gone", "tea", "broken")]


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe, tmp_path_factory, authority):
    folder = tmp_path_factory.mktemp("origins")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.leaf("ws", ["ws.origin.test"]))
    with EchoOrigin() as echo, EchoOrigin(path=folder / "ws.sock") as unix, RawOrigin() as raw, \
            EchoOrigin(ssl=context) as tls, Origin("broken") as broken:
        pipe = make_pipe(
            edge={"hosts": NAMES, "extra": "[front]\nclient-concurrency = 10000\n"}, rules=[
                (f"ws.{DOMAIN}", echo.service.replace("http:", "ws:")),
                (f"unix.{DOMAIN}", unix.service), (f"raw.{DOMAIN}", raw.service),
                (f"tls.{DOMAIN}", tls.service, {"ca_pool": authority.path,
                                                "origin_server_name": "ws.origin.test"}),
                (f"gone.{DOMAIN}", f"http://127.0.0.1:{ports.free()}"),
                (f"tea.{DOMAIN}", "http_status:418"), (f"broken.{DOMAIN}", broken.service)])
        pipe.echo, pipe.unix, pipe.raw = echo, unix, raw
        yield pipe


def dial(pipe, path="/echo", host=f"ws.{DOMAIN}", tls=False, **options):
    """A client, as a context."""
    where = pipe.edge.https_port if tls else pipe.edge.http_port
    if tls:
        context = ssl.create_default_context(cafile=str(pipe.edge.authority.path))
        sock = tls_socket(("127.0.0.1", where), context, host)
    else:
        sock = socket.create_connection(("127.0.0.1", where), timeout=seconds(20))
    return connect(f"ws://{host}:{where}{path}", sock=sock, max_size=4 << 20,
                   open_timeout=seconds(10), close_timeout=seconds(10), compression=None, **options)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("host", [f"ws.{DOMAIN}", f"tls.{DOMAIN}", f"unix.{DOMAIN}"])
def test_messages(pipe, tls, host):
    """T3: 1 MiB messages, text and binary, come back whole; ping and pong pass."""
    big = pattern(1 << 20)
    with dial(pipe, host=host, tls=tls) as client:
        for number in range(4):
            client.send(big[number:] + big[:number])
        for number in range(4):
            assert client.recv(seconds(30)) == big[number:] + big[:number]
        assert client.ping(b"are you there").wait(seconds(10))
        client.send("ein Wörtchen" * 1000)
        assert client.recv(seconds(10)) == "ein Wörtchen" * 1000


def test_fields(pipe):
    """T3: what the visitor asks for reaches the origin, and its choice comes back."""
    with dial(pipe, "/echo?a=b", origin="https://site.test", subprotocols=["chat.test"],
              additional_headers={"X-One": "1", "Sec-WebSocket-Extensions": "x-none"}) as client:
        assert client.subprotocol == "chat.test"
        path, headers = pipe.echo.requests[-1]
        have = {name.lower(): value for name, value in headers.items()}
        assert path == "/echo?a=b"
        assert have["upgrade"] == "websocket" and have["connection"].lower() == "upgrade"
        assert have["sec-websocket-version"] == "13" and len(have["sec-websocket-key"]) == 24
        assert have["origin"] == "https://site.test" and have["x-one"] == "1"
        assert have["sec-websocket-extensions"] == "x-none"
        assert have["host"] == f"ws.{DOMAIN}:{pipe.edge.http_port}"
        assert have["x-forwarded-for"] == "127.0.0.1" and "cf-ray" in have


def test_close_codes(pipe):
    """T3: close codes pass both ways, and both connections end."""
    with dial(pipe) as client:
        client.close(4001, "enough")
    until(lambda: (4001, "enough") in pipe.echo.closes, 10, "the visitor's code at the origin")
    with dial(pipe, "/close/4002") as client:
        client.send("go")
        with pytest.raises(ConnectionClosed):
            client.recv(seconds(10))
        assert (client.close_code, client.close_reason) == (4002, "as asked")
    until(lambda: pipe.echo.open == 0, 10, "the origin's connections to end")


@pytest.mark.parametrize("host, path, status, words", [
    (f"ws.{DOMAIN}", "/refuse/403", 403, b"refused 403\n"),
    (f"ws.{DOMAIN}", "/refuse/429", 429, b"refused 429\n"),
    (f"a.{DOMAIN}", "/plain", 200, b"origin a /plain\n"),      # an origin without WebSockets
    (f"tea.{DOMAIN}", "/", 418, b""),
    (f"gone.{DOMAIN}", "/", 502, b"origin-refused"),
    (f"broken.{DOMAIN}", "/garbage", 502, b"origin-protocol"),
    (f"broken.{DOMAIN}", "/close", 502, b"origin-reset"),
    (f"nobody.{DOMAIN}", "/", 404, b"no-such-host"),
])
def test_refused(pipe, host, path, status, words):
    """T3: what the origin says instead of 101 arrives as it is; what went wrong is named."""
    with pytest.raises(InvalidStatus) as caught, dial(pipe, path, host):
        pass
    response = caught.value.response
    assert response.status_code == status, response
    reason = response.headers.get("Adit-Error", "").encode()
    assert response.body == words or reason == words, (reason, response.body)
    assert pipe.fetch("/still").text == "origin a /still\n"


def test_connection_after_refusal(pipe):
    """T3: the visitor's connection is as good as before when no WebSocket came of it."""
    host = f"tea.{DOMAIN}"
    with contextlib.closing(raw_visitor(pipe.edge.http_port, host)) as visitor:
        head, rest = read_head(visitor)
        assert head.startswith("HTTP/1.1 418 ") and not rest
        visitor.sendall(f"GET /again HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert read_head(visitor)[0].startswith("HTTP/1.1 418 ")


@pytest.mark.parametrize("fields", [
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    "Upgrade: websocket\r\n",
    "Connection: close\r\nUpgrade: websocket\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n",
])
def test_other_upgrades(pipe, fields):
    """T3: another protocol, no Connection, or a body: an ordinary request."""
    head = f"GET /plain HTTP/1.1\r\nHost: a.{DOMAIN}\r\n{fields}\r\n".encode()
    body = b"ab" if "Length" in fields else b""
    with socket.create_connection(("127.0.0.1", pipe.edge.http_port), seconds(10)) as visitor:
        visitor.sendall(head + body)
        assert read_head(visitor)[0].startswith("HTTP/1.1 200 ")
    assert pipe.origin.requests[-1].header("Upgrade") is None


def test_bytes_before_and_behind(pipe):
    """T3: bytes that come with the request, and with the 101, are not lost."""
    with contextlib.closing(raw_visitor(pipe.edge.http_port, f"raw.{DOMAIN}",
                                        behind=b"early")) as visitor:
        with pipe.raw.accept(behind=b"prompt") as origin:
            head, rest = read_head(visitor)
            assert head.startswith("HTTP/1.1 101 "), head
            assert field(head, "Upgrade") == "websocket"
            assert field(head, "Connection") == "Upgrade"
            assert field(head, "Content-Length") is None
            assert field(head, "Transfer-Encoding") is None
            visitor.sendall(b" late")
            visitor.shutdown(socket.SHUT_WR)
            assert pipe.raw.rest + read_all(origin) == b"early late"
            origin.shutdown(socket.SHUT_WR)
            assert rest + read_all(visitor) == b"prompt"


@pytest.fixture(name="joined")
def fixture_joined(pipe):
    """(visitor, origin): two sockets with the pipe between them."""
    visitor = raw_visitor(pipe.edge.http_port, f"raw.{DOMAIN}")
    origin = pipe.raw.accept()
    head, _ = read_head(visitor)
    assert head.startswith("HTTP/1.1 101 ")
    with visitor, origin:
        yield visitor, origin


@pytest.mark.parametrize("way", ["up", "down"])
def test_half_close(joined, way):
    """T3: one direction ends, the other goes on for as long as it likes."""
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


def test_pressure(joined):
    """T3: who doesn't read stops the sender, and nothing is lost when he reads again."""
    visitor, origin = joined
    data = pattern(64 << 20)
    origin.settimeout(0.5)
    sent = 0
    with contextlib.suppress(TimeoutError):
        while sent < len(data):
            sent += origin.send(data[sent:sent + (1 << 16)])
    assert sent < len(data), "64 MiB went to a visitor that reads nothing"
    origin.settimeout(seconds(20))
    sender = threading.Thread(target=lambda: (origin.sendall(data[sent:]), origin.close()))
    sender.start()
    assert read_all(visitor) == data
    sender.join()


def test_access_log(pipe):
    """T3: a line at either end when the socket has ended, though its head has long gone."""
    for program in (pipe.edge, pipe.daemon):
        text = program.config.read_text()
        program.write(text.replace("level = debug", "level = debug\naccess = on"))
        assert program.adit("reload").stdout == "changed:\n  log.access\n"
    with dial(pipe, "/echo/logged?secret") as client:
        client.send("12345")
        assert client.recv(seconds(10)) == "12345"
    lines = [program.process.wait_line(r"access: request .*/echo/logged.*", 10).group(0)
             for program in (pipe.edge, pipe.daemon)]
    for line in lines:
        assert "method=GET" in line and f"host=ws.{DOMAIN}" in line and "status=101" in line
        assert "path=/echo/logged " in line and "secret" not in line
        # Masked frames of 5 bytes and of the close code up, the same without masks down.
        assert "reason=none" in line and "bytes_in=19 bytes_out=11" in line, line
    assert "rule=home" in lines[0] and "rule=rule1 " in lines[1]
    assert len({line.rsplit("ray=", 1)[1] for line in lines}) == 1


async def _open(pipe, count, hold):
    """Opens sockets, says one word on each, calls hold() while they are idle, says another."""
    uri = f"ws://ws.{DOMAIN}:{pipe.edge.http_port}/echo"

    async def one():
        return await connect_async(uri, host="127.0.0.1", port=pipe.edge.http_port,
                                   compression=None, ping_interval=None,
                                   open_timeout=seconds(60), close_timeout=seconds(60))

    async def say(client, word):
        await client.send(word)
        assert await asyncio.wait_for(client.recv(), seconds(60)) == word
    clients = []
    for _ in range(0, count, 50):
        clients += await asyncio.gather(*[one() for _ in range(50)])
    await asyncio.gather(*[say(client, "one") for client in clients])
    result = await asyncio.to_thread(hold)
    await asyncio.gather(*[say(client, "two") for client in clients])
    await asyncio.gather(*[client.close() for client in clients])
    return result


def rss(pipe):
    return [int(program.process.status("VmRSS").split()[0]) << 10
            for program in (pipe.edge, pipe.daemon)]


def settled(pipe):
    """RSS once memory that is not used has gone back to the kernel."""
    last, same = None, 0
    end = seconds(20)
    while same < 6 and end > 0:
        now = rss(pipe)
        same = same + 1 if now == last else 0
        last = now
        threading.Event().wait(0.25)
        end -= 0.25
    return last


def test_idle_sockets(tmp_path):
    """T3: 1 000 idle WebSockets in clear cost under 8 KiB each at either end."""
    crowd.allow_files(8 * IDLE)
    with EchoOrigin() as echo, contextlib.closing(
            Pipe(tmp_path, edge={"hosts": NAMES, "extra": "[front]\nclient-concurrency = 10000\n"},
                 rules=[(f"ws.{DOMAIN}", echo.service)])) as pipe:
        asyncio.run(_open(pipe, 50, lambda: None))
        until(lambda: echo.open == 0, 20, "the first ones to end")
        before = settled(pipe)

        def hold():
            assert echo.open == IDLE
            assert pipe.edge.counter("adit_requests_active", tunnel="home") == IDLE
            assert pipe.daemon.counter("adit_requests_active") == IDLE
            return settled(pipe)
        during = asyncio.run(_open(pipe, IDLE, hold))
        each = [(b - a) / IDLE for a, b in zip(before, during)]
        print(f"\nRSS of an idle WebSocket: edge {each[0]:.0f}, aditd {each[1]:.0f} bytes")
        if wait.SLOW == 1:
            assert max(each) < IDLE_COST, each
        until(lambda: pipe.edge.counter("adit_requests_active") == 0, 20, "none at the edge")
        until(lambda: pipe.daemon.counter("adit_requests_active") == 0, 20, "none at the daemon")
        assert pipe.edge.counter("adit_requests_total", tunnel="home", code_class="1xx") \
            == IDLE + 50


def test_wire(tmp_path, authority):
    """T3: what aditd says to another edge: the head, raw bytes both ways with both ends, and for a
    refusal an ordinary answer, with STOP_SENDING(0) for what the edge still sends."""
    chain, key = authority.leaf("peer")
    processes = Processes(tmp_path)
    asked = [("Sec-WebSocket-Key", "MDEyMzQ1Njc4OWFiY2RlZg=="), ("Sec-WebSocket-Version", "8")]
    with PeerEdge(chain, key) as edge, RawOrigin() as raw, Origin("a") as plain:
        token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(range(32)))
        daemon = Daemon(processes, tmp_path, token_file=token, connections=1,
                        rules=[(f"ws.{DOMAIN}", raw.service), (None, plain.service)],
                        edge_keys=peer_edge_keys(edge, authority, kind="vendor"))
        daemon.serve()
        link = edge.wait_registered()[0]
        stream = link.send_request(host=f"ws.{DOMAIN}", headers=asked, body=b"early",
                                   kind=WEBSOCKET, fin=False)
        with raw.accept(behind=b"prompt") as origin:
            assert field(raw.head, "Upgrade") == "websocket"
            assert field(raw.head, "Sec-WebSocket-Version") == "13"
            assert field(raw.head, "Content-Length") is None
            error, metadata, offset = stream.head()
            have = dict(metadata)
            assert not error and metadata[0] == ("HttpStatus", "101")
            assert have["HttpHeader:Upgrade"] == "websocket"
            assert have["HttpHeader:Connection"] == "Upgrade"
            assert have["HttpHeader:Sec-Websocket-Accept"] == accept_of(asked[0][1])
            stream.send(b" late", True)
            assert raw.rest + read_all(origin) == b"early late"
            origin.sendall(b" and on")
        stream.wait_end()
        assert bytes(stream.received[offset:]) == b"prompt and on" and stream.end == "fin"
        stream = link.send_request(host=f"a.{DOMAIN}", path="/no", headers=asked, body=b"early",
                                   kind=WEBSOCKET, fin=False)
        answer = stream.answer()
        assert (answer.status, answer.end) == (200, "fin") and answer.body == b"origin a /no\n"
        stream.wait(lambda: stream.stop_code is not None, seconds(5), "STOP_SENDING")
        assert stream.stop_code == 0 and plain.requests[-1].length == 0
    processes.close()


@pytest.mark.parametrize("is_ours", [False, True])
def test_end_is_held_for_strangers(pipe, is_ours):
    """T3, T11: a daemon without adit_1 would end both directions at the visitor's end: it is kept
    from it until its own has come. One with adit_1 gets it at once."""
    answers, may_end = [], threading.Event()

    def serve(request):
        assert request.kind == WEBSOCKET
        stream = request.stream
        stream.send(http_response(101, [("Upgrade", "websocket"), ("Connection", "Upgrade")]),
                    False)
        stream.wait(lambda: request.body_so_far == b"question", seconds(10), "the question")
        answers.append(stream)
        may_end.wait(seconds(20))
        stream.send(b"answer", True)

    credentials = Credentials.from_token(pipe.edge.token)
    host = f"raw.{DOMAIN}"
    features = FEATURES + (["adit_1"] if is_ours else [])
    edge = pipe.edge
    with PeerDaemon(credentials, edge.address, edge.ca, serve, features) as daemon:
        links = edge.links()
        pipe.daemon.stop()
        daemon.register()
        until(lambda: edge.links() == 1, 20, f"only the new link, not {links}")
        try:
            visitor = raw_visitor(edge.http_port, host)
            assert read_head(visitor)[0].startswith("HTTP/1.1 101 ")
            visitor.sendall(b"question")
            visitor.shutdown(socket.SHUT_WR)
            stream = until(lambda: answers and answers[0], 10, "the question at the daemon")
            if is_ours:
                until(lambda: stream.fin, 10, "the visitor's end")
            else:
                holds(lambda: not stream.fin, 1.0, "the end is held")
            may_end.set()
            assert read_all(visitor) == b"answer"
            until(lambda: stream.fin, 10, "the visitor's end at last")
            visitor.close()
        finally:
            may_end.set()
            pipe.daemon.serve()
