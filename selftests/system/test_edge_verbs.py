# SPDX-License-Identifier: Apache-2.0
"""`adit edge …` and `adit reconnect`: an edge that refuses on request, drains, tells.

    PeerDaemon (aioquic), PeerH2Daemon, aditd ==QUIC, HTTP/2==> adit-edge (2 workers) <-- adit
"""
import pathlib
import re

import pytest

from lib import tunnelrpc as rpc
from lib.adit import Daemon, Edge
from lib.h2_daemon import PeerH2Daemon
from lib.peer_daemon import Credentials, PeerDaemon
from lib.varlink import Refused, Varlink
from lib.wait import until

pytestmark = pytest.mark.group("edge")

MANUAL = pathlib.Path(__file__).resolve().parents[2] / "docs/man/adit.1"
SECOND = 1_000_000_000
ANSWERS = {
    "unauthorized": rpc.Refused("Unauthorized: tunnel or secret not known", False, 0),
    "too-many": rpc.Refused("too many connections", True, 30 * SECOND),
    "draining": rpc.Refused("edge is draining", True, SECOND),
    "duplicate": rpc.Refused("EDUPCONN", True, 0),
    "retry": rpc.Refused("try again later", True, 5 * SECOND),
    "permanent": rpc.Refused("refused for good", False, 0),
}


@pytest.fixture(name="edge")
def fixture_edge(processes, tmp_path):
    made = Edge(processes, tmp_path)
    made.start()
    return made


@pytest.fixture(name="peer", params=[PeerDaemon, PeerH2Daemon], ids=["quic", "http2"])
def fixture_peer(edge, request):
    with request.param(Credentials.from_token(edge.token), edge.address, edge.ca) as made:
        yield made


def refusals(edge):
    return edge.counter("adit_edge_registrations_total", result="ordered")


@pytest.mark.parametrize("kind", sorted(ANSWERS))
def test_refuse_with_an_answer(edge, peer, kind):
    """§10: the kind's answer, once; the edge closes a daemon that stays; the next one is accepted."""
    edge.adit("edge", "refuse", kind, "--count", "1", "--tunnel", "home")
    assert edge.status()["refusing"] == kind
    link, outcome = peer.register()
    assert outcome == ANSWERS[kind]
    assert not link.wait_closed_link(5)[0] and link.peer_closed
    assert "refusing" not in edge.status() and refusals(edge) == 1
    assert isinstance(peer.register()[1], rpc.Accepted)


def test_refuse_otherwise(edge, peer):
    """§10: an exception, a closed connection, silence that outlasts the registration deadline."""
    edge.adit("edge", "refuse", "exception")
    assert peer.register()[1] == "malformed registration"
    edge.adit("edge", "refuse", "close")
    link, outcome = peer.register()
    assert outcome is None and not link.wait_closed_link(2)[0]
    edge.adit("edge", "refuse", "silent")
    link = peer.connect()
    with pytest.raises(AssertionError):
        peer.register(link=link, timeout=6)
    assert link.closed is None
    edge.adit("edge", "refuse", "none")
    assert refusals(edge) == 3 and "refusing" not in edge.status()
    assert isinstance(peer.register()[1], rpc.Accepted)


def test_delay_of_ones_own(edge, peer):
    """§10: --retry-after is what the answer says; links that have registered stay."""
    link, outcome = peer.register()
    assert isinstance(outcome, rpc.Accepted)
    edge.adit("edge", "refuse", "too-many", "--retry-after", "2")
    assert peer.register(1)[1] == rpc.Refused("too many connections", True, 2 * SECOND)
    assert link.closed is None and edge.links() == 1


def test_strangers_learn_nothing(edge, peer):
    """§3: an order is not for whom the edge refuses anyway, and they don't use it up."""
    edge.adit("edge", "refuse", "too-many", "--count", "1")
    assert peer.register(secret=bytes(32))[1] == ANSWERS["unauthorized"]
    assert edge.status()["refusing"] == "too-many" and refusals(edge) == 0


@pytest.mark.parametrize("words, code, said", [
    (["refuse"], 64, "KIND"),
    (["refuse", "retry", "close"], 64, "KIND"),
    (["refuse", "retry", "--count", "0"], 64, "count"),
    (["refuse", "retry", "--count", "x"], 64, "count"),
    (["refuse", "bogus"], 1, "kind"),
    (["refuse", "retry", "--tunnel", "nobody"], 1, "NoSuchTunnel"),
    (["drain", "now"], 64, "argument"),
    (["status", "--count", "1"], 64, "count"),
    (["dig"], 64, "no such verb"),
    ([], 64, "no such verb"),
])
def test_what_is_wrong(edge, words, code, said):
    """§10: exit codes and what is said."""
    done = edge.adit("edge", *words, check=False)
    assert (done.returncode, done.stdout) == (code, "") and said in done.stderr, done
    assert edge.process.is_running and "refusing" not in edge.status()


def test_who_may_refuse(edge):
    """§11: parameters are checked; a kind is needed."""
    with Varlink(edge) as control:
        for wrong in ({}, {"kind": 7}, {"kind": "retry", "count": -1},
                      {"kind": "retry", "retry_after_usec": "soon"}, {"kind": "retry", "x": 1}):
            with pytest.raises(Refused, match="InvalidParameter"):
                control.call("Refuse", **wrong)
        control.call("Refuse", kind="retry", tunnel=None, count=None, retry_after_usec=None)
        assert control.call("Status")["refusing"] == "retry"
        control.call("Refuse", kind="off")
        assert "refusing" not in control.call("Status")


def test_edge_status_and_drain(processes, tmp_path, edge):
    """§10: the same status without --edge; drain ends the edge like SIGTERM; then nobody is there."""
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file).serve()
    text = edge.adit("edge", "status").stdout
    assert len(re.findall(r"^home +[01] +quic ", text, re.MULTILINE)) == 2, text
    assert edge.adit("--json", "edge", "drain").stdout.strip() == "{}"
    assert edge.process.wait_exit(10) == 0
    assert edge.adit("edge", "drain", check=False).returncode == 3
    assert daemon.process.is_running


def test_reconnect(processes, tmp_path, edge):
    """§10: one index, then all; the edge has new connections."""
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file).serve()

    def since():
        return {c["index"]: c["since_usec"] for c in edge.status()["connections"]}

    def renewed(before, indexes):
        now = since()
        return len(now) == 2 and {i for i in now if now[i] != before[i]} == indexes
    before = since()
    daemon.adit("reconnect", "1")
    until(lambda: renewed(before, {1}), 10, "another connection 1")
    before = since()
    daemon.adit("reconnect")
    until(lambda: renewed(before, {0, 1}), 10, "two other connections")
    for words, code in ((["9"], 1), (["x"], 64), (["300"], 64), (["0", "1"], 64)):
        assert daemon.adit("reconnect", *words, check=False).returncode == code, words
    assert edge.adit("reconnect", check=False).returncode == 64


def test_manual(edge):
    """§10: every verb has a help text with an example, which the manual has, too."""
    text = MANUAL.read_text()
    listed = re.findall(r"^  ([a-z]+(?: [a-z]+)?)  ", edge.adit("--help").stdout, re.MULTILINE)
    assert {"edge refuse", "edge drain", "edge status", "reconnect", "reload", "status",
            "version"} == set(listed)
    for verb in listed:
        said = edge.adit(*verb.split(), "--help").stdout
        example = re.search(r"^example: (.*)$", said, re.MULTILINE).group(1)
        assert f".It Ic {verb}" in text and f".Dl {example}\n" in text, verb
