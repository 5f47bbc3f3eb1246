# SPDX-License-Identifier: Apache-2.0
"""UDP flows that go from one connection to another, and from worker to worker at both ends. The origin
always sees the same source port.

    client --[udp]--> adit-edge (2 workers) ==2 connections== aditd (2 workers) --> echo
"""
import contextlib
import os
import socket

import pytest

from lib import paths, ports, udp_client
from lib.adit import Daemon, Edge, peer_edge_keys, section, write_token
from lib.dgram3 import OK, Flows, carry, register
from lib.dgram3_daemon import FEATURE, FlowServer
from lib.peer_daemon import FEATURES, Credentials, PeerDaemon
from lib.peer_edge import PeerEdge
from lib.relay import Relay
from lib.udp_client import udp_section
from lib.udp_origin import UdpEcho, bound
from lib.udp_stream import UdpStream
from lib.wait import SLOW, lasts, many, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(aditd="anchor connected")]

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"


def crossings(daemon, what):
    return daemon.counter("adit_flow_crossings_total", what=what)


def carried(daemon):
    """{path: (rx, tx)} of origins."""
    page = daemon.metrics()
    return {path: tuple(page.sum("adit_flow_packets_total", path=path, dir=k) for k in ("rx", "tx"))
            for path in ("anchor", "connected")}


@pytest.fixture(name="peer")
def fixture_peer(authority):
    with PeerEdge(*authority.leaf("peer")) as edge:
        yield edge


@pytest.fixture(name="start")
def fixture_start(processes, tmp_path, authority, origins):
    """start(edge) -> (daemon of two workers, flows of the link of each)"""
    token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(range(32)))

    def start(edge):
        daemon = Daemon(processes, tmp_path, token_file=token, rules=[(None, "http_status:404")],
                        edge_keys=peer_edge_keys(edge, authority), workers=2, connections=2,
                        extra=section("network", allow=origins.allow), promotes=origins.device)
        daemon.start()
        links = {k.registration.index: Flows(k) for k in edge.wait_registered(2, 15)}
        assert {k["worker"] for k in daemon.status()["connections"]} == {0, 1}
        return daemon, links[0], links[1]
    return start


