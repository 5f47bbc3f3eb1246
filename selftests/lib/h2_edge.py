# SPDX-License-Identifier: Apache-2.0
"""An independent edge over HTTP/2, on python3-h2: TLS server and HTTP/2 client (docs/protocol.md §15)."""
import dataclasses
import ssl
import time

from . import h2peer, tunnelrpc as rpc
from .h2peer import CONFIGURATION, CONTROL, META, PACKED, SOURCE, UPGRADE, find, unpack
from .peer_edge import EdgeBase, EdgeControl

KINDS = {rpc.HTTP: [], rpc.WEBSOCKET: [(UPGRADE, "websocket")], rpc.TCP: [(SOURCE, "192.0.2.1")]}


@dataclasses.dataclass
class Answer:
    """What came back for a request. fields: of the HTTP/2 head; headers: the visitor's, unpacked."""
    status: int = 0
    fields: list = None         # None: the stream ended without a head
    headers: list = dataclasses.field(default_factory=list)
    meta: object = None
    body: bytes = b""
    trailers: list = None
    end: object = None          # see quicpeer.Stream.end
    head_seconds: float = 0.0
    seconds: float = 0.0

    def header(self, name):
        return find(self.headers, name)


class DataStream(h2peer.Stream):
    def __init__(self, link, number):
        super().__init__(link, number)
        self.opened_at = time.monotonic()

    def answer(self, timeout=10):
        """Waits for the whole answer."""
        self.wait_end(timeout)
        if self.fields is None:
            return Answer(end=self.end)
        packed = find(self.fields, PACKED)
        return Answer(self.status, self.fields, unpack(packed or ""), h2peer.meta_of(self.fields),
                      bytes(self.received), self.trailers, self.end,
                      self.head_at - self.opened_at, (self.ended_at or 0) - self.opened_at)


class H2EdgeLink(EdgeControl, h2peer.Link):
    """One connection of a daemon."""

    is_client = True
    stream_class = DataStream

    def on_ready(self):
        self._begin()
        self.server_name = self.edge.server_names.get(self.transport.get_extra_info("ssl_object"))
        if self.edge.open_control:
            self.open_control_now()

    def open_control_now(self):
        self.control = self.open_now([(":method", "GET"), (":scheme", "https"),
                                      (":authority", "control.test"), (":path", "/"),
                                      (UPGRADE, CONTROL)])
        self.control.on_data = self._on_control

    # From the test's thread

    @staticmethod
    def request_fields(method="GET", host="a.example.com", path="/", headers=(), kind=rpc.HTTP):
        pseudo = [(":method", method), (":scheme", "https"), (":authority", host), (":path", path)]
        return pseudo + KINDS[kind] + [(n.lower(), v) for n, v in headers]

    def send_request(self, method="GET", host="a.example.com", path="/", headers=(), body=b"",
                     kind=rpc.HTTP, fin=True):
        """Opens a stream with a request and its body; returns the stream."""
        stream = self.open_request(self.request_fields(method, host, path, headers, kind),
                                   fin and not body)
        if body:
            stream.send(body, fin)
        return stream

    def request(self, method="GET", host="a.example.com", path="/", headers=(), body=b"",
                timeout=10):
        return self.send_request(method, host, path, headers, body).answer(timeout)

    def configure(self, body, timeout=10):
        """Sends a configuration update; returns its answer."""
        fields = self.request_fields("POST", "update.test") + [(UPGRADE, CONFIGURATION)]
        stream = self.open_request(fields)
        stream.send(body, True)
        return stream.answer(timeout)


class PeerH2Edge(EdgeBase):
    """The server. open_control: open the control stream as soon as a daemon is there."""

    def __init__(self, chain, key, host="127.0.0.1", port=0, open_control=True, context=None,
                 settings=None, **options):
        super().__init__("peer-h2-edge", **options)
        self.open_control = open_control
        self.server_names, self.hellos = {}, []     # by ssl object; ClientHello messages
        self.context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(str(chain), str(key))
        self.context.sni_callback = self._named
        self.context._msg_callback = self._message
        link_class = type("BoundH2EdgeLink", (H2EdgeLink,),
                          {"hub": self.hub, "edge": self, "settings": settings or {}})
        self.server = self.hub.run(self._listen(link_class, host, port))
        self.host, self.port = self.server.sockets[0].getsockname()[:2]

    async def _listen(self, link_class, host, port):
        return await self.hub.loop.create_server(link_class, host, port, ssl=self.context)

    def _named(self, connection, name, _):
        self.server_names[connection] = name

    def _message(self, connection, direction, version, content, kind, data):
        if direction == "read" and (content, kind) == (22, 1):
            self.hellos.append(bytes(data))

    def stop(self):
        def close():
            self.server.close()
            h2peer.close_all(self.links)
        self.hub.call(close)
        self.hub.wait(lambda: all(k.closed for k in self.links), 10, "the end of all links")
        self.hub.stop()

