# SPDX-License-Identifier: Apache-2.0
"""The Python peers against each other, without any program of ours (ground for T3 and T13).

    PeerDaemon   --QUIC on loopback----> PeerEdge
    PeerH2Daemon --HTTP/2 on loopback--> PeerH2Edge
"""
import pytest

from lib import h2frames as fr, h2peer, tunnelrpc as rpc
from lib.h2_daemon import H2DaemonLink, PeerH2Daemon
from lib.h2_edge import PeerH2Edge
from lib.peer_daemon import Credentials, PeerDaemon, Response
from lib.peer_edge import SILENT, PeerEdge

pytestmark = pytest.mark.group("wire")

TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
ACCOUNT = "0123456789abcdef0123456789abcdef"


def answer(request):
    if request.dest == "/error":
        return Response(error="nothing there")
    if request.dest == "/reset":
        return Response(200, [], b"part", reset=7)
    if request.dest == "/trailers":
        request.stream.send_head(H2DaemonLink.head(200, []))
        request.stream.send(b"body")
        request.stream.send_trailers([("x-sum", "1")])
        return None
    body = request.read()
    return Response(200, [("Content-Type", "text/plain"), ("X-Twice", "1"), ("X-Twice", "2")],
                    request.method.encode() + b" " + body)


@pytest.fixture(name="pair")
def fixture_pair(authority):
    chain, key = authority.leaf("peer")
    with PeerEdge(chain, key) as edge:
        credentials = Credentials(ACCOUNT, TUNNEL, bytes(range(32)))
        with PeerDaemon(credentials, edge.address, authority.path, answer) as daemon:
            yield edge, daemon


def test_register_request_unregister(pair):
    """T3 (ground): registration, configuration, requests both ways, unregistration."""
    edge, daemon = pair
    link, outcome = daemon.register(index=2)
    assert isinstance(outcome, rpc.Accepted) and outcome.uuid == daemon.client_id
    served = edge.wait_registered()[0]
    assert served.registration.secret == bytes(range(32))
    assert served.registration.index == 2 and served.alpn == "argotunnel"
    assert served.hello.server_name == "quic.cftunnel.com"
    assert daemon.upload(link, b"{}").outcome == "results" and served.config == b"{}"
    got = served.request("POST", body=b"x" * 300_000, headers=[("Content-Length", "300000")])
    assert (got.status, got.end, got.header("x-twice")) == (200, "fin", "1, 2")
    assert got.body == b"POST " + b"x" * 300_000
    got = served.request(path="/error")
    assert got.error == "nothing there" and got.end == "fin"
    got = served.request(path="/reset")
    assert got.body == b"part" and got.end == ("reset", 7)
    assert daemon.unregister(link).outcome == "results" and served.unregistered
    link.close_link(0)
    served.wait_closed_link()
    assert served.peer_closed and served.closed[0] == 0


@pytest.mark.parametrize("policy, expected", [
    (rpc.Refused("EDUPCONN"), rpc.Refused("EDUPCONN")),
    (rpc.Refused("later", True, 10**9), rpc.Refused("later", True, 10**9)),
    ("broken", "broken"),
])
def test_refusals(pair, policy, expected):
    """T3 (ground): each kind of refusal arrives as sent."""
    edge, daemon = pair
    edge.policy = lambda registration, link: policy
    assert daemon.register()[1] == expected
    assert not edge.live


def test_silence_and_close(pair):
    """T3 (ground): an edge that never answers, and that closes with a code."""
    edge, daemon = pair
    edge.policy = lambda registration, link: SILENT
    link = daemon.connect()
    with pytest.raises(AssertionError, match="answer to question"):
        daemon.register(link=link, timeout=0.5)
    edge.links[0].close_link(5, "go away")
    assert link.wait_closed_link()[::2] == (5, "go away") and link.peer_closed


def test_retry_datagrams_key_update(authority):
    """T3 (ground): Retry, DATAGRAM frames and a key update between the peers."""
    chain, key = authority.leaf("peer")
    with PeerEdge(chain, key, retry=True) as edge:
        credentials = Credentials(ACCOUNT, TUNNEL, bytes(32))
        with PeerDaemon(credentials, edge.address, authority.path) as daemon:
            link, outcome = daemon.register()
            assert isinstance(outcome, rpc.Accepted)
            served = edge.wait_registered()[0]
            served.send_datagram(b"down" * 10)
            assert link.wait_datagram() == [b"down" * 10]
            link.send_datagram(b"up")
            assert served.wait_datagram() == [b"up"]
            served.key_update()
            assert served.request().status == 200


