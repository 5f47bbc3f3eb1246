# SPDX-License-Identifier: Apache-2.0
"""A threaded HTTP/1.1 origin on plain sockets; the path says how it behaves.

  /echo              JSON: method, target, headers as they came, length and SHA-256 of the body
  /sha256            the body's SHA-256 in hex
  /bytes/N           N bytes of pattern(N) with Content-Length;  /chunked/N the same, chunked
  /slow/N/MS         N chunks of one line, MS milliseconds apart
  /abort/N           announces 2N bytes, sends N, closes;  /abort-chunked/N without the last chunk
  /reset/N           the same as /abort with a TCP reset
  /silent            reads the request and never answers
  /stall             does not even read the body
  /close             closes without an answer
  /garbage           answers with something that is not HTTP
  /status/N          that status, no body
  /early             answers before it has read the body
  /early-wait        the same, and stays without reading
  /raw/NAME          the bytes origin.raw[NAME] as they are, then closes; under TLS with a
                     close_notify, unless NAME begins with "cut"
  /headers/N         an answer with N fields
  /stale             answers; the next request on the connection is read, and the connection closed
  /trailers          chunked, with the trailers X-Sum (the request's SHA-256) and X-Last
Everything else: "origin NAME" and the target.
"""
import contextlib
import functools
import hashlib
import json
import os
import select
import socket
import struct
import threading
import time

from .wait import until


@functools.lru_cache(maxsize=4)
def pattern(length):
    """Bytes that differ everywhere, the same in every run."""
    block = b"".join(hashlib.sha256(struct.pack(">I", n)).digest() for n in range(2048))
    blocks = (hashlib.sha256(struct.pack(">Q", n)).digest() + block for n in range(1 << 20))
    made = bytearray()
    while len(made) < length:
        made += next(blocks)
    return bytes(made[:length])


def digest(data):
    return hashlib.sha256(data).hexdigest()


