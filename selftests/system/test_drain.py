# SPDX-License-Identifier: Apache-2.0
"""T10: how aditd and adit-edge stop, and what the service manager hears of it.

    http.client --> adit-edge ==link==> aditd --> origin that takes its time

Figures: idle, SIGTERM to exit within 200 ms; a request of 3 s in flight ends whole and the exit follows
within 500 ms; a second SIGTERM cuts within 500 ms; a drain takes less than 100 ms of CPU.
"""
import http.client
import os
import select
import signal
import threading
import time

import pytest

from lib import ports
from lib.adit import DOMAIN, Daemon, Edge
from lib.origin import Origin
from lib.wait import SLOW, seconds, until

pytestmark = pytest.mark.group("supervisor")

LINES, PAUSE_MS = 31, 100       # 3 s


@pytest.fixture(name="pair", params=["quic", "http2"])
def fixture_pair(request, processes, tmp_path, service_manager):
    """An edge and a daemon with two connections and a grace period of 20 s."""
    with Origin("a") as origin:
        edge = Edge(processes, tmp_path)
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=2,
                        rules=[(f"a.{DOMAIN}", origin.service)], env=service_manager.env,
                        tunnel_keys={"grace_period": "20s", "protocol": request.param})
        daemon.serve()
        yield edge, daemon


class Download(threading.Thread):
    """A response of LINES lines, read as it comes; wait() gives their number and when it ended."""

    def __init__(self, edge):
        super().__init__(daemon=True)
        connection = http.client.HTTPConnection("127.0.0.1", edge.http_port, timeout=seconds(30))
        connection.request("GET", f"/slow/{LINES}/{PAUSE_MS}", headers={"Host": f"a.{DOMAIN}"})
        self.response = connection.getresponse()
        assert self.response.readline()
        self.lines, self.ended, self.error = 1, None, None
        self.start()

    def run(self):
        try:
            while piece := self.response.read1(65536):      # readline() hides a missing end
                self.lines += piece.count(b"\n")
        except (OSError, http.client.HTTPException) as error:
            self.error = error
        self.ended = time.monotonic()

    def wait(self):
        self.join(seconds(20))
        assert self.ended, "the download hangs"
        return self.lines, self.ended


def time_exit(process, signals=0):
    """Sends SIGTERM so many times, each when the last was taken; (when it ended, exit code)."""
    watched = os.pidfd_open(process.pid)
    try:
        for number in range(signals):
            process.signal(signal.SIGTERM)
            if number + 1 < signals:
                process.wait_line("stop: draining", 5)
        poll = select.poll()
        poll.register(watched, select.POLLIN)
        assert poll.poll(seconds(25) * 1000), f"{process.name} lives on:\n{process.tail()}"
        return time.monotonic(), process.wait_exit(1)
    finally:
        os.close(watched)


@pytest.mark.parametrize("which", ["aditd", "adit-edge"])
def test_idle(pair, which):
    """Nothing is in flight: the exit follows at once."""
    edge, daemon = pair
    process = (daemon if which == "aditd" else edge).process
    started = time.monotonic()
    ended, code = time_exit(process, 1)
    assert code == 0
    # A sanitizer looks for leaks before it lets go.
    assert ended - started < (0.2 if SLOW == 1 else seconds(0.5)), f"{ended - started:.3f} s"


def test_idle_and_unanswered(pair):
    """The edge hangs and never answers the goodbye: the daemon, idle, doesn't wait its 20 s of grace."""
    edge, daemon = pair
    edge.process.signal(signal.SIGSTOP)
    until(edge.process.is_stopped, 5, "the edge to hang")
    started = time.monotonic()
    ended, code = time_exit(daemon.process, 1)
    edge.process.signal(signal.SIGCONT)
    assert code == 0 and ended - started < seconds(4), f"{ended - started:.3f} s"


