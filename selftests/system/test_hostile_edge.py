# SPDX-License-Identifier: Apache-2.0
"""T7: an edge that means harm, on some connections of an aditd whose others go to a good one.

    PeerEdge (aioquic): connection 0 good, 1-5 hostile ==QUIC==> aditd (2 workers) --> Origin
"""
import itertools
import json
import os
import pathlib

import pytest

from lib import hostile, tunnelrpc as rpc
from lib.adit import Daemon, peer_edge_keys, write_token
from lib.hostile import (Gauges, Steadfast, cuts, in_pieces, reset_frame, send_frames, stop_frame,
                         stream_frame)
from lib.origin import Origin
from lib.peer_edge import PeerEdge
from lib.proc import Processes
from lib.wait import SLOW, until

pytestmark = pytest.mark.group("http")

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
VECTORS = {v["name"]: v for v in json.loads((DATA / "edge-protocol.json").read_text())}
HOST = "app.example.com"
CONNECTIONS = 6
HALF_OPEN = 20_000
GAUGES = ("adit_link_streams", "adit_requests_active", "adit_buffer_bytes")
# Windows of links and streams that were busy stay larger for a while.
SLACK = {"adit_buffer_bytes": 4 << 20, "descriptors": 110}


class Setup:
    def __init__(self, folder, authority):
        self.processes = Processes(folder)
        self.edge = PeerEdge(*authority.leaf("peer"), idle_timeout=8.0)
        self.origin = Origin()
        token = write_token(folder / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                            bytes(32))
        self.daemon = Daemon(self.processes, folder, token_file=token, connections=CONNECTIONS,
                             rules=[(HOST, self.origin.service)],
                             edge_keys=peer_edge_keys(self.edge, authority))
        self.daemon.start()
        self.edge.wait_registered(CONNECTIONS, 30)

    def ask(self):
        """A good request on the good connection."""
        link = next(k for k in self.edge.live if k.registration.index == 0)
        return link.request(host=HOST, path="/good", timeout=20).body == b"origin origin /good\n"

    def victim(self):
        """A connection that may be maltreated; index 2 shares its worker with the good one."""
        def find():
            return next(iter(sorted((k for k in self.edge.live if k.registration.index > 0),
                                    key=lambda k: k.registration.index != 2)), None)
        return self.edge.wait(find, 60, "a connection")

    def close(self):
        self.processes.close()
        self.origin.close()
        self.edge.stop()


@pytest.fixture(name="setup", scope="module")
def fixture_setup(tmp_path_factory, authority):
    made = Setup(tmp_path_factory.mktemp("hostile"), authority)
    yield made
    made.close()


@pytest.fixture(name="gauges", scope="module")
def fixture_gauges(setup):
    assert setup.ask()
    return Gauges(setup.daemon, GAUGES)


@pytest.fixture(autouse=True)
def unharmed(setup, gauges):
    """The good connection is served all the time, and is still the same one; gauges return."""
    good = next(k for k in setup.edge.live if k.registration.index == 0)
    with Steadfast(setup.ask):
        yield
    assert good.closed is None and setup.daemon.process.is_running
    gauges.wait_return(30, SLACK)


def raw(name):
    return bytes.fromhex(VECTORS[name]["hex"])


def head(method="GET", path="/x", **headers):
    return rpc.http_request(method, HOST, path, [(k.replace("_", "-"), str(v))
                                                 for k, v in headers.items()])


def test_every_byte(setup):
    """T7: a good head cut at every byte, its version bytes apart, byte by byte: always one answer."""
    link, data = setup.victim(), head()
    cases = [*cuts(data), [data[:6], data[6:7], data[7:8], data[8:]], [data[:6], data[6:]],
             [bytes([b]) for b in data]]
    streams = in_pieces(link, cases, link.data_stream)
    for case, stream in zip(cases, streams):
        got = stream.answer()
        assert (got.status, got.body, got.end) == (200, b"origin origin /x\n", "fin"), case


def test_malformed_at_every_byte(setup):
    """T7: every malformed vector, cut at every byte: each stream ends, with an answer or reset."""
    link = setup.victim()
    names = [n for n in VECTORS if n.startswith(("malformed/", "evolution/"))]
    cases = [case for name in names for case in [[raw(name)], *cuts(raw(name))]]
    if SLOW > 1:
        cases = cases[::7]
    streams = in_pieces(link, cases, link.data_stream)
    assert len(streams) == len(cases) and all(s.end in ("fin", ("reset", 0)) for s in streams)
    drops = setup.daemon.counter("adit_drops_total", where="stream", reason="malformed")
    assert drops > len(cases) * 0.3
    assert link.closed is None


def test_unknown_types(setup):
    """T7: signatures, versions, kinds of requests and calls that nobody knows."""
    link, good = setup.victim(), head()
    cases = [[os.urandom(6) + good[6:]] for _ in range(50)]
    cases += [[rpc.connect_request(kind, "/x", [("HttpHost", HOST)])]
              for kind in (1, 2, 3, 4, 255, 256, 65535)]
    cases += [[rpc.RPC_SIGNATURE + rpc.bootstrap(0) + rpc.call(1, interface, method, rpc.empty)
               + rpc.abort()]
              for interface in (rpc.CONFIGURATION, rpc.REGISTRATION, 0, (1 << 64) - 1)
              for method in (0, 1, 7, 65535)]
    cases += [[rpc.RPC_SIGNATURE + os.urandom(64)] for _ in range(50)]
    for stream in in_pieces(link, cases, link.data_stream):
        if stream.received.startswith(rpc.DATA_SIGNATURE):
            assert stream.answer().status in (None, 200)
    assert link.closed is None


