# SPDX-License-Identifier: Apache-2.0
"""What the two independent QUIC peers share: an event loop in a thread, streams, links.

Everything that touches aioquic runs in the loop's thread; tests call the plain methods from their
own thread and wait on conditions that every event notifies. aioquic has neither HelloRetryRequest
nor ML-KEM: a client has to send a P-256 or X25519 key share.
"""
import asyncio
import threading
import time

from aioquic import tls
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic import events
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.stream import QuicStreamSender

from . import capnp, tunnelrpc as rpc
from .wait import seconds, until

DATAGRAM_FRAME = 16383


def _remember_hello(parse):
    """aioquic drops the ClientHello after use; tests want its names, groups and parameters."""
    def wrapped(buf):
        hello = parse(buf)
        if Link.receiving is not None:
            Link.receiving.hello = hello
        return hello
    return wrapped


tls.pull_client_hello = _remember_hello(tls.pull_client_hello)


def _spare_fin(get_frame):
    """aioquic 1.2 takes a lone FIN out of its queue before it knows that the packet has room for it,
    and loses it when there is none."""
    def wrapped(self, max_size, max_offset=None):
        return None if max_size < 0 else get_frame(self, max_size, max_offset)
    return wrapped


QuicStreamSender.get_frame = _spare_fin(QuicStreamSender.get_frame)


def configuration(is_client, **members):
    """The configuration that both peers begin with."""
    made = QuicConfiguration(is_client=is_client, alpn_protocols=["argotunnel"],
                             max_datagram_frame_size=DATAGRAM_FRAME, max_datagram_size=1472 - 20)
    for name, value in members.items():
        setattr(made, name, value)
    return made


class Loop:
    """An asyncio loop in a daemon thread, and the condition that all observers wait on."""

    def __init__(self, name):
        self.loop = asyncio.new_event_loop()
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self.thread.start()

    def call(self, function, *args):
        """Runs function(*args) in the loop and returns its value."""
        if threading.current_thread() is self.thread:
            return function(*args)

        async def run():
            return function(*args)
        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(seconds(30))

    def run(self, coroutine, timeout=10):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds(timeout))

    def notify(self):
        with self.changed:
            self.changed.notify_all()

    def wait(self, condition, timeout, what):
        end = time.monotonic() + seconds(timeout)
        with self.changed:
            while True:
                value = condition()
                if value:
                    return value
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"timed out waiting for {what}")
                self.changed.wait(left)

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(seconds(10))
        assert not self.thread.is_alive()
        self.loop.close()


class Stream:
    """One QUIC stream as seen from here: what came in, and how it ended."""

    def __init__(self, link, number):
        self.link, self.number = link, number
        self.received = bytearray()
        self.fin = False
        self.reset_code = None      # the peer's RESET_STREAM
        self.stop_code = None       # the peer's STOP_SENDING
        self.on_data = None         # function(stream), in the loop's thread
        self.first_at = self.ended_at = None

    def send(self, data, fin=False):
        """Queues bytes; two calls may share a packet: see pieces()."""
        self.link.hub.call(self._send, bytes(data), fin)

    def _send(self, data, fin):
        if self.link.closed is None and self.stop_code is None:
            self.link.quic.send_stream_data(self.number, data, fin)
            self.link.transmit()

    def pieces(self, parts, fin=False):
        """Sends each part in packets of its own: when the peer has acknowledged the one before."""
        for number, part in enumerate(parts):
            self.send(part, fin and number == len(parts) - 1)
            self.wait_sent()

    def wait_sent(self, timeout=10):
        """Waits until the peer has acknowledged all bytes that were sent."""
        def done():
            state = self.link.quic._streams.get(self.number)
            return self.ended or state is None or not state.sender._buffer
        until(done, timeout, f"acknowledgement on stream {self.number}", 0.002)

    def reset(self, code=0):
        self.link.hub.call(self._reset, code)

    def _reset(self, code):
        self.link.quic.reset_stream(self.number, code)
        self.link.transmit()

    def stop(self, code=0):
        self.link.hub.call(self._stop, code)

    def _stop(self, code):
        self.link.quic.stop_stream(self.number, code)
        self.link.transmit()

    @property
    def ended(self):
        return self.fin or self.reset_code is not None or self.link.closed is not None

    @property
    def end(self):
        """How the peer's half ended: "fin", ("reset", code), "lost", or None while it is open."""
        if self.reset_code is not None:
            return "reset", self.reset_code
        if self.fin:
            return "fin"
        return "lost" if self.link.closed is not None else None

    def wait(self, condition, timeout=10, what="stream"):
        return self.link.hub.wait(condition, timeout, f"{what} (stream {self.number}, "
                                  f"{len(self.received)} bytes, end {self.end})")

    def wait_end(self, timeout=10):
        self.wait(lambda: self.ended, timeout, "the stream's end")
        return self.end

    def wait_bytes(self, count, timeout=10):
        self.wait(lambda: len(self.received) >= count or self.ended, timeout, f"{count} bytes")
        return bytes(self.received)


