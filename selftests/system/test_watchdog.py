# SPDX-License-Identifier: Apache-2.0
"""Issue 10 T9: the service manager's watchdog is fed while every worker answers, and only then.

    aditd, adit-edge --WATCHDOG=1--> a socket in place of the service manager's
    the test --ptrace--> one worker
"""
import time

import pytest

from lib import needs, ptrace
from lib.adit import DOMAIN, Daemon, Edge
from lib.wait import SLOW, lasts, until

pytestmark = pytest.mark.group("http")

PERIOD = 1.5 * SLOW
FED = "WATCHDOG=1"


@pytest.fixture(name="env")
def fixture_env(service_manager):
    return {**service_manager.env, "WATCHDOG_USEC": str(int(PERIOD * 1e6))}


@pytest.fixture(name="start", params=["aditd", "adit-edge"])
def fixture_start(request, processes, tmp_path, env):
    """start() -> the program with two workers, watched by the service manager."""
    def start():
        edge = Edge(processes, tmp_path)
        if request.param == "adit-edge":
            edge.start(env=env)
            return edge
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                        rules=[(f"a.{DOMAIN}", "http_status:204")], env=env)
        return daemon.serve()
    return start


def feeds(manager):
    """Times at which it was fed."""
    return [at for at, line in list(manager.messages) if line == FED]


def wait_feeds(manager, count):
    """Waits until it has been fed so many times more; those times."""
    before = len(feeds(manager))
    until(lambda: len(feeds(manager)) >= before + count, count * PERIOD + 10, f"{count} {FED}")
    return feeds(manager)[before:]


def test_idle(start, service_manager):
    """T9: an idle program feeds it for three periods, with room to spare each time."""
    program = start()
    since = wait_feeds(service_manager, 1)[0]
    while feeds(service_manager)[-1] - since < 3 * PERIOD:
        wait_feeds(service_manager, 1)
    times = [at for at in feeds(service_manager) if at >= since]
    gaps = [later - earlier for earlier, later in zip(times, times[1:])]
    assert max(gaps) < PERIOD, "the service manager would have killed it"
    assert len(times) >= 6, "at least twice a period"
    assert "does not answer" not in program.process.log


@pytest.mark.parametrize("worker", [0, 1])
def test_worker_held(start, service_manager, worker):
    """T9: with one worker held, it stops within a period while the control thread still answers; it
    goes on when the worker does."""
    needs.root("ptrace of another process")
    program = start()
    wait_feeds(service_manager, 1)
    with ptrace.held(ptrace.thread(program.process.pid, f"adit-w{worker}")):
        since = time.monotonic() - service_manager.started
        lasts(2 * PERIOD, "a worker held")
        assert program.adit("version").stdout.count("\n") == 2, "the control thread answers"
        late = [at - since for at in feeds(service_manager) if at > since]
        assert len(late) <= 1 and not [at for at in late if at > PERIOD], late
        program.process.wait_line(f"a worker does not answer worker={worker}", 5)
    wait_feeds(service_manager, 3)
    assert program.metrics().has("adit_build_info")
    assert program.process.log.count("does not answer") == 1


def test_not_asked(processes, tmp_path, service_manager):
    """Without WATCHDOG_USEC, or with that of another process, nobody is told."""
    edge = Edge(processes, tmp_path)
    edge.start(env={**service_manager.env, "WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"})
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                    rules=[(f"a.{DOMAIN}", "http_status:204")], env=service_manager.env)
    daemon.serve()
    for program in (edge, daemon):
        assert program.stop() == 0
    assert service_manager.values("STATUS") and not feeds(service_manager)
