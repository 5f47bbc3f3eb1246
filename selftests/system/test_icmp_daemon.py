# SPDX-License-Identifier: Apache-2.0
"""ICMP at aditd, asked by an independent edge in Python. Every test says which kind of socket carried
its echoes, by that path's own counters.

    [daemon] 10.77.0.1 fd77::1 === 10.77.0.2 fd77::2 [near] 10.77.1.1 === 10.77.1.2 [mid] 10.77.2.1
       aditd, PeerEdge               fd77:1::1 === fd77:1::2   fd77:2::1 === 10.77.2.2 fd77:2::2 [far]
"""
import contextlib
import dataclasses
import json
import pathlib
import re
import socket
import struct
import time

import pytest

from lib import dgram3, icmp
from lib.adit import Daemon, peer_edge_keys, section, write_token
from lib.dgram3 import Flows
from lib.icmp import EXCEEDED, Pings, REPLY, TOO_BIG, UNREACHABLE, request
from lib.netns import veth
from lib.peer_edge import PeerEdge
from lib.udp_origin import UdpEcho
from lib.wait import SLOW, settled, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(aditd="ping")]

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
ALLOWED = {"allow": "10.0.0.0/8, fd00::/8"}
NEAR, MID, FAR = ("10.77.0.2", "fd77::2"), ("10.77.1.2", "fd77:1::2"), ("10.77.2.2", "fd77:2::2")
PINGS, NO_PINGS = "0 2147483647", "1 0"
NOBODY = 64123      # a group
NO_RIGHTS = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
UNPRIVILEGED = ["setpriv", f"--regid={NOBODY}", "--clear-groups", *NO_RIGHTS]
AS_MEMBER = ["setpriv", f"--regid={NOBODY + 1}", f"--groups={NOBODY}", *NO_RIGHTS]
DATA = pathlib.Path(__file__).resolve().parents[1] / "data"


class Lan:
    """The daemon's host and what lies behind it; pings: who may have ping sockets."""

    def __init__(self, net, pings=PINGS):
        self.daemon, self.near, self.mid, self.far = (net.add(k) for k in ("dm", "near", "mid", "far"))
        chain = [self.daemon, self.near, self.mid, self.far]
        for number, (left, right) in enumerate(zip(chain, chain[1:])):
            veth(left, "d0", right, "u0")
            six = f"fd77:{number}" if number else "fd77"
            left.address("d0", f"10.77.{number}.1/24", f"{six}::1/64")
            right.address("u0", f"10.77.{number}.2/24", f"{six}::2/64")
        for space in (self.near, self.mid):
            space.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for space in chain:     # the daemon's own answers aren't the subject here
            space.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        for number, space in enumerate(chain):
            for target in range(3):
                six = f"fd77:{target}::/64" if target else "fd77::/64"
                if target > number:
                    space.route(f"10.77.{target}.0/24", f"10.77.{number}.2")
                    space.route(six, f"fd77:{number}::2" if number else "fd77::2")
                if target < number - 1:
                    space.route(f"10.77.{target}.0/24", f"10.77.{number - 1}.1")
                    space.route(six, f"fd77:{number - 1}::1" if number > 1 else "fd77::1")
        for host in (*FAR, *MID):   # every neighbour is known from now on
            until(lambda host=host: self.daemon.run("ping", "-c1", "-W1", host, check=False)
                  .count("bytes from"), 10, f"the way to {host}")
        self.daemon.run("sysctl", "-qw", f"net.ipv4.ping_group_range={pings}")
        self.daemon.route("default", NEAR[0])
        self.daemon.route("default", NEAR[1])


@pytest.fixture(name="lan")
def fixture_lan(net, request):
    return Lan(net, getattr(request, "param", PINGS))


