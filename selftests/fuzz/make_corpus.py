#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write the seeds of the wire fuzzers from the recorded vectors and from texts below.

usage: make_corpus.py [CORPUS_DIR]       (default: selftests/fuzz/corpus)

Seeds are named seed-NN and rewritten; other files of a corpus (findings, what a fuzzer added) stay.
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "data")
VECTORS = os.path.join(DATA, "edge-protocol.json")
HTTP2 = os.path.join(DATA, "http2.json")
DATAGRAMS = os.path.join(DATA, "datagrams.json")
LIMIT = 48

TEXTS = {
    "token": ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYmFyZm9vYmFy", "00ff9A", "Zh==",
              "00112233-4455-6677-8899-aabbccddeeff", "account\"", "a" * 90, "a" * 91],
    "uri": ["https://user@app.example.com:8443/path/to?q=1&r=%20x#f", "/a%2Fb?x", "//h/p", "",
            "http://[::1]:80/", "http://[::1", "a:1:2", "App.Example.COM.:443", "x-lOWER-name",
            "close, X-One,, x-two\t,", "Transfer-Encoding", "9223372036854775807",
            "9223372036854775808", "/%zz", "*", "%"],
    "endpoint": ["example.com:443", "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80", "unix:/run/x",
                 "::ffff:1.2.3.4", "1:2:3:4:5:6:7::", "1::8", "2001:db8::1", "255.255.255.255",
                 "a:1, b:2 [::]:3\tunix:x", "1.2.3.999:1", "64:ff9b::192.0.2.33"],
}

TRACES = ["ec31ad8a01fde11fdcabe2efdce36873:52726f6cabc144f5:0:1", "1:2:3:ff", "1:2:0:100", ":1:0:1"]

# DATA, TRAILERS, ABORT, unknown types, and what is broken (docs/protocol.md §10.7)
FRAMES = [b"\0\5hello", b"\0\0\0\2he\0\3llo", b"\1\r\3x-a\x011\3x-b\x0222", b"\1\0", b"\2\1\t",
          b"\x09\3xyz\0\1h", b"\0\5hell", b"\1\4\1x\1", b"\1\4\1X\1y", b"\xc0" + bytes(7) + b"\x40\1z",
          b"\3x-a\x011", b"\2\x09" + bytes(9)]


def distinct(cases, limit=LIMIT):
    """At most limit different ones, of as many lengths as there are, shortest first."""
    by_length = {}
    for case in cases:
        by_length.setdefault(len(case), {})[case] = None
    found, depth = [], 0
    while len(found) < limit and depth < limit:
        layer = [list(v)[depth] for _, v in sorted(by_length.items()) if depth < len(v)]
        found += layer
        depth += 1
    return sorted(found[:limit], key=lambda c: (len(c), c))


def h2_heads():
    """Packed heads and meta fields, recorded and broken."""
    with open(HTTP2, encoding="utf-8") as f:
        recorded = json.load(f)
    packed = recorded["header_serialization"]
    lists = [c["serialized"] for c in packed["single_pair"]] + packed["several_pairs"]["distinct_outputs"]
    lists += [c["input"] for c in packed["deserialize"]]
    metas = [c["value"] for c in recorded["response_meta"]]
    metas += ['{"x":null,"src":"origin","y":-1.5e+3}', '{"s\\"c":"a\\\\",}', ' {"src" : true}', "{"]
    return distinct([c.encode() for c in lists + metas], 80)


def datagrams(prefix):
    """Recorded session datagrams of one version, whole and broken."""
    with open(DATAGRAMS, encoding="utf-8") as f:
        return distinct([bytes.fromhex(c["hex"]) for c in json.load(f)
                         if c["name"].startswith(prefix) and c["fields"]["channel"] == "quic datagram"], 64)


def packets():
    """Recorded packets, and UDP and TCP with, without and behind what IP allows."""
    with open(DATAGRAMS, encoding="utf-8") as f:
        cases = [(c["name"], bytes.fromhex(c["hex"])) for c in json.load(f)]
    found = [h[1:] for n, h in cases if n.startswith(("v3_icmp", "v3_ttl")) and len(h) < 200]
    found += [h for n, h in cases if n.startswith("ipdecode_")]
    v4 = bytes.fromhex("45000021000040004011 3cca7f0000017f000001")
    v6 = bytes.fromhex("6000000000151140") + bytes(15) + b"\1" + bytes(15) + b"\2"
    udp = bytes.fromhex("30390035000d8d91") + b"hello"
    tcp = bytes.fromhex("00500051 00000001 00000002 5010ffff 00000000")
    hop = bytes.fromhex("11000104 00000000")
    found += [v4 + udp, v4[:6] + b"\x20\0" + v4[8:] + udp, v4[:9] + b"\6" + v4[10:] + tcp,
              b"\x46" + v4[1:] + b"\x94\2\1\0" + udp, v6 + udp, v6[:6] + b"\6" + v6[7:] + tcp,
              v6[:6] + b"\0" + v6[7:] + hop + udp, v6[:6] + b"\x2c" + v6[7:] + hop + udp]
    return distinct(found, 80)


