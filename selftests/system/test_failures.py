# SPDX-License-Identifier: Apache-2.0
"""T4: what goes wrong is named: status, page, log line and exit code.

    curl --> adit-edge ==QUIC==> aditd --> origins that misbehave;  PeerEdge with wrong certificates
"""
import contextlib
import http.client
import json
import pathlib
import re
import signal
import socket
import time

import pytest

from lib import certs, notify, ports
from lib.adit import DOMAIN, Daemon, Edge, binary, peer_edge_keys, write_token
from lib.origin import Origin, pattern
from lib.peer_edge import PeerEdge
from lib.wait import holds, seconds, until

pytestmark = pytest.mark.group("edge")

NAMES = [f"{n}.{DOMAIN}" for n in ("a", "absent", "socket", "silent", "norule")]
REASON = "adit-error"


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("origins")
    with Origin("silent") as silent:
        made = make_pipe(edge={"hosts": NAMES}, rules=[
            (f"absent.{DOMAIN}", f"http://127.0.0.1:{ports.free()}"),
            (f"socket.{DOMAIN}", f"unix:{folder}/absent.sock"),
            (f"silent.{DOMAIN}", silent.service, {"response_header_timeout": "1s"})])
        made.silent = silent
        yield made


# ---- origins and hosts ------------------------------------------------------------------------

@pytest.mark.parametrize("accept, kind", [("text/html", "text/html"),
                                          ("application/json", "application/json")])
def test_unknown_host(pipe, accept, kind):
    """T4: a host that no tunnel has: 404 of the edge, as HTML or JSON, with the request's id."""
    got = pipe.fetch("/", "-H", f"Accept: {accept}", host="nobody.example.org")
    assert (got.status, got.header(REASON)) == (404, "no-such-host"), got
    assert got.header("content-type").startswith(kind)
    assert re.search(r"[0-9a-f]{16}", got.text), got.text
    if kind == "application/json":
        json.loads(got.text)
    assert pipe.edge.counter("adit_edge_no_route_total") >= 1


def test_no_rule(pipe):
    """T4: a host that the edge knows and the daemon does not: the daemon's 404."""
    assert pipe.fetch("/", host=f"norule.{DOMAIN}").status == 404


@pytest.mark.parametrize("host, path, status, reasons", [
    ("absent", "/", 502, ["origin-refused"]),
    ("socket", "/", 502, ["origin-unreachable", "origin-refused"]),
    ("silent", "/silent", 504, ["origin-timeout"]),
    ("a", "/close", 502, ["origin-reset", "origin-protocol"]),
    ("a", "/garbage", 502, ["origin-protocol"])])
def test_broken_origins(pipe, host, path, status, reasons):
    """T4: absent, silent, closing and babbling origins: status, page without the origin's address,
    log line of the daemon, counter."""
    before = pipe.daemon.counter("adit_request_errors_total")
    started = time.monotonic()
    got = pipe.fetch(path, "-H", "Accept: text/html", host=f"{host}.{DOMAIN}")
    assert got.status == status, got
    assert got.header(REASON) in reasons, got
    assert time.monotonic() - started < seconds(5)
    assert "127.0.0.1" not in got.text and ".sock" not in got.text
    pipe.daemon.process.wait_line("|".join(reasons), 5)
    until(lambda: pipe.daemon.counter("adit_request_errors_total") > before, 5, "the counter")


def test_head_of_an_error(pipe):
    """T4: an error page answers HEAD without a body."""
    got = pipe.fetch("/", "-I", host=f"absent.{DOMAIN}")
    assert (got.code, got.status, got.body) == (0, 502, b"")


@pytest.mark.parametrize("path, codes", [("/abort/200000", (18,)), ("/reset/200000", (18, 56)),
                                         ("/abort-chunked/200000", (18, 56))])
def test_truncated_bodies(pipe, path, codes):
    """T4: an origin that breaks off: the visitor's transfer fails too, after what had come."""
    got = pipe.fetch(path)
    assert got.status == 200 and got.code in codes, got
    assert pattern(200_000).startswith(got.body)


@pytest.mark.parametrize("request_head, status", [
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n", 400),
    (b"nonsense\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X-Y: 1\r\n" * 300 + b"\r\n", 431)])
