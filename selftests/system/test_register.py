# SPDX-License-Identifier: Apache-2.0
"""T3: aditd against an independent edge in Python, which sends the recorded bytes.

    PeerEdge (aioquic) <==QUIC== aditd (2 workers) --> origins in Python
"""
import json
import re
import signal
import time
import uuid

import pytest

from lib import tunnelrpc as rpc
from lib.adit import Daemon, peer_edge_keys, section, write_token
from lib.h2_edge import PeerH2Edge
from lib.h2peer import hello_extensions
from lib.origin import Origin, digest, pattern
from lib.peer_edge import SILENT, PeerEdge
from lib.wait import holds, seconds, until

pytestmark = pytest.mark.group("link")

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
SECRET = bytes(range(32))
X25519MLKEM768, P256 = 0x11EC, 0x17


@pytest.fixture(name="peer")
def fixture_peer(authority):
    with PeerEdge(*authority.leaf("peer")) as edge:
        yield edge


@pytest.fixture(name="start")
def fixture_start(processes, tmp_path, authority):
    """start(edge, **Daemon's arguments) -> a running aditd whose token is good everywhere."""
    token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, SECRET)

    def start(edge, rules=(), **options):
        keys = peer_edge_keys(edge, authority, **options.pop("edge_keys", {}))
        daemon = Daemon(processes, tmp_path, token_file=token, rules=rules, edge_keys=keys,
                        **options)
        daemon.start()
        return daemon
    return start


def test_registration_fields(peer, start):
    """T3: every field of the registration, on each of three connections."""
    daemon = start(peer, connections=3)
    links = peer.wait_registered(3, 15)
    daemon.wait_ready()
    assert peer.links[0].registration.index == 0, "the first index goes first"
    assert sorted(k.registration.index for k in links) == [0, 1, 2]
    assert len({k.registration.client_id for k in links}) == 1
    client = uuid.UUID(bytes=links[0].registration.client_id)
    assert client.version == 4
    for link in links:
        sent = link.registration
        assert (sent.account, sent.secret) == (ACCOUNT, SECRET)
        assert sent.tunnel == uuid.UUID(TUNNEL).bytes
        assert re.fullmatch(r"linux_\w+", sent.arch) and sent.version
        assert len(set(sent.features)) == len(sent.features)
        assert {"allow_remote_config", "serialized_headers", "support_quic_eof",
                "management_logs", "adit_1"} <= set(sent.features)
        assert not {"support_datagram_v3", "support_datagram_v3_1"} & set(sent.features)
        assert sent.origin_ip == bytes(10) + b"\xff\xff" + bytes([127, 0, 0, 1])
        assert (sent.replace_existing, sent.compression, sent.attempts) == (False, 0, 0)
    document = json.loads(daemon.page("/ready")[1])
    assert document["connectorId"] == str(client)


@pytest.mark.parametrize("kind, idle, adit", [("adit", 60, True), ("vendor", 5, False)])
def test_transport_parameters(peer, start, kind, idle, adit):
    """T3: names, ALPN, idle time and features depend on the kind of edge as specified."""
    start(peer, connections=1, edge_keys={"kind": kind})
    link = peer.wait_registered(1, 15)[0]
    assert link.alpn == "argotunnel"
    assert link.hello.server_name == "quic.cftunnel.com"
    assert link.hello.alpn_protocols == ["argotunnel"]
    assert link.quic._remote_max_idle_timeout == idle
    assert (link.quic._remote_max_datagram_frame_size or 0) > 1400
    assert link.quic._remote_max_streams_bidi >= 100
    assert ("adit_1" in link.registration.features) == adit


@pytest.mark.parametrize("mode, groups, shares", [
    ("prefer", [X25519MLKEM768, P256], [X25519MLKEM768, P256]),
    ("off", [P256], [P256])])
def test_groups(peer, start, mode, groups, shares):
    """T3: key exchange groups and key shares of each mode that aioquic can answer."""
    start(peer, connections=1, tunnel_keys={"post_quantum": mode})
    hello = peer.wait_registered(1, 15)[0].hello
    assert [int(g) for g in hello.supported_groups][:len(groups)] == groups
    assert [int(s[0]) for s in hello.key_share] == shares


def test_hello_over_http2(start, authority):
    """T3: over HTTP/2: its own name, and no ALPN, as the edges of the reference expect."""
    with PeerH2Edge(*authority.leaf("peer")) as edge:
        daemon = start(edge, connections=1, tunnel_keys={"protocol": "http2"})
        edge.wait_registered(1, 15)
        daemon.wait_ready()
        assert set(edge.server_names.values()) == {"h2.cftunnel.com"}
        assert 16 not in hello_extensions(edge.hellos[0])


