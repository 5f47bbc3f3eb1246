# SPDX-License-Identifier: Apache-2.0
"""A WebSocket origin (python3-websockets), and raw origins and visitors for what a library hides.

The path says how the origin behaves:
  /echo        sends every message back;  /close/CODE closes with that code at the first message
  /refuse/N    answers the upgrade with that status and a body
"""
import asyncio
import base64
import contextlib
import hashlib
import http
import socket
import threading

from websockets.asyncio.server import serve, unix_serve
from websockets.exceptions import ConnectionClosed

from .wait import seconds

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGE_MAX = 4 << 20


async def _copy(reader, writer):
    with contextlib.suppress(OSError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def _join(plain, address, context, name):
    near = await asyncio.open_connection(sock=plain)
    try:
        far = await asyncio.open_connection(*address, ssl=context, server_hostname=name)
    except OSError:
        near[1].close()
        return
    await asyncio.gather(_copy(near[0], far[1]), _copy(far[0], near[1]))


def tls_socket(address, context, name):
    """A plain TCP socket that a thread joins to this address by TLS.

    For clients that read and write in two threads, as websockets.sync does: OpenSSL's objects don't
    bear that, and not every Python locks them; now and then such a client hangs.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname(), seconds(20))
        theirs, _ = listener.accept()
    threading.Thread(target=asyncio.run, args=(_join(theirs, address, context, name),),
                     daemon=True).start()
    return ours


class EchoOrigin:
    """Runs in a thread of its own. ssl: a context; path: a unix socket."""

    def __init__(self, ssl=None, path=None):
        self.ssl, self.path = ssl, path
        self.requests = []      # (path, headers) of every upgrade that was asked for
        self.closes = []        # (code, reason) that clients closed with
        self.open = 0
        self.loop = asyncio.new_event_loop()
        self.ready, self.done = threading.Event(), asyncio.Event()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self._run(),),
                                       daemon=True)
        self.thread.start()
        assert self.ready.wait(seconds(10)), "the WebSocket origin doesn't start"

    async def _run(self):
        options = {"process_request": self._request,
                   "select_subprotocol": lambda _, offered: offered[0] if offered else None,
                   "max_size": MESSAGE_MAX, "ping_interval": None, "compression": None}
        if self.path:
            server = await unix_serve(self._serve, str(self.path), **options)
            self.path.chmod(0o666)
        else:
            server = await serve(self._serve, "127.0.0.1", 0, ssl=self.ssl, backlog=4096,
                                 **options)
            self.port = server.sockets[0].getsockname()[1]
        self.ready.set()
        async with server:
            await self.done.wait()

    def _request(self, connection, request):
        self.requests.append((request.path, dict(request.headers.raw_items())))
        word, _, number = request.path.strip("/").partition("/")
        if word == "refuse":
            return connection.respond(http.HTTPStatus(int(number)), f"refused {number}\n")
        return None

    async def _serve(self, connection):
        self.open += 1
        word, _, number = connection.request.path.strip("/").partition("/")
        with contextlib.suppress(ConnectionClosed):
            async for message in connection:
                if word == "close":
                    await connection.close(int(number), "as asked")
                    break
                await connection.send(message)
        self.open -= 1
        self.closes.append((connection.close_code, connection.close_reason))

    @property
    def service(self):
        if self.path:
            return f"unix:{self.path}"
        return f"{'https' if self.ssl else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.loop.call_soon_threadsafe(self.done.set)
        self.thread.join(seconds(20))


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


class RawOrigin:
    """Accepts upgrades and gives the sockets to the test: nobody looks at what follows."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]

    @property
    def service(self):
        return f"http://127.0.0.1:{self.port}"

    def accept(self, upgrade=True, behind=b""):
        """The next connection, its upgrade answered; behind: bytes in one piece with the 101."""
        self.listener.settimeout(seconds(10))
        connection, _ = self.listener.accept()
        connection.settimeout(seconds(20))
        self.head, self.rest = read_head(connection)
        if upgrade:
            key = field(self.head, "Sec-WebSocket-Key")
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               b"Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n%s"
                               % (accept_of(key).encode(), behind))
        return connection

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.close()


def read_head(connection):
    """(head, what came behind it)."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise EOFError(data)
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head.decode("latin-1"), rest


def field(head, name):
    for line in head.split("\r\n")[1:]:
        have, _, value = line.partition(":")
        if have.lower() == name.lower():
            return value.strip()
    return None


def request_text(host, path="/", behind=b""):
    return (f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: keep-alive, Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(b'0123456789abcdef').decode()}\r\n\r\n"
            ).encode() + behind


def raw_visitor(port, host, path="/", behind=b""):
    """A socket that has asked for a WebSocket; nothing is read yet."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=seconds(20))
    connection.sendall(request_text(host, path, behind))
    return connection
