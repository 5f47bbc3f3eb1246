# SPDX-License-Identifier: Apache-2.0
"""T9: adit-edge with many links and many strangers. Needs root (user change).

    PeerDaemon links, floods from 127.x.y.z --> adit-edge as its own user
"""
import os
import pathlib
import shutil
import sys
import tempfile
import time

import pytest

from lib import needs
from lib import tunnelrpc as rpc
from lib.adit import Edge, section
from lib.crowd import allow_files
from lib.peer_daemon import Credentials, PeerDaemon
from lib.proc import Processes
from lib.service_user import UID, with_service_user
from lib.wait import SLOW, seconds, until

pytestmark = pytest.mark.group("edge")

LINKS = 2000 if SLOW <= 1 else 300
LIB = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(name="service_edge", scope="module")
def fixture_service_edge():
    """adit-edge started as root; the user adit-edge exists and owns run folder and certificates."""
    needs.root("changes the user")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="adit-service-"))
    folder.chmod(0o755)
    processes = Processes(folder)
    try:
        edge = Edge(processes, folder, tunnel_keys={"max_connections": 5000},
                    extra=section("limits", register_timeout="20s"))
        for top in (edge.run, edge.certificates):  # the state stays as init, run by root, made it
            for path in (top, *top.rglob("*")):
                os.chown(path, UID, UID)
        allow_files(12000)
        edge.start(wrap=with_service_user(folder))
        yield edge
    finally:
        processes.close()
        shutil.rmtree(folder)


@pytest.fixture(name="crowd", scope="module")
def fixture_crowd(service_edge):
    with PeerDaemon(Credentials.from_token(service_edge.token), service_edge.address,
                    service_edge.ca) as made:
        yield made


def register_many(daemon, count):
    """Registers links one after the other; the unregistered ones of an address are limited."""
    for number in range(count):
        link, outcome = daemon.register(number % 256, client_id=os.urandom(16))
        assert isinstance(outcome, rpc.Accepted), (number, outcome)
        del link


def test_drops_to_its_user(service_edge):
    """T9: started as root it runs as its user, without capabilities and without a way back."""
    process = service_edge.process
    assert process.status("Uid").split() == [str(UID)] * 4
    assert process.status("Gid").split() == [str(UID)] * 4
    assert int(process.status("CapEff"), 16) == 0 and int(process.status("CapPrm"), 16) == 0
    assert process.status("NoNewPrivs") == "1"
    assert set(process.status("Groups").split()) <= {str(UID)}
    # It can renew what init has made as root.
    for name in ("ca.key", "ca.pem", "tunnel.key", "tunnel.pem"):
        assert (service_edge.state / name).stat().st_uid == UID


def test_three_hundred_connections(service_edge, crowd):
    """T9: after the drop it accepts 300 QUIC connections (more than get a socket of their own)."""
    register_many(crowd, 300)
    assert service_edge.links() == 300
    assert service_edge.fetch("/x").text == "hello\n"


@pytest.mark.timeout(240)
def test_junk_with_many_links(service_edge, crowd):
    """T9: with 2 000 links a stranger's 10 000 packets a second cost under 15 % of a core."""
    register_many(crowd, LINKS - len(crowd.links))
    assert service_edge.links() == LINKS
    process = service_edge.process

    def cost(duration, packets):
        flood = None
        if packets:
            words = ["junk", "127.0.0.1", service_edge.port, packets * duration, packets]
            flood = service_edge.processes.start(
                "flood", [sys.executable, "-m", "lib.flood", *words],
                env={"PYTHONPATH": str(LIB)})
            flood.started = time.monotonic()
            until(lambda: process.cpu_seconds() > before_start + 0.001, 5, "the flood's start")
        before, started = process.cpu_seconds(), time.monotonic()
        if flood:
            assert flood.wait_exit(60) == 0
        else:
            until(lambda: time.monotonic() - started >= duration, duration + 1, "the time")
        return (process.cpu_seconds() - before) / (time.monotonic() - started)
    before_start = process.cpu_seconds()
    idle = cost(4, 0)
    before_start = process.cpu_seconds()
    busy = cost(6, 10_000)
    if SLOW <= 1:
        assert busy - idle < 0.15, f"idle {idle:.3f}, under flood {busy:.3f} of a core"
    assert service_edge.links() == LINKS
    assert service_edge.fetch("/x").text == "hello\n"


@pytest.mark.parametrize("sources", [1, 500])
def test_handshakes_without_registration(service_edge, sources):
    """T9: 5 000 handshakes that never register, from one address and from many: bounded, counted,
    and a good daemon registers meanwhile."""
    process = service_edge.process
    memory = int(process.status("VmRSS").split()[0])
    words = ["initials", "127.0.0.1", service_edge.port, 5000, 2000, sources]
    flood = service_edge.processes.start("initials", [sys.executable, "-m", "lib.flood", *words],
                                         env={"PYTHONPATH": str(LIB)})
    with PeerDaemon(Credentials.from_token(service_edge.token), service_edge.address,
                    service_edge.ca) as good:
        started = time.monotonic()
        assert isinstance(good.register(7)[1], rpc.Accepted)
        assert time.monotonic() - started < seconds(5)
        assert flood.wait_exit(60) == 0
    seen = service_edge.metrics()
    pending = seen.sum("adit_edge_unregistered")
    assert pending <= (16 if sources == 1 else 1024) + 1, pending
    assert seen.has("adit_edge_unregistered")
    assert seen.sum("adit_edge_quic_total", event="retry") > 0  # under load, by itself
    grown = int(process.status("VmRSS").split()[0]) - memory
    assert grown < 300_000 * SLOW, f"{grown} KiB more"
    # They all end by the deadline for registering (20 s here).
    until(lambda: service_edge.counter("adit_edge_unregistered") == 0, 30, "their end", step=0.5)
