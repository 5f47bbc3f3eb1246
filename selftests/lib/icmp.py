# SPDX-License-Identifier: Apache-2.0
"""ICMP in whole IP packets, and the edge's end of it on a link of PeerEdge."""
import dataclasses
import ipaddress
import socket
import struct

from . import dgram3
from .dgrams import Reader
from .wait import seconds

REQUEST, REPLY, UNREACHABLE, TOO_BIG, EXCEEDED = "request", "reply", "unreachable", "too-big", "exceeded"
NUMBERS = {4: {REQUEST: 8, REPLY: 0, UNREACHABLE: 3, EXCEEDED: 11},
           6: {REQUEST: 128, REPLY: 129, UNREACHABLE: 1, TOO_BIG: 2, EXCEEDED: 3}}
EYEBALL = {4: "100.96.0.5", 6: "2606:4700:cf1:1000::5"}
V2_PACKET, V2_TRACED = 1, 2


def raw_socket(namespace, protocol=None, v6=False):
    """One that sends and sees packets of a protocol, ICMP if it isn't said, of a host."""
    if protocol is None:
        protocol = socket.IPPROTO_ICMPV6 if v6 else socket.IPPROTO_ICMP
    with namespace.inside():
        made = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_RAW, protocol)
    made.settimeout(seconds(5))
    return made


def checksum(data):
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total ^ 0xffff


def _pseudo(src, dst, length):
    return src.packed + dst.packed + struct.pack("!II", length, 58)


def packet(src, dst, message, ttl=64, flags=0, tos=0, label=0):
    """An IP packet around an ICMP message whose checksum is made here; flags: of IPv4's third word;
    label: id in IPv4, flow label in IPv6."""
    src, dst = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    before = b"" if dst.version == 4 else _pseudo(src, dst, len(message))
    message = message[:2] + bytes(2) + message[4:]
    message = message[:2] + struct.pack("!H", checksum(before + message)) + message[4:]
    if dst.version == 6:
        return struct.pack("!IHBB", 6 << 28 | tos << 20 | label, len(message), 58, ttl) + src.packed + dst.packed + message
    head = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(message), label, flags, ttl, 1, 0)
    head += src.packed + dst.packed
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + message


def request(dst, ident=1, seq=1, data=b"ping-data", ttl=64, src=None, dont_fragment=False, code=0,
            kind=REQUEST, **marks):
    version = ipaddress.ip_address(dst).version
    message = struct.pack("!BBHHH", NUMBERS[version][kind], code, 0, ident, seq) + data
    return packet(src or EYEBALL[version], dst, message, ttl, 0x4000 if dont_fragment else 0, **marks)


@dataclasses.dataclass
class Message:
    """What was read of a packet; echo: of what an error quotes."""
    src: str
    dst: str
    ttl: int
    kind: object
    code: int
    ident: int = 0
    seq: int = 0
    mtu: int = 0
    data: bytes = b""
    quote: bytes = b""
    echo: object = None


def read(whole, is_quote=False):
    """Checks every checksum and length unless it is a quote, which may be cut."""
    version = whole[0] >> 4
    if version == 4:
        assert is_quote or (checksum(whole[:20]) == 0 and whole[0] == 0x45)
        length, ttl, protocol = struct.unpack("!H", whole[2:4])[0], whole[8], whole[9]
        src, dst, message = whole[12:16], whole[16:20], whole[20:]
    else:
        length, protocol, ttl = struct.unpack("!HBB", whole[4:8])
        length += 40
        src, dst, message = whole[8:24], whole[24:40], whole[40:]
    src, dst = ipaddress.ip_address(src), ipaddress.ip_address(dst)
    assert protocol == (1 if version == 4 else 58)
    if not is_quote:
        before = b"" if version == 4 else _pseudo(src, dst, len(message))
        assert length == len(whole) and checksum(before + message) == 0, whole.hex()
    kinds = {number: kind for kind, number in NUMBERS[version].items()}
    made = Message(str(src), str(dst), ttl, kinds.get(message[0]), message[1])
    if made.kind in (REQUEST, REPLY):
        made.ident, made.seq = struct.unpack("!HH", message[4:8])
        made.data = message[8:]
        return made
    made.quote = message[8:]
    if version == 4 and made.kind == UNREACHABLE and made.code == 4:
        made.kind, made.mtu = TOO_BIG, struct.unpack("!H", message[6:8])[0]
    elif made.kind == TOO_BIG:
        made.mtu = struct.unpack("!I", message[4:8])[0]
    if not is_quote:
        made.echo = read(made.quote, True)
    return made


class Pings(Reader):
    """What a link's daemon sends in ICMP datagrams of a version."""

    def __init__(self, link, version=3):
        super().__init__(link)
        self.version = version
        self.packets = []       # as they came

    def send(self, *packets):
        wrap = {3: lambda p: bytes([dgram3.ICMP]) + p, 2: lambda p: p + bytes([V2_PACKET])}
        self.link.send_datagrams(*map(wrap[self.version], packets))

    def sort(self, datagram):
        if self.version == 3 and datagram[:1] == bytes([dgram3.ICMP]):
            self.packets.append(datagram[1:])
        elif self.version == 2 and datagram[-1:] == bytes([V2_PACKET]):
            self.packets.append(datagram[:-1])
        else:
            self.other.append(datagram)

    def take(self, timeout=5, what="an ICMP packet of the daemon"):
        """The next packet, taken out."""
        self.wait(lambda: self.packets, timeout, what)
        return self.packets.pop(0)

    def ask(self, *packets, timeout=5):
        """Sends, and reads the next packet that comes."""
        self.send(*packets)
        return read(self.take(timeout))

    def echo(self, dst, data=b"ping-data", ident=0x1234, seq=1, timeout=5, **more):
        """A ping and its reply."""
        got = self.ask(request(dst, ident, seq, data, **more), timeout=timeout)
        assert (got.kind, got.src, got.ident, got.seq, got.ttl) == (REPLY, dst, ident, seq, 255), got
        assert got.data == data, (len(got.data), len(data))
        return got
