# SPDX-License-Identifier: Apache-2.0
"""Issue 12 T10: another kernel takes our BPF programs, and the socket half of the group datapath passes there.

The kernel is Debian's; ours is mostly a later one. It runs in a virtual machine (lib/guest.py), once for the
whole file, and is emulated: without ADIT_WHOLE (`make second-kernel`) only a part of the tests runs, PART.
"""
import contextlib
import os
import pathlib
import re
import shlex

import pytest

from lib import guest, needs
from lib.wait import SLOW

pytestmark = [pytest.mark.group("datapath"), pytest.mark.carried(None)]

SLOWNESS = 6        # of the emulation, at least
SECONDS = 7200 if os.environ.get("ADIT_WHOLE") else 1800
BIN = pathlib.Path(os.environ["ADIT_BIN"]).resolve()
HERE = pathlib.Path(__file__).resolve().parent


def unit_test(name):
    """A unit test's program: beside the programs under test, or where `make test` has it."""
    found = [path for path in (BIN.parent / "unit" / name, BIN.parent.parent / "debug/unit" / name)
             if path.exists()]
    assert found, f"{name} is not built"
    return [found[0]]


def system_tests(file, *options, marks="unprivileged and not short_cut"):
    return ["env", f"ADIT_BIN={BIN}", f"ADIT_SLOW={SLOWNESS * SLOW:g}", "ADIT_EMULATED=1", "python3", "-m", "pytest",
            "-v", "-m", marks, "--durations=0", "-c", HERE / "pytest.ini",
            HERE / file, *options]


STEPS = {
    "programs": lambda: unit_test("bpf/test-flow"),
    "attaching": lambda: unit_test("net/test-bpf"),
    "steering": lambda: unit_test("bpf/test-steer"),
    "sockets": lambda: unit_test("bpf/test-port_steer"),
}
# The socket half, what takes longest first.
HALF = ["test_icmp_daemon.py", "test_udp_v2.py", "test_private_udp.py", "test_udp_load.py", "test_udp_move.py",
        "test_udp.py", "test_udp_daemon.py", "test_udp_v2_daemon.py", "test_private_tcp.py", "test_udp_errors.py",
        "test_private_icmp.py", "test_udp_recorded.py", "test_private_hostile.py", "test_udp_status.py"]
# Of most files some, by pytest's -k.
PART = {
    "test_icmp_daemon.py": "traceroute or raw or test_echo",
    "test_udp_v2.py": "whole_pipe or made_by or idle_is_told",
    "test_private_udp.py": "bursts or steered or many_clients",
    "test_udp_move.py": "another_worker or right_behind or connection_closed",
    "test_udp.py": "many_clients or dns or test_sizes or denied or nobody or bundled or held or comes_back or addresses",
    "test_udp_daemon.py": "announced or behind or addresses or allowed or strangers or malformed",
    "test_udp_v2_daemon.py": "session_life or sizes or scope",
    "test_private_tcp.py": "forwarded or itself or test_many or denied or refused",
    "test_udp_errors.py": "4-",
    "test_private_icmp.py": "one-link and (test_ping or traceroute)",
    "test_udp_recorded.py": "A1 or A2 or bundled or B1",
    "test_private_hostile.py": "v3 or unsolicited",
    "test_udp_status.py": "not test_flows",      # whose runs of datagrams need a pace
}
if os.environ.get("ADIT_WHOLE"):
    STEPS |= {name: lambda name=name: system_tests(name) for name in HALF}
elif not os.environ.get("ADIT_SANITIZER"):    # that and the emulation would take too long
    STEPS |= {name: lambda name=name: system_tests(name, "-k", PART[name]) for name in HALF if name in PART}
if not os.environ.get("ADIT_SANITIZER"):    # VLANs are what other kernels may not have
    STEPS["vlan"] = lambda: system_tests("test_short_cut.py::test_interfaces_that_cannot[vlan]", marks="")

SCRIPT = """
cd /run
step() {    # NAME COMMAND..., in a network of its own; each line is marked
    local name=$1
    shift
    unshare --net sh -c 'ip link set lo up && exec "$@"' sh "$@" </dev/null 2>&1 | sed -u "s/^/$name| /"
    echo "end $name ${PIPESTATUS[0]}"
}
next() {    # one for each processor
    while (( $(jobs -rp | wc -l) >= LANES )); do wait -n; done
    step "$@" &
}
"""


@pytest.fixture(name="machine", scope="module")
def fixture_machine(tmp_path_factory):
    needs.tool("qemu-system-x86_64")
    steps = [shlex.join(["next", name, *map(str, argv())]) for name, argv in STEPS.items()]
    made = guest.Guest(tmp_path_factory.mktemp("guest"), "\n".join(
        [f"LANES={guest.CPUS}", SCRIPT, *steps, "wait"]) + "\n")
    try:
        with contextlib.suppress(AssertionError):   # what hasn't ended is a failure of that step
            made.wait(SECONDS)
        yield made
    finally:
        made.close()


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.parametrize("step", STEPS)
def test_second_kernel(machine, step):
    assert machine.release() != os.uname().release
    said = "\n".join(re.findall(rf"^{step}\| (.*)$", machine.console, re.MULTILINE))
    print(said)
    assert re.search(rf"^end {step} 0$", machine.console, re.MULTILINE), said[-4000:]
    assert not re.search("skipped", said, re.IGNORECASE), said