def test_to_another_worker(peer, start):
    """§5: registered on another worker's connection, a flow goes there with its port, and back; a
    payload is taken from either."""
    with UdpEcho() as echo:
        daemon, first, second = start(peer)
        flow = first.open(echo.host, echo.port)
        first.echo(flow, b"here")
        assert carried(daemon) == {"anchor": (1, 1), "connected": (0, 0)}
        for number, (link, other) in enumerate(((second, first), (first, second)), 1):
            link.send(register(flow, echo.host, echo.port))
            assert link.wait_response(flow, (number + 1) // 2 + (link is first)) == OK
            link.echo(flow, b"there")
            other.send(carry(flow, b"by the other"))
            assert link.wait_payload(flow) == b"by the other"
            assert crossings(daemon, "flow") == number
            assert daemon.counter("cloudflared_udp_migrated_flows") == number
        assert len(echo.peers) == 1, "one local port"
        assert carried(daemon) == {"anchor": (1, 1), "connected": (4, 4)}
        assert daemon.counter("adit_flows", path="connected") == 1
        assert daemon.counter("adit_flows", kind="udp") == 1
        assert crossings(daemon, "datagram") == 4, "two registrations, two payloads"


def test_payload_right_behind(peer, start):
    """What follows the registration on the other connection isn't overtaken, and nothing is lost."""
    with UdpEcho() as echo:
        _, first, second = start(peer)
        flow = first.open(echo.host, echo.port)
        first.echo(flow, b"x")
        second.send(register(flow, echo.host, echo.port), *(carry(flow, b"%d" % n) for n in range(9)))
        assert second.wait_response(flow) == OK
        assert [second.wait_payload(flow) for _ in range(9)] == [b"%d" % n for n in range(9)]
        assert len(echo.peers) == 1


@paths.BOTH
def test_connection_closed(peer, start, origins):
    """T6: closed in mid-flow and registered on the other worker's connection after that: same port."""
    with origins.echo() as echo:
        daemon, first, second = start(peer)
        flows = [first.open(echo.host, echo.port) for _ in range(20)]

        def turn(link=first):
            for flow in flows:
                link.echo(flow, b"x")
        origins.settle(daemon, turn, 20)
        ports_before = set(echo.peers)
        first.link.close_link()
        until(lambda: daemon.counter("cloudflared_udp_active_flows") == 20 and
              daemon.status()["connections"][0]["flows"] == 0, 5, "flows without a connection")
        second.send(*(register(k, echo.host, echo.port) for k in flows))
        for flow in flows:
            assert second.wait_response(flow) == OK
            second.echo(flow, b"y")
        if origins.device:
            origins.settle(daemon, lambda: turn(second), 20)
        assert set(echo.peers) == ports_before and len(ports_before) == 20
        assert crossings(daemon, "flow") == 20
        assert daemon.status()["connections"][1]["flows"] == 20


def test_many_at_once(peer, start):
    """1 000 flows of a connection that ends go to the other worker, each with its port; when they have
    ended nothing of them is left, on either worker."""
    count = many(1000)
    with UdpEcho() as echo:
        echo.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        daemon, first, second = start(peer)
        descriptors = lambda: len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
        before = descriptors()
        flows = [first.new() for _ in range(count)]

        def register_all(link):
            for at in range(0, count, 50):
                some = flows[at:at + 50]
                link.send(*(register(k, echo.host, echo.port, idle=round(seconds(10))) for k in some))
                link.wait(lambda s=some: all(k in link.responses for k in s), 20, "answers")
            assert {link.responses[k][0] for k in flows} == {OK}

        def echo_all(link):
            for at in range(0, count, 50):
                for flow in flows[at:at + 50]:
                    link.send(carry(flow, flow))
                for flow in flows[at:at + 50]:
                    if not link.payloads.get(flow):
                        link.echo(flow, flow)
        register_all(first)
        echo_all(first)
        addresses = set(echo.peers)
        first.link.close_link()
        until(lambda: daemon.status()["connections"][0]["flows"] == 0, 5, "the connection's end")
        register_all(second)
        echo_all(second)
        assert set(echo.peers) == addresses and len(addresses) == count
        assert crossings(daemon, "flow") == count
        assert all(min(carried(daemon)[k]) >= count for k in ("anchor", "connected"))
        until(lambda: daemon.counter("adit_flows", kind="udp") == 0, 40, "their end")
        until(lambda: daemon.counter("adit_anchors") <= 16, 5, "the anchors' end")
        assert descriptors() <= before + 20, "spares of one address"


@pytest.mark.carried(aditd="connected")
def test_idle_elsewhere(peer, start):
    """§4.5: the idle time goes on counting where the flow is; at the end nothing of it is left."""
    with UdpEcho() as echo:
        daemon, first, second = start(peer)
        flow = first.open(echo.host, echo.port, idle=3)
        second.send(register(flow, echo.host, echo.port, idle=3))
        assert second.wait_response(flow) == OK
        lasts(2, "silence, shorter than the idle time by a second")
        second.echo(flow, b"x")
        lasts(2, "the same again")
        assert daemon.counter("adit_flows", kind="udp") == 1
        until(lambda: daemon.counter("adit_flows", kind="udp") == 0, 2, "its end")
        assert daemon.counter("cloudflared_udp_failed_flows") == 0


# ---- our own edge ----

@contextlib.contextmanager
def whole(processes, tmp_path, origins, relays=0):
    """(edge, daemon, echo, address of the public port, relays): of two connections, by a relay each if
    there are any."""
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(origins.echo())
        port, tunnel = ports.free(), ports.free()
        between = [stack.enter_context(Relay(("127.0.0.1", tunnel))) for _ in range(relays)]
        edge = Edge(processes, tmp_path, port=tunnel, both=False,
                    extra=udp_section("echo", port, echo.address))
        edge.start()
        keys = {"kind": "adit", "ca_file": edge.ca,
                "address": ", ".join(r.address for r in between)} if between else None
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=2,
                        edge_keys=keys, extra=section("network", allow=origins.allow),
                        promotes=origins.device)
        daemon.serve()
        edge.wait_links(2)
        yield edge, daemon, echo, ("127.0.0.1", port), between


def steady(stream, count):
    until(lambda: len(stream.echoed) >= count, 15, "echoes")


def promoted(origins, daemon):
    """Where it can be."""
    if origins.device:
        until(lambda: daemon.counter("adit_flows", path="xdp") == 1, 15, "a promoted flow")


@paths.BOTH
@pytest.mark.carried(edge="socket", aditd="anchor connected")
def test_reconnected(processes, tmp_path, origins):
    """T6: connections are replaced one after the other, again and again: the client's flow goes between
    workers of both ends; at 1 000 datagrams a second at most 50 ms are lost each time."""
    turns = 2 if origins.device else 4
    begun = []
    with whole(processes, tmp_path, origins) as (edge, daemon, echo, address, _), \
            UdpStream(address, 1000 / SLOW) as stream:
        steady(stream, 500)
        for turn in range(turns):
            begun.append(stream.sent)
            daemon.wait_ready()
            edge.wait_links(2)
            promoted(origins, daemon)
            before = daemon.counter("cloudflared_udp_migrated_flows")
            index = next(k["index"] for k in daemon.status()["connections"] if k["flows"])
            daemon.adit("reconnect", str(index))
            until(lambda b=before: daemon.counter("cloudflared_udp_migrated_flows") > b, 15, "a move")
            steady(stream, len(stream.echoed) + 200)
            promoted(origins, daemon)
            assert len(echo.peers) == 1, f"one local port, also after move {turn}"
    lost = [stream.missing_of(*k) for k in zip(begun, [*begun[1:], stream.sent])]
    print(f"{stream.sent} sent, missing {lost}, {crossings(daemon, 'flow'):.0f} changes of worker")
    if max(lost) > 50:
        for end in (edge, daemon):
            print(end.name, [k for k in end.metrics().find("adit_drops_total") if k[1]])
    assert max(lost) <= 50, lost
    assert crossings(daemon, "flow") >= 1


