# SPDX-License-Identifier: Apache-2.0
"""T8: what a daemon of another make, or a hostile one, can send to the clients of a private network: a
daemon in Python beside the edge of lib.private_net, in both versions. Needs root.

    [client] c0 ===- c1 [edge] x1 10.90.9.1 ===- 10.90.9.2 x0 [this test: a daemon on aioquic]
"""
import socket
import struct

import pytest

from lib import icmp, needs, netns, private_net, udp_client
from lib.dgram3_daemon import FEATURE, FlowServer
from lib.icmp import EXCEEDED, Pings, REPLY, REQUEST, UNREACHABLE
from lib.peer_daemon import FEATURES, Credentials, PeerDaemon
from lib.private_net import CLIENT, CLIENT_V6, EDGE, EDGE_HOST, FAR, FAR_V6, NEAR
from lib.wait import holds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(edge="tun-icmp")]

OUTSIDE = "10.20.30.40"     # in no private network
SELF = {FAR: CLIENT, FAR_V6: CLIENT_V6}


@pytest.fixture(name="ground", scope="module")
def fixture_ground(tmp_path_factory):
    """The edge alone; the daemon's own host has no part in it."""
    needs.namespaces()
    with private_net.private_net(tmp_path_factory.mktemp("net")) as made:
        netns.ip("link", "add", "x0", "type", "veth", "peer", "name", "x1", "netns",
                 made.edge_ns.name)
        made.edge_ns.address("x1", "10.90.9.1/24")
        for words in (("address", "add", "10.90.9.2/24", "dev", "x0"), ("link", "set", "x0", "up"),
                      ("route", "add", f"{EDGE}/32", "via", "10.90.9.1")):
            netns.ip(*words)
        made.edge.start()
        yield made


@pytest.fixture(name="pings", params=[3, 2], ids=["v3", "v2"])
def fixture_pings(ground, request):
    """The daemon's end of ICMP: what the edge sent, and what we like."""
    features = [*FEATURES, FEATURE] if request.param == 3 else FEATURES
    with PeerDaemon(Credentials.from_token(ground.edge.token), ground.edge.address, ground.edge.ca,
                    features=features) as daemon:
        link, _ = daemon.register()
        ground.edge.wait_links(1)
        yield Pings(link, request.param)
    until(lambda: ground.edge.links() == 0, 5, "its end")


def message_of(packet):
    return packet[40 if packet[0] >> 4 == 6 else 20:]


def ask(ground, pings, host):
    """The client pings; what the daemon sees of it."""
    packet = icmp.request(host, 77, 5, b"what was asked", src=SELF[host])
    with icmp.raw_socket(ground.client, v6=":" in host) as client:
        client.sendto(message_of(packet), (host, 0))
        return pings.take()


def dropped(ground, reason):
    return ground.edge.counter("adit_drops_total", where="network", reason=reason)


def written(ground):
    return ground.edge.counter("adit_flow_packets_total", path="tun-icmp", dir="tx")


def echo(version, kind, ident=77, seq=5, data=b"what was asked"):
    return struct.pack("!BBHHH", icmp.NUMBERS[version][kind], 0, 0, ident, seq) + data


def error(version, kind, quote, code=0):
    return struct.pack("!BBHI", icmp.NUMBERS[version][kind], code, 0, 0) + quote


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_asked_and_answered(ground, pings, host):
    """The packet as it was, one hop older; the answer as it is, another hop on."""
    asked = icmp.read(ask(ground, pings, host))
    assert (asked.kind, asked.src, asked.dst, asked.ttl) == (REQUEST, SELF[host], host, 63)
    assert (asked.ident, asked.seq, asked.data) == (77, 5, b"what was asked")
    version = 6 if ":" in host else 4
    with icmp.raw_socket(ground.client, v6=":" in host) as client:
        pings.send(icmp.packet(host, SELF[host], echo(version, REPLY)))
        got, peer = client.recvfrom(2000)
        assert peer[0] == host
        assert got[-len(b"what was asked"):] == b"what was asked"


@pytest.mark.parametrize("host", [FAR, FAR_V6])
def test_errors_of_hops(ground, pings, host):
    """A hop anywhere may speak about what was asked, and about nothing else."""
    version, client_ip = (6, CLIENT_V6) if ":" in host else (4, CLIENT)
    hop = "2001:db8::77" if version == 6 else OUTSIDE
    asked = ask(ground, pings, host)
    before, foreign = written(ground), dropped(ground, "icmp-foreign")
    for kind in (EXCEEDED, UNREACHABLE):
        pings.send(icmp.packet(hop, client_ip, error(version, kind, asked)))
    until(lambda: written(ground) == before + 2, 5, "two errors")
    never = NEAR if version == 4 else private_net.NEAR_V6
    for quote in (icmp.request(never, 77, 5, src=client_ip),            # nobody asked there
                  icmp.request(hop, 77, 5, src=client_ip)):             # no network of ours
        pings.send(icmp.packet(hop, client_ip, error(version, EXCEEDED, quote)))
    until(lambda: dropped(ground, "icmp-foreign") == foreign + 2, 5, "two drops")
    assert written(ground) == before + 2