def test_server_name_can_be_set(peer, start, authority, processes, tmp_path):
    """T3: server-name replaces the protocol's name, in SNI and in what is verified."""
    with PeerEdge(*authority.leaf("own", ["tunnel.example.net"])) as other:
        start(other, connections=1, edge_keys={"server_name": "tunnel.example.net"})
        assert other.wait_registered(1, 15)[0].hello.server_name == "tunnel.example.net"


def test_control_stream_bytes(peer, start):
    """T3: each RPC message is what the independent encoder makes of the same fields."""
    start(peer, [(None, "http_status:404")], connections=1)
    link = peer.wait_registered(1, 15)[0]
    peer.wait(lambda: link.config is not None, 10, "the uploaded configuration")
    frames = {}
    for frame in link.reader.frames:
        frames.setdefault(frame.which, []).append(frame)
    assert link.reader.frames[0].raw == rpc.bootstrap(0)
    register = next(f for f in frames["call"] if f.method == 0)
    target = None if register.target[0] == "promised" else register.target[1]
    assert register.raw == rpc.call(register.question, rpc.REGISTRATION, 0,
                                    rpc.Registration.read(register.params).params, target)
    for frame in frames.get("finish", []):
        assert frame.raw == rpc.finish(frame.question, False)


@pytest.mark.parametrize("remotely", [False, True])
def test_local_configuration(peer, start, remotely):
    """T3: index 0 sends the configuration, unless the edge manages the tunnel; others never."""
    peer.policy = lambda registration, link: rpc.Accepted(registration.client_id, "x", remotely)
    daemon = start(peer, [("a.example.com", "http://127.0.0.1:9", {"path": "^/x"}),
                          (None, "http_status:404")], connections=2)
    links = peer.wait_registered(2, 15)
    daemon.wait_ready()
    first, second = sorted(links, key=lambda k: k.registration.index)
    if remotely:
        holds(lambda: first.config is None, 0.5, "nothing is uploaded")
        return
    peer.wait(lambda: first.config is not None, 10, "the upload")
    document = json.loads(first.config)
    assert first.config == first.config.strip()
    rule, last = document["ingress"]
    assert (rule["hostname"], rule["path"], rule["service"]) == ("a.example.com", "^/x",
                                                                 "http://127.0.0.1:9")
    assert last["service"] == "http_status:404" and "hostname" not in last
    assert isinstance(rule["originRequest"], dict) and "warp-routing" in document
    assert SECRET.hex() not in first.config.decode()
    assert second.config is None


def test_failed_upload_is_ignored(peer, start):
    """T3: an exception in answer to the configuration changes nothing."""
    def policy(registration, link):
        link.config_answer = "no"
        return rpc.Accepted(registration.client_id)
    peer.policy = policy
    start(peer, [(None, "http_status:404")], connections=1)
    link = peer.wait_registered(1, 15)[0]
    peer.wait(lambda: link.config is not None, 10, "the upload")
    assert link.request().status == 404
    assert len(peer.links) == 1


@pytest.mark.parametrize("policy, cause", [
    (rpc.Refused("server busy, come back later", True, 10**9), "server busy"),
    (rpc.Refused("EDUPCONN"), "EDUPCONN"),
    ("handler failed", "handler failed")])
def test_refused_then_accepted(peer, start, policy, cause):
    """T3: each refusal is named in log and status; a temporary one is tried again and succeeds."""
    peer.policy = lambda registration, link: policy
    daemon = start(peer, connections=1)
    first = peer.wait_registrations(1, 15)[0]
    daemon.process.wait_line(re.escape(cause), 5)
    assert daemon.page("/ready")[0] == 503
    until(lambda: cause in json.dumps(daemon.status()), 5, "the cause in status")
    first.wait_closed_link(10)
    assert first.closed[0] == 0
    peer.policy = PeerEdge.accept
    peer.wait_registered(1, 20)
    daemon.wait_ready()


def test_silent_edge(peer, start):
    """T3: a registration that is never answered ends after its deadline and is tried again."""
    peer.policy = lambda registration, link: SILENT
    daemon = start(peer, connections=1)
    first = peer.wait_registrations(1, 15)[0]
    assert daemon.counter("cloudflared_tunnel_ha_connections") == 0, "it isn't registered"
    first.wait_closed_link(10)
    assert 4 < first.closed_at - first.ready_at < seconds(9)
    peer.policy = PeerEdge.accept
    peer.wait_registered(1, 20)
    daemon.wait_ready()
    assert daemon.counter("cloudflared_tunnel_ha_connections") == 1
    assert peer.live[0].registration.attempts > 0