@pytest.fixture(name="start")
def fixture_start(processes, tmp_path, authority, lan):
    """start(...) -> (a running aditd of one worker in the daemon's namespace, its edge)."""
    token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(range(32)))
    edges = []

    def start(network=None, limits=None, connections=1, workers=1, datagram="v3", wrap=(), **options):
        with lan.daemon.inside():
            edge = PeerEdge(*authority.leaf("peer"))
        edges.append(edge)
        extra = section("network", **(ALLOWED if network is None else network))
        extra += section("limits", **(limits or {}))
        daemon = Daemon(processes, tmp_path, token_file=token, rules=[(None, "http_status:404")],
                        edge_keys=peer_edge_keys(edge, authority), workers=workers,
                        connections=connections, extra=extra, netns=lan.daemon,
                        tunnel_keys={"datagram": datagram}, **options)
        daemon.start(wrap=wrap)
        return daemon, edge
    yield start
    for edge in edges:
        edge.stop()


@pytest.fixture(name="world")
def fixture_world(start):
    """(daemon, pings of its link)"""
    daemon, edge = start()
    return daemon, Pings(edge.wait_registered(1, 15)[0])


def echoes(daemon, path="ping"):
    """Echoes (sent, answered) by a path."""
    page = daemon.metrics()
    return (page.sum("adit_flow_packets_total", path=path, dir="tx"),
            page.sum("adit_flow_packets_total", path=path, dir="rx"))


def drops(daemon, reason):
    return daemon.counter("adit_drops_total", where="icmp", reason=reason)


def errors(daemon, source, kind):
    return daemon.counter("adit_icmp_errors_total", source=source, kind=kind)


def settle(daemon, pings, size):
    """Pings until packets of this size fit: the path to the edge is measured while it is new."""
    def large():
        pings.send(request(NEAR[0], 9, 9, bytes(size - 28)))
        pings.read()
        return pings.packets
    until(large, 10, f"packets of {size} bytes", step=0.2)
    answered = lambda: daemon.counter("adit_flows", kind="icmp") == 0
    until(answered, 5, "the last of them")
    pings.link.hub.call(lambda: None)   # and it has come
    pings.read()
    pings.packets.clear()


@pytest.mark.parametrize("section_of, version", [("A13", 3), ("A14", 3), ("B3", 2), ("B4", 2), ("B5", 2)])
def test_recorded(start, section_of, version):
    """The reference's sessions, byte for byte; spans, which are optional, are not sent."""
    text = (DATA / "datagram-sessions.md").read_text().split(f"## {section_of} ")[1].split("\n## ")[0]
    rows = re.findall(r"\| (edge|daemon)#0 → (?:edge|daemon)#0 \| `([0-9a-f]+)` \|", text)
    daemon, edge = start(datagram=f"v{version}")
    pings = Pings(edge.wait_registered(1, 15)[0], version)
    wrap = {3: lambda p: bytes([2]) + p, 2: lambda p: p + bytes([1])}[version]
    for sender, octets in rows:
        if sender == "edge":
            pings.link.send_datagrams(bytes.fromhex(octets))
        else:
            assert wrap(pings.take()).hex() == octets
    count = sum(sender == "edge" for sender, _ in rows)
    assert count == len(rows) - count and not pings.other and not pings.packets
    expired = errors(daemon, "own", "time-exceeded")
    assert echoes(daemon) == (count - expired, count - expired)


def test_echo(world):
    """§9.6, §9.7: both families, one and two hops away; the id comes back, whatever we send."""
    daemon, pings = world
    for number, host in enumerate([*NEAR, *FAR, "10.77.0.1", "fd77::1"]):   # the host itself, too
        pings.echo(host, ident=0x1234, seq=number + 1)
    assert echoes(daemon) == (6, 6) and echoes(daemon, "raw") == (0, 0)
    assert daemon.counter("cloudflared_icmp_total_requests") == 6
    assert daemon.counter("cloudflared_icmp_total_replies") == 6
    assert daemon.counter("adit_flows", kind="icmp") == 0


