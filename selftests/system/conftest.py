# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the system tests."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from lib import certs  # noqa: E402  (the path is set above)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A CA of the test's own; leaves are made with authority.leaf(NAME)."""
    return certs.Authority(tmp_path_factory.mktemp("ca"))