class Reader:
    """Buffered reading of one connection."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, b""

    def more(self):
        data = self.connection.recv(65536)
        if not data:
            raise EOFError
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def take(self, count, sink):
        while count:
            if not self.buffer:
                self.more()
            piece, self.buffer = self.buffer[:count], self.buffer[count:]
            count -= len(piece)
            sink(piece)


class Request:
    def __init__(self, reader):
        self.method, self.target, self.version = reader.line().split(" ", 2)
        self.headers, self.trailers = [], []
        while line := reader.line():
            name, value = line.split(":", 1)
            self.headers.append((name, value.strip()))
        self.reader, self.hash, self.length = reader, hashlib.sha256(), 0
        self.complete = False
        self.cancelled = False      # the client left while it waited for /silent or /stall

    def header(self, name):
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    def _sink(self, piece):
        self.hash.update(piece)
        self.length += len(piece)

    def read(self):
        """Reads the whole body."""
        if (self.header("Expect") or "").lower() == "100-continue":
            self.reader.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if "chunked" in (self.header("Transfer-Encoding") or "").lower():
            while size := int(self.reader.line().split(";")[0], 16):
                self.reader.take(size, self._sink)
                assert self.reader.line() == ""
            while line := self.reader.line():
                self.trailers.append(line)
        else:
            self.reader.take(int(self.header("Content-Length") or 0), self._sink)
        self.complete = True


class Origin:
    """Listens on a port of loopback, or on a unix socket."""

    def __init__(self, name="origin", host="127.0.0.1", port=0, path=None, netns=None, tls=None):
        """tls: an ssl.SSLContext for the server's side."""
        self.name, self.path, self.tls = name, path, tls
        self.raw = {}               # answers of /raw/NAME
        self.requests = []          # every Request whose head came in
        self.connections = 0
        self.open = set()
        self.release = threading.Event()    # ends /silent
        with netns.inside() if netns else contextlib.nullcontext():
            family = (socket.AF_UNIX if path else
                      socket.AF_INET6 if ":" in host else socket.AF_INET)
            self.socket = socket.socket(family, socket.SOCK_STREAM)
        if path:
            self.socket.bind(str(path))
            os.chmod(path, 0o666)
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind((host, port))
        self.socket.listen(1024)
        self.host = host
        self.port = None if path else self.socket.getsockname()[1]
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    @property
    def service(self):
        """As `service =` takes it."""
        if self.path:
            return f"unix{'+tls' if self.tls else ''}:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.release.set()
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)

    def wait_requests(self, count=1, timeout=10):
        until(lambda: len(self.requests) >= count, timeout, f"{count} requests at {self.name}")
        return self.requests[:count]

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._connection, args=(connection,), daemon=True).start()

    def _connection(self, connection):
        if self.tls:
            try:
                connection = self.tls.wrap_socket(connection, server_side=True)
            except OSError:
                return
        self.open.add(connection)
        reader = Reader(connection)
        with connection, contextlib.suppress(OSError, EOFError, ValueError):
            while self._serve(connection, Request(reader)):
                pass
        self.open.discard(connection)

    def _serve(self, connection, request):
        """One request; False when the connection ends."""
        self.requests.append(request)
        parts = request.target.split("?")[0].strip("/").split("/")
        serve = getattr(self, "serve_" + parts[0].replace("-", "_"), None)
        if serve is None:
            request.read()
            body = f"origin {self.name} {request.target}\n".encode()
            self.answer(connection, request, body)
            return True
        numbers = [int(p) for p in parts[1:] if p.isdigit()]
        return serve(connection, request, *numbers) is not False

    @staticmethod
    def answer(connection, request, body, status="200 OK", headers=""):
        head = (f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
                f"Content-Type: application/octet-stream\r\n{headers}\r\n").encode()
        connection.sendall(head if request.method == "HEAD" else head + body)

    def serve_echo(self, connection, request):
        request.read()
        document = {"method": request.method, "target": request.target,
                    "version": request.version, "headers": request.headers,
                    "trailers": request.trailers, "length": request.length,
                    "sha256": request.hash.hexdigest(), "origin": self.name}
        self.answer(connection, request, json.dumps(document).encode())

    def serve_sha256(self, connection, request):
        request.read()
        self.answer(connection, request, request.hash.hexdigest().encode())

    def serve_bytes(self, connection, request, length):
        request.read()
        self.answer(connection, request, pattern(length), headers="X-Pattern: 1\r\n")

    def serve_chunked(self, connection, request, length):
        request.read()
        body, at = pattern(length), 0
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while at < length:
            piece = body[at:at + 10_007]
            connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            at += len(piece)
        connection.sendall(b"0\r\n\r\n")

    def serve_slow(self, connection, request, count, milliseconds):
        request.read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(count):
            line = b"line %d\n" % number
            connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            time.sleep(milliseconds / 1000)     # the behaviour that the path asks for
        connection.sendall(b"0\r\n\r\n")

    def serve_abort(self, connection, request, length):
        request.read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (2 * length))
        connection.sendall(pattern(length))
        return False

    def serve_abort_chunked(self, connection, request, length):
        request.read()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % length)
        connection.sendall(pattern(length) + b"\r\n")
        return False

    def serve_reset(self, connection, request, length):
        self.serve_abort(connection, request, length)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def serve_silent(self, connection, request):
        request.read()
        connection.settimeout(0.05)
        while not self.release.is_set():
            try:
                if not connection.recv(1):
                    request.cancelled = True
                    return False
            except TimeoutError:
                continue
            except ConnectionResetError:
                request.cancelled = True
                return False
        return False

    def serve_stall(self, connection, request):
        watch = select.poll()
        watch.register(connection, select.POLLRDHUP)    # and POLLERR, POLLHUP
        while not self.release.is_set():
            if watch.poll(50):
                request.cancelled = True
                return False
        return False

    def serve_close(self, _connection, request):
        request.read()
        return False

    def serve_garbage(self, connection, request):
        request.read()
        connection.sendall(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        return False

    def serve_status(self, connection, request, status):
        request.read()
        self.answer(connection, request, b"", f"{status} Status")

    def serve_early(self, connection, request):
        self.answer(connection, request, b"early\n", headers="Connection: close\r\n")
        return False

    def serve_early_wait(self, connection, request):
        self.answer(connection, request, b"early\n")
        return self.serve_stall(connection, request)

    def serve_raw(self, connection, request):
        request.read()
        name = request.target.split("/")[2]
        if not self.tls:    # the end comes with it: nobody takes the connection for an idle one meanwhile
            connection.sendall(self.raw[name], socket.MSG_MORE)
            connection.shutdown(socket.SHUT_WR)
            return False
        connection.sendall(self.raw[name])
        if not name.startswith("cut"):
            with contextlib.suppress(OSError):
                connection.unwrap()
        return False

    def serve_headers(self, connection, request, count):
        request.read()
        lines = "".join(f"X-{n}: {n}\r\n" for n in range(count))
        self.answer(connection, request, b"many\n", headers=lines)

    def serve_stale(self, connection, request):
        request.read()
        self.answer(connection, request, b"fresh\n")
        following = Request(request.reader)
        following.read()
        self.requests.append(following)
        return False

    def serve_trailers(self, connection, request):
        request.read()
        trailers = b"X-Sum: %s\r\nX-Last: 1\r\n" % request.hash.hexdigest().encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                           b"Trailer: X-Sum, X-Last\r\n\r\n5\r\nhello\r\n0\r\n" + trailers
                           + b"\r\n")
