# SPDX-License-Identifier: Apache-2.0
"""Public UDP ports of adit-edge towards daemons that don't announce datagram version 3: one in
Python, and aditd told to speak version 2.

    client --UDP--> adit-edge <==QUIC DATAGRAM, RPC streams== PeerDaemon (aioquic)
                                                              aditd --anchor--> origin
"""
import contextlib
import ipaddress

import pytest

from lib import dgram2, ports, tunnelrpc as rpc
from lib.adit import Edge
from lib.dgram2 import SessionServer, carry
from lib.dgram3_daemon import FEATURE, FlowServer
from lib.peer_daemon import FEATURES, Credentials, PeerDaemon
from lib.quicpeer import RpcReader
from lib.udp_client import ask, both_ends, client, udp_section
from lib.udp_origin import UdpEcho
from lib.wait import holds, many, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(edge="socket")]

DEST = "192.0.2.5"


def drops(program, where, reason):
    return program.counter("adit_drops_total", where=where, reason=reason)


def registrations(edge, result="sent"):
    return edge.counter("adit_edge_flow_registrations_total", result=result)


@pytest.fixture(name="make_edge")
def fixture_make_edge(processes, tmp_path):
    """make_edge(dest, **[udp]'s keys) -> (edge, public port)"""
    def make(dest=f"{DEST}:53", extra="", workers=2, **keys):
        port = ports.free()
        edge = Edge(processes, tmp_path, workers=workers,
                    extra=udp_section("port", port, dest, **keys) + extra)
        edge.start()
        return edge, port
    return make


@contextlib.contextmanager
def peer(edge, *features, **answers):
    """(daemon, its sessions) of a link of version 2."""
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca,
                    features=[*FEATURES, *features]) as daemon:
        link, _ = daemon.register()
        sessions = SessionServer(link, **answers)
        edge.wait_links(1)
        yield daemon, sessions


def send_until_seen(clients, sessions, text):
    """Each client's payload has arrived: datagrams of a crowd get lost on the way to a daemon in Python."""
    def missing():
        sessions.read()
        seen = {data for some in sessions.payloads.values() for data in some}
        return [n for n in range(len(clients)) if b"%s %d" % (text, n) not in seen]

    def look():
        for number in missing():
            clients[number].send(b"%s %d" % (text, number))
        return not missing()
    until(look, 20, f"payloads of {len(clients)} clients", 0.3)


def test_made_by_a_call_and_held(make_edge):
    """§7: the first datagram asks for a session; payloads wait for the answer, in order."""
    edge, port = make_edge()
    with peer(edge, answer=None) as (_, sessions), client(port) as connection:
        answers = iter([None, ""])

        def answer(params):
            sessions.answer = next(answers)
            return served(params)
        served, sessions.on_register = sessions.on_register, answer
        for number in range(10):
            connection.send(b"%d" % number)
        asked = sessions.wait_asked()
        assert asked.address == ipaddress.ip_address(f"::ffff:{DEST}"), "as others send it"
        assert (asked.port, asked.idle, asked.trace) == (53, 65.0, "")
        holds(lambda: sessions.read() or len(sessions.asked) == 1, 1)
        assert not sessions.payloads and not sessions.other and not sessions.link.datagrams
        until(lambda: registrations(edge, "unanswered") == 1, 10, "the end of patience")
        assert drops(edge, "datagram", "refused") == 10

        def tried_again():
            connection.send(b"y")
            return len(sessions.asked) == 2
        until(tried_again, 5, "another try", 0.1)
        again = sessions.asked[1]
        assert again.session != asked.session and len(set(again.session)) > 4
        assert sessions.wait_payload(again.session) == b"y"
        for number in range(10):
            connection.send(b"%d" % number)
        got = []

        def read():
            sessions.read()
            got.extend(sessions.payloads.pop(again.session, ()))
            return got[-10:] == [b"%d" % n for n in range(10)]
        sessions.link.hub.wait(read, 5, "ten payloads")
        for payload in (b"answer", b"", bytes(1280)):
            sessions.send(carry(again.session, payload))
            assert connection.recv(2000) == payload
        assert registrations(edge) == 2 and registrations(edge, "repeated") == 0
        assert edge.counter("adit_flow_packets_total", path="socket", dir="tx") == 3