def test_unasked(ground, pings):
    """Replies that nobody waits for, to whomever, from wherever."""
    ask(ground, pings, FAR)
    before, passed = dropped(ground, "icmp-foreign"), written(ground)
    packets = [icmp.packet(NEAR, CLIENT, echo(4, REPLY)),           # not asked
               icmp.packet(FAR, EDGE_HOST, echo(4, REPLY)),         # not by him
               icmp.packet(OUTSIDE, CLIENT, echo(4, REPLY)),        # no private network
               icmp.packet(CLIENT, CLIENT, echo(4, REPLY)),
               icmp.packet("fd90:3::9", CLIENT_V6, echo(6, REPLY)),
               icmp.packet(FAR, "127.0.0.1", echo(4, REPLY)),
               icmp.packet(FAR, "224.0.0.1", echo(4, REPLY))]
    pings.send(*packets)
    until(lambda: dropped(ground, "icmp-foreign") == before + len(packets), 5, "all dropped")
    assert written(ground) == passed


def test_malformed(ground, pings):
    """Whatever else comes is counted, and the edge serves on."""
    asked = ask(ground, pings, FAR)
    before, passed = dropped(ground, "malformed"), written(ground)
    good = icmp.packet(FAR, CLIENT, echo(4, REPLY))
    packets = [b"\0", b"\x45", good[:19], good[:27], good[:9] + b"\x11" + good[10:],   # cut; UDP
               icmp.packet(FAR, CLIENT, echo(4, REQUEST)),
               icmp.packet(FAR, CLIENT, b"\x05\0\0\0\x0a\x5a\1\1" + asked[:28]),        # a redirect
               icmp.packet(FAR, CLIENT, error(4, EXCEEDED, b"")),
               icmp.packet(FAR, CLIENT, error(4, EXCEEDED, asked[:19])),
               icmp.packet(FAR, EDGE_HOST, error(4, EXCEEDED, asked)),      # not to who is quoted
               good[:6] + b"\x20\0" + good[8:]]                             # a first fragment
    for packet in packets:
        pings.send(packet)
    until(lambda: dropped(ground, "malformed") == before + len(packets), 5, "all dropped")
    assert written(ground) == passed
    test_asked_and_answered(ground, pings, FAR)


def test_flood(ground, pings):
    """T8: a flood of what isn't wanted doesn't keep what is from its way: of a hundred at most one is lost."""
    ask(ground, pings, FAR)
    junk = icmp.packet(NEAR, CLIENT, echo(4, REPLY, data=bytes(1000)))
    good = icmp.packet(FAR, CLIENT, echo(4, REPLY))
    before, foreign, count = written(ground), dropped(ground, "icmp-foreign"), 200
    for _ in range(count):
        pings.send(*[junk] * 20, good)
    until(lambda: dropped(ground, "icmp-foreign") >= foreign + 0.99 * 20 * count, 20, "the flood's drops")
    until(lambda: written(ground) >= before + 0.99 * count, 5, "what was asked for")
    test_asked_and_answered(ground, pings, FAR)
    assert ground.edge.process.is_running


@pytest.mark.carried(edge="tun")
def test_unsolicited_payloads(ground):
    """UDP: only a flow that a client has made brings something to it."""
    with PeerDaemon(Credentials.from_token(ground.edge.token), ground.edge.address, ground.edge.ca,
                    features=[*FEATURES, FEATURE]) as daemon:
        link, _ = daemon.register()
        ground.edge.wait_links(1)
        flows = FlowServer(link)
        with udp_client.client(53, FAR, ground.client) as client:
            client.send(b"question")
            made = flows.wait_registration()
            assert (socket.inet_ntoa(made.address), made.port) == (FAR, 53)
            flows.send(bytes(16), b"stray")
            flows.respond(made.flow)
            assert flows.wait_payloads(1) == [b"question"]
            flows.send(made.flow, b"answer")
            assert client.recv(100) == b"answer"
            sent = ground.edge.counter("adit_flow_packets_total", path="tun", dir="tx")
            flows.send(bytes(16), b"stray")
            holds(lambda: ground.edge.counter("adit_flow_packets_total", path="tun",
                                              dir="tx") == sent, 0.3, "nothing written")
