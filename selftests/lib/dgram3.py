# SPDX-License-Identifier: Apache-2.0
"""Session datagrams of version 3 as bytes, and the edge's end of flows on a link of PeerEdge."""
import ipaddress
import os
import struct

from .dgrams import Carrier

REGISTER, PAYLOAD, ICMP, RESPONSE = range(4)
OK, UNREACHABLE, NO_SOCKET, TOO_MANY, OTHER = 0, 1, 2, 3, 0xff


def register(flow, host, port, idle=0, payload=b""):
    address = ipaddress.ip_address(host)
    flags = (address.version == 6) | (4 if payload else 0)
    return struct.pack("!BBHH", REGISTER, flags, port, idle) + flow + address.packed + payload


def carry(flow, payload):
    return bytes([PAYLOAD]) + flow + payload


class Flows(Carrier):
    """Reads what a link's daemon sends; flow ids are 16 random bytes."""

    carry = staticmethod(carry)

    def __init__(self, link):
        super().__init__(link)
        self.responses = {}     # id -> list of codes

    def new(self):
        return os.urandom(16)

    def sort(self, datagram):
        if datagram[:1] == bytes([RESPONSE]) and len(datagram) == 20:
            assert datagram[18:] == b"\0\0", datagram.hex()
            self.responses.setdefault(datagram[2:18], []).append(datagram[1])
        elif datagram[:1] == bytes([PAYLOAD]) and len(datagram) >= 17:
            self.payloads.setdefault(datagram[1:17], []).append(datagram[17:])
        else:
            self.other.append(datagram)

    def wait_response(self, flow, count=1, timeout=5):
        """The code of the registration's count-th answer."""
        self.wait(lambda: len(self.responses.get(flow, ())) >= count, timeout, "a response")
        return self.responses[flow][count - 1]

    def open(self, host, port, idle=0):
        """Registers a flow and returns its id."""
        flow = self.new()
        self.send(register(flow, host, port, idle))
        assert self.wait_response(flow) == OK
        return flow
