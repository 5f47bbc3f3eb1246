# SPDX-License-Identifier: Apache-2.0
"""W9: what brings QUIC packets to the worker of the edge that owns them: a classic filter in the kernel;
where that is refused a program of BPF; where that is, too, the workers' mailboxes. Needs root.

    curl --> adit-edge, two workers <==QUIC== relay <==QUIC== daemon in Python
"""
import json
import signal
import subprocess

import pytest

from lib import needs
from lib.adit import Edge
from lib.peer_daemon import Credentials, PeerDaemon
from lib.relay import Relay
from lib.seccomp import SO_ATTACH_REUSEPORT_CBPF as FILTER
from lib.seccomp import SO_ATTACH_REUSEPORT_EBPF as PROGRAM
from lib.seccomp import refusing
from lib.service_user import UID, with_service_user
from lib.wait import until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.carried()]     # QUIC only; it counts for itself

CONNECTIONS = 16
NO_BPF = ["setpriv", "--bounding-set", "-bpf,-sys_admin", "--inh-caps", "-bpf,-sys_admin"]


def kernel_has():
    """Everybody's programs of this kind and their maps, by id."""
    found = []
    for kind, name in (("prog", "adit_steer"), ("map", "workers")):
        done = subprocess.run(["bpftool", "-j", kind, "show"], check=True, stdout=subprocess.PIPE)
        found += [(kind, row["id"]) for row in json.loads(done.stdout) if row.get("name") == name]
    return set(found)


def forwarded(edge):
    return edge.counter("adit_edge_quic_total", event="forwarded")


@pytest.fixture(name="start")
def fixture_start(processes, tmp_path):
    """start(wrap) -> edge, which serves"""
    needs.root("programs in the kernel")
    needs.tool("bpftool")

    def start(*wrap):
        edge = Edge(processes, tmp_path, workers=2)
        edge.start(wrap=[*with_service_user(tmp_path), *wrap])
        return edge
    return start


def said(edge, by):
    """What the log has for each address, and the status for all."""
    assert edge.status()["steering"] == by
    assert ["steering", by] in [line.split() for line in edge.adit("status").stdout.splitlines()]
    lines = [line for line in edge.process.log.splitlines() if "find their worker" in line]
    assert len(lines) == 2, lines
    for line, host in zip(lines, ("127.0.0.1", "[::1]")):
        assert f"address={host}:{edge.port}" in line, line
    return lines


def serves(edge):
    """… without privileges, on both workers; also when all have moved to other ports."""
    assert edge.process.status("Uid").split()[0] == str(UID)
    assert edge.process.status("CapEff") == "0" * 16
    with Relay(("127.0.0.1", edge.port)) as relay:
        with PeerDaemon(Credentials.from_token(edge.token), relay.address, edge.ca) as peer:
            links = [peer.register(index)[0] for index in range(CONNECTIONS)]
            edge.wait_links(CONNECTIONS)
            assert {row["worker"] for row in edge.status()["connections"]} == {0, 1}
            for _ in range(2):
                for number in range(CONNECTIONS):
                    assert edge.fetch(f"/{number}").status == 200
                relay.rebind()
                for link in links:
                    link.ping()
            assert not any(link.closed for link in links)
        # What the relay hadn't passed on when it goes would be waited for when the edge stops.
        until(lambda: edge.links() == 0, 10, "the goodbyes of all")


def test_filter(start):
    before = kernel_has()
    edge = start()
    assert all("by=filter" in line for line in said(edge, "filter"))
    serves(edge)
    assert forwarded(edge) == 0
    assert edge.stop() == 0
    assert kernel_has() <= before


def test_program(start):
    """The sockets hold the program, and with them it goes, however the edge ends."""
    before = kernel_has()
    edge = start(*refusing(FILTER))
    for line in said(edge, "program"):
        assert "by=program" in line and 'error="Operation not permitted"' in line, line
    ours = kernel_has() - before
    assert len(ours) >= 4, "for each address a program and its map"
    serves(edge)
    assert forwarded(edge) == 0
    edge.process.signal(signal.SIGKILL)
    edge.process.wait_exit()
    until(lambda: not kernel_has() & ours, 10, "the end of programs and maps")


@pytest.mark.parametrize("wrap, reason", [
    (refusing(FILTER, PROGRAM), "the sockets don't take the program"),
    ([*NO_BPF, *refusing(FILTER)], "loading programs into the kernel needs CAP_BPF")])
def test_neither(start, wrap, reason):
    """Workers hand packets on, and everything goes on."""
    edge = start(*wrap)
    for line in said(edge, "none"):
        assert f'reason="{reason}"' in line and "workers hand them on" in line, line
    serves(edge)
    assert forwarded(edge) > 0
    assert edge.counter("adit_drops_total", where="forward") == 0
