# SPDX-License-Identifier: Apache-2.0
"""UDP sessions of datagram version 2 at aditd, made by calls of an independent edge in Python. B1, B2,
B6, B7 and A16 are sections of selftests/data/datagram-sessions.md.

    PeerEdge (aioquic) <==QUIC DATAGRAM, RPC streams== aditd --anchor--> UDP origins in Python
"""
import socket
import time

import pytest

from lib import dgram2, dgram3, paths, ports, tunnelrpc as rpc
from lib.adit import Daemon, peer_edge_keys, section, write_token
from lib.dgram2 import Sessions, carry
from lib.peer_edge import PeerEdge
from lib.udp_origin import UdpEcho, bound
from lib.wait import holds, many, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(aditd="anchor")]

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
TRACE = "ec31ad8a01fde11fdcabe2efdce36873:52726f6cabc144f5:0:1"


@pytest.fixture(name="peer")
def fixture_peer(authority):
    with PeerEdge(*authority.leaf("peer")) as edge:
        yield edge


@pytest.fixture(name="start")
def fixture_start(processes, tmp_path, authority, origins):
    """start(edge) -> a running aditd of one worker that speaks version 2."""
    token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(range(32)))

    def start(edge, network=None, limits=None, connections=1, datagram="v2", **options):
        extra = section("network", **({"allow": origins.allow} if network is None else network))
        extra += section("limits", **(limits or {}))
        daemon = Daemon(processes, tmp_path, token_file=token, rules=[(None, "http_status:404")],
                        edge_keys=peer_edge_keys(edge, authority), workers=1,
                        connections=connections, extra=extra, promotes=origins.device,
                        tunnel_keys={"datagram": datagram}, **options)
        daemon.start()
        return daemon
    return start


@pytest.fixture(name="world")
def fixture_world(peer, start, origins):
    """(daemon, sessions of its link, echo)"""
    with origins.echo() as echo:
        daemon = start(peer)
        yield daemon, Sessions(peer.wait_registered(1, 15)[0]), echo


def anchors(daemon):
    """Packets (to, from) origins by the socket ground; by the short cut where that is forced."""
    return paths.by_path(daemon, "anchor", "xdp")


def drops(daemon, reason):
    return daemon.counter("adit_drops_total", where="datagram", reason=reason)


def active(daemon):
    return daemon.counter("cloudflared_udp_active_sessions")


def test_session_life(peer, start):
    """B1: two sessions, one traced; the limit, word for word; ends from either side."""
    with UdpEcho() as echo, UdpEcho("::1") as six:
        daemon = start(peer, limits={"flows": 2})
        sessions = Sessions(peer.wait_registered(1, 15)[0])
        assert "support_datagram_v3_2" not in sessions.link.registration.features
        assert "support_datagram_v2" in sessions.link.registration.features
        first = sessions.open(echo.host, echo.port, idle=seconds(2))
        sessions.echo(first, b"hello udp")
        sessions.echo(first, b"")
        second = sessions.open("::1", six.port, trace=TRACE)
        sessions.echo(second, b"six")
        assert sessions.register(sessions.new(), echo.host, echo.port, 2) == dgram2.TOO_MANY
        assert daemon.counter("flow_client_registrations_rate_limited_total", flow_type="udp") == 1
        assert active(daemon) == 2
        assert sessions.unregister(second, "eyeball went away").outcome == "results"
        assert active(daemon) == 1
        assert sessions.unregister(sessions.new(), "never existed").outcome == "results"
        assert "idle" in sessions.wait_end(first)
        assert active(daemon) == 0 and daemon.counter("cloudflared_udp_total_sessions") == 2
        sessions.send(carry(first, b"late"))
        until(lambda: drops(daemon, "no-flow") == 1, 5, "a payload without a session")
        assert [s for s, _ in sessions.ends] == [first], "what the edge ended isn't told"
        assert not sessions.other
        sent, received = anchors(daemon)
        assert sent == received == sum(echo.peers.values()) + sum(six.peers.values())
        assert daemon.counter("cloudflared_udp_total_flows") == 0


