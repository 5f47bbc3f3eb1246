# SPDX-License-Identifier: Apache-2.0
"""Issue 12 T10: another kernel takes our BPF programs; UDP flows over sockets, pings and the edge's private
networks work there.

The kernel is Debian's; ours is mostly a later one. It runs in a virtual machine (lib/guest.py), once for the
whole file.
"""
import os
import pathlib
import re
import shlex

import pytest

from lib import guest, needs
from lib.wait import SLOW

pytestmark = [pytest.mark.group("datapath"), pytest.mark.carried(None)]

SLOWNESS = 6        # of the emulation, at least
BIN = pathlib.Path(os.environ["ADIT_BIN"]).resolve()
HERE = pathlib.Path(__file__).resolve().parent


def unit_test(name):
    """A unit test's program: beside the programs under test, or where `make test` has it."""
    found = [path for path in (BIN.parent / "unit" / name, BIN.parent.parent / "debug/unit" / name)
             if path.exists()]
    assert found, f"{name} is not built"
    return [found[0]]


def system_tests(*names):
    return ["env", f"ADIT_BIN={BIN}", f"ADIT_SLOW={SLOWNESS * SLOW:g}", "python3", "-m", "pytest", "-q",
            "-c", HERE / "pytest.ini", *[HERE / name for name in names]]


STEPS = {
    "programs": lambda: unit_test("bpf/test-flow"),
    "attaching": lambda: unit_test("net/test-bpf"),
    "steering": lambda: unit_test("bpf/test-steer"),
    "sockets": lambda: unit_test("bpf/test-port_steer"),
}
if not os.environ.get("ADIT_SANITIZER"):    # that and the emulation would take too long
    STEPS["flows"] = lambda: system_tests("test_udp.py")
    STEPS["pings"] = lambda: system_tests("test_icmp_daemon.py::test_traceroute",
                                          "test_icmp_daemon.py::test_raw")
    STEPS["networks"] = lambda: system_tests("test_private_tcp.py::test_forwarded",
                                             "test_private_udp.py::test_bursts",
                                             "test_private_udp.py::test_steered",
                                             "test_private_icmp.py::test_traceroute",
                                             "test_short_cut.py::test_interfaces_that_cannot[vlan]")


@pytest.fixture(name="machine", scope="module")
def fixture_machine(tmp_path_factory):
    needs.tool("qemu-system-x86_64")
    lines = ["cd /run", "failed=0"]
    for name, argv in STEPS.items():
        words = " ".join(shlex.quote(str(word)) for word in argv())
        lines += [f"echo begin {name}", f"{words} </dev/null 2>&1", f"echo end {name} $?"]
    made = guest.Guest(tmp_path_factory.mktemp("guest"), "\n".join(lines) + "\n")
    try:
        made.wait(900)
        yield made
    finally:
        made.close()


@pytest.mark.timeout(960)
@pytest.mark.parametrize("step", STEPS)
def test_second_kernel(machine, step):
    assert machine.release() != os.uname().release
    found = re.search(rf"^begin {step}\n(.*)^end {step} (\d+)$", machine.console,
                      re.MULTILINE | re.DOTALL)
    assert found and found.group(2) == "0", machine.console[-4000:]
    assert not re.search("skipped", found.group(1), re.IGNORECASE), found.group(1)
