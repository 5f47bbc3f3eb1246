# SPDX-License-Identifier: Apache-2.0
"""UDP origins: an echo in a thread that remembers who talked to it, and a socket one drives oneself."""
import collections
import contextlib
import socket
import threading

from .wait import seconds


def bound(host="127.0.0.1", port=0):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind((host, port))
    made.settimeout(seconds(10))
    return made


class UdpEcho:
    """Sends every datagram back to where it came from."""

    def __init__(self, host="127.0.0.1", port=0):
        self.socket = bound(host, port)
        self.socket.settimeout(0.1)
        self.host, self.port = self.socket.getsockname()[:2]
        self.peers = collections.Counter()      # (host, port) -> datagrams
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def _serve(self):
        while not self._over.is_set():
            with contextlib.suppress(OSError):      # nothing yet, or the network has gone for a while
                data, peer = self.socket.recvfrom(65536)
                self.peers[peer[:2]] += 1
                self.socket.sendto(data, peer)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()
        self.socket.close()
