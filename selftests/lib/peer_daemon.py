# SPDX-License-Identifier: Apache-2.0
"""An independent daemon on aioquic: registers at an edge and serves its requests by a callback.

As a library in tests, or as a process: python3 -m lib.peer_daemon --help
"""
import argparse
import asyncio
import base64
import dataclasses
import json
import socket
import sys
import threading
import uuid

from aioquic.quic.connection import QuicConnection

from . import capnp, tunnelrpc as rpc
from .quicpeer import Link, Loop, RpcClient, RpcServer, configuration
from .wait import seconds

FEATURES = ["allow_remote_config", "serialized_headers", "support_datagram_v2", "support_quic_eof",
            "management_logs"]


@dataclasses.dataclass
class Credentials:
    account: str
    tunnel: str         # UUID text
    secret: bytes
    edges: list = dataclasses.field(default_factory=list)
    pin: str = ""

    @classmethod
    def from_token(cls, text):
        document = json.loads(base64.b64decode(text))
        extra = document.get("x") or {}
        return cls(document["a"], document["t"], base64.b64decode(document["s"]),
                   extra.get("edge", []), extra.get("pin", ""))


@dataclasses.dataclass
class Response:
    status: int = 200
    headers: list = dataclasses.field(default_factory=list)
    body: bytes = b""
    error: str = ""
    reset: object = None        # a code: reset the stream after the body instead of ending it


class Request:
    """One request as it arrived. read() waits for its whole body, by the rules of section 10.3."""

    def __init__(self, stream, kind, dest, metadata, offset):
        self.stream, self.kind, self.dest, self.metadata = stream, kind, dest, metadata
        self.offset = offset

    def meta(self, key):
        return next((v for k, v in reversed(self.metadata) if k == key), None)

    @property
    def method(self):
        return self.meta("HttpMethod") or "GET"

    @property
    def host(self):
        return self.meta("HttpHost") or ""

    @property
    def headers(self):
        return [(k.split(":", 1)[1], v) for k, v in self.metadata if k.startswith("HttpHeader:")]

    def header(self, name):
        found = [v for n, v in self.headers if n.lower() == name.lower()]
        return ", ".join(found) if found else None

    @property
    def body_so_far(self):
        return bytes(self.stream.received[self.offset:])

    def read(self, timeout=10):
        length, coding = self.header("Content-Length"), self.header("Transfer-Encoding") or ""
        if length:
            want = self.offset + int(length)
            self.stream.wait(lambda: len(self.stream.received) >= want or self.stream.ended,
                             timeout, "the request body")
            return self.body_so_far[:int(length)]
        if "chunked" not in coding.lower():
            return b""
        self.stream.wait_end(timeout)
        return self.body_so_far


class DaemonLink(Link):
    """One connection to the edge."""

    daemon = None
    rpc_serve = None    # answers calls on RPC streams of the edge, see RpcServer

    def on_stream(self, stream):
        stream.on_data = self._on_head

    def _on_head(self, stream):
        """Collects preamble and ConnectRequest, then hands the stream to a thread of its own."""
        data = stream.received
        if self.rpc_serve and data[:6] == rpc.RPC_SIGNATURE:
            RpcServer(stream, self.rpc_serve).on_data(stream)
            return
        if len(data) < 16 or data[:6] != rpc.DATA_SIGNATURE:
            return
        length = capnp.frame_length(data[8:])
        if length is None or len(data) < 8 + length:
            return
        stream.on_data = None
        kind, dest, metadata = rpc.read_connect_request(bytes(data[8:8 + length]))
        request = Request(stream, kind, dest, metadata, 8 + length)
        self.daemon.requests.append(request)
        threading.Thread(target=self._serve, args=(request,), daemon=True).start()

    def _serve(self, request):
        response = self.daemon.handler(request)
        if response is None:        # the handler has written the stream itself
            return
        stream = request.stream
        if response.error:
            stream.send(rpc.connect_response(response.error), True)
            return
        head = rpc.http_response(response.status, response.headers)
        body = b"" if request.method == "HEAD" else response.body
        stream.send(head + body, response.reset is None)
        if response.reset is not None:
            stream.wait_sent()      # a reset would take the bytes with it
            stream.reset(response.reset)
        elif not stream.fin:
            stream.stop(0)


def hello(request):
    """The default handler."""
    return Response(200, [("Content-Type", "text/plain"), ("X-Peer", "python")], b"hello\n")


