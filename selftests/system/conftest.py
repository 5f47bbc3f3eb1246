# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests. Programs under test come from the folder ADIT_BIN."""
import contextlib
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import certs, needs, netns, notify, proc, topology, wait  # noqa: E402  (the path is set above)
from lib.pipe import Pipe  # noqa: E402

LOG_LINES = 40


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """ADIT_SLOW stretches the limit of each test as it does every wait inside."""
    config.option.timeout = float(config.getini("timeout")) * wait.SLOW


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failure shows the last lines of every process of its test."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for value in getattr(item, "funcargs", {}).values():
        processes = value if isinstance(value, proc.Processes) else getattr(value, "processes", None)
        if isinstance(processes, proc.Processes):
            for process in processes.all:
                report.sections.append((f"log of {process.name}", process.tail(LOG_LINES)))


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A CA of the test's own; leaves are made with authority.leaf(NAME)."""
    return certs.Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def processes(tmp_path):
    """Processes of one test; what still runs at its end is ended and held to account."""
    made = proc.Processes(tmp_path)
    yield made
    made.close()


@pytest.fixture
def net():
    """Network namespaces of one test."""
    needs.namespaces()
    made = netns.Net()
    yield made
    made.close()


@pytest.fixture
def make_topology(tmp_path):
    """Makes two edges, a daemon's host and a visitor around a router (lib.topology)."""
    needs.namespaces()
    with contextlib.ExitStack() as made:
        yield lambda **options: made.enter_context(topology.ground(tmp_path, **options))


@pytest.fixture
def service_manager(tmp_path):
    """A stand-in for NOTIFY_SOCKET."""
    made = notify.Notify(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture(scope="module")
def make_pipe(tmp_path_factory, request):
    """Makes pipes (lib.pipe.Pipe) that live until the module ends, over its PROTOCOL."""
    made = []
    protocol = getattr(request.module, "PROTOCOL", "quic")

    def make(name="pipe", daemon=None, **options):
        keys = {"protocol": protocol, **((daemon or {}).get("tunnel_keys") or {})}
        options["daemon"] = {**(daemon or {}), "tunnel_keys": keys}
        made.append(Pipe(tmp_path_factory.mktemp(name), **options))
        return made[-1]
    yield make
    faults = []
    for pipe in made:
        try:
            pipe.close()
        except AssertionError as error:
            faults.append(str(error))
    assert not faults, "\n".join(faults)
