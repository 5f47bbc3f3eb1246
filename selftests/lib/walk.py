# SPDX-License-Identifier: Apache-2.0
"""Plays a section of the recorded sessions (selftests/data/datagram-sessions.md) against a daemon: what
edge and origins sent is sent, byte by byte and not earlier than it was; what the daemon sent is waited for
and compared. Where an override stands the test says what is expected instead."""
import dataclasses
import pathlib
import re

from . import tunnelrpc as rpc
from .dgram2 import TOO_MANY, End
from .quicpeer import RpcReader
from .udp_origin import bound
from .vectors import cell_octets
from .wait import holds

RECORDED = pathlib.Path(__file__).resolve().parents[1] / "data" / "datagram-sessions.md"
PAUSE = 100     # ms: a longer gap between two rows is kept, and nothing may come in it


@dataclasses.dataclass
class Row:
    number: int
    at: int             # ms
    way: str
    octets: bytes
    meaning: str = ""
    is_whole: bool = True

    @classmethod
    def read(cls, number, cells):
        return cls(number, int(cells[0]), cells[1], cell_octets(cells[2]), cells[3].strip("*"),
                   "not reproduced" not in cells[2])


def rows_of(section):
    text = RECORDED.read_text(encoding="utf-8").split(f"\n## {section} ")[1].split("\n## ")[0]
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    cells = [c for c in cells if len(c) == 4 and c[0].isdigit()]
    return [Row.read(n + 1, c) for n, c in enumerate(cells)]


def metrics_of(section):
    """[(name, labels, value)] that the section ends with."""
    text = RECORDED.read_text(encoding="utf-8").split(f"\n## {section} ")[1].split("\n## ")[0]
    found = re.findall(r"`(\w+)\{([^}]*)\}=(\d+)`", "".join(text.partition("Metrics afterwards")[1:]))
    return [(name, dict(pair.split("=") for pair in labels.split(",")), int(value))
            for name, labels, value in found]


def connections_of(section):
    return 1 + max(int(n) for row in rows_of(section) for n in re.findall(r"edge#(\d)", row.way))


def limit_of(section):
    """The limit of flows that the section begins with; None: none."""
    said = [re.search(r"flow limit is (\d+)", row.meaning) for row in rows_of(section)]
    return next((int(m[1]) for m in said if m), None)


def split(address):
    host, port = address.rsplit(":", 1)
    return host.strip("[]"), int(port)


def error_of(frame):
    """The text of a registration's refusal; "" for success and for results without a struct."""
    root = frame.results
    return root.struct(0).text(0) if root is not None and root.pointers else ""


class CallStream:
    """A stream that the edge opened: frames of the daemon as they come."""

    def __init__(self, link):
        self.stream, self.reader = link.open_stream(), RpcReader()
        self.stream.on_data = self.reader.feed
        self.taken = 0

    def next(self):
        self.stream.wait(lambda: len(self.reader.frames) > self.taken, 5, "a frame")
        self.taken += 1
        return self.reader.frames[self.taken - 1]


