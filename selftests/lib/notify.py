# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the service manager's notification socket."""
import os
import socket
import threading
import time

from .wait import until


class Notify:
    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        os.chmod(self.path, 0o666)
        self.started = time.monotonic()
        self.messages = []      # (seconds since the start, KEY=VALUE)
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        while True:
            try:
                data = self.socket.recv(65536)
            except OSError:
                return
            if not data:
                return
            at = time.monotonic() - self.started
            self.messages += [(at, line) for line in data.decode(errors="replace").splitlines()]

    @property
    def env(self):
        return {"NOTIFY_SOCKET": self.path}

    def values(self, key):
        return [line.split("=", 1)[1] for _, line in self.messages if line.startswith(key + "=")]

    def wait(self, line, timeout=15):
        """Seconds from the start of this object to the message."""
        found = until(lambda: [at for at, l in self.messages if l == line], timeout, line)
        return found[0]

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
