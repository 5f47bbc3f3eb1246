# SPDX-License-Identifier: Apache-2.0
"""Metrics as docs/metrics.md has them: names, types and labels of real scrapes, and what they count.

    visitor -> adit-edge -> aditd -> origin;  PeerEdge (aioquic) <== aditd
"""
import http.client
import pathlib
import re
import signal
import socket
import threading

import pytest
from websockets.sync.client import connect

from lib import tunnelrpc as rpc
from lib.adit import DOMAIN, Daemon, Edge, peer_edge_keys, write_token
from lib.origin import Origin
from lib.peer_edge import SILENT, PeerEdge
from lib.wait import until
from lib.websocket import EchoOrigin

pytestmark = pytest.mark.group("ops")

TREE = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| [^|]* \|$", re.MULTILINE)
ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
SECRET = bytes(range(32))
CALLS = "cloudflared_rpc_client_operations"


def documented(program):
    """{name: (type, labels)} of the sections about this program."""
    found = {}
    for part in (TREE / "docs/metrics.md").read_text().split("\n## ")[1:]:
        title = part.splitlines()[0].split(",")[0]
        if title in (program, "Both programs"):
            for name, kind, labels in ROW.findall(part):
                assert name not in found, f"{name} stands twice"
                found[name] = (kind, tuple(labels.split(", ")) if labels != "–" else ())
    return found


def shown(seen):
    """The same of a scrape."""
    types = dict(re.findall(r"^# TYPE (\w+) (\w+)$", seen.text, re.MULTILINE))
    labels = {}
    for name, have, _ in seen.series:
        family = name if name in types else re.sub(r"_(bucket|sum|count)$", "", name)
        labels.setdefault(family, tuple(label for label in have if label != "le"))
    return {name: (kind, labels[name]) for name, kind in types.items()}


@pytest.fixture(scope="module", name="pipe")
def fixture_pipe(make_pipe):
    with EchoOrigin() as echo:
        pipe = make_pipe("metrics", edge={"hosts": [f"a.{DOMAIN}", f"*.wild.{DOMAIN}",
                                                    f"ws.{DOMAIN}"]},
                         rules=[(f"*.wild.{DOMAIN}", "http_status:204"),
                                (f"ws.{DOMAIN}", echo.service)])
        assert pipe.fetch("/").status == 200
        yield pipe


@pytest.fixture(name="peer")
def fixture_peer(authority):
    with PeerEdge(*authority.leaf("peer")) as edge:
        yield edge


@pytest.fixture(name="start")
def fixture_start(processes, tmp_path, authority):
    """start(edge, service) -> a running aditd with one connection to a PeerEdge."""
    token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, SECRET)

    def start(edge, service="http_status:204", **options):
        daemon = Daemon(processes, tmp_path, token_file=token, rules=[(None, service)],
                        connections=1, edge_keys=peer_edge_keys(edge, authority), **options)
        daemon.start()
        return daemon
    return start


@pytest.mark.parametrize("program", ["aditd", "adit-edge"])
def test_documented(pipe, program):
    """§12: every family of a scrape is in docs/metrics.md with its type and labels, and no other."""
    side = pipe.daemon if program == "aditd" else pipe.edge
    assert shown(side.metrics()) == documented(program)


def test_public_names(pipe):
    """§12: the edge counts by tunnel and registered name; a stranger's name makes no series."""
    before = pipe.edge.metrics()
    for host in (f"a.{DOMAIN}", f"one.wild.{DOMAIN}", f"two.wild.{DOMAIN}", f"no.{DOMAIN}"):
        pipe.fetch("/", host=host)
    after = pipe.edge.metrics()

    def moved(name, **labels):
        return after.sum(name, **labels) - before.sum(name, **labels)
    name = "adit_requests_total"
    assert moved(name, tunnel="home", hostname=f"a.{DOMAIN}", code_class="2xx") == 1
    assert moved(name, tunnel="home", hostname=f"*.wild.{DOMAIN}", code_class="2xx") == 2
    assert moved(name, tunnel="none", hostname="none", code_class="4xx") == 1
    assert moved("adit_request_errors_total", hostname="none", reason="no-such-host") == 1
    assert moved("adit_request_seconds_count", hostname=f"*.wild.{DOMAIN}") == 2
    assert moved("adit_body_bytes_total", hostname=f"a.{DOMAIN}", dir="out") > 0
    assert len(after.series) == len(before.series)