class DaemonBase:
    """What daemons of both transports share: who they are, and calls on the control stream.

    handler(request) -> Response, or None when it wrote by itself."""

    def __init__(self, name, credentials, edge, cafile, handler, features):
        self.credentials, self.handler, self.features = credentials, handler, list(features)
        self.host, port = edge.rsplit(":", 1)
        self.host, self.port = self.host.strip("[]"), int(port)
        self.cafile = str(cafile)
        self.hub = Loop(name)
        self.client_id = uuid.uuid4().bytes
        self.links, self.requests = [], []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def connect(self):
        """A link that is ready to register."""
        raise NotImplementedError

    def stop(self):
        raise NotImplementedError

    def _control(self, link, timeout):
        """The RPC client of a link that has none yet."""
        raise NotImplementedError

    def registration(self, index=0, **changes):
        tunnel = uuid.UUID(self.credentials.tunnel).bytes
        mapped = bytes(10) + b"\xff\xff" + socket.inet_aton("127.0.0.1")
        made = rpc.Registration(self.credentials.account, self.credentials.secret, tunnel, index,
                                self.client_id, self.features, "2026.8.2", "linux_amd64", mapped)
        return dataclasses.replace(made, **changes)

    def register(self, index=0, link=None, timeout=10, **changes):
        """Connects (unless given a link) and registers.

        Returns (link, outcome): rpc.Accepted, rpc.Refused, the text of an exception, or None when
        the session ended without an answer.
        """
        link = link or self.connect()
        assert link.closed is None, f"no connection: {link.closed}"
        link.rpc = self._control(link, timeout)
        frame = link.rpc.call(rpc.REGISTRATION, 0, self.registration(index, **changes).params,
                              timeout)
        if frame is None:
            return link, None
        if frame.outcome == "exception":
            return link, frame.reason
        return link, rpc.read_connection_response(frame.results)

    def upload(self, link, config, timeout=10):
        return link.rpc.call(rpc.REGISTRATION, 2, rpc.local_configuration(config), timeout)

    def unregister(self, link, timeout=10):
        frame = link.rpc.call(rpc.REGISTRATION, 1, rpc.empty, timeout)
        link.rpc.finish()
        return frame

    def wait_requests(self, count=1, timeout=10):
        self.hub.wait(lambda: len(self.requests) >= count, timeout, f"{count} requests")
        return self.requests[:count]


class PeerDaemon(DaemonBase):
    """N QUIC connections to one edge; members: of their QuicConfiguration."""

    def __init__(self, credentials, edge, cafile, handler=hello, features=FEATURES, **members):
        super().__init__("peer-daemon", credentials, edge, cafile, handler, features)
        self.members = members

    def connect(self, server_name="quic.cftunnel.com", timeout=10, wait=True):
        """One QUIC connection. wait: until the handshake has ended."""
        settings = configuration(True, server_name=server_name, cafile=self.cafile,
                                 **self.members)
        link = self.hub.run(self._dial(settings), timeout)
        self.links.append(link)
        if wait:
            self.hub.wait(lambda: link.ready or link.closed, timeout, "the handshake")
        return link

    async def _dial(self, settings):
        def make():
            link = type("BoundDaemonLink", (DaemonLink,), {"hub": self.hub, "daemon": self})
            return link(QuicConnection(configuration=settings))
        any_address = "::" if ":" in self.host else "0.0.0.0"
        _, link = await asyncio.get_running_loop().create_datagram_endpoint(
            make, local_addr=(any_address, 0))
        link.connect((self.host, self.port))
        return link

    def _control(self, link, timeout):
        return RpcClient(link.open_stream())

    def stop(self):
        for link in self.links:
            if link.closed is None:
                link.close_link(0)
        self.hub.call(lambda: [link._transport.close() for link in self.links])
        self.hub.stop()


def main(arguments):
    parser = argparse.ArgumentParser(description="a test daemon: registers and answers hello")
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--edge", help="HOST:PORT; default: the token's first")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--requests", type=int, default=1, help="serve so many, then leave")
    parser.add_argument("--timeout", type=float, default=60)
    options = parser.parse_args(arguments)
    with open(options.token_file, encoding="ascii") as file:
        credentials = Credentials.from_token(file.read().strip())
    with PeerDaemon(credentials, options.edge or credentials.edges[0], options.ca) as daemon:
        link, outcome = daemon.register()
        print(outcome, flush=True)
        if not isinstance(outcome, rpc.Accepted):
            return 1
        for request in daemon.wait_requests(options.requests, options.timeout):
            print(request.method, request.host, request.dest, flush=True)
            request.stream.wait(lambda r=request: r.stream.ended, seconds(5), "the end")
        daemon.unregister(link)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
