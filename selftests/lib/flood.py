# SPDX-License-Identifier: Apache-2.0
"""Packets of strangers for an edge: junk at a rate, and Initials that begin handshakes.

As a process: python3 -m lib.flood junk|initials HOST PORT COUNT RATE [SOURCES]
"""
import os
import socket
import sys
import time

from aioquic.buffer import Buffer
from aioquic.quic.connection import QuicConnection
from aioquic.quic.crypto import CryptoPair
from aioquic.quic.packet import QuicProtocolVersion, pull_quic_header

from .quicpeer import configuration

VERSION = QuicProtocolVersion.VERSION_1
PACKET = 1200


def client_hello():
    """(SCID, payload) of a real first packet: its CRYPTO frame fits any DCID."""
    settings = configuration(True, server_name="quic.cftunnel.com")
    quic = QuicConnection(configuration=settings)
    quic.connect(("127.0.0.1", 1), now=0.0)
    data = quic.datagrams_to_send(now=0.0)[0][0]
    header = pull_quic_header(Buffer(data=data), host_cid_length=8)
    pair = CryptoPair()
    pair.setup_initial(header.destination_cid, is_client=False, version=VERSION)
    offset = 1 + 4 + 1 + len(header.destination_cid) + 1 + len(header.source_cid) + 1 + 2
    _, payload, _ = pair.decrypt_packet(data[:header.packet_length], offset, 0)
    return header.source_cid, payload.rstrip(b"\0")


def initials(count, source_cid, payload):
    """Initial packets with the same ClientHello and a random DCID each."""
    for _ in range(count):
        cid = os.urandom(12)
        head = (b"\xc1" + int(VERSION).to_bytes(4, "big") + bytes([len(cid)]) + cid
                + bytes([len(source_cid)]) + source_cid + b"\0")
        room = PACKET - len(head) - 2 - 2 - 16
        plain = payload + bytes(room - len(payload))
        length = 0x4000 | (2 + room + 16)
        pair = CryptoPair()
        pair.setup_initial(cid, is_client=True, version=VERSION)
        yield pair.encrypt_packet(head + length.to_bytes(2, "big") + b"\0\0", plain, 0)


def junk(count):
    """Short headers with ids that nobody gave out, and now and then a broken long header."""
    for number in range(count):
        first = 0xC0 if number % 10 == 0 else 0x40
        yield bytes([first]) + os.urandom(99)


def send(packets, host, port, rate, sources=("127.0.0.1",)):
    """Sends at `rate` packets a second, the sources taking turns. Returns the seconds it took."""
    sockets = []
    for address in sources:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 0))
        made.connect((host, port))
        made.setblocking(False)
        sockets.append(made)
    started = time.perf_counter()
    for number, packet in enumerate(packets):
        try:
            sockets[number % len(sockets)].send(packet)
        except OSError:
            continue        # a full queue, or an error that an earlier packet earned
        ahead = number / rate - (time.perf_counter() - started)
        if ahead > 0.002:
            time.sleep(ahead)       # pacing
    for made in sockets:
        made.close()
    return time.perf_counter() - started


def main(words):
    kind, host, port, count, rate = words[0], words[1], *map(int, words[2:5])
    many = int(words[5]) if len(words) > 5 else 1
    sources = [f"127.{9 + n // 250}.{n % 250}.9" for n in range(many)]
    packets = junk(count) if kind == "junk" else initials(count, *client_hello())
    print(f"{count} {kind} in {send(packets, host, port, rate, sources):.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