def test_traceroute(world):
    """W7: every hop says its name; what it quotes is what was sent."""
    daemon, pings = world
    for hops in (["10.77.0.1", "10.77.0.2", "10.77.1.2", "10.77.2.2"],
                 ["fd77::1", "fd77::2", "fd77:1::2", "fd77:2::2"]):
        for ttl, hop in enumerate(hops, 1):
            sent = request(hops[-1], 7, ttl, ttl=ttl, dont_fragment=True, tos=0xb8, label=0xbead)
            got = pings.ask(sent)
            assert got.src == hop and got.dst == icmp.read(sent).src
            if ttl == len(hops):
                assert got.kind == REPLY and (got.ident, got.seq) == (7, ttl)
                continue
            assert (got.kind, got.code, got.ttl) == (EXCEEDED, 0, 255), got
            asked = dataclasses.replace(icmp.read(sent), ttl=got.echo.ttl)
            assert got.echo == asked and got.echo.ttl == 1
            six = ":" in hop
            varies = slice(7, 8) if six else slice(8, 12)   # TTL; IPv4: with the checksum
            whole = [bytearray(k) for k in (got.quote, sent)]
            for one in whole:
                assert six or icmp.checksum(bytes(one[:20])) == 0
                del one[varies]
            assert whole[0] == whole[1], "id, DF, class, label and all behind them"
    assert echoes(daemon) == (6, 2)
    assert errors(daemon, "own", "time-exceeded") == 2
    assert errors(daemon, "network", "time-exceeded") == 4


@pytest.mark.parametrize("version, most", [(3, 1280), (2, 1349)])
def test_every_size(start, version, most):
    """T2: packets of every length to the limit of a version come back whole; over it none does."""
    daemon, edge = start(datagram=f"v{version}")
    pings = Pings(edge.wait_registered(1, 15)[0], version)
    settle(daemon, pings, most)
    before = echoes(daemon)
    for dst, head in ((NEAR[0], 28), (NEAR[1], 48)):
        for size in range(most - head + 1):
            pings.echo(dst, bytes([size & 0xff]) * size, seq=size)
    after = echoes(daemon)
    assert after[0] - before[0] == after[1] - before[1] == 2 * most - 28 - 48 + 2
    reason = "malformed" if version == 3 else "reply-too-big"
    counted = drops(daemon, reason)
    pings.send(request(NEAR[0], data=bytes(most - 27)))
    until(lambda: drops(daemon, reason) == counted + 1, 5, "the one that is too large")
    pings.echo(NEAR[0])


class Sniffer:
    """Reads echo requests where they arrive, in place of a kernel that answers them."""

    def __init__(self, space, version=4):
        between = "_" if version == 4 else "."
        space.run("sysctl", "-qw", f"net.ipv{version}.icmp{between}echo_ignore_all=1")
        self.version = version
        self.socket = icmp.raw_socket(space, v6=version == 6)
        self.raw = icmp.raw_socket(space, socket.IPPROTO_RAW)
        self.socket.settimeout(10)
        if version == 6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)

    def read(self):
        """(ttl, whole ICMP message) of the next request."""
        while True:
            data, control, _, peer = self.socket.recvmsg(2048, 256)
            ttl = data[8] if self.version == 4 else struct.unpack("i", control[0][2])[0]
            message = data[20:] if self.version == 4 else data
            if message[0] == icmp.NUMBERS[self.version][icmp.REQUEST]:
                self.peer = peer[0]
                return ttl, message

    def reply(self, src, message, kind=0):
        """Sends what was read back as a reply from any IPv4 address."""
        made = icmp.packet(src, self.peer, bytes([kind]) + message[1:])
        self.raw.sendto(made, (self.peer, 0))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()
        self.raw.close()


@pytest.mark.parametrize("version", [4, 6])
def test_ttl(world, lan, version):
    """§14 row 21: what was left of the TTL is what leaves; two routers take one each."""
    daemon, pings = world
    with Sniffer(lan.far, version) as far:
        for ttl in (4, 5, 64, 65, 255):
            pings.send(request(FAR[version == 6], seq=ttl, ttl=ttl))
            assert far.read()[0] == ttl - 3
    assert echoes(daemon) == (5, 0)