def icmp_steps():
    """Recorded pings at a daemon, answered, failing on the way and here."""
    with open(DATAGRAMS, encoding="utf-8") as f:
        asked = [bytes.fromhex(c["hex"])[1:] for c in json.load(f)
                 if c["name"].startswith(("v3_icmp", "v3_ttl")) and "_request" in c["name"]]

    def steps(*all_steps):
        return b"".join(bytes(k[:2]) + len(k[2]).to_bytes(2, "big") + k[2] for k in all_steps)
    found = []
    for packet in asked:
        message = packet[20 if packet[0] >> 4 == 4 else 40:]
        found += [steps((0, 0, packet), (3, 0, message[8:]), (3, 0, b"")),
                  steps((0, 1, packet), (5, 0x80, message)), steps((0, 0, packet), (5, 0x40, message[:8])),
                  steps((6, 2, b""), (0, 0, packet), (6, 5, b""), (0, 0, packet), (7, 0, b""), (0, 0, packet))]
    return distinct(found, 40)


def h2_frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def h2_frames():
    """Frames of an HTTP/2 client behind its preface and SETTINGS."""
    get = b"\x82\x87\x84\x41\x01h"
    post = b"\x83\x87\x84\x41\x01h" + b"\0\x0econtent-length\x015"
    trailers = b"\0\3x-a\1b"
    f = h2_frame
    return [
        f(1, 5, 1, get), f(1, 4, 1, post) + f(0, 1, 1, b"hello"), f(1, 4, 1, post) + f(0, 1, 1, b"hell"),
        f(1, 4, 1, get) + f(0, 8, 1, b"\2abc\0\0") + f(1, 5, 1, trailers),
        f(1, 0, 1, get[:3]) + f(9, 4, 1, get[3:]), f(1, 5, 1, get + b"\0\1X\1y"),
        f(1, 5, 1, get + b"\0\nconnection\5close"), f(1, 5, 1, b"\x82"), f(6, 0, 0, b"12345678"),
        f(4, 1, 0) + f(4, 0, 0, b"\0\4\0\0\0\0") + f(1, 5, 1, get) + f(8, 0, 1, b"\0\0\0\5"),
        f(1, 5, 1, get) + f(3, 0, 1, b"\0\0\0\x08") + f(1, 5, 3, get), f(7, 0, 0, bytes(8)),
        f(8, 0, 0, b"\x7f\xff\xff\xff"), f(2, 0, 1, b"\0\0\0\0\x10"), f(200, 0, 0, b"x"),
        f(1, 5, 1, b"\x42\7CONNECT\x41\4h:22"), f(1, 5, 2, get), f(5, 4, 1, bytes(4)),
    ]


def main(argv):
    corpus = argv[1] if len(argv) > 1 else os.path.join(HERE, "corpus")
    with open(VECTORS, encoding="utf-8") as f:
        cases = [(c["name"], c["direction"], bytes.fromhex(c["hex"]), c["fields"])
                 for c in json.load(f) if c["hex"]]
    streams = [c[2] for c in cases if c[2][:4] == bytes.fromhex("0a36cd12")]
    messages = [c[2] for c in cases if "session" in c[3] and "/full-" not in c[0]
                and len(c[2]) > 8 and c[0].split("/")[0] != "captured"]
    # The side that asks has the bootstrap; its stream goes to a server (0), the other to a client (1).
    sessions = []
    for name, _, data, fields in cases:
        if "/full-" not in name or "session" not in fields or len(data) > 4096:
            continue
        body = data[6:] if data[:4] == bytes.fromhex("52bb825c") else data
        asks = data is not body or name.startswith("registration/") and name.endswith("daemon")
        sessions.append((b"\0" if asks else b"\1") + body)
    seeds = {
        "capnp": distinct(messages + [s[8:] for s in streams]),
        "rpc": distinct(sessions),
        "connect": distinct(streams),
        "preamble": distinct([c[2][:9] for c in cases], 12),
        "body-frame": FRAMES,
        "h2-head": h2_heads(),
        "h2": h2_frames(),
        "dgram-v2": datagrams("v2_") + [t.encode() for t in TRACES],
        "dgram-v3": datagrams("v3_"),
        "ip": packets(),
        "icmp-session": icmp_steps(),
        **{name: [t.encode() for t in texts] for name, texts in TEXTS.items()},
    }
    for name, contents in seeds.items():
        folder = os.path.join(corpus, name)
        os.makedirs(folder, exist_ok=True)
        for old in os.listdir(folder):
            if old.startswith("seed-"):
                os.unlink(os.path.join(folder, old))
        for number, content in enumerate(contents):
            with open(os.path.join(folder, f"seed-{number:02}"), "wb") as f:
                f.write(content)
        print(f"{name}: {len(contents)} seeds, {sum(map(len, contents))} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