@pytest.mark.parametrize("uuid_bytes", [b"", bytes(15), bytes(17)])
def test_bad_registration_result(peer, start, uuid_bytes):
    """T3: a uuid of any other length than 16 makes the registration fail."""
    peer.policy = lambda registration, link: rpc.Accepted(uuid_bytes)
    daemon = start(peer, connections=1)
    peer.wait_registrations(1, 15)[0].wait_closed_link(10)
    assert daemon.ready() == 0 and daemon.process.is_running


def test_retry(authority, start):
    """T3, T6: the daemon answers a Retry with its token (ClientHello of two packets included)."""
    with PeerEdge(*authority.leaf("peer"), retry=True) as edge:
        start(edge, connections=2).wait_ready()
        assert len(edge.wait_registered(2)) == 2


def test_key_update(peer, start):
    """T6: a key update by the peer in the middle of the work goes unnoticed."""
    with Origin() as origin:
        start(peer, [(None, origin.service)], connections=1)
        link = peer.wait_registered(1, 15)[0]
        for _ in range(3):
            got = link.request(path="/bytes/200000")
            assert got.body == pattern(200_000) and got.end == "fin"
            link.key_update()


def test_bodies(peer, start):
    """T3: 4 MiB up with a length, up without one, and down chunked."""
    body = pattern(4 << 20)
    with Origin() as origin:
        start(peer, [(None, origin.service)], connections=1)
        link = peer.wait_registered(1, 15)[0]
        for headers in ([("Content-Length", str(len(body)))], [("Transfer-Encoding", "chunked")]):
            got = link.request("POST", path="/sha256", headers=headers, body=body, timeout=30)
            assert (got.status, got.end, got.body.decode()) == (200, "fin", digest(body))
        got = link.request(path=f"/chunked/{len(body)}", timeout=30)
        assert got.body == body and got.end == "fin"
        assert got.header("Transfer-Encoding") is None
        assert got.metadata[0] == ("HttpStatus", "200")


def test_concurrent_requests(peer, start):
    """T3: 100 requests at once on one link, each with its own answer."""
    with Origin() as origin:
        start(peer, [(None, origin.service)], connections=1)
        link = peer.wait_registered(1, 15)[0]
        streams = [link.send_request(path=f"/bytes/{1000 + n}") for n in range(100)]
        for number, stream in enumerate(streams):
            assert stream.answer(30).body == pattern(1000 + number)


def test_cancel_by_stop_sending(peer, start):
    """T3: STOP_SENDING(n) ends an HTTP exchange with RESET_STREAM(n), the origin sees the end."""
    with Origin() as origin:
        start(peer, [(None, origin.service)], connections=1)
        link = peer.wait_registered(1, 15)[0]
        stream = link.send_request(path="/silent", fin=False)
        origin.wait_requests(1)
        stream.stop(9)
        stream.reset(9)
        assert stream.wait_end(10) in (("reset", 9), "fin")
        until(lambda: origin.requests[0].cancelled, 10, "the end of the origin's connection")
        assert link.request(path="/x").status == 200


def test_origin_fails_mid_body(peer, start):
    """T3: an origin that breaks off is RESET_STREAM(0) after what it had sent; never a short FIN."""
    with Origin() as origin:
        start(peer, [(None, origin.service)], connections=1)
        link = peer.wait_registered(1, 15)[0]
        for path in ("/abort/5000", "/abort-chunked/5000"):
            got = link.request(path=path)
            assert got.status == 200 and got.end == ("reset", 0)
            assert pattern(5000).startswith(got.body)


def test_pushed_rpc_is_answered(peer, start):
    """T3: an RPC stream of the edge gets answers or its end within its limit; the link lives on."""
    start(peer, [(None, "http_status:404")], connections=1)
    link = peer.wait_registered(1, 15)[0]
    client = link.rpc()
    client.call(rpc.CONFIGURATION, 0, rpc.update_configuration(-5, b"{"), 8)
    client.stream.wait(lambda: client.returns or client.stream.ended, 8, "an answer")
    unknown = link.rpc()
    unknown.call(0x1234, 7, rpc.empty, 8)
    idle = link.data_stream()
    idle.send(rpc.RPC_SIGNATURE)
    assert idle.wait_end(9) == "fin"
    assert 4 < idle.ended_at - link.ready_at
    assert link.request().status == 404 and link.closed is None


def test_datagrams_are_harmless(peer, start):
    """T3: DATAGRAM frames, known and unknown, reach the daemon and harm nothing."""
    start(peer, [(None, "http_status:404")], connections=1)
    link = peer.wait_registered(1, 15)[0]
    for payload in (b"", b"\0", b"\xff" * 1200, bytes(range(64))):
        link.send_datagram(payload)
    assert link.request().status == 404