def test_dont_fragment(world, lan):
    """The eyeball's DF leaves with its echo, and only with it."""
    daemon, pings = world
    with Sniffer(lan.near) as near:
        for wanted in (True, False, False, True):
            pings.send(request(NEAR[0], dont_fragment=wanted))
            data = near.socket.recv(2048)
            assert bool(data[6] & 0x40) == wanted
    assert echoes(daemon)[0] == 4


def test_too_big(start, lan):
    """T2: a narrow hop says so to the eyeball, and then this host, which has learned it."""
    daemon, edge = start(datagram="v2")
    pings = Pings(edge.wait_registered(1, 15)[0], 2)
    settle(daemon, pings, 1349)
    for device, space in (("d0", lan.mid), ("u0", lan.far)):
        space.mtu(device, 1280)
    for dst, hop, own, head in ((FAR[0], MID[0], "10.77.0.1", 28), (FAR[1], MID[1], "fd77::1", 48)):
        sent = request(dst, 5, 6, bytes(1340 - head), dont_fragment=True)
        for source in (hop, own):
            got = pings.ask(sent)
            assert (got.kind, got.src, got.mtu) == (TOO_BIG, source, 1280), got
            assert (got.echo.ident, got.echo.seq, got.echo.dst) == (5, 6, dst)
        pings.echo(dst, bytes(1280 - head), dont_fragment=True)
    pings.echo(FAR[0], bytes(1340 - 28))    # it may be cut, and is
    assert errors(daemon, "own", "too-big") == 2 and errors(daemon, "network", "too-big") == 2
    assert drops(daemon, "too-big") == 2


def test_unreachable(world, lan):
    """Nobody there, no way, not allowed: the eyeball is told, by whom it was."""
    daemon, pings = world
    for space in (lan.daemon, lan.near):
        space.run("ip", "route", "add", "blackhole", "10.96.0.0/16")
    lan.daemon.run("ip", "route", "add", "unreachable", "10.98.0.0/16")
    lan.daemon.run("ip", "route", "add", "prohibit", "10.97.0.0/16")
    lan.daemon.run("ip", "route", "add", "unreachable", "fd98::/16")
    lan.daemon.nft("""table inet t { chain o { type filter hook output priority 0;
        ip daddr 10.95.0.0/16 drop
        }
        }""")
    lan.far.nft("""table inet t { chain i { type filter hook input priority 0;
        icmp type echo-request reject with icmp admin-prohibited;
        icmpv6 type echo-request reject with icmpv6 admin-prohibited
        }
        }""")
    own = ("10.77.0.1", "fd77::1")
    cases = [("10.98.0.1", own[0], 1), ("fd98::1", own[1], 3),              # no route here
             ("10.97.0.1", own[0], 13),                                     # prohibited by a route
             ("10.95.0.1", own[0], 13),                                     # … by a firewall
             ("192.0.2.1", own[0], 13), ("2001:db8::1", own[1], 1),         # … by [network]
             ("10.99.0.1", NEAR[0], 0), ("fd99::1", NEAR[1], 0),            # no route there
             (FAR[0], FAR[0], 13), (FAR[1], FAR[1], 1),                     # a firewall there
             ("10.77.0.99", own[0], 1), ("fd77::99", own[1], 3)]            # no such neighbour
    for number, (dst, source, code) in enumerate(cases):
        got = pings.ask(request(dst, 8, number), timeout=10)
        assert (got.kind, got.src, got.code) == (UNREACHABLE, source, code), (dst, got)
        assert (got.echo.dst, got.echo.ident, got.echo.seq) == (dst, 8, number)
    pings.send(request("10.96.0.1"))
    until(lambda: drops(daemon, "origin") == 1, 5, "a black hole's silence")
    assert drops(daemon, "unreachable") == 2 and drops(daemon, "denied") == 4
    assert errors(daemon, "own", "unreachable") == 6
    assert errors(daemon, "network", "unreachable") == 6
    pings.echo(NEAR[0])


