# SPDX-License-Identifier: Apache-2.0
"""Plain TCP sockets at the far end of something: listening, reading to the end, resetting."""
import contextlib
import socket
import struct
import threading

from .wait import seconds


class Listener:
    """Connections that come out of the tunnel."""

    def __init__(self, host="127.0.0.1", port=0):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.create_server((host, port), family=family, backlog=128)
        self.socket.settimeout(seconds(10))
        self.address = ("[%s]:%d" if ":" in host else "%s:%d") % self.socket.getsockname()[:2]

    def accept(self):
        connection, _ = self.socket.accept()
        connection.settimeout(seconds(60))
        return connection

    @contextlib.contextmanager
    def serving(self, serve):
        """Every connection is served by a thread while the context lasts."""
        over = threading.Event()

        def loop():
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    threading.Thread(target=serve, args=(self.accept(),), daemon=True).start()
        self.socket.settimeout(0.05)
        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        yield
        over.set()
        thread.join()
        self.socket.settimeout(seconds(10))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()


def read_all(connection):
    """Everything up to the peer's end."""
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    return b"".join(pieces)


def reset(connection):
    """Ends a connection by RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
