# SPDX-License-Identifier: Apache-2.0
"""The daemon's end of UDP flows on a link of PeerDaemon: what the edge sent, and answers by hand."""
import struct

from . import dgram3
from .dgrams import Reader

FEATURE = "support_datagram_v3_2"


class Registration:
    def __init__(self, data):
        self.flags, self.port, self.idle = struct.unpack("!BHH", data[1:6])
        self.flow, length = data[6:22], 16 if self.flags & 1 else 4
        self.address, self.payload = data[22:22 + length], data[22 + length:]
        assert self.flags & 0xf8 == 0 and len(data) <= 1280
        assert bool(self.flags & 4) == bool(self.payload)


class FlowServer(Reader):
    """Reads what the edge sent on one link."""

    def __init__(self, link):
        super().__init__(link)
        self.registrations, self.payloads = [], []  # [Registration], [(flow, bytes)]

    def sort(self, datagram):
        if datagram[0] == dgram3.REGISTER:
            self.registrations.append(Registration(datagram))
        else:
            assert datagram[0] == dgram3.PAYLOAD and len(datagram) >= 17, datagram.hex()
            self.payloads.append((datagram[1:17], datagram[17:]))

    def wait_registration(self, count=1, timeout=5):
        self.wait(lambda: len(self.registrations) >= count, timeout, f"registration {count}")
        return self.registrations[count - 1]

    def wait_payloads(self, count, timeout=5):
        self.wait(lambda: len(self.payloads) >= count, timeout, f"{count} payloads")
        return [data for _, data in self.payloads]

    def respond(self, flow, code=dgram3.OK):
        self.link.send_datagram(bytes([dgram3.RESPONSE, code]) + flow + b"\0\0")

    def send(self, flow, payload):
        self.link.send_datagram(dgram3.carry(flow, payload))
