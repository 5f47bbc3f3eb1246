# SPDX-License-Identifier: Apache-2.0
"""What no honest peer does: frames by hand, streams by the thousand, heads in pieces; and what a
program must hold on to meanwhile: gauges that return, and somebody else who is served."""
import collections
import contextlib
import os
import pathlib
import threading
import time

from aioquic import tls
from aioquic.buffer import Buffer
from aioquic.quic.connection import QuicConnectionError
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.stream import QuicStream

from .tunnelrpc import varint
from .wait import SLOW, seconds, until

BATCH = 200             # streams that are in work at once
PACKETS = 24            # of frames by hand, sent at once


# ---- frames by hand -------------------------------------------------------------------------------

def stream_frame(number, data=b"", offset=0, fin=False):
    """A STREAM frame with offset and length."""
    return varint(0x0e | fin) + varint(number) + varint(offset) + varint(len(data)) + data


def reset_frame(number, code=0, size=0):
    return varint(4) + varint(number) + varint(code) + varint(size)


def stop_frame(number, code=0):
    return varint(5) + varint(number) + varint(code)


def _teach(quic):
    """The connection sends quic.raw before its own frames, and minds no streams that it doesn't know."""
    if hasattr(quic, "raw"):
        return
    quic.raw = collections.deque()
    write, find = quic._write_application, quic._get_or_create_stream

    def write_raw(builder, network_path, now):
        limit, builder.max_flight_bytes = builder.max_flight_bytes, None
        for _ in range(PACKETS):
            if not quic.raw:
                break
            builder.start_packet(QuicPacketType.ONE_RTT, quic._cryptos[tls.Epoch.ONE_RTT])
            while quic.raw and builder.remaining_buffer_space > len(quic.raw[0]):
                frame = Buffer(data=quic.raw.popleft())
                kind = frame.pull_uint_var()
                rest = frame.data_slice(frame.tell(), frame.capacity)
                builder.start_frame(kind).push_bytes(rest)
        builder.max_flight_bytes = limit
        write(builder, network_path, now)

    def find_any(frame_type, number):
        try:
            return find(frame_type, number)
        except QuicConnectionError:
            return QuicStream(number, max_stream_data_local=1 << 20)
    quic._write_application, quic._get_or_create_stream = write_raw, find_any


def send_frames(link, frames):
    """Sends frames as they are, as many to a packet as there is room; waits until all were taken."""
    def push(some):
        _teach(link.quic)
        link.quic.raw.extend(some)
        link.transmit()
    frames, at = list(frames), 0
    while at < len(frames) and link.closed is None:
        link.hub.call(push, frames[at:at + 300])
        at += 300
        until(lambda: link.closed or not (link.quic.raw or link.quic._loss.bytes_in_flight), 20,
              "frames taken", 0.002)
        if link.quic.raw:
            link.hub.call(link.transmit)


def stop_crediting(link):
    """From now on the link grants its peer no byte more: it never reads."""
    def mute():
        link.quic._write_connection_limits = lambda **_: None
        link.quic._write_stream_limits = lambda **_: None
    link.hub.call(mute)


# ---- many streams ---------------------------------------------------------------------------------

def in_pieces(link, cases, open_stream, fin=True, timeout=30):
    """Sends each case, a list of parts, on a stream of its own, every part in later packets than the
    one before. Returns the streams when the peer has ended its half of each."""
    done = []
    for first in range(0, len(cases), BATCH):
        some = cases[first:first + BATCH]
        streams = link.hub.call(lambda count=len(some): [open_stream() for _ in range(count)])
        send_pieces(link, list(zip(streams, some)), fin)
        link.hub.wait(lambda s=streams: all(x.ended for x in s), timeout,
                      lambda s=streams: f"the end of {sum(not x.ended for x in s)} streams")
        done += streams
    return done


def send_pieces(link, pairs, fin=True):
    """pairs: (stream, its parts)."""
    def send(number):
        for stream, parts in pairs:
            if number < len(parts) and stream.stop_code is None and not link.closed:
                link.quic.send_stream_data(stream.number, parts[number],
                                           fin and number == len(parts) - 1)
        link.transmit()

    def taken():
        states = (link.quic._streams.get(stream.number) for stream, _ in pairs)
        return link.closed or all(s is None or s.sender.buffer_is_empty for s in states)
    for number in range(max(len(parts) for _, parts in pairs)):
        link.hub.call(send, number)
        until(taken, 20, "pieces taken", 0.002)


def cuts(data):
    """The same bytes in two parts, at every place."""
    return [[data[:at], data[at:]] for at in range(1, len(data))]


# ---- the program under attack ---------------------------------------------------------------------

class Steadfast:
    """Asks somebody good all the time: with Steadfast(ask): … fails when one answer was not good."""

    def __init__(self, ask, pause=0.05):
        self.ask, self.pause = ask, pause
        self.count, self.bad = 0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self.count or not self.stopping.wait(self.pause):
            try:
                good = self.ask()
            except AssertionError as error:
                good, self.bad = False, [*self.bad, str(error)]
            self.count += 1
            if not good:
                self.bad.append(f"request {self.count}")

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, *exc):
        self.stopping.set()
        self.thread.join(seconds(30))
        if kind is None:
            assert not self.bad and self.count, (self.count, self.bad[:5])


class Gauges:
    """What a program holds, to be compared with what it held before."""

    def __init__(self, program, names):
        self.program, self.names = program, names
        self.before = self.look()
        self.rss = self.memory()

    def look(self):
        seen = self.program.metrics()
        found = {name: seen.sum(name) for name in self.names}
        found["descriptors"] = len(os.listdir(f"/proc/{self.program.process.pid}/fd"))
        return found

    def memory(self):
        """RSS in MiB."""
        return int(self.program.process.status("VmRSS").split()[0]) / 1024

    def wait_return(self, timeout=15, slack=None):
        """Waits until everything is back; slack: by name, how much more may stay."""
        slack = {"descriptors": 2, **(slack or {})}

        def is_back():
            now = self.look()
            return all(now[k] <= v + slack.get(k, 0) for k, v in self.before.items())
        with contextlib.suppress(AssertionError):
            until(is_back, timeout, "gauges", 0.1)
        now = self.look()
        assert is_back(), f"before {self.before}, now {now}"

    def bound_memory(self, more):
        """RSS is at most so many MiB above the start's (a sanitizer keeps what was freed)."""
        grown = self.memory() - self.rss
        assert SLOW > 1 or grown <= more, f"{grown:.0f} MiB more than {self.rss:.0f}"