def test_origin_connections(pipe):
    """§12: a rule's connections are active while an exchange runs and idle afterwards."""
    def gauge(state):
        return pipe.daemon.counter("adit_origin_connections", rule="rule0", state=state)
    pipe.fetch("/")
    until(lambda: gauge("idle") > 0 and gauge("active") == 0, 5, "an idle connection")
    connection = http.client.HTTPConnection("127.0.0.1", pipe.edge.http_port, timeout=20)
    connection.request("GET", "/silent", headers={"Host": f"a.{DOMAIN}"})
    until(lambda: gauge("active") == 1, 5, "an active connection")
    assert pipe.daemon.counter("adit_origin_connections", rule="rule1") == 0
    connection.close()
    until(lambda: gauge("active") == 0, 5, "its end")


def test_origin_connection_of_a_websocket(pipe):
    """§12: a connection that has become a WebSocket is active until it ends."""
    def active():
        return pipe.daemon.counter("adit_origin_connections", rule="rule2", state="active")
    where = f"ws://ws.{DOMAIN}:{pipe.edge.http_port}/echo"
    with connect(where, sock=socket.create_connection(("127.0.0.1", pipe.edge.http_port), 10)) as ws:
        ws.send("hello")
        assert ws.recv(10) == "hello"
        assert active() == 1
    until(lambda: active() == 0, 5, "its end")


def test_arenas(pipe):
    """§12: what an exchange keeps is counted at both ends while it lasts."""
    def gauges():
        return [side.counter("adit_arena_bytes") for side in (pipe.edge, pipe.daemon)]
    until(lambda: gauges() == [0, 0], 5, "the end of what was before")
    connection = http.client.HTTPConnection("127.0.0.1", pipe.edge.http_port, timeout=20)
    connection.request("GET", "/silent", headers={"Host": f"a.{DOMAIN}"})
    until(lambda: pipe.daemon.counter("adit_requests_active") == 1, 5, "the request")
    assert min(gauges()) >= 4000
    connection.close()
    until(lambda: gauges() == [0, 0], 5, "its end")


def test_links_at_both_ends(pipe):
    """§12: the edge shows round trips by tunnel and index; the reference's gauges are set."""
    edge, daemon = pipe.edge.metrics(), pipe.daemon.metrics()
    for index in (0, 1):
        assert 0 < edge.sum("adit_link_rtt_seconds", tunnel="home", index=index) < 10
        assert edge.find("adit_link_lost_packets_total", tunnel="home", index=index)
        assert daemon.sum("quic_client_congestion_state", conn_index=index) in (0, 1, 2)
        assert (daemon.sum("quic_client_lost_packets", conn_index=index, reason="unknown")
                == daemon.sum("adit_link_lost_packets_total", index=index))


def test_calls(processes, tmp_path):
    """§12: registration, local configuration and the goodbye are counted, each once."""
    edge = Edge(processes, tmp_path)
    edge.start()
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=2,
                    rules=[(f"a.{DOMAIN}", "http_status:204"), (f"*.wild.{DOMAIN}", "http_status:204")],
                    tunnel_keys={"grace_period": "20s"})
    daemon.serve()
    until(lambda: daemon.counter(CALLS, method="update_local_configuration") == 1, 5, "the push")
    seen = daemon.metrics()
    assert seen.sum(CALLS, handler="registration", method="register_connection") == 2
    assert seen.sum(CALLS, method="unregister_connection") == 0
    assert seen.sum("cloudflared_rpc_client_failures") == 0
    latency = "cloudflared_rpc_client_latency_secs"
    assert seen.sum(f"{latency}_count", method="register_connection") == 2
    assert seen.sum(f"{latency}_sum", method="register_connection") > 0
    bounds = {have["le"] for have, _ in seen.find(f"{latency}_bucket")}
    assert bounds == {"0.05", "0.15", "0.45", "1.35", "4.05", "+Inf"}


