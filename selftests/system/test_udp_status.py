# SPDX-License-Identifier: Apache-2.0
"""`adit status --flows`: each UDP flow with what carries it, since when and why; drops in one list.

    adit, Varlink --control socket--> aditd (2 workers) <==2 connections== PeerEdge (aioquic)
"""
import json

import pytest

from lib.adit import Daemon, peer_edge_keys, section, write_token
from lib.dgram3 import OK, Flows, carry, register
from lib.peer_edge import PeerEdge
from lib.udp_origin import UdpEcho
from lib.varlink import Refused, Varlink
from lib.wait import lasts, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(aditd="anchor")]

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"


@pytest.fixture(name="world")
def fixture_world(processes, tmp_path, authority):
    """(daemon, flows of the connection of either worker, echo)"""
    with PeerEdge(*authority.leaf("peer")) as edge, UdpEcho() as echo:
        daemon = Daemon(processes, tmp_path, rules=[(None, "http_status:404")], workers=2,
                        token_file=write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(32)),
                        edge_keys=peer_edge_keys(edge, authority), connections=2,
                        extra=section("network", allow="127.0.0.0/8"))
        daemon.start()
        links = {k.registration.index: Flows(k) for k in edge.wait_registered(2, 15)}
        yield daemon, links[0], links[1], echo


def shown(daemon):
    """(flows by id, drops by (where, reason))"""
    document = json.loads(daemon.adit("--json", "status", "--flows").stdout)
    assert set(document) == {"flows", "drops"}
    return ({k.pop("id"): k for k in document["flows"]},
            {(k["where"], k["reason"]): k["count"] for k in document["drops"]})


@pytest.mark.carried(aditd="anchor connected")
def test_flows(world):
    """What carries each flow, and why; where it is, what has moved; and what was dropped."""
    daemon, first, second, echo = world
    plain, busy, moved = (first.open(echo.host, echo.port) for _ in range(3))
    for flow in (plain, busy, moved):
        first.echo(flow, b"x")
    count = 1

    def has_own():
        nonlocal count
        for _ in range(10):
            for _ in range(4):
                first.send(*(carry(busy, b"y") for _ in range(8)))
            first.wait(lambda: len(first.payloads[busy]) >= 32, 5, "as many echoes")
            first.payloads[busy].clear()
            count += 32
        return shown(daemon)[0][busy.hex()]["path"] == "connected"
    until(has_own, 15, "a socket of its own", 0)
    second.send(register(moved, echo.host, echo.port), carry(first.new(), b"nobody's"))
    assert second.wait_response(moved) == OK
    until(lambda: shown(daemon)[1] == {("datagram", "no-flow"): 1}, 5, "the drop")
    flows, _ = shown(daemon)
    assert set(flows) == {k.hex() for k in (plain, busy, moved)}
    assert [[flows[k.hex()][n] for n in ("path", "why", "index", "version", "tx", "rx")]
            for k in (plain, busy, moved)] == [
                ["anchor", "it doesn't send in runs", 0, 3, 1, 1],
                ["connected", "it sends in runs", 0, 3, count, count],
                ["connected", "it came from another worker", 1, 3, 1, 1]]
    assert {k["source"] for k in flows.values()} == {"%s:%d" % k for k in echo.peers}
    assert {k["destination"] for k in flows.values()} == {echo.address}
    assert all(0 <= k["idle_sec"] < 30 and k["since_usec"] > 0 for k in flows.values())
    text = daemon.adit("status", "--flows").stdout
    for word in ("BECAUSE", plain.hex(), "it sends in runs", "no-flow", echo.address):
        assert word in text, text


def test_a_flow_without_connection(world):
    """It is shown as such until it ends."""
    daemon, first, _, echo = world
    flow = first.open(echo.host, echo.port)
    first.echo(flow, b"x")
    assert shown(daemon)[0][flow.hex()]["index"] == 0
    first.link.close_link()
    until(lambda: shown(daemon)[0][flow.hex()]["index"] is None, 5, "the connection's end")
    lasts(2, "some seconds without a datagram")
    assert shown(daemon)[0][flow.hex()]["idle_sec"] >= 1
    until(lambda: not shown(daemon)[0], 15, "its end")


@pytest.mark.carried()
def test_the_call(world):
    """§11: a list is a stream; its length has a limit, and nothing is said of an edge."""
    daemon, first, _, echo = world
    assert shown(daemon) == ({}, {})
    with Varlink(daemon) as link:
        for ask, limit, error in ((link.call, 10, "org.varlink.service.ExpectedMore"),
                                  (link.stream, 0, "org.varlink.service.InvalidParameter"),
                                  (link.stream, 10001, "org.varlink.service.InvalidParameter"),
                                  (link.stream, 10, "io.adit.Daemon.NoFlows")):
            with pytest.raises(Refused, match=error):
                ask("Flows", limit=limit)
        ids = {first.open(echo.host, echo.port).hex() for _ in range(5)}
        assert {k["flow"]["id"] for k in link.stream("Flows")} == ids == set(shown(daemon)[0])
        assert len(link.stream("Flows", limit=3)) == 3
    assert daemon.adit("--edge", "status", "--flows", check=False).returncode == 64
