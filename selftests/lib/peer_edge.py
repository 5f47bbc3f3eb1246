# SPDX-License-Identifier: Apache-2.0
"""An independent edge on aioquic: registers tunnel daemons and sends them requests.

As a library in tests, or as a process: python3 -m lib.peer_edge --help
"""
import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import time

from aioquic.asyncio.server import QuicServer

from . import capnp, certs, tunnelrpc as rpc
from .quicpeer import Link, Loop, RpcClient, RpcReader, RpcServer, Stream, configuration

SILENT = object()       # an answer policy: never answer the registration


@dataclasses.dataclass
class Answer:
    """What came back on a data stream."""
    error: str = ""
    metadata: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    end: object = None              # see Stream.end
    stop_code: object = None
    head_seconds: float = 0.0

    @property
    def status(self):
        return next((int(v) for k, v in self.metadata if k == "HttpStatus"), None)

    def header(self, name):
        """All values of a header, joined; None when it is absent."""
        want = f"HttpHeader:{name}".lower()
        found = [v for k, v in self.metadata if k.lower() == want]
        return ", ".join(found) if found else None


class DataStream(Stream):
    """An edge-opened data stream and the ConnectResponse that comes back on it."""

    def head(self, timeout=10):
        """(error, metadata, offset of the body), or None when the stream ended before it."""
        def read():
            if len(self.received) > 8:
                length = capnp.frame_length(self.received[8:])
                if length is not None and len(self.received) >= 8 + length:
                    return 8 + length
            return -1 if self.ended else None
        end = self.wait(read, timeout, "the answer's head")
        if end < 0:
            return None
        assert self.received[:6] == rpc.DATA_SIGNATURE, bytes(self.received[:8])
        return *rpc.read_connect_response(bytes(self.received[8:end])), end

    def answer(self, timeout=10):
        """Waits for the whole answer. A stream that ended without a head has metadata None."""
        started = time.monotonic()
        head = self.head(timeout)
        taken = time.monotonic() - started
        self.wait_end(timeout)
        if head is None:
            return Answer(metadata=None, end=self.end, stop_code=self.stop_code)
        return Answer(head[0], head[1], bytes(self.received[head[2]:]), self.end,
                      self.stop_code, taken)


class EdgeControl:
    """The edge's side of a link's control stream, whatever carries it. edge is set by the subclass."""

    edge = None

    def _begin(self):
        self.control = None
        self.reader = RpcReader()
        self.registration = None        # rpc.Registration, as received
        self.registered = False
        self.config = None              # uploaded local configuration, bytes
        self.config_answer = None       # text of the exception to answer it with
        self.unregistered = False
        self.connected_at = time.monotonic()
        self.edge.links.append(self)

    def _on_control(self, stream):
        for frame in self.reader.feed(stream):
            reply = self._serve(frame)
            if reply:
                stream._send(reply, False)
        if stream.fin and self.edge.close_control and self.closed is None:
            stream._send(b"", True)

    def _serve(self, frame):
        if frame.which == "bootstrap":
            return self.edge.bootstrap_reply(frame)
        if frame.which == "call" and frame.interface == rpc.REGISTRATION:
            return self._serve_call(frame)
        if frame.which == "call":
            return rpc.return_exception(frame.question, "capnp: method not implemented")
        return None

    def _serve_call(self, frame):
        if frame.method == 1:
            self.unregistered = True
            return self.edge.unregister_reply(frame)
        if frame.method == 2:
            self.config = frame.params.data(0)
            if self.config_answer:
                return rpc.return_exception(frame.question, self.config_answer)
            return rpc.return_results(frame.question, rpc.empty)
        self.registration = rpc.Registration.read(frame.params)
        decision = self.edge.policy(self.registration, self)
        if decision is SILENT:
            return None
        if isinstance(decision, bytes):
            decision = decision[:32] + frame.question.to_bytes(4, "little") + decision[36:]
            outcome = rpc.read_connection_response(rpc.read_frame(decision).results)
            self.registered = isinstance(outcome, rpc.Accepted)
            return decision
        if isinstance(decision, str):
            return rpc.return_exception(frame.question, decision)
        self.registered = isinstance(decision, rpc.Accepted)
        return rpc.return_results(frame.question, decision.results)


class EdgeLink(EdgeControl, Link):
    """One connection of a daemon."""

    rpc_serve = None    # answers calls on those, see RpcServer

    def __init__(self, quic, stream_handler=None):
        super().__init__(quic, stream_handler)
        self.session_ends = []          # streams that the daemon opened for RPC
        self._begin()

    def on_stream(self, stream):
        if stream.number == 0:
            self.control = stream
            stream.on_data = self._on_control
        else:
            self.session_ends.append(stream)
            if self.rpc_serve:
                RpcServer(stream, self.rpc_serve)

    # From the test's thread

    def data_stream(self):
        def make():
            number = self.quic.get_next_available_stream_id()
            self.quic.send_stream_data(number, b"")
            self.streams[number] = DataStream(self, number)
            return self.streams[number]
        return self.hub.call(make)

    def send_request(self, method="GET", host="a.example.com", path="/", headers=(), body=b"",
                     kind=rpc.HTTP, fin=True):
        """Opens a data stream with an HTTP request and its body; returns the stream."""
        stream = self.data_stream()
        stream.send(rpc.http_request(method, host, path, headers, kind) + body, fin)
        return stream

    def request(self, method="GET", host="a.example.com", path="/", headers=(), body=b"",
                timeout=10):
        return self.send_request(method, host, path, headers, body).answer(timeout)

    def rpc(self):
        """Opens an RPC stream (section 8) and returns its client."""
        return RpcClient(self.data_stream(), rpc.RPC_SIGNATURE)