def test_bad_requests(pipe, request_head, status):
    """T4: visitors' requests that are wrong or too large: 400 or 431 and a closed connection."""
    with socket.create_connection(("127.0.0.1", pipe.edge.http_port), timeout=10) as visitor:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            visitor.sendall(request_head)
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while data := visitor.recv(65536):
                answer += data
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer[:200]
    assert pipe.fetch("/x").status == 200


# ---- daemon and edge stopped -------------------------------------------------------------------

def test_daemon_stopped_and_edge_killed(processes, tmp_path):
    """T4: daemon stopped: exit 0, then 503 with Retry-After. Edge killed with -9 and restarted: the
    links end by stateless reset within a second, and serve again."""
    with Origin("a") as origin:
        edge = Edge(processes, tmp_path)
        edge.start()
        offline = edge.fetch("/")
        assert (offline.status, offline.header(REASON)) == (503, "tunnel-offline")
        assert int(offline.header("retry-after")) > 0
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file,
                        rules=[(f"a.{DOMAIN}", origin.service)], connections=2)
        daemon.serve()
        assert edge.fetch("/x").status == 200

        edge.process.kill()
        edge.start()
        restarted = time.monotonic()
        until(lambda: daemon.counter("adit_link_resets_total") >= 2, 5, "two stateless resets")
        assert time.monotonic() - restarted < seconds(1.5)
        daemon.process.wait_line("stateless reset|reset", 1)
        edge.wait_links(2, 15)
        assert edge.fetch("/x").status == 200

        assert daemon.stop() == 0
        gone = edge.fetch("/")
        assert (gone.status, gone.header(REASON)) == (503, "tunnel-offline")
        edge.process.wait_line("(?i)unregister|closed|drain", 5)
        assert edge.stop() == 0


def test_requests_in_flight_survive_sigterm(processes, tmp_path):
    """T4: a download that runs when the daemon is stopped ends whole; the daemon exits with 0."""
    with Origin("a") as origin:
        edge = Edge(processes, tmp_path)
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                        rules=[(f"a.{DOMAIN}", origin.service)],
                        tunnel_keys={"grace_period": "20s"})
        daemon.serve()
        connection = http.client.HTTPConnection("127.0.0.1", edge.http_port, timeout=30)
        connection.request("GET", "/slow/20/50", headers={"Host": f"a.{DOMAIN}"})
        response = connection.getresponse()
        response.readline()
        daemon.process.signal(signal.SIGTERM)
        assert response.read().count(b"\n") == 19
        assert daemon.process.wait_exit(15) == 0


# ---- who the peer is ---------------------------------------------------------------------------

def never_ready(daemon, pattern_of_cause, timeout=10):
    """The cause is logged and shown in status, the process lives, nothing is ready."""
    daemon.process.wait_line(pattern_of_cause, timeout)
    assert daemon.process.is_running and daemon.ready() == 0
    text = until(lambda: " ".join(c["last_error"] or "" for c in daemon.status()["connections"]),
                 5, "an error in status")
    assert re.search(pattern_of_cause, text), text


def test_wrong_secret_and_unknown_tunnel(processes, tmp_path):
    """T4: one text for both, in the log and in status; the process lives on and does not hammer."""
    edge = Edge(processes, tmp_path)
    edge.start()
    good = edge.credentials
    for name, change in (("secret", {"secret": bytes(32)}),
                         ("tunnel", {"tunnel": "6ff42ae2-765d-4adf-8112-31c55c1551ef"})):
        facts = {"account": good["a"], "tunnel": good["t"], "secret": b"x" * 32} | change
        token = write_token(tmp_path / name, extra=good["x"], **facts)
        daemon = Daemon(processes, tmp_path, f"aditd-{name}", token_file=token, connections=2)
        daemon.start()
        never_ready(daemon, "Unauthorized: tunnel or secret not known")
        dials = daemon.counter("adit_dials_total")
        holds(lambda d=daemon: d.process.is_running, 1.0)
        assert daemon.counter("adit_dials_total") - dials <= 2, "a refusal for good is not repeated"
        assert daemon.stop() == 0
    edge.process.wait_line("(?i)unauthorized|refused", 5)


@pytest.fixture(name="dial")
def fixture_dial(processes, tmp_path):
    """dial(edge, **keys of [edge]) -> aditd that tries to reach a PeerEdge."""
    token = write_token(tmp_path / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                        bytes(32))

    def start(edge, **keys):
        daemon = Daemon(processes, tmp_path, token_file=token, connections=1,
                        edge_keys={"address": edge.address, **keys})
        daemon.start()
        return daemon
    return start


