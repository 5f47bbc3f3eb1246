# SPDX-License-Identifier: Apache-2.0
"""Session datagrams of version 3 as bytes, and the edge's end of flows on a link of PeerEdge."""
import ipaddress
import os
import struct
import time

REGISTER, PAYLOAD, ICMP, RESPONSE = range(4)
OK, UNREACHABLE, NO_SOCKET, TOO_MANY, OTHER = 0, 1, 2, 3, 0xff


def register(flow, host, port, idle=0, payload=b""):
    address = ipaddress.ip_address(host)
    flags = (address.version == 6) | (4 if payload else 0)
    return struct.pack("!BBHH", REGISTER, flags, port, idle) + flow + address.packed + payload


def carry(flow, payload):
    return bytes([PAYLOAD]) + flow + payload


class Flows:
    """Reads what a link's daemon sends; flow ids are 16 random bytes."""

    def __init__(self, link):
        self.link, self.seen = link, 0
        self.responses = {}     # id -> list of codes
        self.payloads = {}      # id -> list of bytes
        self.other = []

    def new(self):
        return os.urandom(16)

    def send(self, *datagrams):
        """All of them before the daemon can answer any."""
        def push():
            for datagram in datagrams:
                self.link.quic.send_datagram_frame(datagram)
            self.link.transmit()
        self.link.hub.call(push)

    def read(self):
        fresh = self.link.datagrams[self.seen:]
        self.seen += len(fresh)
        for datagram in fresh:
            if datagram[:1] == bytes([RESPONSE]) and len(datagram) == 20:
                assert datagram[18:] == b"\0\0", datagram.hex()
                self.responses.setdefault(datagram[2:18], []).append(datagram[1])
            elif datagram[:1] == bytes([PAYLOAD]) and len(datagram) >= 17:
                self.payloads.setdefault(datagram[1:17], []).append(datagram[17:])
            else:
                self.other.append(datagram)

    def wait(self, condition, timeout=5, what="datagrams of the daemon"):
        def look():
            self.read()
            return condition()
        return self.link.hub.wait(look, timeout, what)

    def wait_response(self, flow, count=1, timeout=5):
        """The code of the registration's count-th answer."""
        self.wait(lambda: len(self.responses.get(flow, ())) >= count, timeout, "a response")
        return self.responses[flow][count - 1]

    def wait_payload(self, flow, timeout=5):
        """The next payload of a flow, taken out."""
        self.wait(lambda: self.payloads.get(flow), timeout, "a payload")
        return self.payloads[flow].pop(0)

    def open(self, host, port, idle=0, tries=1):
        """Registers a flow and returns its id."""
        flow = self.new()
        self.send(register(flow, host, port, idle))
        assert self.wait_response(flow) == OK
        return flow

    def echo(self, flow, payload, timeout=5):
        """Sends a payload until it comes back: datagrams may be lost, and the path's size grows in
        the first moments of a link."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.send(carry(flow, payload))
            try:
                got = self.wait_payload(flow, 0.5)
            except AssertionError:
                continue
            assert got == payload, (len(got), len(payload))
            return
        raise AssertionError(f"no echo of {len(payload)} bytes")