def test_rpc_stream(pair):
    """T3 (ground): an edge-opened RPC stream carries the recorded bytes."""
    edge, daemon = pair
    link, _ = daemon.register()
    client = edge.wait_registered()[0].rpc()
    client.start(rpc.CONFIGURATION, 0, rpc.update_configuration(7, b"{}"))
    stream = daemon.hub.wait(lambda: link.streams.get(1), 5, "the stream")
    stream.wait_bytes(60)
    assert stream.received.startswith(rpc.RPC_SIGNATURE + rpc.bootstrap(0))


@pytest.fixture(name="h2_pair")
def fixture_h2_pair(authority):
    chain, key = authority.leaf("peer")
    with PeerH2Edge(chain, key) as edge:
        credentials = Credentials(ACCOUNT, TUNNEL, bytes(range(32)))
        with PeerH2Daemon(credentials, edge.address, authority.path, answer) as daemon:
            yield edge, daemon


def test_h2_register_request_unregister(h2_pair):
    """T13 (ground): the same over HTTP/2: control stream, answers, trailers, resets, the end."""
    edge, daemon = h2_pair
    link, outcome = daemon.register(index=2)
    assert isinstance(outcome, rpc.Accepted) and outcome.uuid == daemon.client_id
    served = edge.wait_registered()[0]
    assert served.registration.secret == bytes(range(32)) and served.registration.index == 2
    assert served.server_name == "h2.cftunnel.com"
    assert 16 not in h2peer.hello_extensions(edge.hellos[0])       # no ALPN
    assert daemon.upload(link, b"{}").outcome == "results" and served.config == b"{}"
    got = served.request("POST", body=b"x" * 3_000_000, headers=[("Content-Type", "a/b")])
    assert (got.status, got.end, got.header("x-twice")) == (200, "fin", "1, 2")
    assert got.meta == {"src": "origin"} and got.body == b"POST " + b"x" * 3_000_000
    got = served.request(path="/error")
    assert (got.status, got.meta, got.end) == (502, {"src": "cloudflared"}, "fin")
    got = served.request(path="/reset")
    assert got.body == b"part" and got.end == ("reset", 7)
    got = served.request(path="/trailers")
    assert (got.body, got.trailers, got.end) == (b"body", [("x-sum", "1")], "fin")
    assert daemon.unregister(link).outcome == "results" and served.unregistered
    link.close_link(0, "done")
    assert served.wait_closed_link() == (0, None, "done") and served.peer_closed
    assert not (served.violation or link.violation)


@pytest.mark.parametrize("policy", [rpc.Refused("EDUPCONN"), rpc.Refused("later", True, 10**9),
                                    "broken"])
def test_h2_refusals(h2_pair, policy):
    """T13 (ground): each kind of refusal arrives as sent."""
    edge, daemon = h2_pair
    edge.policy = lambda registration, link: policy
    assert daemon.register()[1] == policy
    assert not edge.live


def test_h2_goaway_lets_streams_end(h2_pair):
    """T13 (ground): behind a GOAWAY running streams go on, both ways."""
    edge, daemon = h2_pair
    link, _ = daemon.register()
    served = edge.wait_registered()[0]
    stream = served.send_request("POST", fin=False)
    daemon.wait_requests()
    link.go_away(stream.number)
    assert served.wait_goaway() == (stream.number, 0, "")
    stream.send(b"late", True)
    assert stream.answer().body == b"POST late"
    served.ping()


def test_h2_by_hand(h2_pair):
    """T13 (ground): frames by hand go out as they are, and what comes back is read."""
    edge, daemon = h2_pair
    daemon.register()
    served = edge.wait_registered()[0].by_hand()
    stream = served.send_request("POST", fin=False)
    served.raw(fr.data(stream.number, b"in ") + fr.data(stream.number, b"pieces", True))
    got = stream.answer()
    assert (got.status, got.body, got.end) == (200, b"POST in pieces", "fin")
    whole = served.block(served.request_fields(path="/x"))
    number = stream.number + 2
    served.raw(fr.headers(number, whole[:5], True, False) + fr.continuation(number, whole[5:6], False)
               + fr.continuation(number, whole[6:]))
    daemon.wait_requests(2)
    served.ping()
    served.raw(fr.data(0, b"on no stream"))
    assert served.wait_closed_link()[0] == fr.PROTOCOL_ERROR
    assert daemon.links[0].violation