class EdgeBase:
    """What edges of both transports share: the policy, and waiting for daemons.

    policy(registration, link) returns rpc.Accepted, rpc.Refused, the text of an exception, a whole
    Return as bytes (it gets the question's id), or SILENT."""

    def __init__(self, name, policy=None, answer_bootstrap=True, answer_unregister=True,
                 close_control=True):
        self.hub = Loop(name)
        self.links = []
        self.policy = policy or self.accept
        self.answer_bootstrap, self.answer_unregister = answer_bootstrap, answer_unregister
        self.close_control = close_control
        self.host = self.port = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def stop(self):
        raise NotImplementedError

    @staticmethod
    def accept(registration, link):
        return rpc.Accepted(registration.client_id, "peer")

    def bootstrap_reply(self, frame):
        return rpc.return_bootstrap(frame.question) if self.answer_bootstrap else None

    def unregister_reply(self, frame):
        return rpc.return_results(frame.question, rpc.empty) if self.answer_unregister else None

    @property
    def address(self):
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def live(self):
        """Links that are registered and neither closed nor unregistered."""
        return [k for k in self.links
                if k.registered and not (k.closed or k._closing or k.unregistered)]

    def wait_links(self, count=1, timeout=10):
        self.hub.wait(lambda: len(self.links) >= count, timeout, f"{count} connections")
        return self.links[:count]

    def wait_registrations(self, count=1, timeout=10):
        """Waits for `count` connections that have sent a registration, refused or not."""
        return self.hub.wait(lambda: (lambda l: l if len(l) >= count else None)(
            [k for k in self.links if k.registration]), timeout, f"{count} registrations")

    def wait_registered(self, count=1, timeout=10):
        return self.hub.wait(lambda: self.live if len(self.live) >= count else None, timeout,
                             f"{count} registered links")

    def wait(self, condition, timeout=10, what="condition"):
        return self.hub.wait(condition, timeout, what)


class PeerEdge(EdgeBase):
    """The QUIC server; members: of its QuicConfiguration."""

    def __init__(self, chain, key, host="127.0.0.1", port=0, policy=None, retry=False,
                 answer_bootstrap=True, answer_unregister=True, close_control=True, **members):
        super().__init__("peer-edge", policy, answer_bootstrap, answer_unregister, close_control)
        settings = configuration(False, **members)
        settings.load_cert_chain(str(chain), str(key))
        link_class = type("BoundEdgeLink", (EdgeLink,), {"hub": self.hub, "edge": self})
        self.server = self.hub.run(self._listen(host, port, settings, link_class, retry))
        self.host, self.port = self.server._transport.get_extra_info("sockname")[:2]

    async def _listen(self, host, port, settings, link_class, retry):
        _, server = await self.hub.loop.create_datagram_endpoint(
            lambda: QuicServer(configuration=settings, create_protocol=link_class, retry=retry),
            local_addr=(host, port))
        return server

    def forget(self):
        """Drops all state without a word, as a killed process would; the socket stays open."""
        for link in self.links:
            link.abandon()
        self.hub.call(self.server._protocols.clear)

    def stop(self):
        def close():
            for protocol in set(self.server._protocols.values()):
                protocol._closing = True
            self.server.close()
        self.hub.call(close)
        self.hub.stop()


def main(arguments):
    parser = argparse.ArgumentParser(description="a test edge: waits for one daemon, registers it, "
                                     "prints what it sent and the answer to one request")
    parser.add_argument("--listen", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=7844)
    parser.add_argument("--cert", help="chain FILE.pem and key FILE.key; made when absent")
    parser.add_argument("--host", default="a.example.com")
    parser.add_argument("--path", default="/")
    parser.add_argument("--timeout", type=float, default=60)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        if options.cert:
            chain, key = pathlib.Path(options.cert + ".pem"), pathlib.Path(options.cert + ".key")
        else:
            authority = certs.Authority(pathlib.Path(folder))
            chain, key = authority.leaf("edge")
            print(f"pin {authority.pin}", flush=True)
        with PeerEdge(chain, key, options.listen, options.port) as edge:
            print(f"listening on {edge.address}", flush=True)
            link = edge.wait_registered(1, options.timeout)[0]
            answer = link.request(host=options.host, path=options.path)
            shown = dataclasses.asdict(link.registration) | {"secret": "(not shown)"}
            print(json.dumps(shown, default=bytes.hex))
            print(json.dumps(dataclasses.asdict(answer), default=bytes.decode))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