class Walk:
    """links: by index. instead: {number of a row: [(way, octets)] that stand in its place}. renew(index)
    gives the link of the next connection."""

    def __init__(self, section, links, instead=None, renew=None):
        self.rows, self.renew = [], renew
        for row in rows_of(section):
            others = (instead or {}).get(row.number)
            self.rows += [row] if others is None else [
                Row(row.number, row.at, way, octets) for way, octets in others]
        self.ends = {index: End(link) for index, link in links.items()}
        self.taken = dict.fromkeys(links, 0)
        self.told = dict.fromkeys(links, 0)
        self.streams, self.origins, self.ports = {}, {}, {}
        for row in self.rows:
            to = re.fullmatch(r"daemon \S+ → origin (\S+)", row.way)
            if to and to[1] not in self.origins:
                self.origins[to[1]] = bound(*split(to[1]))

    def close(self):
        for origin in self.origins.values():
            origin.close()

    def is_quiet(self):
        return all(len(end.link.datagrams) == self.taken[k] and len(end.ends) == self.told[k]
                   for k, end in self.ends.items())

    def play(self):
        last = self.rows[0].at
        for row in self.rows:
            handler, found = next((h, m) for pattern, h in self.HANDLERS
                                  if (m := re.fullmatch(pattern, row.way)))
            by_daemon = row.way.startswith("daemon")
            if row.at - last > PAUSE and not by_daemon:
                holds(self.is_quiet, (row.at - last) / 1000)
            if not by_daemon or row.octets:
                last = row.at
            handler(self, row, *found.groups())
        assert self.is_quiet()

    # What is done

    def edge_datagram(self, row, index):
        self.ends[int(index)].send(row.octets)

    def edge_call(self, row, index, number):
        key = index, number
        if key not in self.streams:
            self.streams[key] = CallStream(self.ends[int(index)].link)
        self.streams[key].stream.send(row.octets)

    def edge_answer(self, row, index, number):
        """End serves the daemon's calls by itself."""

    def origin_sends(self, row, origin, port):
        self.origins[origin].sendto(row.octets, self.ports[port])

    def event(self, row):
        closed = re.search(r"(?:connection (\d) is closed by the edge|edge closes)", row.meaning)
        if closed:
            index = int(closed[1] or 0)
            self.ends.pop(index).link.close_link()
        again = re.search(r"new connection with the same index (\d)", row.meaning)
        if again:
            index = int(again[1])
            self.ends[index] = End(self.renew(index))
            self.taken[index] = self.told[index] = 0

    # What is expected

    def daemon_datagram(self, row, index):
        end, at = self.ends[int(index)], self.taken[int(index)]
        end.link.hub.wait(lambda: len(end.link.datagrams) > at, 5, f"row {row.number}")
        assert end.link.datagrams[at] == row.octets, (row.number, end.link.datagrams[at].hex())
        self.taken[int(index)] += 1

    def origin_gets(self, row, port, origin):
        """The same port as before where the daemon's was the same."""
        data, peer = self.origins[origin].recvfrom(65536)
        assert data == row.octets, (row.number, data)
        assert self.ports.setdefault(port, peer) == peer, row.number

    def daemon_answer(self, row, index, number):
        got = self.streams[index, number].next()
        assert got.which == "return"
        if not row.is_whole:    # with spans, which nobody has to send
            assert got.outcome == "results" and error_of(got) == ""
            return
        want = rpc.read_frame(row.octets)
        assert (got.question, got.outcome) == (want.question, want.outcome), row.number
        assert len(got.exports) == len(want.exports) and bool(got.reason) == bool(want.reason)
        if want.outcome == "results" and not want.exports:
            assert bool(error_of(got)) == bool(error_of(want)), (row.number, error_of(got))
            assert error_of(want) != TOO_MANY or error_of(got) == TOO_MANY

    def daemon_call(self, row, _number, index):
        if row.octets == rpc.RPC_SIGNATURE or rpc.read_frame(row.octets).which != "call":
            return
        end, at = self.ends[int(index)], self.told[int(index)]
        end.link.hub.wait(lambda: len(end.ends) > at, 5, f"row {row.number}")
        session, text = end.ends[at]
        assert session == rpc.read_frame(row.octets).params.data(0) and text, row.number
        self.told[int(index)] += 1

    def nothing(self, row, *_):
        """The daemon's log, in its own words."""

    HANDLERS = [
        (r"edge#(\d) → daemon#\d", edge_datagram),
        (r"edge#(\d) stream (\d+) → daemon#\d", edge_call),
        (r"edge#(\d) → daemon#\d stream (\d+)", edge_answer),
        (r"origin (\S+) → daemon (\S+)", origin_sends),
        (r"", event),
        (r"daemon#(\d) → edge#\d", daemon_datagram),
        (r"daemon (\S+) → origin (\S+)", origin_gets),
        (r"daemon#(\d) → edge#\d stream (\d+)", daemon_answer),
        (r"daemon#\d stream (\d+) → edge#(\d)", daemon_call),
        (r"daemon log", nothing),
    ]