CERTIFICATE = "(?i)certificate|verif|trust|pin|name"


def refused_at(edge):
    """The daemon closed the handshake because of the certificate; it sent no registration."""
    link = edge.wait_links(1)[0]
    link.wait_closed_link(10)
    assert 0x100 <= link.closed[0] < 0x200, link.closed
    assert not any(k.registration for k in edge.links)


def test_pin(authority, dial):
    """T4: the right pin is enough; a wrong one refuses the edge."""
    with PeerEdge(*authority.leaf("peer")) as edge:
        dial(edge, pin=authority.pin).wait_ready(1)


def test_wrong_pin(authority, dial, tmp_path):
    """T4: a pin of another CA."""
    other = certs.Authority(tmp_path / "other", "other CA")
    with PeerEdge(*authority.leaf("peer")) as edge:
        daemon = dial(edge, pin=other.pin)
        refused_at(edge)
        never_ready(daemon, CERTIFICATE)


def test_foreign_leaf_with_pinned_ca_appended(authority, dial, tmp_path):
    """T4: a foreign leaf does not become good by carrying the pinned CA in its chain."""
    other = certs.Authority(tmp_path / "other", "other CA")
    with PeerEdge(*other.leaf("peer", append=[authority.pem])) as edge:
        daemon = dial(edge, pin=authority.pin)
        refused_at(edge)
        never_ready(daemon, CERTIFICATE)


def test_pin_and_ca_file_must_both_hold(authority, dial, tmp_path):
    """T4: ca-file is right, pin is not."""
    other = certs.Authority(tmp_path / "other", "other CA")
    with PeerEdge(*authority.leaf("peer")) as edge:
        daemon = dial(edge, pin=other.pin, ca_file=authority.path)
        refused_at(edge)
        never_ready(daemon, CERTIFICATE)


@pytest.mark.parametrize("trust", ["ca_file", "pin"])
def test_name_mismatch(authority, dial, trust):
    """T4: the right CA, a leaf for another name."""
    with PeerEdge(*authority.leaf("wrong", ["other.example.com"])) as edge:
        daemon = dial(edge, **{trust: authority.path if trust == "ca_file" else authority.pin})
        refused_at(edge)
        never_ready(daemon, CERTIFICATE)


def test_expired_leaf(authority, dial):
    """T4: the right CA and name, out of date."""
    with PeerEdge(*authority.leaf("old", days=-1)) as edge:
        daemon = dial(edge, ca_file=authority.path)
        refused_at(edge)
        never_ready(daemon, "(?i)certificate|expired")


# ---- readiness ----------------------------------------------------------------------------------

def test_ready_when_registered(processes, tmp_path, authority, service_manager):
    """T4: READY=1 comes with the first registration; STOPPING=1 at the end."""
    token = write_token(tmp_path / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                        bytes(32))
    with PeerEdge(*authority.leaf("peer")) as edge:
        daemon = Daemon(processes, tmp_path, token_file=token, connections=1,
                        edge_keys=peer_edge_keys(edge, authority))
        daemon.start(env=service_manager.env)
        edge.wait_registered(1, 15)
        assert service_manager.wait("READY=1", 3) < seconds(6)
        assert daemon.stop() == 0
        assert service_manager.wait("STOPPING=1", 1)


def test_ready_without_an_edge(processes, tmp_path):
    """T4: with a wrong token and with no route READY=1 comes after 10–11 s; STATUS has the cause."""
    edge = Edge(processes, tmp_path)
    edge.start()
    good = edge.credentials
    wrong = write_token(tmp_path / "wrong", good["a"], good["t"], bytes(32), good["x"])
    unreachable = write_token(tmp_path / "unreachable", good["a"], good["t"], bytes(32),
                              {**good["x"], "edge": ["192.0.2.1:7844"]})
    managers = []
    for name, token in (("wrong", wrong), ("route", unreachable)):
        manager = notify.Notify(tmp_path / f"notify-{name}")
        managers.append(manager)
        daemon = Daemon(processes, tmp_path, f"aditd-{name}", token_file=token, connections=1)
        daemon.start(env=manager.env)
        manager.daemon = daemon
    for manager, cause in zip(managers, ("(?i)unauthorized", "(?i)unreach|route|timeout|connect")):
        at = manager.wait("READY=1", 14)
        assert 9.5 < at < 10 + seconds(1.5), at
        text = until(lambda m=manager: m.values("STATUS"), 2, "STATUS")[-1]
        assert text.startswith("not connected:") and re.search(cause, text), text
        assert manager.daemon.page("/ready")[0] == 503
        manager.close()