UPLOAD = head("POST", "/echo", Content_Length=100_000)
STAGES = {
    "nothing": [], "signature": [head()[:6]], "preamble": [head()[:8]], "half a head": [head()[:60]],
    "head": [head("GET", "/silent")], "half a body": [UPLOAD, bytes(50_000)],
    "body": [UPLOAD, bytes(100_000)], "answer": [head("GET", "/bytes/3000000")],
    "slow answer": [head("GET", "/slow/100/20")], "rpc": [rpc.RPC_SIGNATURE],
    "half a call": [rpc.RPC_SIGNATURE, rpc.bootstrap(0)[:20]],
}
ENDS = [("reset",), ("stop",), ("reset", "stop"), ("stop", "reset"), ("fin", "stop"), ("fin", "reset")]


@pytest.mark.parametrize("stage", STAGES)
def test_ends_at_every_stage(setup, stage):
    """T7: RESET_STREAM, STOP_SENDING and FIN in every order at a stage of a request, with odd codes."""
    link, parts = setup.victim(), STAGES[stage]
    codes = [0, 1, 0x10c, (1 << 62) - 1]
    pairs = [(link.data_stream(), end, code) for end in ENDS for code in codes]
    if parts:
        hostile.send_pieces(link, [(stream, parts) for stream, _, _ in pairs], fin=False)
    if "answer" in stage:
        link.hub.wait(lambda: all(s.received for s, _, _ in pairs), 20, "answers on their way")
    size = sum(len(part) for part in parts)
    frames = {"reset": lambda s, code: reset_frame(s.number, code, size),
              "stop": lambda s, code: stop_frame(s.number, code),
              "fin": lambda s, _: stream_frame(s.number, b"", size, True)}
    send_frames(link, (frames[end](s, code) for s, ends, code in pairs for end in ends))
    assert setup.ask() and link.closed is None
    # Who stops reading and never ends its own half keeps the stream: as any upload that pauses.
    send_frames(link, (frames["reset"](s, 0) for s, ends, _ in pairs if ends == ("stop",)))


def test_a_peer_that_never_reads(setup, gauges):
    """T7: 100 answers of 4 MB on a connection that grants nothing more: bounded, and over with it."""
    link = setup.victim()
    hostile.stop_crediting(link)
    for _ in range(100):
        link.send_request(host=HOST, path="/bytes/4000000")
    setup.edge.wait(lambda: link.bytes_received > 900_000, 30, "what it granted at first")
    for _ in range(5):
        assert setup.ask()
    held = setup.daemon.metrics()
    assert held.sum("adit_buffer_bytes") < held.sum("adit_buffer_limit_bytes") * 0.9
    gauges.bound_memory(64)
    link.close_link(0)


def test_twenty_thousand_half_open_streams(setup, gauges):
    """T7: 20 000 streams with half a head each, on two connections: bounded, and over with those."""
    setup.edge.wait(lambda: len(setup.edge.live) == CONNECTIONS, 60, "all connections")
    links = [k for k in setup.edge.live if k.registration.index in (1, 2)]
    half = head()[:40]
    for link in links:
        numbers = [1 + 4 * n for n in range(link.quic._local_next_stream_id_bidi // 4,
                                            HALF_OPEN // len(links)
                                            + link.quic._local_next_stream_id_bidi // 4)]
        send_frames(link, (stream_frame(n, half) for n in numbers))
        assert link.closed is None
    until(lambda: setup.daemon.counter("adit_link_streams") >= HALF_OPEN * 0.9, 10,
          "half-open streams")
    for _ in range(5):
        assert setup.ask()
    gauges.bound_memory(96)
    for link in links:
        link.close_link(0)


def test_a_peer_that_is_silent(setup):
    """T7: a connection that acknowledges nothing any more, with requests on it: suspect, then over."""
    before = setup.daemon.counter("adit_link_suspicions_total")
    link = setup.victim()
    for _ in range(20):
        link.send_request(host=HOST, path="/slow/50/50")
    setup.origin.wait_requests(20)
    link.abandon()
    link._closing = True
    until(lambda: setup.daemon.counter("adit_link_suspicions_total") > before, 10, "a suspicion")
    setup.edge.wait(lambda: [k for k in setup.edge.live if k is not link and
                             k.registration.index == link.registration.index], 60, "its successor")


VIOLATIONS = {
    "a frame that doesn't exist": [b"\x21" + bytes(8)],
    "a stream beyond the limit": [stream_frame(1 + 4 * (1 << 20), b"x")],
    "bytes beyond the window": [stream_frame(1 + 4 * 8000, b"x", 1 << 40)],
    "two final sizes": [stream_frame(1 + 4 * 8001, b"xx", 0, True),
                        stream_frame(1 + 4 * 8001, b"xxx", 0, True)],
    "a stream of ours that isn't there": [stream_frame(4 * 5000, b"x")],
    "an acknowledgement of nothing": [b"\x02" + rpc.varint(1 << 40) + b"\0\0\0"],
}


@pytest.mark.parametrize("name", itertools.islice(VIOLATIONS, 3))
def test_violations(setup, name):
    """T7: broken rules of QUIC end that connection with a transport error, and no other."""
    link = setup.victim()
    send_frames(link, VIOLATIONS[name])
    code = link.wait_closed_link(10)[0]
    assert link.peer_closed and 1 <= code <= 0x1f, link.closed


