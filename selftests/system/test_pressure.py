# SPDX-License-Identifier: Apache-2.0
"""T4: slow visitors of a large answer, a slow origin of large uploads: memory stays where it is.

    SlowVisitors --> adit-edge ==QUIC==> aditd --> SlowOrigin
    fast visitors -----^                   '-----> Origin a
"""
import concurrent.futures
import contextlib
import pathlib

import pytest

from lib.adit import DOMAIN, section
from lib.origin import digest, pattern
from lib.slow import SlowOrigin, SlowVisitors
from lib.wait import until

pytestmark = pytest.mark.group("http")

MIB = 1 << 20
SLOW = f"slow.wild.{DOMAIN}"
WORKERS = 2


@pytest.fixture(name="origin", scope="module")
def fixture_origin():
    with contextlib.closing(SlowOrigin()) as made:
        yield made


@pytest.fixture(name="pipe")
def fixture_pipe(make_pipe, origin):
    return make_pipe(rules=[(SLOW, origin.service)],
                     edge={"workers": WORKERS,
                           "extra": section("front", client_concurrency=10000)},
                     daemon={"workers": WORKERS})


def resident(program, what="VmRSS"):
    status = pathlib.Path(f"/proc/{program.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines()
                if line.startswith(what + ":"))


def is_release(program):
    """Sanitizers keep freed memory: there the figures say nothing."""
    return "asan" not in pathlib.Path(f"/proc/{program.process.pid}/maps").read_text() and \
        "tsan" not in pathlib.Path(f"/proc/{program.process.pid}/maps").read_text()


def check_peaks(pipe, idle, most):
    for program, before in zip((pipe.edge, pipe.daemon), idle, strict=True):
        peak = resident(program, "VmHWM")
        if is_release(program):
            assert peak <= before + most, f"{program.name}: {before} -> {peak}"


@pytest.mark.parametrize("way", ["down", "up"])
def test_one(pipe, origin, way):
    """One slow transfer of 1 GiB: idle + 32 MiB at either end."""
    idle = [resident(p) for p in (pipe.edge, pipe.daemon)]
    begun = origin.begun
    with contextlib.closing(SlowVisitors(pipe.edge.http_port, SLOW, **{way: 1})) as slow:
        until(lambda: origin.begun > begun, 10, "the request at the origin")
        moved = slow.taken if way == "down" else origin.taken
        start = moved[0]
        until(lambda: moved[0] >= start + MIB // 4, 30, "a quarter of a MiB")
        assert not slow.ended
        check_peaks(pipe, idle, 32 * MIB)


def test_many(pipe, origin):
    """200 of each: idle + 64 MiB a worker + 16 MiB; 20 fast visitors get 1 MiB each beside them."""
    idle = [resident(p) for p in (pipe.edge, pipe.daemon)]
    begun = origin.begun
    with contextlib.closing(SlowVisitors(pipe.edge.http_port, SLOW, down=200, up=200)) as slow:
        until(lambda: origin.begun >= begun + 400, 30, "all at the origin")
        start = slow.taken[0], origin.taken[0]
        until(lambda: slow.taken[0] > start[0] + MIB and origin.taken[0] > start[1] + MIB, 30,
              "a MiB each way")
        want = digest(pattern(MIB))
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(lambda _: pipe.fetch(f"/bytes/{MIB}", timeout=10), range(20)))
        assert [digest(a.body) for a in answers] == 20 * [want]
        assert not slow.ended
        check_peaks(pipe, idle, (64 * WORKERS + 16) * MIB)