@pytest.mark.parametrize("which", ["aditd", "adit-edge"])
def test_in_flight(pair, which):
    """A request of 3 s ends whole; the exit follows; waiting for it costs nothing."""
    edge, daemon = pair
    process = (daemon if which == "aditd" else edge).process
    download = Download(edge)
    began, cpu = time.monotonic(), process.cpu_seconds()
    process.signal(signal.SIGTERM)
    until(lambda: download.lines >= LINES - 3, 10, "most of the download")
    spent = process.cpu_seconds() - cpu
    ended, code = time_exit(process)
    lines, download_ended = download.wait()
    assert lines == LINES and download.error is None and code == 0
    assert download_ended - began > 2.5, "it was in flight all the time"
    assert ended - download_ended < seconds(0.5), f"{ended - download_ended:.3f} s"
    assert spent < seconds(0.1), f"{spent:.3f} s of CPU while it drained"


@pytest.mark.parametrize("pair", ["quic"], indirect=True)
def test_in_flight_over_silence(pair):
    """The edge hangs while a request is the only thing that is left of a link: that is waited for."""
    edge, daemon = pair
    download = Download(edge)
    daemon.process.signal(signal.SIGTERM)
    daemon.process.wait_line("from=up event=drain", count=2)
    before = download.lines
    until(lambda: download.lines > before + 2, 5, "the end of the control stream")
    edge.process.signal(signal.SIGSTOP)
    until(edge.process.is_stopped, 5, "the edge to hang")
    daemon.process.wait_line("from=draining event=suspect")
    edge.process.signal(signal.SIGCONT)
    _, code = time_exit(daemon.process)
    lines, _ = download.wait()
    assert lines == LINES and download.error is None and code == 0


@pytest.mark.parametrize("which", ["aditd", "adit-edge"])
def test_second_signal(pair, which):
    """It doesn't wait any longer; the visitor sees that the answer isn't whole."""
    edge, daemon = pair
    process = (daemon if which == "aditd" else edge).process
    download = Download(edge)
    began = time.monotonic()
    ended, code = time_exit(process, 2)
    assert code == 0
    assert ended - began < (0.5 if SLOW == 1 else seconds(0.7)), f"{ended - began:.3f} s"
    lines, _ = download.wait()
    assert lines < LINES and download.error is not None


@pytest.mark.parametrize("which", ["aditd", "adit-edge"])
def test_service_manager(processes, tmp_path, service_manager, which):
    """Design §9: STOPPING, and more time for the drain, asked for once and not before."""
    edge = Edge(processes, tmp_path)
    if which == "adit-edge":
        edge.start(env=service_manager.env)
        process, least = edge.process, 30
    else:
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, env=service_manager.env,
                        rules=[(f"a.{DOMAIN}", "http_status:204")],
                        tunnel_keys={"grace_period": "100s"})
        daemon.serve()
        process, least = daemon.process, 100
    service_manager.wait("READY=1")
    assert not service_manager.values("EXTEND_TIMEOUT_USEC")
    assert not service_manager.values("STOPPING")
    process.signal(signal.SIGTERM)
    assert process.wait_exit(5) == 0
    until(lambda: service_manager.values("EXTEND_TIMEOUT_USEC"), 2, "the request for more time")
    assert service_manager.values("STOPPING") == ["1"]
    (more,) = service_manager.values("EXTEND_TIMEOUT_USEC")
    assert least < int(more) / 1e6 <= least + 10
    assert service_manager.values("STATUS")[-1] == "draining"


def test_status_while_connecting(processes, tmp_path, service_manager):
    """The cause stands in STATUS as soon as there is one, long before READY says that we go on."""
    edge = Edge(processes, tmp_path)        # never started: nobody listens there
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file, env=service_manager.env,
                    rules=[(f"a.{DOMAIN}", "http_status:204")],
                    edge_keys={"address": f"127.0.0.1:{ports.free()}"})
    daemon.start()
    until(lambda: service_manager.values("STATUS"), 5, "a status")
    assert service_manager.values("STATUS")[0].startswith("not connected: ")
    until(lambda: "refused" in service_manager.values("STATUS")[-1], 5, "the cause")
    assert not service_manager.values("READY")
    assert daemon.process.terminate(5) == 0
