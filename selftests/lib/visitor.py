# SPDX-License-Identifier: Apache-2.0
"""A visitor on a plain socket: sends bytes as they are, reads answers by their framing."""
import contextlib
import dataclasses
import socket
import ssl
import struct

from .wait import seconds


class CutShort(Exception):
    """The answer ended before its framing says so; .body is what had come."""

    def __init__(self, body):
        super().__init__(f"cut short after {len(body)} bytes")
        self.body = body


@dataclasses.dataclass
class Answer:
    version: str
    status: int
    headers: list
    body: bytes = b""
    trailers: list = dataclasses.field(default_factory=list)

    def header(self, name):
        found = [v for n, v in self.headers if n.lower() == name.lower()]
        return ", ".join(found) if found else None


class Visitor:
    """One connection to an edge."""

    def __init__(self, edge, tls=False, source="127.0.0.1", timeout=20):
        port = edge.https_port if tls else edge.http_port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=seconds(timeout),
                                               source_address=(source, 0))
        if tls:
            context = ssl.create_default_context(cafile=str(edge.authority.path))
            self.socket = context.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Ends with a TCP reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def request(self, method, target, host, *fields, body=b"", version="1.1"):
        """Sends a request; body is what follows the head, as it is."""
        lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *fields]
        self.send("".join(line + "\r\n" for line in lines).encode("latin-1") + b"\r\n" + body)

    def push(self, piece):
        """Sends until the edge takes no more for a moment; returns how many bytes it took."""
        taken, before = 0, self.socket.gettimeout()
        self.socket.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                taken += self.socket.send(piece)
        self.socket.settimeout(before)
        return taken

    def _more(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError
        self.buffer += data

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line.decode("latin-1")

    def _fields(self):
        found = []
        while line := self._line():
            name, value = line.split(":", 1)
            found.append((name, value.strip()))
        return found

    def _take(self, count, body):
        while len(self.buffer) < count:
            count -= len(self.buffer)
            body += self.buffer
            self.buffer = b""
            self._more()
        body += self.buffer[:count]
        self.buffer = self.buffer[count:]

    def _chunks(self, answer, body):
        while size := int(self._line().split(";")[0], 16):
            self._take(size, body)
            assert self._line() == "", "no line end behind a chunk"
        answer.trailers = self._fields()

    def head(self):
        """The head of the next answer, 1xx included."""
        version, status, *_ = self._line().split(" ", 2)
        return Answer(version, int(status), self._fields())

    def body(self, answer, method="GET"):
        """Reads the body behind a head; CutShort when it isn't whole."""
        body = bytearray()
        try:
            if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
                pass
            elif answer.header("transfer-encoding") == "chunked":
                self._chunks(answer, body)
            elif (length := answer.header("content-length")) is not None:
                self._take(int(length), body)
            else:
                body += self.rest()
        except (EOFError, OSError) as error:
            raise CutShort(bytes(body) + self.buffer) from error
        answer.body = bytes(body)
        return answer

    def answer(self, method="GET"):
        """The next final answer, whole."""
        while (found := self.head()).status < 200:
            pass
        return self.body(found, method)

    def rest(self):
        """All that comes until the end of the connection; a reset is an end, too."""
        with contextlib.suppress(EOFError, ConnectionResetError, ssl.SSLError):
            while True:
                self._more()
        found, self.buffer = self.buffer, b""
        return found


def chunked(*pieces, trailers=()):
    """A chunked body."""
    lines = b"".join(f"{n}: {v}\r\n".encode() for n, v in trailers)
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + lines + b"\r\n"
