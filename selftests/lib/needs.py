# SPDX-License-Identifier: Apache-2.0
"""What a test needs of the machine. Where it isn't there the test is skipped, which under CI is a failure
unless selftests/allowed-skips has it."""
import os
import shutil

import pytest

from . import netns


def root(what):
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {what}")


def namespaces():
    if not netns.usable():
        pytest.skip("needs root: network namespaces")


def tool(name):
    if not shutil.which(name):
        pytest.skip(f"the tool {name} is not installed")


def no_configuration():
    """Nothing in /etc that a program started without --config would read."""
    if os.path.exists("/etc/adit"):
        pytest.skip("there is a configuration on this machine")
