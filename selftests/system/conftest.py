# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests. Programs under test come from the folder ADIT_BIN."""
import contextlib
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import certs, needs, netns, nobody, notify, origins, paths, proc  # noqa: E402  (the path is set above)
from lib import topology, wait  # noqa: E402
from lib.adit import Program  # noqa: E402
from lib.peer_edge import PeerEdge  # noqa: E402
from lib.pipe import Pipe  # noqa: E402
from lib.short_cut import ShortCut  # noqa: E402

LOG_LINES = 40
OWN_FOLDER = "adit-test-"


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """ADIT_SLOW stretches the limit of each test as it does every wait inside."""
    config.option.timeout = float(config.getini("timeout")) * wait.SLOW
    # Not under pytest's own folder: each run of pytest closes that for others, and nobody (lib.nobody) is one.
    if config.option.basetemp is None:
        config.option.basetemp = tempfile.mkdtemp(prefix=OWN_FOLDER) + "/run"


def pytest_sessionfinish(session, exitstatus):
    """What a failure has left stays."""
    folder = pathlib.Path(session.config.option.basetemp).parent
    if exitstatus == 0 and folder.name.startswith(OWN_FOLDER):
        shutil.rmtree(folder, ignore_errors=True)


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Each test of the group datapath says which paths have carried its packets (lib.paths)."""
    groups = {mark.args[0] for mark in item.iter_markers("group")}
    said = item.get_closest_marker(paths.MARK)
    assert said or "datapath" not in groups, f"{item.name} doesn't say which path carried its packets"
    if not said or said.args:
        return (yield)
    Program.all = [p for p in Program.all if not p.process or p.is_running]
    before = paths.snapshot(Program.all)
    result = yield
    for program in Program.all:
        if program.is_nobody and program.is_running:
            nobody.check(program.process)
    paths.check(Program.all, before, said.kwargs, item.get_closest_marker("short_cut") is not None)
    return result


def pytest_collection_modifyitems(config, items):
    """What its test says goes by sockets anyway has no second run."""
    again = [item for item in items if item.get_closest_marker("short_cut")
             and item.get_closest_marker("by_sockets")]
    items[:] = [item for item in items if item not in again]
    config.hook.pytest_deselected(items=again)


@pytest.fixture(scope="module", autouse=True)
def fixture_rights_of_file(request):
    """mark.unprivileged of a file: its programs have no rights (lib.nobody)."""
    with nobody.default(request.node.get_closest_marker("unprivileged") is not None):
        yield


@pytest.fixture(autouse=True)
def fixture_rights_of_test(request):
    """mark.privileged of a test: its subject are rights."""
    with contextlib.ExitStack() as made:
        if request.node.get_closest_marker("privileged"):
            made.enter_context(nobody.default(False))
        yield


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


@pytest.fixture(name="origins")
def fixture_origins(request):
    """Where UDP origins are (lib.origins): here, but for what paths.BOTH says."""
    is_short = getattr(request, "param", False)
    if is_short:
        needs.namespaces()
    with origins.place(is_short) as made:
        yield made


@pytest.fixture(name="cut")
def fixture_cut(request, net):
    """The cable of lib.short_cut; a parameter is its number of queues."""
    made = ShortCut(net, getattr(request, "param", 1))
    yield made
    made.close()


@pytest.fixture(name="start")
def fixture_start(cut, processes, tmp_path, authority):
    """start(**options) -> a daemon on that cable, whose edge is in Python."""
    with PeerEdge(*authority.leaf("peer")) as peer:
        yield lambda **options: cut.start(processes, tmp_path, peer, authority, **options)


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