def test_control_stream_fin_is_going_away(peer, start):
    """T3: FIN on the control stream: the index registers again, running streams end, then it closes."""
    with Origin() as origin:
        daemon = start(peer, [(None, origin.service)], connections=1,
                       tunnel_keys={"grace_period": "20s"})
        link = peer.wait_registered(1, 15)[0]
        stream = link.send_request(path="/slow/20/100")
        stream.head()
        link.control.send(b"", True)
        peer.wait(lambda: len([k for k in peer.links if k.registered]) >= 2, 10, "a new link")
        got = stream.answer(20)
        assert got.end == "fin" and got.body.count(b"\n") == 20
        link.wait_closed_link(20)
        assert link.peer_closed
        daemon.wait_ready()


@pytest.mark.parametrize("how", ["reset", "abort", "close", "transport"])
def test_lost_connections_come_back(peer, start, how):
    """T3: a reset control stream, an RPC abort and each way to close make the index register again."""
    start(peer, connections=1)
    link = peer.wait_registered(1, 15)[0]
    if how == "reset":
        link.control.reset(3)
    elif how == "abort":
        link.control.send(rpc.abort("rpc: go away"), True)
    else:
        link.close_link(5 if how == "close" else 0, "bye")
    peer.wait(lambda: len([k for k in peer.links if k.registered]) >= 2, 15, "a new link")
    until(lambda: link.closed is not None, 10, "the old link's end")


def test_sigterm_drains(peer, start):
    """T3: SIGTERM: unregistration, RPC ending, running answers finish, close with code 0, exit 0."""
    with Origin() as origin:
        daemon = start(peer, [(None, origin.service)], connections=2,
                       tunnel_keys={"grace_period": "20s"})
        links = peer.wait_registered(2, 15)
        daemon.wait_ready()
        stream = links[0].send_request(path="/slow/15/100")
        stream.head()
        started = time.monotonic()
        daemon.process.signal(signal.SIGTERM)
        peer.wait(lambda: all(k.unregistered for k in links), 5, "both unregistrations")
        got = stream.answer(20)
        assert got.end == "fin" and got.body.count(b"\n") == 15
        assert daemon.process.wait_exit(10) == 0
        assert time.monotonic() - started < seconds(12), "it waited for the whole grace period"
        for link in links:
            assert link.wait_closed_link(5)[0] == 0 and link.peer_closed
            assert link.reader.frames[-1].which in ("abort", "release", "finish", "call")
        stopping = daemon.process.log.split("draining", 1)[1]
        assert not re.search(r"Z (warning|error) ", stopping), stopping


def test_grace_period_ends(peer, start):
    """T3: what has not finished when the grace period ends dies with the connection."""
    with Origin() as origin:
        daemon = start(peer, [(None, origin.service)], connections=1,
                       tunnel_keys={"grace_period": "1s"})
        link = peer.wait_registered(1, 15)[0]
        stream = link.send_request(path="/silent")
        origin.wait_requests(1)
        started = time.monotonic()
        assert daemon.stop(10) == 0
        assert time.monotonic() - started < seconds(4)
        assert stream.wait_end(5) != "fin"


def test_unanswered_unregistration(authority, start):
    """T3: an edge that does not answer the unregistration delays the end by no more than the grace."""
    with PeerEdge(*authority.leaf("peer"), answer_unregister=False) as edge:
        daemon = start(edge, connections=1, tunnel_keys={"grace_period": "2s"})
        edge.wait_registered(1, 15)
        daemon.wait_ready()
        started = time.monotonic()
        assert daemon.stop(15) == 0
        assert time.monotonic() - started < seconds(6)


def test_debug_keys(peer, start, tmp_path):
    """T6 (tools): qlog and TLS key log appear in debugging builds; others refuse the keys by name."""
    logs = tmp_path / "qlog"
    logs.mkdir(mode=0o777)
    secrets = tmp_path / "secrets"
    daemon = start(peer, connections=1,
                   extra=section("debug", qlog=logs, tls_key_log=secrets))
    try:
        daemon.wait_ready(timeout=8)
    except AssertionError:
        assert daemon.process.wait_exit(5) == 78 and "tls-key-log" in daemon.process.log
        return
    until(lambda: secrets.exists() and "CLIENT_TRAFFIC_SECRET_0" in secrets.read_text(), 5,
          "TLS secrets")
    assert secrets.stat().st_mode & 0o077 == 0
    assert daemon.stop() == 0
    assert any(path.stat().st_size for path in logs.iterdir())


def test_two_edges(authority, peer, start):
    """T3: two indexes never sit on one address while another is free."""
    with PeerEdge(*authority.leaf("peer")) as other:
        start([peer, other], connections=2).wait_ready()
        assert len(peer.wait_registered(1)) == 1 and len(other.wait_registered(1)) == 1
