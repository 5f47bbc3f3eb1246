# SPDX-License-Identifier: Apache-2.0
"""What a test needs of the machine. Where it isn't there the test is skipped, which under CI is a failure
unless selftests/allowed-skips has it."""
import os
import shutil
import subprocess

import pytest

from . import netns


def root(what):
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {what}")


def namespaces():
    if not netns.usable():
        pytest.skip("needs root: network namespaces")


def device_type(kind):
    """A kind of network device; one that lies on another."""
    probe = netns.Netns("probe")
    try:
        netns.veth(probe, "v0", probe, "v1")
        if subprocess.run(["ip", "-n", probe.name, "link", "add", "link", "v0", "name", "v2", "type", kind,
                           *(["id", "5"] if kind == "vlan" else [])], stderr=subprocess.DEVNULL,
                          check=False).returncode:
            pytest.skip(f"the kernel has no devices of type {kind}")
    finally:
        probe.delete()


def tool(name):
    if not shutil.which(name):
        pytest.skip(f"the tool {name} is not installed")


def no_configuration():
    """Nothing in /etc that a program started without --config would read."""
    if os.path.exists("/etc/adit"):
        pytest.skip("there is a configuration on this machine")