def test_held_in_order(make_edge):
    """§13: what waits for the answer is bounded, comes in order when it is there, the oldest kept."""
    edge, port = make_edge("[2001:db8::5]:53", extra="[limits]\nflow-queue = 8K\n")
    with peer(edge) as (_, sessions), client(port) as connection:
        served = sessions.on_register
        sessions.on_register = lambda params: served(params) and None
        for number in range(20):
            connection.send(bytes([number]) * 1000)
        until(lambda: drops(edge, "datagram", "held") == 12, 5, "twelve dropped")
        asked = sessions.wait_asked()
        assert asked.address == ipaddress.ip_address("2001:db8::5")
        stream = next(s for s in sessions.link.streams.values()
                      if s.received[:6] == rpc.RPC_SIGNATURE)
        answer_late(stream)
        assert [sessions.wait_payload(asked.session) for _ in range(8)] == [
            bytes([n]) * 1000 for n in range(8)]


def answer_late(stream):
    """Accepts the call that is open on a stream."""
    call = next(f for f in RpcReader(rpc.RPC_SIGNATURE).feed(stream) if f.which == "call")
    stream.send(rpc.return_results(call.question, rpc.udp_session_response("")))


@pytest.mark.parametrize("answer, raises", [(dgram2.TOO_MANY, False), ("no route", False),
                                            ("broken", True)])
def test_refusals(make_edge, answer, raises):
    """§7.1: a text in the results, or an exception: counted, dropped for a while, tried again."""
    edge, port = make_edge()
    with peer(edge, answer=answer, raises=raises) as (_, sessions), client(port) as connection:
        connection.send(b"x")
        until(lambda: registrations(edge, "refused") == 1, 5, "the refusal")
        assert drops(edge, "datagram", "refused") == 1 and len(sessions.asked) == 1
        sessions.answer, sessions.raises = "", False

        def tried_again():
            connection.send(b"y")
            return len(sessions.asked) == 2
        until(tried_again, 8, "another try", 0.1)
        assert sessions.wait_payload(sessions.asked[1].session) == b"y"
        assert not sessions.ends


def test_idle_is_told(make_edge):
    """§7: the edge ends the session when its client is silent; the next datagram makes another."""
    edge, port = make_edge(idle="1s")
    with peer(edge) as (_, sessions), client(port) as connection:
        connection.send(b"x")
        first = sessions.wait_asked()
        assert first.idle == 6.0
        sessions.wait_payload(first.session)
        assert sessions.wait_end(first.session)
        assert edge.counter("adit_flows", kind="udp") == 0
        connection.send(b"y")
        second = sessions.wait_asked(2)
        assert second.session != first.session
        assert sessions.wait_payload(second.session) == b"y"
        assert registrations(edge, "untold") == 0


def test_ended_by_the_daemon(make_edge):
    """§7.2: a session that was of use is asked for again at once, another after a while."""
    edge, port = make_edge()
    with peer(edge) as (_, sessions), client(port) as connection:
        connection.send(b"x")
        first = sessions.wait_asked().session
        sessions.wait_payload(first)
        sessions.send(carry(first, b"answer"))
        assert connection.recv(10) == b"answer"
        assert sessions.unregister(first, "session idle for 65s").outcome == "results"
        assert sessions.unregister(first, "again").outcome == "results", "as for unknown ones"
        assert sessions.unregister(bytes(15), "what?").outcome == "exception"
        sessions.send(carry(first, b"late"))
        until(lambda: drops(edge, "datagram", "no-flow") == 1 or
              edge.counter("adit_flow_packets_total", path="socket", dir="tx") == 2, 5, "its end")
        connection.send(b"y")
        second = sessions.wait_asked(2).session
        assert second != first and sessions.wait_payload(second) == b"y"
        sessions.unregister(second, "connection refused")
        assert registrations(edge, "ended") == 2 and registrations(edge, "refused") == 1
        connection.send(b"z")
        until(lambda: drops(edge, "datagram", "refused") == 1, 5, "a drop")

        def tried_again():
            connection.send(b"z")
            return len(sessions.asked) == 3
        until(tried_again, 8, "another try", 0.1)
        assert sessions.wait_payload(sessions.asked[2].session) == b"z"
        assert not sessions.ends


