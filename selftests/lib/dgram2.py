# SPDX-License-Identifier: Apache-2.0
"""Session datagrams of version 2, and either end of sessions on a link of PeerEdge or PeerDaemon."""
import dataclasses
import ipaddress
import os

from . import tunnelrpc as rpc
from .dgrams import Carrier
from .quicpeer import RpcClient

PAYLOAD, PACKET, TRACED, SPANS = range(4)
TOO_MANY = "failed to start udp session due to rate limiting: too many active flows"


def carry(session, payload):
    return payload + session + bytes([PAYLOAD])


class End(Carrier):
    """What both ends share: payloads by session, and ends that the peer has told."""

    carry = staticmethod(carry)

    def __init__(self, link):
        super().__init__(link)
        self.ends = []          # (id, text), told by the peer
        link.rpc_serve = self._serve

    def _serve(self, frame):
        assert frame.interface == rpc.SESSIONS, frame
        if frame.method == 0:
            return self.on_register(frame.params)
        self.ends.append((frame.params.data(0), frame.params.text(1)))
        return rpc.empty

    def on_register(self, params):
        return "not served here"

    def sort(self, datagram):
        if len(datagram) >= 17 and datagram[-1] == PAYLOAD:
            self.payloads.setdefault(datagram[-17:-1], []).append(datagram[:-17])
        else:
            self.other.append(datagram)

    def wait_end(self, session, timeout=5):
        """The text with which the peer told the session's end."""
        self.wait(lambda: any(s == session for s, _ in self.ends), timeout, "the session's end")
        return next(text for s, text in self.ends if s == session)

    def client(self):
        """A fresh RPC stream."""
        return RpcClient(self.link.open_stream(), rpc.RPC_SIGNATURE)

    def call(self, method, params, timeout=8):
        """One call on a stream of its own: its Return."""
        client = self.client()
        frame = client.call(rpc.SESSIONS, method, params, timeout)
        client.finish()
        return frame

    def unregister(self, session, text="bye"):
        return self.call(1, rpc.unregister_udp_session(session, text))


class Sessions(End):
    """The edge's end."""

    def new(self):
        return os.urandom(16)

    def register(self, session, host, port, idle=0.0, trace=""):
        """The error in the results, "" for success; idle in seconds."""
        address = host if isinstance(host, bytes) else ipaddress.ip_address(host).packed
        frame = self.call(0, rpc.register_udp_session(session, address, port, round(idle * 1e9),
                                                      trace))
        assert frame.outcome == "results", frame.reason
        return frame.results.struct(0).text(0)

    def open(self, host, port, idle=0.0, trace=""):
        session = self.new()
        assert self.register(session, host, port, idle, trace) == ""
        return session


@dataclasses.dataclass
class Asked:
    """A registration as the edge sent it."""
    session: bytes
    address: object
    port: int
    idle: float
    trace: str


class SessionServer(End):
    """The daemon's end. answer: the error text of each registration's results, "" to accept, an
    exception with raises=True, None: no answer at all."""

    def __init__(self, link, answer="", raises=False):
        super().__init__(link)
        self.asked, self.answer, self.raises = [], answer, raises

    def on_register(self, params):
        address = ipaddress.ip_address(params.data(1))
        self.asked.append(Asked(params.data(0), address, params.u16(0), params.i64(8) / 1e9,
                                params.text(2)))
        if self.raises or self.answer is None:
            return self.answer
        return rpc.udp_session_response(self.answer)

    def wait_asked(self, count=1, timeout=5):
        self.wait(lambda: len(self.asked) >= count, timeout, f"registration {count}")
        return self.asked[count - 1]
