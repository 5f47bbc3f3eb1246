# SPDX-License-Identifier: Apache-2.0
"""T1: every recorded sequence of UDP flows and sessions, played against aditd in a network of its own.
Those of pings are tests of ICMP. Overrides (selftests/data/overrides.json) stand beside their sections.

    PeerEdge (aioquic) sends what the recorded edge sent ==> aditd --anchor--> sockets at the recorded addresses
"""
import pytest

from lib import walk
from lib.adit import Daemon, peer_edge_keys, section, write_token
from lib.peer_edge import PeerEdge
from lib.wait import until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(aditd="anchor")]

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
MEASURED = 1400     # bytes of a packet: every payload fits


@pytest.fixture(name="play")
def fixture_play(processes, tmp_path, net, authority):
    """play(section, …) -> (daemon, links by index) after the whole section."""
    home = net.add("walk")
    token = write_token(tmp_path / "token", ACCOUNT, TUNNEL, bytes(range(32)))
    with home.inside():
        edge = PeerEdge(*authority.leaf("peer"))

    def play(name, instead=None, metrics=None):
        count, limit = walk.connections_of(name), walk.limit_of(name)
        extra = section("network", allow="0.0.0.0/0, ::/0, 127.0.0.0/8, ::1")
        extra += section("limits", flows=limit) if limit else ""
        daemon = Daemon(processes, tmp_path, token_file=token, rules=[(None, "http_status:404")],
                        edge_keys=peer_edge_keys(edge, authority, kind="vendor"), workers=1,
                        connections=count, netns=home, extra=extra,
                        tunnel_keys={"datagram": "v3" if name[0] == "A" else "v2"})
        daemon.start()
        links = {k.registration.index: k for k in edge.wait_registered(count, 15)}
        until(lambda: all(daemon.counter("quic_client_mtu", conn_index=k) >= MEASURED
                          for k in links), 10, "the path to be measured")

        def renew(index):
            links[index] = edge.wait(lambda: next(
                (k for k in edge.live if k.registration.index == index), None), 15, "another link")
            return links[index]
        with home.inside():
            played = walk.Walk(name, links, instead, renew)
        try:
            played.play()
        finally:
            played.close()
        for metric, labels, value in walk.metrics_of(name) if metrics is None else metrics:
            until(lambda m=metric, l=labels, v=value: daemon.counter(m, **l) == v, 15,
                  f"{metric} {labels} to be {value}")
        return daemon, links
    yield play
    edge.stop()


def nothing(name):
    return pytest.param(name, marks=pytest.mark.carried())


@pytest.mark.parametrize("name", ["A1", "A2", "A4", "A5", "A7", nothing("A8"), "A9", "A11", nothing("A12"),
                                  nothing("A16"), "B1", "B2"])
def test_as_recorded(play, name):
    daemon, _ = play(name)
    if name[0] == "B":
        sent = daemon.counter("adit_flow_packets_total", path="anchor", dir="tx")
        assert sent == (2 if name == "B1" else 1)


def test_bundled_payload(play):
    """A3/3, §14 row 4: what came with the registration reaches the origin, and is answered."""
    port, origin = "127.0.0.1:37441", "127.0.0.1:9000"
    flow = walk.rows_of("A3")[0].octets[6:22]
    play("A3", {3: [(f"daemon {port} → origin {origin}", b"bundled!"),
                    (f"origin {origin} → daemon {port}", b"bundled!"),
                    ("daemon#0 → edge#0", b"\x01" + flow + b"bundled!")]})


@pytest.mark.carried()
def test_failed_dials_hold_nothing(play):
    """A6/10, §14 row 3: after two that failed the limit of two isn't reached."""
    play("A6", {10: [("daemon#0 → edge#0",
                      bytes.fromhex("030000112233445566778899aabbccddee070000"))]})


def test_connection_lost(play):
    """A10/14: the new connection may register the flow as long as it waits, so that its port stays, and until
    then it takes payloads (docs/protocol.md §11.2); in the recording it has gone."""
    unknown = next(row for row in walk.rows_of("A10") if "without registering" in row.meaning)
    way = "daemon 127.0.0.1:35507 → origin 127.0.0.1:9000"
    play("A10", {unknown.number + 1: [(way, unknown.octets[17:])]},
         [("cloudflared_udp_active_flows", {"conn_index": 0}, 1),
          ("cloudflared_udp_total_flows", {"conn_index": 0}, 1),
          ("cloudflared_udp_migrated_flows", {"conn_index": 0}, 1)])


@pytest.mark.carried()
def test_spans_from_the_edge(play):
    """B6/3, B6/4, §14 row 13: counted and dropped; the connection is kept."""
    daemon, links = play("B6", {3: [], 4: []})
    until(lambda: daemon.counter("adit_drops_total", where="datagram", reason="malformed") == 1, 5,
          "the drop")
    assert links[0].closed is None


def test_same_session_again(play):
    """B7, §14 row 12: the first session ends when the second takes its place, which lives its own time; no
    end is told."""
    rows = walk.rows_of("B7")
    instead = {row.number: [] for row in rows if "stream 4" in row.way or "stream 8" in row.way}
    instead[rows[-1].number] = [("daemon 127.0.0.1:41192 → origin 127.0.0.1:9000", b"y")]
    daemon, _ = play("B7", instead)
    assert daemon.counter("cloudflared_udp_active_sessions") == 1
    assert daemon.counter("cloudflared_udp_total_sessions") == 2