# ---- secrets ------------------------------------------------------------------------------------

def proc_bytes(process, name):
    with open(f"/proc/{process.pid}/{name}", "rb") as file:
        return file.read()


@pytest.mark.parametrize("where", ["argv", "environment"])
def test_token_is_not_visible(processes, tmp_path, authority, where):
    """T4: a second after the start neither cmdline nor environ hold the token; a warning says so. No
    log, run file or core holds the secret."""
    secret = b"S3CRET-0123456789-abcdef-S3CRET!"
    path = write_token(tmp_path / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef", secret)
    token = path.read_text().strip()
    path.unlink()
    with PeerEdge(*authority.leaf("peer")) as edge:
        daemon = Daemon(processes, tmp_path, connections=1,
                        edge_keys=peer_edge_keys(edge, authority))
        options = ["--token", token] if where == "argv" else []
        env = {"TUNNEL_TOKEN": token} if where == "environment" else {}
        cores = tmp_path / "cores"  # where the kernel's own pattern puts them
        cores.mkdir()
        core = ["bash", "-c", 'ulimit -c unlimited; cd "$0"; exec "$@"', cores]
        processes.run("other", [*core, "bash", "-c", "kill -ABRT $$"])
        if pathlib.Path("/proc/sys/kernel/core_pattern").read_text()[0] not in "|/":
            assert list(cores.iterdir()), "another program leaves a core here"
        for file in cores.iterdir():
            file.unlink()
        daemon.start(*options, env=env, wrap=core)
        link = edge.wait_registered(1, 15)[0]
        assert link.registration.secret == secret
        daemon.wait_ready()
        traces = [secret, secret.hex().encode(), token.encode(), token[8:40].encode()]

        def clean():
            seen = proc_bytes(daemon.process, "cmdline") + proc_bytes(daemon.process, "environ")
            return not any(trace in seen for trace in traces)
        until(clean, 1, "a cmdline and environ without the token")
        daemon.process.wait_line("(?i)warn.*token|token.*warn|token.*(visible|argv|environment)", 5)
        daemon.status()
        daemon.process.signal(signal.SIGABRT)
        assert daemon.process.wait_exit(20) == -signal.SIGABRT
        assert not list(cores.iterdir()), "a core dump"
        for file in daemon.folder.rglob("*"):
            # The configuration has no token; everything else was written by the program.
            if file.is_file():
                content = file.read_bytes()
                assert not any(trace in content for trace in traces), file
        assert not any(trace in daemon.process.log.encode() for trace in traces)


def test_readable_secret_is_refused(processes, tmp_path):
    """T4: a token file that others may read: exit 78 and the reason."""
    token = write_token(tmp_path / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                        bytes(32))
    token.chmod(0o644)
    daemon = Daemon(processes, tmp_path, token_file=token)
    daemon.start()
    assert daemon.process.wait_exit(10) == 78
    assert "token-file" in daemon.process.log


# ---- exit codes ---------------------------------------------------------------------------------

def test_exit_codes(processes, tmp_path):
    """T4: 64 for usage, 78 for configuration; without one: two lines of help."""
    assert processes.run("usage", [binary("aditd"), "--no-such-option"]).code == 64
    assert processes.run("usage-edge", [binary("adit-edge"), "--no-such-option"]).code == 64
    missing = processes.run("missing", [binary("aditd"), "--config", tmp_path / "none"])
    assert missing.code == 78 and "none" in missing.log
    empty = tmp_path / "empty"
    empty.mkdir()
    env = {"XDG_CONFIG_HOME": str(empty), "HOME": str(empty), "XDG_RUNTIME_DIR": str(empty)}
    bare = processes.run("bare", [binary("aditd")], env=env)
    assert bare.code == 78 and len(bare.log.strip().splitlines()) >= 2


def test_port_in_use(processes, tmp_path):
    """T4: an edge whose address is taken says which, and ends with 1."""
    edge = Edge(processes, tmp_path)
    edge.start()
    second = processes.start("second", [binary("adit-edge"), "--config", edge.config, "--run-dir",
                                        tmp_path / "run2", "--state-dir", edge.state])
    assert second.wait_exit(10) == 1
    assert str(edge.port) in second.log or str(edge.http_port) in second.log
    assert edge.fetch("/").status == 503
