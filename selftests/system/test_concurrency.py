# SPDX-License-Identifier: Apache-2.0
"""T2: many visitors at once: nothing fails, nothing is left.

    h2load (HTTP/1.1, C connections) --> adit-edge (2 workers) ==QUIC, 2 links==> aditd --> nginx
"""
import os
import pathlib
import re

import pytest

from lib import ports
from lib.adit import DOMAIN, section
from lib.crowd import allow_files
from lib.nginx import Nginx
from lib.wait import SLOW, holds, until

pytestmark = pytest.mark.group("http")

HOST = f"nginx.{DOMAIN}"
REQUESTS = 10_000 if SLOW <= 1 else 2_000


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe, tmp_path_factory):
    allow_files(8192)
    folder, port = tmp_path_factory.mktemp("nginx"), ports.free()
    pipe = make_pipe("crowd", edge={"hosts": [HOST],
                                    "extra": section("front", client_concurrency=2000)},
                     rules=[(HOST, f"http://127.0.0.1:{port}", {"keep_alive_timeout": "1s"})])
    Nginx(pipe.processes, folder / "nginx", port=port)
    assert pipe.fetch("/hello", host=HOST).status == 200
    return pipe


def sockets_of(program):
    """Inodes of the sockets that a process holds, and how many descriptors it has in all."""
    inodes, count = set(), 0
    for link in pathlib.Path(f"/proc/{program.process.pid}/fd").iterdir():
        try:
            target = os.readlink(link)
        except FileNotFoundError:
            continue
        count += 1
        if found := re.fullmatch(r"socket:\[(\d+)\]", target):
            inodes.add(found[1])
    return inodes, count


def udp_sockets(program):
    """(all UDP sockets of a process, those of them connected to the edge's port)."""
    inodes, every, connected = sockets_of(program)[0], 0, 0
    for table in ("udp", "udp6"):
        for line in pathlib.Path(f"/proc/{program.process.pid}/net/{table}").read_text() \
                .splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes:
                every += 1
                connected += int(fields[2].rsplit(":", 1)[1], 16) != 0
    return every, connected


def gauges(program):
    """What must be as before when the visitors are gone."""
    seen = program.metrics()
    return {"descriptors": sockets_of(program)[1], "buffers": seen.sum("adit_buffer_bytes"),
            "requests": seen.sum("adit_requests_active"),
            "origin connections": seen.sum("adit_origin_connections")}


def wait_quiet(pipe):
    """Until idle connections of before have ended."""
    until(lambda: pipe.daemon.counter("adit_origin_connections") == 0, 10, "no idle connection")


@pytest.mark.parametrize("visitors", [10, 100, 1000])
def test_concurrent_requests(pipe, visitors):
    """T2: 10 000 requests of so many visitors at once all succeed; aditd has one UDP socket a
    connection, before, meanwhile and afterwards; gauges return."""
    wait_quiet(pipe)
    before = {p.name: gauges(p) for p in (pipe.edge, pipe.daemon)}
    answered = pipe.edge.counter("adit_requests_total", code_class="2xx")
    assert udp_sockets(pipe.daemon) == (2, 2)
    load = pipe.processes.start("h2load", [
        "h2load", "--h1", "-t", 1, "-c", visitors, "-n", REQUESTS, "--connect-to",
        f"127.0.0.1:{pipe.edge.http_port}", f"http://{HOST}:{pipe.edge.http_port}/hello"])
    until(lambda: pipe.edge.counter("adit_requests_total", code_class="2xx") > answered, 20,
          "the first answers")
    if load.is_running:
        assert udp_sockets(pipe.daemon) == (2, 2)
    assert load.wait_exit(60) == 0
    assert f"{REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, " \
           "0 failed, 0 errored, 0 timeout" in load.log, load.tail()
    assert f"status codes: {REQUESTS} 2xx, 0 3xx, 0 4xx, 0 5xx" in load.log
    assert pipe.edge.counter("adit_requests_total", code_class="2xx") - answered == REQUESTS
    assert udp_sockets(pipe.daemon) == (2, 2)
    assert pipe.edge.links() == 2 and pipe.daemon.ready() == 2
    for program in (pipe.edge, pipe.daemon):
        until(lambda p=program: all(now <= before[p.name][what]
                                    for what, now in gauges(p).items()), 15,
              f"{before[program.name]} at {program.name}: now {gauges(program)}")


def test_errors_were_not_counted(pipe):
    """T2: nothing was refused, retried or lost on the way."""
    for program in (pipe.edge, pipe.daemon):
        assert program.counter("adit_request_errors_total") == 0
        assert program.counter("adit_buffer_refused_total") == 0
    holds(lambda: pipe.edge.counter("adit_requests_active") == 0, 0.2, "no request")