class Link(QuicConnectionProtocol):
    """One QUIC connection. Subclasses get on_stream(stream) and on_ready()."""

    hub = None          # set by the subclass that each peer makes
    receiving = None    # the link that is reading a packet now

    def __init__(self, quic, stream_handler=None):
        super().__init__(quic, stream_handler)
        self.quic = quic
        self.streams = {}
        self.datagrams = []
        self.alpn = None
        self.ready = False
        self.closed = None          # (code, frame type, reason) once the connection has ended
        self.peer_closed = False    # True when it ended by the peer's CONNECTION_CLOSE
        self.bytes_received = 0
        self.ready_at = self.closed_at = None

    @property
    def tls(self):
        return self.quic.tls

    @property
    def peer_address(self):
        return self.quic._network_paths[0].addr

    hello = None    # the peer's ClientHello, at a server

    def datagram_received(self, data, addr):
        self.bytes_received += len(data)
        Link.receiving = self
        super().datagram_received(data, addr)
        closing = self.quic._close_event
        if closing is not None and self.closed is None and not self._closing:
            # aioquic tells of a peer's close only after its draining period.
            self.peer_closed = True
            self._end(closing)

    def quic_event_received(self, event):
        if isinstance(event, events.HandshakeCompleted):
            self.ready, self.alpn, self.ready_at = True, event.alpn_protocol, time.monotonic()
            self.on_ready()
        elif isinstance(event, events.StreamDataReceived):
            self._stream_data(event)
        elif isinstance(event, events.StreamReset):
            stream = self.stream(event.stream_id)
            stream.reset_code, stream.ended_at = event.error_code, time.monotonic()
            self._tell(stream)
        elif isinstance(event, events.StopSendingReceived):
            stream = self.stream(event.stream_id)
            stream.stop_code = event.error_code
            self._tell(stream)
        elif isinstance(event, events.DatagramFrameReceived):
            self.datagrams.append(event.data)
        elif isinstance(event, events.ConnectionTerminated):
            if self.closed is None:
                self._end(event)
        self.hub.notify()

    _closing = False

    def _end(self, event):
        self.closed = event.error_code, event.frame_type, event.reason_phrase
        self.closed_at = time.monotonic()
        for stream in self.streams.values():
            self._tell(stream)
        self.on_closed()
        self.hub.notify()

    def _stream_data(self, event):
        stream = self.stream(event.stream_id)
        if stream.first_at is None:
            stream.first_at = time.monotonic()
        stream.received += event.data
        if event.end_stream:
            stream.fin, stream.ended_at = True, time.monotonic()
        self._tell(stream)

    def _tell(self, stream):
        if stream.on_data:
            stream.on_data(stream)

    def stream(self, number):
        if number not in self.streams:
            self.streams[number] = Stream(self, number)
            if bool(number & 1) == self.quic.configuration.is_client:
                self.on_stream(self.streams[number])
        return self.streams[number]

    def on_ready(self):
        """The handshake has ended."""

    def on_stream(self, stream):
        """The peer has opened a stream."""

    def on_closed(self):
        """The connection has ended."""

    # From the test's thread

    def open_stream(self):
        return self.hub.call(self._open)

    def _open(self):
        number = self.quic.get_next_available_stream_id()
        self.quic.send_stream_data(number, b"")     # aioquic counts a stream once it has sent
        return self.stream(number)

    def send_datagram(self, data):
        self.send_datagrams(data)

    def send_datagrams(self, *datagrams):
        """All of them before the peer can answer any."""
        def send():
            for data in datagrams:
                self.quic.send_datagram_frame(data)
            self.transmit()
        self.hub.call(send)

    def close_link(self, code=0, reason=""):
        def close():
            self._closing = True
            self.quic.close(error_code=code, reason_phrase=reason)
            self.transmit()
        self.hub.call(close)

    def abandon(self):
        """Forgets the connection without a word, as a killed process does."""
        def forget():
            if self._timer:
                self._timer.cancel()
            self.transmit = lambda: None
            self.quic.receive_datagram = lambda *a, **k: None
        self.hub.call(forget)

    def ping(self):
        """Sends something that is acknowledged."""
        def send():
            self.quic.send_ping(0)
            self.transmit()
        self.hub.call(send)

    def key_update(self):
        self.hub.call(self.request_key_update)

    def wait_closed_link(self, timeout=10):
        self.hub.wait(lambda: self.closed is not None, timeout, "the link's end")
        return self.closed

    def wait_datagram(self, count=1, timeout=10):
        self.hub.wait(lambda: len(self.datagrams) >= count, timeout, f"{count} datagrams")
        return self.datagrams[:count]


