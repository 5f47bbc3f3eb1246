# SPDX-License-Identifier: Apache-2.0
"""What the two independent HTTP/2 peers share: streams and links on python3-h2 over TLS, and what no
honest peer sends.

As in quicpeer: everything that touches a connection runs in the loop's thread. A link does as h2 says
until by_hand() is called; from then on h2 sees nothing more, and only what a test sends is sent (the
header tables stay, so heads can still be made and read).
"""
import asyncio
import base64
import contextlib
import json
import socket
import struct
import time

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (DataReceived, InformationalResponseReceived, PingAckReceived,
                       RemoteSettingsChanged, RequestReceived, ResponseReceived, StreamEnded,
                       StreamReset, TrailersReceived, WindowUpdated)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream

from . import h2frames as fr, quicpeer
from .wait import until

UPGRADE = "cf-cloudflared-proxy-connection-upgrade"
SOURCE = "cf-cloudflared-proxy-src"
PACKED = "cf-cloudflared-response-headers"
META = "cf-cloudflared-response-meta"
CONTROL, CONFIGURATION, WEBSOCKET = "control-stream", "update-configuration", "websocket"
SERVER_NAME = "h2.cftunnel.com"
STREAM_WINDOW, LINK_WINDOW = 1 << 20, 1 << 28
HEAD_LIMIT = 1 << 20


# ---- heads (docs/protocol.md §15) -------------------------------------------------------------------

def octets(fields):
    """Fields as bytes; texts hold one byte a character."""
    return [tuple(v if isinstance(v, bytes) else str(v).encode("latin-1") for v in f) for f in fields]


def texts(fields):
    return [(bytes(n).decode("latin-1"), bytes(v).decode("latin-1")) for n, v in fields]


def pack(fields):
    """The packed form of a visitor's fields."""
    def token(text):
        return base64.b64encode(text.encode("latin-1")).decode().rstrip("=")
    return ";".join(f"{token(n)}:{token(v)}" for n, v in fields)


def unpack(text):
    def token(part):
        return base64.b64decode(part + "=" * (-len(part) % 4), validate=True).decode("latin-1")
    found = []
    for item in filter(None, text.split(";")):
        name, value = item.split(":")
        found.append((token(name), token(value)))
    return found


def find(fields, name):
    """All values of a field, joined; None when it is absent."""
    found = [v for n, v in fields if n.lower() == name.lower()]
    return ", ".join(found) if found else None


def hello_extensions(message):
    """Numbers of the extensions of a ClientHello (a whole handshake message)."""
    at = 4 + 2 + 32
    at += 1 + message[at]                                           # session id
    at += 2 + int.from_bytes(message[at:at + 2], "big")             # cipher suites
    at += 1 + message[at] + 2                                       # compression, length
    found = []
    while at < len(message):
        found.append(int.from_bytes(message[at:at + 2], "big"))
        at += 4 + int.from_bytes(message[at + 2:at + 4], "big")
    return found


def _spare_304(initialize):
    """h2 wants as many bytes behind a 304 as its content-length says, which RFC 9113 §8.1.1 doesn't."""
    def wrapped(self, headers):
        if (b":status", b"304") not in [(bytes(n), bytes(v)) for n, v in headers]:
            initialize(self, headers)
    return wrapped


H2Stream._initialize_content_length = _spare_304(H2Stream._initialize_content_length)


# ---- streams ----------------------------------------------------------------------------------------

class Stream(quicpeer.Stream):
    """One HTTP/2 stream as seen from here. end: as in quicpeer."""

    def __init__(self, link, number):
        super().__init__(link, number)
        self.fields = None          # of the peer's head, texts
        self.interim = []           # heads of 1xx
        self.trailers = None
        self.head_at = None
        self.out, self.out_fin, self.out_trailers = bytearray(), False, None
        self.out_over = False

    @property
    def end(self):
        """As in quicpeer; a reset behind the end of the stream says nothing about what came."""
        return "fin" if self.fin else super().end

    @property
    def status(self):
        return int(find(self.fields or [], ":status") or 0)

    def _send(self, data, fin):
        if self.link.closed is None and self.reset_code is None and not self.out_over:
            self.out += data
            self.out_fin |= fin
            self.link.pump(self)

    def send_head(self, fields, fin=False):
        """The answer's head, or an interim one; of a request: see Link.open_request()."""
        self.link.hub.call(self.link.send_fields, self, fields, fin)

    def send_trailers(self, fields):
        def send():
            self.out_trailers, self.out_fin = fields, True
            self.link.pump(self)
        self.link.hub.call(send)

    def wait_sent(self, timeout=10):
        """Waits until everything has gone out, as far as the peer's windows are concerned."""
        until(lambda: self.ended or not self.out, timeout, f"bytes sent on {self.number}", 0.002)

    def wait_head(self, timeout=10):
        self.wait(lambda: self.fields is not None or self.ended, timeout, "a head")
        return self.fields

    def _reset(self, code):
        self.out_over = True
        self.link.reset_stream(self.number, code)

    def _stop(self, code):
        self._reset(code)


