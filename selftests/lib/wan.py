# SPDX-License-Identifier: Apache-2.0
"""The link emulator (selftests/lib/wan.c) between two namespaces."""
import json
import os
import pathlib
import subprocess

from .wait import seconds


def program():
    path = pathlib.Path(os.environ["ADIT_BIN"]).resolve().parent / "tools" / "wan"
    assert path.is_file(), f"{path} is not built"
    return str(path)


class Wan:
    """A cable from `left_device` to `right_device`, two TAP devices that it makes.

    Up is from left to right. settings: delay="50ms", jitter="5ms", loss="1%", twice="1%",
    reorder="1%", rate="10mbit", queue="64k", mtu=1300 (longer packets vanish); 0 is none.
    """

    def __init__(self, left, left_device, right, right_device, seed=1, **settings):
        argv = [program(), str(seed), f"/run/netns/{left.name}", left_device,
                f"/run/netns/{right.name}", right_device]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline() == "ready\n", self.process.stderr.read()
        for side, device in ((left, left_device), (right, right_device)):
            # Bursts wait in the device until the emulator has read them.
            side.run("ip", "link", "set", device, "txqueuelen", 10000)
        self.set(**settings)

    def _ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def set(self, direction="", **settings):
        """direction: "up", "down", or both. What isn't named stays."""
        for key, value in settings.items():
            answer = self._ask(f"{direction} {key} {value}")
            assert answer == "ok", f"{key} {value}: {answer}"

    @property
    def counters(self):
        """{"up": {"received": …, "sent", "lost", "full", "large", "twice", "late", …}, "down": …}"""
        return json.loads(self._ask("counters"))

    def close(self):
        """The devices are gone afterwards."""
        _, errors = self.process.communicate(timeout=seconds(10))
        assert self.process.returncode == 0, errors