@pytest.mark.carried()
def test_one_hop_isn_t_everybody_s(world):
    """§9.2 after the allow-list: a hop count doesn't tell what lies where nobody may look."""
    daemon, pings = world
    got = pings.ask(request("192.0.2.1", ttl=1))
    assert (got.kind, got.code) == (UNREACHABLE, 13)
    assert drops(daemon, "denied") == 1 and echoes(daemon) == (0, 0)


def test_sender(world, lan):
    """Only who was asked answers, once; the code of the answer is his."""
    daemon, pings = world
    with Sniffer(lan.near) as near:
        pings.send(request(NEAR[0], 11, 12))
        _, message = near.read()
        near.reply("10.77.1.2", message)        # somebody else
        until(lambda: drops(daemon, "stranger") == 1, 5, "the stranger counted")
        near.reply(NEAR[0], message[:6] + bytes([message[6] ^ 1]) + message[7:])
        until(lambda: drops(daemon, "stranger") == 2, 5, "an answer to nothing counted")
        near.reply(NEAR[0], message[:1] + b"\7" + message[2:])
        got = icmp.read(pings.take())
        assert (got.kind, got.code, got.ident, got.seq) == (REPLY, 7, 11, 12)
        near.reply(NEAR[0], message)            # again
        until(lambda: drops(daemon, "stranger") == 3, 5, "the second answer counted")
    assert not pings.packets and echoes(daemon)[0] == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_links(start, workers):
    """§14 row 9, A15: answers take the link that asked, whoever else asks the same."""
    daemon, edge = start(connections=4, workers=workers)
    links = [Pings(k) for k in edge.wait_registered(4, 15)]
    for dst in (NEAR[0], NEAR[1]):
        for pings in links * 3:
            pings.echo(dst, data=b"%d" % id(pings))
        for number, pings in enumerate(links):
            pings.send(request(dst, 3, 4, b"at once %d" % number))
        for number, pings in enumerate(links):
            assert icmp.read(pings.take()).data == b"at once %d" % number
    assert echoes(daemon) == (32, 32)


def test_link_ends(start, lan):
    """What a link waits for ends with it; the link that replaces it is served at once."""
    daemon, edge = start()
    pings = Pings(edge.wait_registered(1, 15)[0])
    with Sniffer(lan.near) as near:
        pings.send(request(NEAR[0]))
        _, message = near.read()
        pings.link.close_link()
        until(lambda: len(edge.links) == 2 and edge.links[1].registered, 15, "the next link")
        pings = Pings(edge.links[1])
        near.reply(NEAR[0], message)
        until(lambda: drops(daemon, "stranger") == 1, 5, "a late answer counted")
        pings.send(request(NEAR[0], 1, 2))
        near.reply(NEAR[0], near.read()[1])
        assert icmp.read(pings.take()).seq == 2
    assert echoes(daemon)[0] == 2


def test_nonsense(world):
    """§9.3: nothing that can't be read, or is no echo request, goes on, is answered or does harm."""
    daemon, pings = world
    vectors = json.loads((DATA / "datagrams.json").read_text())
    bad = [bytes.fromhex(v["hex"]) for v in vectors if v["name"].startswith("ipdecode_")
           and v["fields"].get("icmp_decode") == "error" and "option_len_2" not in v["name"]]
    assert len(bad) > 15
    pings.link.send_datagrams(*(bytes([2]) + packet for packet in bad), bytes([2]), bytes([2]) + bytes(1281))
    until(lambda: drops(daemon, "malformed") == len(bad) + 2, 5, "all counted")
    kinds = [request(host, kind=kind, code=code, ttl=ttl) for host in NEAR for ttl in (1, 64)
             for kind, code in ((REPLY, 0), (EXCEEDED, 0), (UNREACHABLE, 3), (icmp.REQUEST, 1))]
    pings.send(*kinds)
    until(lambda: drops(daemon, "no-echo") == len(kinds), 5, "all of these")
    assert daemon.counter("cloudflared_icmp_dropped_packets", conn_index=0,
                          reason="write_failed") == len(bad) + 2 + len(kinds)
    pings.echo(NEAR[0])
    assert not pings.packets and echoes(daemon) == (1, 1)