def test_idle_time(world):
    """§7.3: the announced time after the last sign of life, within a second; each by its own time."""
    daemon, sessions, echo = world
    brief, long = (sessions.open(echo.host, echo.port, idle) for idle in (2, 600))
    sessions.echo(brief, b"x")
    last = time.monotonic()
    with bound() as origin:     # what comes from the origin counts, too
        fed = sessions.open(*origin.getsockname(), 2)
        sessions.send(carry(fed, b"?"))
        _, at = origin.recvfrom(10)

        def feed():
            origin.sendto(b"!", at)
            return any(s == brief for s, _ in sessions.ends)
        until(feed, 5, "the idle session's end", 0.1)
        assert 1 <= time.monotonic() - last <= 2 + seconds(1)
        assert [s for s, _ in sessions.ends] == [brief]
        sessions.wait_end(fed)
    sessions.echo(long, b"alive")
    assert active(daemon) == 1


def test_hints(world):
    """§14 row 2: no idle time, one that is negative or tiny: the default, a second; no harm."""
    daemon, sessions, echo = world
    kept = [sessions.open(echo.host, echo.port, idle) for idle in (0, -1, -2 ** 33)]
    tiny = sessions.open(echo.host, echo.port, 1e-9)
    assert sessions.wait_end(tiny)
    for session in kept:
        sessions.echo(session, b"x")
    assert active(daemon) == 3 and len(sessions.ends) == 1


def test_unreachable(peer, start):
    """B2: what can't be reached gives its slot back; a closed port ends the session, and it is told."""
    with UdpEcho() as echo:
        daemon = start(peer, network={"allow": "0.0.0.0/0, ::/0, 127.0.0.1"}, limits={"flows": 1})
        sessions = Sessions(peer.wait_registered(1, 15)[0])
        for host in ("192.0.2.1", "2001:db8::1", bytes([1, 2, 3])):
            assert sessions.register(sessions.new(), host, 9) not in ("", dgram2.TOO_MANY)
        deaf = sessions.open("127.0.0.1", ports.free())
        sessions.send(carry(deaf, b"anyone?"))
        assert "refused" in sessions.wait_end(deaf)
        sessions.send(carry(deaf, b"again"))
        until(lambda: drops(daemon, "no-flow") == 1, 5, "a payload without a session")
        assert active(daemon) == 0
        sessions.echo(sessions.open(echo.host, echo.port), b"the slot is free")
        assert len(sessions.ends) == 1 and drops(daemon, "no-socket") == 2
        assert daemon.counter("cloudflared_rpc_client_operations", handler="session",
                              method="unregister_udp_session") == 1
        assert daemon.counter("cloudflared_rpc_client_failures", handler="session") == 0


def test_wrong_calls(world):
    """§7.1: what is no session id, or names no address, is answered with an exception."""
    daemon, sessions, echo = world
    address = socket.inet_aton(echo.host)
    for bad in (b"", bytes(15), bytes(17)):
        assert sessions.call(0, rpc.register_udp_session(bad, address, 9)).outcome == "exception"
        assert sessions.unregister(bad).outcome == "exception"
    frame = sessions.call(0, rpc.register_udp_session(bytes(16), None, 9))
    assert frame.outcome == "exception"
    assert active(daemon) == 0
    sessions.echo(sessions.open(echo.host, echo.port), b"fine")
    assert anchors(daemon) == (1, 1)


def test_spans_do_no_harm(world):
    """B6, §14 row 13: a span from the edge is counted and dropped; so is all that is malformed."""
    daemon, sessions, echo = world
    session = sessions.open(echo.host, echo.port)
    bad = [b"SPANS" + bytes(25) + bytes([dgram2.SPANS]), b"", b"\x01\x02\x03\x04", b"\xff",
           bytes(16), bytes(1), bytes(24) + bytes([dgram2.TRACED]),
           bytes(24) + bytes([dgram2.SPANS])]
    for datagram in bad:
        sessions.send(datagram)
    until(lambda: drops(daemon, "malformed") == len(bad), 5, "all counted")
    sessions.echo(session, b"still here")
    assert sessions.link.closed is None and not sessions.other and not sessions.ends
    assert anchors(daemon)[0] == sum(echo.peers.values())