def test_all_end_at_once(make_edge):
    """§7.2: a daemon tells of many ends at the same time, each on a stream of its own: all are heard."""
    edge, port = make_edge(workers=1)
    count = many(300)
    with peer(edge) as (_, sessions), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(port)) for _ in range(count)]
        send_until_seen(clients, sessions, b"x")
        assert len(sessions.payloads) == count
        for session in list(sessions.payloads):
            sessions.send(carry(session, b"answer"))
        for connection in clients:
            assert connection.recv(10) == b"answer"
        calls = []
        for asked in sessions.asked:
            call = sessions.client()
            calls.append((call, call.start(rpc.SESSIONS, 1, rpc.unregister_udp_session(
                asked.session, "connection refused"))))
        assert all(call.wait(question).outcome == "results" for call, question in calls)
        assert registrations(edge, "ended") == count
        send_until_seen(clients, sessions, b"again")
        assert len(sessions.payloads) == 2 * count


def test_malformed_and_unknown(make_edge):
    """T8: what a daemon sends that it may not, or for nobody, is counted; nothing else happens."""
    edge, port = make_edge()
    with peer(edge) as (daemon, sessions), client(port) as connection:
        connection.send(b"x")
        session = sessions.wait_asked().session
        sessions.wait_payload(session)
        other, _ = daemon.register(1)
        edge.wait_links(2)
        bad = [b"", b"\x07", bytes(16), bytes(25) + bytes([dgram2.TRACED]), b"\x02",
               b"SPANS" + bytes(25) + bytes([dgram2.SPANS]), session + b"\xff"]
        for data in [*bad, carry(bytes(16), b"who?"), b"\x45\x01"]:
            sessions.send(data)
        other.send_datagram(carry(session, b"of another connection"))
        until(lambda: drops(edge, "datagram", "malformed") == len(bad), 5, "all counted")
        until(lambda: drops(edge, "datagram", "no-flow") == 2, 5, "two for nobody")
        until(lambda: drops(edge, "datagram", "icmp") == 1, 5, "ICMP counted")
        sessions.send(carry(session, b"fine"))
        assert connection.recv(100) == b"fine"
        assert sessions.link.closed is None


def test_another_connection(make_edge):
    """§4.8: a flow whose link goes is registered on another, by an id of its own."""
    edge, port = make_edge()
    with peer(edge) as (daemon, sessions), client(port) as connection:
        connection.send(b"one")
        first = sessions.wait_asked().session
        sessions.wait_payload(first)
        other, _ = daemon.register(1)
        edge.wait_links(2)
        second = SessionServer(other)
        sessions.link.close_link()
        until(lambda: edge.links() == 1, 5, "the first link's end")
        connection.send(b"two")
        moved = second.wait_asked().session
        assert moved != first and second.wait_payload(moved) == b"two"
        second.send(carry(moved, b"back"))
        assert connection.recv(100) == b"back"
        third, _ = daemon.register(0)
        edge.wait_links(2)
        flows = SessionServer(third)
        daemon.unregister(other)        # it goes, but not at once
        connection.send(b"three")
        last = flows.wait_asked().session
        assert flows.wait_payload(last) == b"three"


def test_versions_side_by_side(make_edge):
    """§2: each connection by what it announced, and a flow goes from one to the other."""
    edge, port = make_edge()
    with peer(edge) as (daemon, sessions), client(port) as connection:
        connection.send(b"two")
        session = sessions.wait_asked().session
        assert sessions.wait_payload(session) == b"two"
        link, _ = daemon.register(1, features=[*FEATURES, FEATURE])
        edge.wait_links(2)
        flows = FlowServer(link)
        sessions.link.close_link()
        until(lambda: edge.links() == 1, 5, "the first link's end")
        connection.send(b"three")
        flow = flows.wait_registration().flow
        flows.respond(flow)
        assert flows.wait_payloads(1) == [b"three"]
        back, _ = daemon.register(0)
        edge.wait_links(2)
        again = SessionServer(back)
        link.close_link()
        until(lambda: edge.links() == 1, 5, "the second link's end")
        connection.send(b"two again")
        asked = again.wait_asked().session
        assert again.wait_payload(asked) == b"two again"