@pytest.mark.carried()
def test_answers_are_limited(start):
    """§14 row 15, spec §13: so many errors of our own a second, then silence; by reload."""
    daemon, edge = start(limits={"icmp_answers": 5})
    pings = Pings(edge.wait_registered(1, 15)[0])
    made = lambda: errors(daemon, "own", "time-exceeded")
    quiet = lambda: drops(daemon, "answer-rate")
    pings.send(*(request(NEAR[0], 1, n, ttl=1) for n in range(50)))
    until(lambda: made() + quiet() == 50, 5, "50 packets")
    assert 5 <= made() <= 10
    daemon.write(daemon.config.read_text().replace("icmp-answers = 5", "icmp-answers = 1000"))
    daemon.adit("reload")
    before = made()
    pings.send(*(request(NEAR[0], 1, n, ttl=1) for n in range(50)))
    until(lambda: made() == before + 50, 5, "50 answers")
    assert echoes(daemon) == (0, 0)


@pytest.mark.carried(aditd="ping anchor")
def test_flood(world, lan):
    """T8: echoes that nobody answers cost a bounded memory; good ones come back, and UDP flows."""
    daemon, pings = world
    with lan.near.inside():
        origin = UdpEcho(NEAR[0])
    flows = Flows(pings.link)
    flow = flows.open(origin.host, origin.port)
    rss = lambda: int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(
        f"/proc/{daemon.process.pid}/status").read_text())[1])
    with Sniffer(lan.far) as far:
        far.socket.close()
        descriptors = lambda: len(list(pathlib.Path(f"/proc/{daemon.process.pid}/fd").iterdir()))
        before, open_before, count = rss(), descriptors(), 20000
        good = [number // 100 for number in range(0, count, 100)]
        for number in good:
            pings.send(*(request(FAR[0], number, n) for n in range(99)), request(NEAR[0], 7777, number))
            flows.send(dgram3.carry(flow, b"%d" % number))
            until(lambda n=number: echoes(daemon)[0] + daemon.counter(
                "adit_drops_total", where="icmp", reason="origin-full") >= n * 100, 10, "them to leave")

        def back():
            pings.read()
            replies = {icmp.read(k).seq for k in pings.packets if icmp.read(k).kind == REPLY}
            return len(replies), len(set(flows.payloads.get(flow, ())))
        with contextlib.suppress(AssertionError):
            until(lambda: flows.wait(lambda: True) and min(back()) == len(good), 5, "all good ones")
        print(f"{back()} of {len(good)} good pings and payloads are back")
        assert min(back()) >= 0.99 * len(good), "T8: of a hundred at most one is lost"
        pings.packets.clear()
        waiting = daemon.counter("adit_flows", path="ping", kind="icmp")
        grown = rss() - before
        assert descriptors() <= open_before + 5, "§14 row 31: no echo has a socket of its own"
    print(f"{waiting:g} echoes wait, {grown} KiB more")
    assert 5000 / SLOW < waiting <= 65536
    if SLOW <= 1:   # a sanitizer keeps what was freed
        assert grown < 3 * 4096, "a ring of 65 536 has 4 MiB, and half as much while it grows"
    pings.echo(NEAR[0])
    with origin:
        assert daemon.counter("adit_drops_total", where="datagram") == 0


def test_forged(world, lan):
    """T8: a flood of answers that nobody asked for disturbs nobody, and none is delivered."""
    daemon, pings = world
    with Sniffer(lan.near) as near:
        pings.send(request(NEAR[0], 1, 1))
        _, asked = near.read()
        end = time.monotonic() + 5      # the answer has 10 s
        for number in range(1, 20001):
            forged = struct.pack("!H", (number + struct.unpack("!H", asked[6:8])[0]) & 0xffff)
            near.reply(NEAR[0], asked[:6] + forged + asked[8:])
            if time.monotonic() > end:
                break
        until(lambda: drops(daemon, "stranger") > 1000 / SLOW, 10, "strangers counted")
        settled(lambda: drops(daemon, "stranger"), 0.2, 30, "the flood's end")
        near.reply(NEAR[0], asked)
        assert icmp.read(pings.take()).seq == 1
    assert not pings.packets and echoes(daemon)[0] == 1
    pings.echo(FAR[0])


def test_scan(world):
    """A scan of hosts that aren't there leaves room for who is."""
    daemon, pings = world
    scan = [request(f"10.77.0.{host}", seq=n) for n in range(4) for host in range(10, 250)]
    for at in range(0, len(scan), 240):
        pings.send(*scan[at:at + 240])
    until(lambda: echoes(daemon)[0] + drops(daemon, "origin-full") == len(scan), 10, "the scan")
    assert drops(daemon, "origin-full") == 0
    pings.send(request(NEAR[0], 77, 78))
    until(lambda: daemon.counter("cloudflared_icmp_total_replies") == 1, 2, "the good one's reply")
    assert echoes(daemon) == (len(scan) + 1, 1)


# ---- privileges ----

@pytest.mark.privileged
@pytest.mark.carried(aditd="raw")
@pytest.mark.parametrize("lan", [NO_PINGS], indirect=True)
def test_raw(world, lan):
    """§9.2: where ping sockets are forbidden raw ones serve a daemon that may open them."""
    daemon, pings = world
    for ttl, hop in ((2, NEAR), (3, MID)):
        for number in (0, 1):
            got = pings.ask(request(FAR[number], 7, ttl, ttl=ttl))
            assert (got.kind, got.src, got.echo.seq) == (EXCEEDED, hop[number], ttl)
    for host in (*NEAR, *FAR):
        pings.echo(host, bytes(500))
    # Other pings of this host aren't ours.
    assert "1 received" in lan.daemon.run("ping", "-c1", FAR[0])
    assert "1 received" in lan.daemon.run("ping", "-c1", FAR[1])
    assert "Time to live exceeded" in lan.daemon.run("ping", "-c1", "-t1", FAR[0], check=False)
    assert echoes(daemon, "raw") == (8, 4) and echoes(daemon) == (0, 0)
    assert drops(daemon, "stranger") == 0


@pytest.mark.parametrize("lan", [f"{NOBODY} {NOBODY}"], indirect=True)
@pytest.mark.parametrize("wrap", [UNPRIVILEGED, AS_MEMBER], ids=["group", "member"])
def test_unprivileged(start, wrap):
    """T9, §14 row 16: a group of the process, any of them, is all that ping sockets need."""
    daemon, edge = start(wrap=wrap)
    pings = Pings(edge.wait_registered(1, 15)[0])
    for host in (*NEAR, *FAR):
        pings.echo(host)
    assert pings.ask(request(FAR[1], ttl=3)).src == MID[1]
    assert echoes(daemon) == (5, 4) and "ICMP isn't served" not in daemon.process.log


@pytest.mark.carried()
@pytest.mark.parametrize("lan", [NO_PINGS], indirect=True)
def test_not_served(start):
    """§9.2: without either it says so, answers nothing, and UDP is what it was."""
    daemon, edge = start(wrap=UNPRIVILEGED, network={"allow": "127.0.0.0/8, 10.0.0.0/8"})
    link = edge.wait_registered(1, 15)[0]
    pings = Pings(link)
    pings.send(*(request(host, ttl=ttl) for host in NEAR for ttl in (1, 64)))
    until(lambda: drops(daemon, "not-served") == 4, 5, "all counted")
    assert daemon.process.log.count("ICMP isn't served") == 2
    assert echoes(daemon) == echoes(daemon, "raw") == (0, 0)
    pings.read()
    assert not pings.packets
    flows = Flows(link)
    flows.open("127.0.0.1", 9)
