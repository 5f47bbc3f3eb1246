# SPDX-License-Identifier: Apache-2.0
"""A proxy on the way out: HTTP CONNECT or SOCKS5, with or without credentials, well or badly behaved."""
import base64
import contextlib
import ipaddress
import socket
import struct
import threading

from .wait import seconds


class ProxyError(Exception):
    """The client asked for something that it doesn't get."""


def _exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ProxyError("the client left")
        data += piece
    return data


def _http(connection, credentials):
    """(host, port) that a CONNECT names."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _exactly(connection, 1)
    first, *fields = head[:-4].decode("latin-1").split("\r\n")
    method, target, version = first.split(" ")
    fields = {k.lower(): v.strip() for k, v in (f.split(":", 1) for f in fields)}
    assert method == "CONNECT" and version == "HTTP/1.1" and fields["host"] == target, head
    if credentials:
        basic = "Basic " + base64.b64encode(":".join(credentials).encode()).decode()
        if fields.get("proxy-authorization") != basic:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n"
                               b"Proxy-Authenticate: Basic realm=x\r\nContent-Length: 2\r\n\r\nno")
            raise ProxyError("credentials")
    else:
        assert "proxy-authorization" not in fields, head
    host, port = target.rsplit(":", 1)
    return host.strip("[]"), int(port)


def _socks(connection, credentials):
    """(host, port) that a SOCKS5 request names (RFC 1928, RFC 1929)."""
    version, count = _exactly(connection, 2)
    methods = _exactly(connection, count)
    assert version == 5
    method = 2 if credentials else 0
    if method not in methods:
        connection.sendall(b"\x05\xff")
        raise ProxyError("credentials")
    connection.sendall(bytes([5, method]))
    if credentials:
        assert _exactly(connection, 1) == b"\x01"
        told = tuple(_exactly(connection, _exactly(connection, 1)[0]).decode() for _ in range(2))
        connection.sendall(bytes([1, told != credentials]))
        if told != credentials:
            raise ProxyError("credentials")
    version, command, _, kind = _exactly(connection, 4)
    assert (version, command) == (5, 1)
    if kind == 3:
        host = _exactly(connection, _exactly(connection, 1)[0]).decode()
    else:
        host = str(ipaddress.ip_address(_exactly(connection, {1: 4, 4: 16}[kind])))
    return host, struct.unpack("!H", _exactly(connection, 2))[0]


KINDS = {
    # what reads a request, what says yes, what says no
    "http": (_http, b"HTTP/1.1 200 Connection established\r\nProxy-Agent: test\r\n\r\n",
             b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"),
    "socks5": (_socks, b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50",
               b"\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"),
}


class OutProxy:
    """Listens on host in a namespace. asked: the targets of all requests; failed: what went wrong.

    credentials: (user, password) or None. is_silent: takes connections and says nothing.
    """

    def __init__(self, kind, host="127.0.0.1", credentials=None, netns=None):
        self.kind, self.host, self.credentials, self.netns = kind, host, credentials, netns
        self.asked, self.failed, self.is_silent = [], [], False
        self.open = set()
        with netns.inside() if netns else contextlib.nullcontext():
            self.listener = socket.create_server((host, 0))
        self.port = self.listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, function, *args):
        if self.netns:
            self.netns.thread(function, *args)
        else:
            threading.Thread(target=function, args=args, daemon=True).start()

    def url(self, user_info=None):
        return f"{self.kind}://{user_info + '@' if user_info else ''}{self.host}:{self.port}"

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection):
        read, accepted, refused = KINDS[self.kind]
        target = None
        try:
            if self.is_silent:
                connection.recv(1 << 16)
                return                  # close() ends it
            where = read(connection, self.credentials)
            self.asked.append(where)
            try:
                target = socket.create_connection(where, timeout=seconds(5))
            except OSError as error:
                connection.sendall(refused)
                raise ProxyError(f"{where}: {error}") from error
            target.settimeout(None)
            self.open.add(target)
            connection.sendall(accepted)
            self._start(self._pump, target, connection)
            self._pump(connection, target)
        except (OSError, ProxyError, AssertionError, ValueError, KeyError) as error:
            self.failed.append(error)
            connection.close()

    @staticmethod
    def _pump(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for side in (source, sink):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def cut(self):
        """All connections through it end."""
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.open.clear()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.cut()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