def test_goodbye_is_counted(peer, start):
    """§12: unregister_connection, while a request keeps the daemon alive."""
    with Origin() as origin:
        daemon = start(peer, origin.service, tunnel_keys={"grace_period": "20s"})
        link = peer.wait_registered(1, 15)[0]
        stream = link.send_request(path="/silent", fin=False)
        origin.wait_requests(1)
        daemon.process.signal(signal.SIGTERM)
        until(lambda: daemon.counter(CALLS, method="unregister_connection") == 1, 5, "the goodbye")
        assert daemon.counter("cloudflared_rpc_client_failures") == 0
        stream.reset(0)     # the visitor has left
        assert daemon.process.wait_exit(15) == 0


def test_failed_calls(authority, start):
    """§12: a registration that is refused, or never answered, is a failure."""
    answers = [rpc.Refused("later", True, 10 ** 8), SILENT]

    def policy(registration, _link):
        return answers.pop(0) if answers else rpc.Accepted(registration.client_id)
    with PeerEdge(*authority.leaf("peer"), policy=policy) as peer:
        daemon = start(peer)
        daemon.wait_ready(timeout=25)
        seen = daemon.metrics()
        assert seen.sum("cloudflared_rpc_client_failures", method="register_connection") == 2
        assert seen.sum(CALLS, method="register_connection") == 3
        assert seen.sum("cloudflared_rpc_client_latency_secs_sum",
                        method="register_connection") > 4.9, "the deadline is in it"


def test_calls_of_the_edge(peer, start):
    """§12: what an edge calls is counted by handler and method; this version refuses all of it."""
    daemon = start(peer)
    link = peer.wait_registered(1, 15)[0]
    calls = [(rpc.CONFIGURATION, 0, rpc.update_configuration(7, b"{}")),
             (rpc.SESSIONS, 0, rpc.register_udp_session(bytes(range(16)), bytes(4), 53)),
             (rpc.SESSIONS, 1, rpc.unregister_udp_session(bytes(range(16)), "bye")),
             (0x1234, 7, rpc.empty)]
    for interface, method, parameters in calls:
        link.rpc().call(interface, method, parameters, 8)
    seen = daemon.metrics()
    for handler, method in (("config", "update_configuration"),
                            ("session", "register_udp_session"),
                            ("session", "unregister_udp_session"), ("other", "other")):
        for family in ("operations", "failures", "latency_secs_count"):
            name = f"cloudflared_rpc_server_{family}"
            assert seen.sum(name, handler=handler, method=method) == 1, (family, method)
    assert seen.sum("adit_config_errors_total", source="edge") == 1
    assert seen.sum("adit_config_errors_total", source="file") == 0


def test_locations(authority, start):
    """§12: 1 for where a connection is, 0 for where it was."""
    places = ["here", "there"]

    def policy(registration, _link):
        return rpc.Accepted(registration.client_id, places.pop(0) if places else "there")
    with PeerEdge(*authority.leaf("peer"), policy=policy) as peer:
        daemon = start(peer)
        name = "cloudflared_tunnel_server_locations"
        link = peer.wait_registered(1, 15)[0]
        until(lambda: daemon.metrics().find(name) ==
              [({"connection_id": "0", "edge_location": "here"}, 1)], 5, "the location")
        peer.hub.call(link.close)
        until(lambda: daemon.counter(name, edge_location="there") == 1, 15, "the other location")
        assert daemon.metrics().find(name, connection_id=0, edge_location="here")[0][1] == 0


def test_datagrams_outlive_their_link(peer, start):
    """§12: adit_link_datagrams_total is the process's and doesn't fall when a link ends."""
    daemon = start(peer)
    link = peer.wait_registered(1, 15)[0]
    for _ in range(3):
        link.send_datagram(b"datagram")
    until(lambda: daemon.counter("adit_link_datagrams_total", dir="rx", result="ok") == 3, 5,
          "three datagrams")
    peer.hub.call(link.close)
    until(lambda: daemon.counter("quic_client_closed_connections") == 1, 15, "the link's end")
    assert daemon.counter("adit_link_datagrams_total", dir="rx", result="ok") == 3


def test_two_scrapes_at_once(pipe):
    """Scrapes that overlap are both whole."""
    wrong = []

    def scrape():
        for _ in range(20):
            seen = pipe.edge.metrics()
            if seen.sum("adit_link_mtu_bytes") < 1200:
                wrong.append(seen.find("adit_link_mtu_bytes"))
    threads = [threading.Thread(target=scrape) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