@pytest.mark.carried(edge="socket", aditd="anchor connected")
def test_only_the_origin_speaks(processes, tmp_path):
    """T6: a flow whose client is silent is registered on another connection when its own ends, on
    whatever worker of the edge: what the origin goes on sending arrives, from and to the same ports."""
    port = ports.free()
    with bound() as origin, udp_client.client(port) as client:
        edge, daemon = udp_client.both_ends(
            processes, tmp_path, udp_section("push", port, "%s:%d" % origin.getsockname()))
        client.settimeout(0.05)
        client.send(b"go on")
        data, address = origin.recvfrom(100)
        assert data == b"go on"

        def arrives(payload):
            origin.sendto(payload, address)
            try:
                while client.recv(100) != payload:
                    pass
            except TimeoutError:
                return False
            return True
        for turn in range(4):
            daemon.wait_ready()
            edge.wait_links(2)
            until(lambda t=turn: arrives(b"before %d" % t), 5, "the origin's datagrams")
            before = daemon.counter("cloudflared_udp_migrated_flows")
            index = next(k["index"] for k in daemon.status()["connections"] if k["flows"])
            daemon.adit("reconnect", str(index))
            until(lambda t=turn: arrives(b"after %d" % t), 2, "the origin's datagrams again", 0.01)
            until(lambda b=before: daemon.counter("cloudflared_udp_migrated_flows") > b, 5, "a move")
        assert daemon.counter("cloudflared_udp_total_flows") == 1
        assert crossings(daemon, "flow") >= 1


@paths.BOTH
@pytest.mark.carried(edge="socket", aditd="anchor connected")
def test_silent(processes, tmp_path, origins):
    """T6: the connection's path swallows everything: the flow is on the other one within 2.5 s, with
    its port, and both workers of the daemon have had it."""
    with whole(processes, tmp_path, origins, relays=2) as (_, daemon, echo, address, relays):
        with UdpStream(address) as stream:
            steady(stream, 500)
            promoted(origins, daemon)
            before = len(stream.echoed)
            status = daemon.status()["connections"]
            at = next(k["edge"] for k in status if k["flows"])
            dead = next(r for r in relays if r.address == at)
            dead.drop = lambda data, up: True
            steady(stream, before + 500)
            promoted(origins, daemon)
        assert stream.missing <= 2500 * SLOW, stream.missing
        assert len(echo.peers) == 1, "one local port"
        assert crossings(daemon, "flow") == 1
        assert origins.device or min(carried(daemon)["connected"]) > 0
        print(f"{stream.sent} sent, {stream.missing} missing")


@pytest.mark.carried(edge="socket")
def test_one_id_for_all_workers(processes, tmp_path):
    """The edge keeps a flow's id when another worker's connection takes it over: a daemon that isn't
    ours sees the same registration there. No payload is bundled with it: it would be lost."""
    port = ports.free()
    edge = Edge(processes, tmp_path, extra=udp_section("port", port, "192.0.2.5:53"))
    edge.start()
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca,
                    features=[*FEATURES, FEATURE, "adit_1"]) as peer, contextlib.ExitStack() as stack:
        links = [peer.register(k)[0] for k in range(1)]
        edge.wait_links(1)
        clients = [stack.enter_context(UdpStream(("127.0.0.1", port), rate=50)) for _ in range(6)]
        server = FlowServer(links[0])
        server.wait(lambda: len({k.flow for k in server.registrations}) == 6, seconds(10))
        ids = {k.flow for k in server.registrations}
        for flow in ids:
            server.respond(flow)
        server.wait(lambda: {flow for flow, _ in server.payloads} == ids, seconds(10))
        for index in range(1, 7):   # the kernel chooses the edge's worker by the source port
            other = FlowServer(peer.register(index)[0])
            edge.wait_links(2)
            links[0].close_link()
            other.wait(lambda o=other: {k.flow for k in o.registrations} == ids, seconds(10))
            assert not any(k.payload for k in other.registrations)
            for flow in ids:
                other.respond(flow)
            other.wait(lambda o=other: {flow for flow, _ in o.payloads} == ids, seconds(10))
            links[0] = other.link
            until(lambda: edge.links() == 1, 5, "the old link's end")
        assert edge.counter("adit_edge_datagrams_forwarded_total") > 0
        assert all(c.sent for c in clients)