def test_same_id_again(world):
    """B7, §14 row 12: the second registration takes the first's place, which has no after-life."""
    daemon, sessions, echo = world
    session = sessions.open(echo.host, echo.port, seconds(1))
    sessions.echo(session, b"x")
    with UdpEcho() as other:
        assert sessions.register(session, other.host, other.port, 60) == ""
        assert active(daemon) == 1
        sessions.echo(session, b"y")
        holds(lambda: active(daemon) == 1 and not sessions.ends, seconds(1) + 1.5)
        sessions.echo(session, b"z")
        assert sum(echo.peers.values()) == 1 and len(other.peers) == 1
    assert daemon.counter("cloudflared_udp_total_sessions") == 2
    sent, received = anchors(daemon)
    assert sent == received


@paths.BOTH
def test_sizes(world, origins):
    """§6: every size to 1 280 both ways; larger ones reach the origin, but don't come back."""
    daemon, sessions, echo = world
    session = sessions.open(echo.host, echo.port)
    sessions.echo(session, bytes(1280), 10)     # the path has been measured
    origins.settle(daemon, lambda: sessions.echo(session, b"settled"))
    for size in (*range(0, 1280, 61), 1279, 1280):
        sessions.echo(session, bytes([size & 0xff]) * size)
    with origins.bound() as origin:
        large = sessions.open(*origin.getsockname())
        for size in (1281, 1400):
            sessions.send(carry(large, bytes(size)))
            data, at = origin.recvfrom(2000)
            assert len(data) == size
        before = drops(daemon, "too-big")
        many = daemon.counter("quic_client_packet_too_big_dropped")
        origin.sendto(bytes(1281), at)
        until(lambda: drops(daemon, "too-big") == before + 1, 5, "the answer that is too large")
        assert daemon.counter("quic_client_packet_too_big_dropped") == many + 1
        origin.sendto(b"!", at)
        assert sessions.wait_payload(large) == b"!"
    assert anchors(daemon)[0] >= 24


def test_not_allowed(peer, start):
    """[network]: nothing is reached that isn't allowed, and the edge is told."""
    with UdpEcho() as echo, UdpEcho("127.0.0.2") as other:
        daemon = start(peer, network={"allow": "127.0.0.2/32"})
        sessions = Sessions(peer.wait_registered(1, 15)[0])
        for host in (echo.host, f"::ffff:{echo.host}"):
            assert "allowed" in sessions.register(sessions.new(), host, echo.port)
        sessions.echo(sessions.open(f"::ffff:{other.host}", other.port), b"mapped")
        assert not echo.peers and drops(daemon, "denied") == 2
        assert anchors(daemon) == (1, 1)


@paths.BOTH
def test_scope_is_the_connection(peer, start, origins):
    """§7: an id means another session on another connection, and nothing outlives its own."""
    with origins.echo() as echo, origins.echo() as other:
        daemon = start(peer, connections=2)
        one, two = (Sessions(k) for k in peer.wait_registered(2, 15))
        session = one.open(echo.host, echo.port)
        two.send(carry(session, b"not yours"))
        until(lambda: drops(daemon, "no-flow") == 1, 5, "the other link's payload")
        assert two.unregister(session).outcome == "results"
        assert two.register(session, other.host, other.port) == ""

        def turn():
            one.echo(session, b"one")
            two.echo(session, b"two")
        origins.settle(daemon, turn, 2)
        assert active(daemon) == 2 and len(echo.peers) == len(other.peers) == 1
        heard = sum(echo.peers.values())
        one.link.close_link()
        until(lambda: active(daemon) == 1, 5, "the first link's session to end")
        two.echo(session, b"still two")
        assert not two.ends and sum(echo.peers.values()) == heard
        sent, received = anchors(daemon)
        assert sent == received


def test_many_end_at_once(peer, start):
    """T8, §13: at the limit the text, for nothing but new sessions; all ends are told."""
    with UdpEcho() as echo:
        most = many(150)
        daemon = start(peer, limits={"flows": most})
        sessions = Sessions(peer.wait_registered(1, 15)[0])
        good = sessions.open(echo.host, echo.port)
        asked = []
        for _ in range(most + 50):
            client, session = sessions.client(), sessions.new()
            params = rpc.register_udp_session(session, socket.inet_aton(echo.host), echo.port,
                                              round(seconds(4) * 1e9))
            asked.append((session, client, client.start(rpc.SESSIONS, 0, params)))
        answers = {}
        for session, client, question in asked:
            answers[session] = client.wait(question).results.struct(0).text(0)
            client.finish()
        made = {session for session, error in answers.items() if error == ""}
        assert set(answers.values()) == {"", dgram2.TOO_MANY} and len(made) == most - 1
        sessions.wait(lambda: len(sessions.ends) >= most - 1, 15, "all ends")
        assert {session for session, _ in sessions.ends} == made and len(sessions.ends) == most - 1
        sessions.echo(good, b"good")
        assert active(daemon) == 1 and drops(daemon, "too-many-flows") == 51


