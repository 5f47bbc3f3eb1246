# SPDX-License-Identifier: Apache-2.0
"""Clients that complete their QUIC handshakes with an edge and never register.

As a process: python3 -m lib.strangers HOST PORT COUNT SECONDS SOURCES NET
It begins at most COUNT handshakes, evenly within SECONDS, from SOURCES addresses of 127.NET.0.0/16,
waits for the end of each, and prints a line of JSON for each: [source, begun, completed, closed], times
of the monotonic clock, null for what did not happen.
"""
import json
import os
import selectors
import socket
import ssl
import sys
import time

from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted

from .crowd import allow_files
from .quicpeer import configuration

PATIENCE = 1.0          # seconds for a handshake; who is refused hears nothing
LIFE = 9.0              # seconds after which a completed one is no longer waited for
ACK_DELAY = 0.1         # an acknowledgement that is due later is sent now


class Stranger:
    """One client; its socket is connected, so that only the edge can answer."""

    def __init__(self, settings, source, address, edge):
        self.source, self.edge = source, edge
        self.begun, self.completed, self.closed = time.monotonic(), None, None
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((address, 0))
        self.socket.connect(edge)
        self.quic = QuicConnection(configuration=settings)
        self.quic.connect(edge, now=self.begun)
        self.flush()

    def flush(self):
        for data, _ in self.quic.datagrams_to_send(now=time.monotonic() + ACK_DELAY):
            try:
                self.socket.send(data)
            except OSError:
                return      # a full queue counts as a lost packet

    def on_readable(self):
        while True:
            try:
                data = self.socket.recv(2048)
            except OSError:
                break
            self.quic.receive_datagram(data, self.edge, now=time.monotonic())
        while event := self.quic.next_event():
            if isinstance(event, HandshakeCompleted):
                self.completed = time.monotonic()
        # aioquic tells of a peer's close only after its draining period.
        if isinstance(self.quic._close_event, ConnectionTerminated):
            self.closed = time.monotonic()
        else:
            self.flush()

    def is_over(self, now):
        if self.closed is not None:
            return True
        return now > (self.completed + LIFE if self.completed else self.begun + PATIENCE)


class Crowd:
    """All strangers of this process, in one thread."""

    def __init__(self, edge, sources):
        self.edge, self.sources = edge, sources
        self.settings = configuration(True, server_name="quic.cftunnel.com",
                                      verify_mode=ssl.CERT_NONE)
        self.selector = selectors.DefaultSelector()
        self.living, self.results = set(), []

    def begin(self, number):
        source = number % len(self.sources)
        made = Stranger(self.settings, source, self.sources[source], self.edge)
        self.selector.register(made.socket, selectors.EVENT_READ, made)
        self.living.add(made)

    def turn(self, wait):
        for key, _ in self.selector.select(wait):
            key.data.on_readable()
        now = time.monotonic()
        for stranger in [s for s in self.living if s.is_over(now)]:
            self.living.remove(stranger)
            self.selector.unregister(stranger.socket)
            stranger.socket.close()
            self.results.append((stranger.source, stranger.begun, stranger.completed,
                                 stranger.closed))

    def run(self, count, duration):
        started = time.monotonic()
        begun = 0
        while begun < count and time.monotonic() < started + duration:
            due = min(count, int((time.monotonic() - started) * count / duration) + 1)
            for number in range(begun, min(due, begun + 8)):
                self.begin(number)
                begun = number + 1
            self.turn(0 if begun < due else 0.005)
        while self.living:
            self.turn(0.05)
        return self.results


def main(words):
    host, port, count, net = words[0], int(words[1]), int(words[2]), words[5]
    allow_files(count + 100)
    sources = [f"127.{net}.{n // 250}.{n % 250 + 1}" for n in range(int(words[4]))]
    for result in Crowd((host, port), sources).run(count, float(words[3])):
        print(json.dumps(result))
    return 0


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main(sys.argv[1:]))