class RpcReader:
    """Cuts the bytes of a stream into RPC frames; keeps all of them for tests."""

    def __init__(self, signature=b""):
        self.pending = bytearray()
        self.signature = signature
        self.seen = 0
        self.frames = []
        self.error = None

    def feed(self, stream):
        """New frames of the stream since the last call."""
        self.pending += stream.received[self.seen:]
        self.seen = len(stream.received)
        if self.signature:
            if len(self.pending) < len(self.signature):
                return []
            assert self.pending.startswith(self.signature), "wrong stream signature"
            del self.pending[:len(self.signature)]
            self.signature = b""
        try:
            fresh = [rpc.read_frame(message) for message in capnp.split(self.pending)]
        except capnp.CapnpError as error:
            self.error = error
            return []
        self.frames += fresh
        return fresh


class RpcClient:
    """The calling side of an RPC stream (edge protocol section 6.2)."""

    def __init__(self, stream, signature=b""):
        self.stream, self.reader = stream, RpcReader()
        self.next_question = 1
        self.capability = None
        self.returns = {}
        self.opening = signature + rpc.bootstrap(0)
        stream.on_data = self.on_data

    def on_data(self, stream):
        for frame in self.reader.feed(stream):
            if frame.which != "return":
                continue
            if frame.question == 0 and frame.exports:
                self.capability = frame.exports[0][1]
            self.returns[frame.question] = frame
            stream._send(rpc.finish(frame.question, frame.outcome == "exception"), False)

    def start(self, interface, method, params):
        """Sends a call, pipelined on the bootstrap while that is unanswered. Returns its id."""
        question = self.next_question
        self.next_question += 1
        message = rpc.call(question, interface, method, params, self.capability)
        self.stream.send(self.opening + message)
        self.opening = b""
        return question

    def wait(self, question, timeout=10):
        """The Return of a call; None when the stream ended without one."""
        self.stream.wait(lambda: question in self.returns or self.stream.ended, timeout,
                         f"the answer to question {question}")
        return self.returns.get(question)

    def call(self, interface, method, params, timeout=10):
        return self.wait(self.start(interface, method, params), timeout)

    def finish(self, with_release=True):
        """The reference's ending: Release, Abort, FIN."""
        released = rpc.release(self.capability or 0) if with_release else b""
        self.stream.send(released + rpc.abort(), True)


class RpcServer:
    """The answering side of an RPC stream that the peer opened: serve(frame), in the loop's thread,
    returns the function that makes the results, the text of an exception, or None: no answer."""

    def __init__(self, stream, serve):
        self.serve, self.reader = serve, RpcReader(rpc.RPC_SIGNATURE)
        stream.on_data = self.on_data

    def on_data(self, stream):
        for frame in self.reader.feed(stream):
            if frame.which == "bootstrap":
                stream._send(rpc.return_bootstrap(frame.question), False)
            elif frame.which == "call":
                outcome = self.serve(frame)
                if outcome is not None:
                    answer = (rpc.return_exception if isinstance(outcome, str)
                              else rpc.return_results)
                    stream._send(answer(frame.question, outcome), False)
        if stream.fin:
            stream._send(b"", True)