@pytest.mark.carried()
def test_edge_that_doesn_t_listen(peer, start):
    """An edge that never answers the calls costs nothing but their time; what it then still thinks is
    there it is told of again."""
    daemon = start(peer)
    sessions = Sessions(peer.wait_registered(1, 15)[0])
    sessions.link.rpc_serve = lambda frame: None
    with UdpEcho() as echo:
        gone = [sessions.open(echo.host, echo.port, seconds(3)) for _ in range(40)]
        assert gone and active(daemon) == 40
        until(lambda: active(daemon) == 0, 8, "all to end")
        until(lambda: daemon.counter("cloudflared_rpc_client_failures", handler="session") == 40,
              15, "all calls to be given up")
        sessions.link.rpc_serve = sessions._serve
        session = sessions.open(echo.host, echo.port, 1)
        assert sessions.wait_end(session)
        until(lambda: active(daemon) == 0, 5, "no session")
        assert [s for s, _ in sessions.ends] == [session]

        def goes_on():
            sessions.send(carry(gone[0], b"anyone there?"))
            return len(sessions.ends) > 1
        until(goes_on, 8, "the end told again", 0.1)
        assert sessions.ends[1] == (gone[0], "there is no such session")


def test_version_3_refuses(peer, start):
    """A16: on a connection of version 3 both calls are refused, and counted."""
    daemon = start(peer, datagram="v3")
    sessions = Sessions(peer.wait_registered(1, 15)[0])
    with UdpEcho() as echo:
        assert sessions.register(sessions.new(), echo.host, echo.port) != ""
        assert sessions.unregister(sessions.new()).outcome == "exception"
        for command in ("register_udp_session", "unregister_udp_session"):
            assert daemon.counter("cloudflared_udp_unsupported_remote_command_total", conn_index=0,
                                  command=command) == 1
        flows = dgram3.Flows(sessions.link)
        flows.echo(flows.open(echo.host, echo.port), b"version 3")
        assert active(daemon) == 0 and anchors(daemon) == (1, 1)


def test_strangers(world):
    """T5: who isn't talked to isn't heard."""
    daemon, sessions, _ = world
    with bound() as origin, bound() as stranger:
        session = sessions.open(*origin.getsockname())
        sessions.send(carry(session, b"?"))
        _, at = origin.recvfrom(10)
        stranger.sendto(b"hello", at)
        until(lambda: drops(daemon, "stranger") == 1, 5, "the stranger counted")
        origin.sendto(b"!", at)
        assert sessions.wait_payload(session) == b"!"
        assert not sessions.payloads[session]
    assert anchors(daemon) == (1, 1)


@pytest.mark.carried()
def test_crowd_ends(peer, start):
    """T8: more sessions end at once than calls may run: in the end every one is told."""
    with UdpEcho() as echo:
        daemon, count = start(peer), many(600)
        sessions = Sessions(peer.wait_registered(1, 15)[0])
        address, client, made = socket.inet_aton(echo.host), sessions.client(), set()
        questions = []
        client.call(rpc.SESSIONS, 1, rpc.unregister_udp_session(sessions.new(), "hello"))
        for _ in range(count):    # on one stream: sixty may be open there at a time
            session = sessions.new()
            questions.append(client.start(rpc.SESSIONS, 0, rpc.register_udp_session(
                session, address, echo.port, 3 * 10 ** 9)))
            made.add(session)
            if len(questions) == 50:
                assert all(client.wait(q).outcome == "results" for q in questions)
                questions = []
        assert daemon.counter("cloudflared_udp_total_sessions") == count
        sessions.wait(lambda: len(sessions.ends) >= count, 30, "all ends")
        assert {session for session, _ in sessions.ends} == made and len(sessions.ends) == count
        assert daemon.counter("cloudflared_rpc_client_failures", handler="session") == 0