def _spare_huffman(encode):
    """hpack's Huffman coding takes a time that grows with the square of a value."""
    def wrapped(fields, huffman=True):
        return encode(fields, huffman and sum(len(n) + len(v) for n, v in fields) < 8192)
    return wrapped


# ---- links ------------------------------------------------------------------------------------------

class Link(asyncio.Protocol):
    """One HTTP/2 connection. Subclasses get on_ready(), on_stream(stream) and on_closed()."""

    hub = None              # set by the subclass that each peer makes
    is_client = False       # of HTTP/2
    stream_class = Stream
    settings = {}           # changed SETTINGS of ours, by number

    def __init__(self):
        self.transport, self.h2 = None, None
        self.cutter, self.streams = fr.Cutter(), {}
        self.seen = []              # every frame that came; payloads of heads and bodies left out
        self.closed = None          # (code of GOAWAY or None, None, reason) once TCP has ended
        self.peer_closed = False    # the peer ended TCP
        self.goaway = None          # (last stream, code, text) that came
        self.violation = None       # what h2 says is wrong with what came
        self.bytes_received = 0
        self.ready_at = self.closed_at = None
        self.hand = self._closing = False
        self.pongs = []
        self.credits = True
        self.preface, self._early, self._block = None, b"", None

    # asyncio

    def connection_made(self, transport):
        self.transport = transport
        self.h2 = H2Connection(H2Configuration(
            client_side=self.is_client, header_encoding=None, validate_outbound_headers=False,
            normalize_outbound_headers=False))
        codes = {SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                 SettingCodes.MAX_HEADER_LIST_SIZE: HEAD_LIMIT,
                 SettingCodes.MAX_CONCURRENT_STREAMS: 10_000, **self.settings}
        if self.is_client:
            codes[SettingCodes.ENABLE_PUSH] = 0
        self.h2.local_settings = Settings(client=self.is_client, initial_values=codes)
        self.h2.decoder.max_header_list_size = HEAD_LIMIT
        self.h2.encoder.encode = _spare_huffman(self.h2.encoder.encode)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(LINK_WINDOW)
        self.ready_at = time.monotonic()
        self.flush()
        self.on_ready()
        self.hub.notify()

    def data_received(self, data):
        self.bytes_received += len(data)
        if not self.is_client and self.preface is None:
            data = self._take_preface(data)
        for frame in self.cutter.feed(data):
            self._take(frame)
            self.seen.append(fr.Frame(frame.kind, frame.flags, frame.number, b"")
                             if frame.kind in fr.KEPT else frame)
        if not self.hand:
            self.flush()
        self.hub.notify()

    def eof_received(self):
        self.peer_closed = True

    def connection_lost(self, exc):
        self.peer_closed = self.peer_closed or not self._closing
        code = self.goaway[1] if self.goaway else None
        text = self.goaway[2] if self.goaway else str(exc or "")
        self.closed, self.closed_at = (code, None, text), time.monotonic()
        for stream in self.streams.values():
            self._tell(stream)
        self.on_closed()
        self.hub.notify()

    def on_ready(self):
        """TLS is up and our SETTINGS are on their way."""

    def on_stream(self, stream):
        """The peer has opened a stream; its head is there."""

    def on_closed(self):
        """The connection has ended."""

    # What comes

    def _take_preface(self, data):
        self._early += data
        if len(self._early) < len(fr.PREFACE):
            return b""
        self.preface = self._early[:len(fr.PREFACE)]
        self.h2.receive_data(self.preface)
        return self._early[len(fr.PREFACE):]

    def _take(self, frame):
        if frame.kind == fr.GOAWAY:
            # Kept from h2, which takes nothing more after it.
            self.goaway = frame.word() & 0x7fffffff, frame.word(4), frame.payload[8:].decode("latin-1")
        elif self.hand:
            self._take_by_hand(frame)
        elif self.violation is None:
            try:
                for event in self.h2.receive_data(frame.raw):
                    self._event(event)
            except ProtocolError as error:
                self.violation = f"{type(error).__name__}: {error}"
                self.flush()
                self.transport.close()

    def _event(self, event):
        if isinstance(event, RequestReceived):
            stream = self.streams[event.stream_id] = self.stream_class(self, event.stream_id)
            self._head(stream, event.headers, False)
            self.on_stream(stream)
        elif isinstance(event, ResponseReceived):
            self._head(self.streams[event.stream_id], event.headers, False)
        elif isinstance(event, InformationalResponseReceived):
            self.streams[event.stream_id].interim.append(texts(event.headers))
        elif isinstance(event, TrailersReceived):
            self.streams[event.stream_id].trailers = texts(event.headers)
        elif isinstance(event, DataReceived):
            if self.credits and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            self._data(self.streams[event.stream_id], event.data)
        elif isinstance(event, StreamReset):
            self._reset_came(event.stream_id, int(event.error_code))
        elif isinstance(event, PingAckReceived):
            self.pongs.append(event.ping_data)
        elif isinstance(event, StreamEnded):
            self._fin(self.streams[event.stream_id])
        elif isinstance(event, (WindowUpdated, RemoteSettingsChanged)):
            for stream in list(self.streams.values()):
                self.pump(stream)

    def _take_by_hand(self, frame):
        stream = self.streams.get(frame.number)
        if frame.kind == fr.HEADERS:
            self._block = frame.number, frame.flags, bytearray(frame.content)
        elif frame.kind == fr.CONTINUATION:
            self._block[2].extend(frame.payload)
        elif frame.kind == fr.DATA and stream:
            self._data(stream, frame.content)
            if frame.flags & fr.END_STREAM:
                self._fin(stream)
        elif frame.kind == fr.RST_STREAM:
            self._reset_came(frame.number, frame.word())
        elif frame.kind == fr.PING and frame.flags & fr.ACK:
            self.pongs.append(frame.payload)
        if frame.kind in (fr.HEADERS, fr.CONTINUATION) and frame.flags & fr.END_HEADERS:
            self._head_by_hand()

    def _head_by_hand(self):
        number, flags, block = self._block
        fields = self.h2.decoder.decode(bytes(block), raw=True)
        fresh = number not in self.streams
        stream = self.streams.setdefault(number, self.stream_class(self, number))
        self._head(stream, fields, stream.fields is not None)
        if fresh:
            self.on_stream(stream)
        if flags & fr.END_STREAM:
            self._fin(stream)

    def _head(self, stream, fields, is_trailer):
        if is_trailer:
            stream.trailers = texts(fields)
            return
        stream.fields, stream.head_at = texts(fields), time.monotonic()

    def _data(self, stream, data):
        if stream.first_at is None:
            stream.first_at = time.monotonic()
        stream.received += data
        self._tell(stream)

    def _fin(self, stream):
        stream.fin, stream.ended_at = True, time.monotonic()
        self._tell(stream)

    def _reset_came(self, number, code):
        stream = self.streams.get(number)
        if stream and stream.reset_code is None:
            stream.reset_code, stream.ended_at = code, time.monotonic()
            self._tell(stream)

    @staticmethod
    def _tell(stream):
        if stream.on_data:
            stream.on_data(stream)

    # What goes, in the loop's thread

    def flush(self):
        data = self.h2.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def raw_now(self, data):
        if not self.transport.is_closing():
            self.transport.write(data)

    def send_fields(self, stream, fields, fin=False):
        if self.hand:
            self.raw_now(fr.headers(stream.number, self.h2.encoder.encode(octets(fields)), fin))
        else:
            try:
                self.h2.send_headers(stream.number, octets(fields), fin)
            except ProtocolError:
                if not (self.violation or self.closed or stream.reset_code is not None):
                    raise
            self.flush()
        stream.out_over |= fin

    def pump(self, stream):
        """Sends what waits on a stream, as far as its window goes."""
        if stream.out_over or not (stream.out or stream.out_fin) or stream.reset_code is not None:
            return
        if self.hand:
            self.raw_now(b"".join(fr.data(stream.number, bytes(stream.out[n:n + 16384]))
                                  for n in range(0, len(stream.out), 16384)))
            stream.out.clear()
        with contextlib.suppress(ProtocolError):    # the stream has just been reset
            while stream.out and not self.hand:
                room = min(self.h2.local_flow_control_window(stream.number),
                           self.h2.max_outbound_frame_size, 65536)
                if room <= 0:
                    break
                self.h2.send_data(stream.number, bytes(stream.out[:room]))
                del stream.out[:room]
            if stream.out_fin and not stream.out:
                self._end(stream)
        if not self.hand:
            self.flush()
        self.hub.notify()

    def _end(self, stream):
        stream.out_over = True
        if stream.out_trailers is not None:
            self.send_fields(stream, stream.out_trailers, True)
        elif self.hand:
            self.raw_now(fr.data(stream.number, b"", True))
        else:
            self.h2.end_stream(stream.number)

    def reset_stream(self, number, code):
        if self.hand:
            self.raw_now(fr.reset(number, code))
            return
        with contextlib.suppress(ProtocolError):
            self.h2.reset_stream(number, code)
        self.flush()

    def open_now(self, fields, fin=False):
        number = self.h2.get_next_available_stream_id()
        while number in self.streams:
            number += 2
        stream = self.streams[number] = self.stream_class(self, number)
        self.send_fields(stream, fields, fin)
        return stream

    # From the test's thread

    def open_request(self, fields, fin=False):
        """Opens a stream with these fields, pseudo ones and all."""
        return self.hub.call(self.open_now, fields, fin)

    def raw(self, data):
        """Sends bytes as they are, at a place where a frame ends."""
        self.hub.call(self.raw_now, bytes(data))

    def by_hand(self):
        """From here on only what the test sends goes out, and nothing is checked."""
        def switch():
            self.hand = True
        self.hub.call(switch)
        return self

    def block(self, fields):
        """A block of fields in this connection's compression; must be sent."""
        return self.hub.call(lambda: self.h2.encoder.encode(octets(fields)))

    def stop_crediting(self):
        """From now on no window is given back: the peer's bytes are never read."""
        def mute():
            self.credits = False
        self.hub.call(mute)

    def stop_reading(self):
        """From now on nothing is read from the socket."""
        self.hub.call(self.transport.pause_reading)

    def go_away(self, last=None, code=0, text=b""):
        """last: the stream up to which the peer's are answered; a client's peer has none."""
        self.raw(fr.goaway(self._last() if last is None else last, code, text))

    def _last(self):
        return 0 if self.is_client else 0x7fffffff

    def ping(self, timeout=10):
        """Sends a PING and waits for its answer."""
        mark = struct.pack(">Q", len(self.pongs) + 1)
        self.raw(fr.ping(mark)) if self.hand else self.hub.call(self._ping, mark)
        self.hub.wait(lambda: mark in self.pongs or self.closed, timeout, "the answer to a PING")
        assert mark in self.pongs, self.closed

    def _ping(self, mark):
        self.h2.ping(mark)
        self.flush()

    def close_link(self, code=None, reason=""):
        """Closes TCP; with a code after GOAWAY."""
        def close():
            if code is not None:
                self.raw_now(fr.goaway(self._last(), code, reason.encode()))
            self._closing = True
            self.transport.close()
        self.hub.call(close)

    def kill(self):
        """Ends TCP with a reset."""
        def close():
            self._closing = True
            self.transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.transport.abort()
        self.hub.call(close)

    def wait_closed_link(self, timeout=10):
        self.hub.wait(lambda: self.closed is not None, timeout, "the link's end")
        return self.closed

    def wait_goaway(self, timeout=10):
        self.hub.wait(lambda: self.goaway or self.closed, timeout, "GOAWAY")
        return self.goaway

    def frames(self, kind):
        return [f for f in list(self.seen) if f.kind == kind]

    @property
    def peer_settings(self):
        """The first SETTINGS that came, as {number: value}."""
        return dict(self.frames(fr.SETTINGS)[0].settings)


def close_all(links):
    """Ends what is left; in the loop's thread."""
    for link in links:
        link._closing = True
        if link.transport and link.closed is None:
            link.transport.abort()


def meta_of(fields):
    """The parsed meta field of an answer; None when there is none."""
    text = find(fields, META)
    return json.loads(text) if text is not None else None
