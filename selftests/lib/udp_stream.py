# SPDX-License-Identifier: Apache-2.0
"""A steady stream of numbered datagrams through something that echoes them."""
import contextlib
import select
import socket
import struct
import threading
import time


CATCH_UP = 0.02     # seconds


class UdpStream:
    """Sends `rate` datagrams a second while the body of `with` runs; `echoed` are the numbers that
    came back within a second after it. Who wasn't let run for longer than CATCH_UP doesn't send all that
    was due at once: those numbers are `skipped`."""

    def __init__(self, address, rate=1000, size=64, source="127.0.0.1"):
        self.rate, self.size = rate, size
        self.sent, self.skipped, self.echoed = 0, set(), set()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((source, 0))
        self.socket.connect(address)
        self.socket.setblocking(False)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _receive(self, wait):
        if not select.select([self.socket], [], [], max(0, wait))[0]:
            return
        with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
            while True:
                self.echoed.add(struct.unpack_from("!I", self.socket.recv(65536))[0])

    def _run(self):
        begun = time.monotonic()
        while not self._over.is_set():
            due = int((time.monotonic() - begun) * self.rate)
            first = max(self.sent, due - max(1, int(CATCH_UP * self.rate)))
            self.skipped.update(range(self.sent, first))
            for number in range(first, due):
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    self.socket.send(struct.pack("!I", number).ljust(self.size, b"."))
            self.sent = max(self.sent, due)
            self._receive((self.sent + 1) / self.rate + begun - time.monotonic())
        end = time.monotonic() + 1
        while time.monotonic() < end:
            self._receive(end - time.monotonic())

    @property
    def missing(self):
        return self.missing_of(0, self.sent)

    def missing_of(self, first, end):
        """Of the datagrams with these numbers."""
        return end - first - sum(first <= number < end for number in self.echoed | self.skipped)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc):
        self._over.set()
        self._thread.join()
        self.socket.close()
