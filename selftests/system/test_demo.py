# SPDX-License-Identifier: Apache-2.0
"""T1 (part): the demonstration runs with the binaries of this tree and leaves nothing behind."""
import os
import pathlib
import signal
import urllib.request

import pytest

from lib.origin import Origin
from lib.proc import children_of_session
from lib.wait import seconds, until

pytestmark = pytest.mark.group("core")

DEMO = pathlib.Path(__file__).resolve().parents[2] / "packaging/demo"


@pytest.fixture(name="scratch")
def fixture_scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def environment(scratch, **more):
    return {"ADIT_BIN": os.environ["ADIT_BIN"], "TMPDIR": str(scratch), **more}


def test_once(processes, scratch):
    """T1: --once prints the answer and exits with 0 within 15 s; no file, no process stays."""
    demo = processes.start("demo", [DEMO, "--once"], env=environment(scratch))
    assert demo.wait_exit(15) == 0, demo.tail()
    assert "200" in demo.log and "http://" in demo.log
    assert children_of_session(demo.pid) == []
    assert list(scratch.iterdir()) == []


def test_until_interrupted(processes, scratch):
    """T1: without --once it serves an origin of one's own until Ctrl-C, then cleans up."""
    with Origin("mine") as origin:
        demo = processes.start("demo", [DEMO], env=environment(scratch, ORIGIN=origin.service))
        url = demo.wait_line(r"http://\S+:\d+", 20).group(0).rstrip(".,/")

        def fetch():
            try:
                with urllib.request.urlopen(url + "/x", timeout=seconds(5)) as answer:
                    return answer.read().decode()
            except OSError:
                return ""
        assert until(fetch, 20, "an answer").startswith("origin mine")
        demo.wait_line("end: +Ctrl-C", 20)
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait_exit(15) in (0, 130, -signal.SIGINT), demo.tail()
        assert children_of_session(demo.pid) == []
        assert list(scratch.iterdir()) == []
