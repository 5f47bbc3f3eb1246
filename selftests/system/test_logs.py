# SPDX-License-Identifier: Apache-2.0
"""What an operator reads: log formats and levels, the access log, the metrics address, versions.

    PeerEdge <==QUIC== aditd --> origin
"""
import json
import re
import socket
import time

import pytest

from lib.adit import Daemon, Edge, binary, peer_edge_keys, write_token
from lib.metrics import get
from lib.origin import Origin
from lib.peer_edge import PeerEdge
from lib.wait import until

pytestmark = pytest.mark.group("ops")


@pytest.fixture(name="run")
def fixture_run(processes, tmp_path, authority):
    """run(log text) -> (link, daemon) with an origin behind."""
    token = write_token(tmp_path / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                        bytes(range(32)))
    with PeerEdge(*authority.leaf("peer")) as edge, Origin("a") as origin:
        def start(log="", metrics=None):
            daemon = Daemon(processes, tmp_path, token_file=token, connections=1,
                            rules=[("a.example.com", origin.service),
                                   ("gone.example.com", "http://127.0.0.1:9"),
                                   (None, "http_status:404")],
                            edge_keys=peer_edge_keys(edge, authority))
            text = daemon.config.read_text().replace("[log]\nlevel = debug\n", log)
            if metrics:
                text = re.sub(r"\[metrics\]\nlisten = .*", f"[metrics]\nlisten = {metrics}", text)
            daemon.write(text)
            daemon.start()
            return edge.wait_registered(1, 15)[0], daemon
        yield start


def test_json_log(run):
    """Logs: every line of format = json is a JSON object with level and message."""
    link, daemon = run("[log]\nlevel = debug\nformat = json\naccess = on\n")
    assert link.request(path="/x").status == 200
    assert daemon.stop() == 0
    lines = [line for line in daemon.process.log.splitlines() if line.strip()]
    assert len(lines) > 3
    for line in lines:
        record = json.loads(line)
        assert isinstance(record, dict) and any("level" in k.lower() or "priority" in k.lower()
                                                for k in record), line


@pytest.mark.parametrize("access, good, bad", [("on", True, True), ("errors", False, True),
                                               ("off", False, False)])
def test_access_log(run, access, good, bad):
    """Logs: one line for each finished request, for failed ones, or none."""
    link, daemon = run(f"[log]\nlevel = info\nformat = text\naccess = {access}\n")
    assert link.request(path="/good-one").status == 200
    assert link.request(host="gone.example.com", path="/bad-one").error
    assert daemon.stop() == 0
    assert ("/good-one" in daemon.process.log) == good
    assert ("/bad-one" in daemon.process.log) == bad


def test_levels(run):
    """Logs: level = error says nothing of ordinary life; an area may say more."""
    link, daemon = run("[log]\nlevel = error\nformat = text\n")
    assert link.request(path="/x").status == 200
    assert daemon.stop() == 0
    assert daemon.process.log.strip() == ""


def test_metrics_address_is_found(run):
    """Metrics: with listen = auto the address is in RUN/metrics, in the log and in status."""
    _, daemon = run("[log]\nlevel = info\n", metrics="auto")
    path = daemon.run / "metrics"
    until(lambda: path.exists() and path.read_text().strip(), 5, "RUN/metrics")
    address = path.read_text().strip()
    assert re.fullmatch(r"127\.0\.0\.1:\d+", address)
    status, body = get(address, "/ready")
    assert status in (200, 503) and json.loads(body)["status"] == status
    assert address in daemon.process.log
    assert daemon.status()["metrics"] == address


def test_metrics_off(run):
    """Metrics: listen = off opens nothing."""
    _, daemon = run("[log]\nlevel = info\n", metrics="off")
    assert not (daemon.run / "metrics").exists()


def test_versions(processes):
    """Every program prints one version, the same."""
    seen = {processes.run(f"v-{name}", [binary(name), "--version"]).out.read_text().split()[-1]
            for name in ("aditd", "adit-edge")}
    assert len(seen) == 1 and seen != {""}
    helped = processes.run("help", [binary("aditd"), "--help"])
    assert helped.code == 0 and "--config" in helped.out.read_text()



def test_refusal_at_the_limit(run):
    """Limits: a request refused at `streams` is a line in the log; many are no more than one a second."""
    link, daemon = run("[log]\nlevel = info\nformat = text\n[limits]\nstreams = 2\n")
    held = link.send_request(path="/silent")
    until(lambda: daemon.counter("adit_requests_active") == 1, 5, "the request that holds the place")
    started = time.monotonic()
    for _ in range(50):
        assert link.request(path="/x").error.startswith("overloaded: too many requests")
    seconds = time.monotonic() - started
    assert daemon.counter("adit_request_errors_total", reason="overloaded") == 50
    held.reset(0)
    assert daemon.stop() == 0
    lines = [line for line in daemon.process.log.splitlines() if "request refused" in line]
    assert 1 <= len(lines) <= 2 + seconds, daemon.process.log
    assert "reason=overloaded" in lines[0] and "limit=1" in lines[0]


@pytest.mark.parametrize("access, is_whole", [("on", True), ("errors", False)])
def test_access_log_of_the_edge(processes, tmp_path, access, is_whole):
    """Logs: what the edge answers by itself is there as well: rejected requests, and redirections."""
    edge = Edge(processes, tmp_path)
    text = edge.config.read_text().replace("redirect-http = no\n", "")
    edge.write(text.replace("[log]\n", f"[log]\nformat = text\naccess = {access}\n"))
    edge.start()
    requests = {400: b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 501: b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
                431: b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70000 + b"\r\n\r\n",
                505: b"GET / HTTP/9.1\r\nHost: a\r\n\r\n",
                308: b"GET /moved?secret=1 HTTP/1.1\r\nHost: a.adit.test\r\nConnection: close\r\n\r\n"}
    for status, request in requests.items():
        with socket.create_connection(("127.0.0.1", edge.http_port), timeout=5) as connection:
            connection.sendall(request)
            assert connection.recv(12)[9:12].decode() == str(status)
    assert edge.stop() == 0
    lines = [line for line in edge.process.log.splitlines() if " access: request " in line]
    for status in requests:
        found = [line for line in lines if f"status={status} " in line]
        assert len(found) == (1 if is_whole or status != 308 else 0), edge.process.log
        assert all(re.search(r"ray=[0-9a-f]{16}-tst", line) for line in found)
    assert "secret" not in edge.process.log
    assert not is_whole or any("path=/moved" in line for line in lines)
