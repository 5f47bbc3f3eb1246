# SPDX-License-Identifier: Apache-2.0
"""An independent daemon over HTTP/2, on python3-h2: TLS client and HTTP/2 server (docs/protocol.md §15)."""
import ssl
import threading

from . import h2peer
from .h2peer import CONFIGURATION, CONTROL, META, PACKED, SERVER_NAME, UPGRADE, find, pack
from .peer_daemon import FEATURES, DaemonBase, Request, hello
from .quicpeer import RpcClient

ORIGIN, DAEMON = '{"src":"origin"}', '{"src":"cloudflared"}'


class H2Request(Request):
    """A request as peer_daemon's handlers know it."""

    def __init__(self, stream):
        fields = [f for f in stream.fields if not f[0].startswith(":")]
        metadata = [("HttpMethod", find(stream.fields, ":method") or ""),
                    ("HttpHost", find(stream.fields, ":authority") or "")]
        metadata += [(f"HttpHeader:{n}", v) for n, v in fields]
        super().__init__(stream, find(fields, UPGRADE), find(stream.fields, ":path") or "",
                         metadata, 0)

    def read(self, timeout=10):
        self.stream.wait_end(timeout)
        return self.body_so_far


class H2DaemonLink(h2peer.Link):
    """One connection to the edge."""

    daemon = None

    def __init__(self):
        super().__init__()
        self.controls = []          # every control stream that the edge opened
        self.updates = []           # streams of configuration updates

    def on_stream(self, stream):
        kind = find(stream.fields, UPGRADE)
        if kind == CONTROL:
            self.controls.append(stream)
        elif kind == CONFIGURATION:
            self.updates.append(stream)
        else:
            request = H2Request(stream)
            self.daemon.requests.append(request)
            threading.Thread(target=self._serve, args=(request,), daemon=True).start()

    def _serve(self, request):
        response = self.daemon.handler(request)
        if response is None:        # the handler has written the stream itself
            return
        stream = request.stream
        if response.error:
            stream.send_head([(":status", "502"), (META, DAEMON)], True)
            return
        body = b"" if request.method == "HEAD" else response.body
        stream.send_head(self.head(response.status, response.headers))
        stream.send(body, response.reset is None)
        if response.reset is not None:
            stream.wait_sent()
            stream.reset(response.reset)
        elif not stream.fin:
            stream.reset(0)         # done, though the request's half is open

    @staticmethod
    def head(status, headers, meta=ORIGIN):
        """The fields of an answer."""
        length = find(headers, "Content-Length")
        outer = [("content-length", length)] if length is not None else []
        return [(":status", str(status)), (PACKED, pack(headers)), (META, meta), *outer]


class PeerH2Daemon(DaemonBase):
    """N connections to one edge."""

    def __init__(self, credentials, edge, cafile, handler=hello, features=FEATURES, settings=None):
        super().__init__("peer-h2-daemon", credentials, edge, cafile, handler, features)
        self.settings = settings or {}

    def connect(self, server_name=SERVER_NAME, timeout=10, wait=True):
        """One connection. wait: until the edge has opened the control stream."""
        context = ssl.create_default_context(cafile=self.cafile)
        kind = type("BoundH2DaemonLink", (H2DaemonLink,),
                    {"hub": self.hub, "daemon": self, "settings": self.settings})
        _, link = self.hub.run(self.hub.loop.create_connection(
            kind, self.host, self.port, ssl=context, server_hostname=server_name), timeout)
        self.links.append(link)
        if wait:
            self.hub.wait(lambda: link.controls or link.closed, timeout, "the control stream")
        return link

    def _control(self, link, timeout):
        self.hub.wait(lambda: link.controls or link.closed, timeout, "the control stream")
        stream = link.controls[-1]
        stream.send_head([(":status", "200"), (META, ORIGIN)])
        return RpcClient(stream)

    def stop(self):
        self.hub.call(h2peer.close_all, self.links)
        self.hub.wait(lambda: all(k.closed for k in self.links), 10, "the end of all links")
        self.hub.stop()