def test_many_clients(make_edge):
    """T8: as many as there may be, each with a session; all are ended when they fall silent."""
    most = many(200)
    edge, port = make_edge(extra=f"[limits]\nflows = {most}\n", workers=1, idle="3s")
    with peer(edge) as (_, sessions), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(port)) for _ in range(most + 20)]
        for connection in clients:
            connection.send(b"first come")
        until(lambda: drops(edge, "udp", "too-many-flows") == 20, 10, "twenty too many")
        send_until_seen(clients[:most], sessions, b"x")
        assert len(sessions.payloads) == most
        assert len({a.session for a in sessions.asked}) == most
        sessions.wait(lambda: len(sessions.ends) == most, 20, "all ends")
        assert registrations(edge, "untold") == 0 and registrations(edge) == most


# ---- both ends of ours ----

V2 = {"connections": 1, "daemon": {"tunnel_keys": {"datagram": "v2"}}}


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_whole_pipe(processes, tmp_path):
    """T3: aditd that speaks version 2: every size to 1 280, nothing above; several clients, one port
    each; both sides' counters say which path it was."""
    with UdpEcho() as echo:
        port = ports.free()
        edge, daemon = both_ends(processes, tmp_path, udp_section("echo", port, echo.address), **V2)
        with client(port) as connection, client(port) as other:
            for size in (1280, 1279, 1, 0):
                ask(connection, bytes(size), 10)
            ask(other, b"another client")
            before = drops(edge, "datagram", "too-big")
            for size in (1281, 1380, 9000):
                connection.send(bytes(size))
            until(lambda: drops(edge, "datagram", "too-big") == before + 3, 5, "three too large")
            ask(connection, b"still here")
        assert len(echo.peers) == 2
        assert daemon.counter("cloudflared_udp_total_sessions") == 2
        assert daemon.counter("cloudflared_udp_total_flows") == 0
        sent = daemon.counter("adit_flow_packets_total", path="anchor", dir="tx")
        received = daemon.counter("adit_flow_packets_total", path="anchor", dir="rx")
        assert sent == received == sum(echo.peers.values())


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_refused_origin_and_daemon_back(processes, tmp_path):
    """§7.2, T6 (part): nobody listens: told, and tried again; a daemon killed and started again serves
    the same client's socket."""
    port, deaf = ports.free(), ports.free()
    edge, daemon = both_ends(processes, tmp_path, udp_section("deaf", port, f"127.0.0.1:{deaf}"), **V2)
    with client(port) as connection:
        connection.send(b"anyone?")
        until(lambda: registrations(edge, "ended") == 1, 5, "the daemon's word")
        assert daemon.counter("cloudflared_udp_active_sessions") == 0
        with UdpEcho("127.0.0.1", deaf):
            ask(connection, b"now?", 15)
            daemon.process.kill()
            daemon.serve()
            ask(connection, b"again?", 30)


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_crowd(processes, tmp_path):
    """T2, §13: more clients at once than calls may wait: those that find no room ask again, and all are
    served."""
    with UdpEcho() as echo, contextlib.ExitStack() as stack:
        port = ports.free()
        edge, daemon = both_ends(processes, tmp_path, udp_section("echo", port, echo.address),
                                 edge={"workers": 1}, **V2)
        clients = [stack.enter_context(client(port)) for _ in range(1500)]
        for connection in clients:
            connection.send(b"first")
        for connection in clients:
            ask(connection, b"here", 20)
        assert daemon.counter("cloudflared_udp_active_sessions") == 1500
        assert registrations(edge) == 1500 and registrations(edge, "refused") == 0
        assert len(echo.peers) == 1500
