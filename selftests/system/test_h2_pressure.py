# SPDX-License-Identifier: Apache-2.0
"""What test_pressure.py holds of QUIC, held of HTTP/2: pressure."""
import pytest

from test_pressure import (  # noqa: F401
    fixture_origin, fixture_pipe, test_one, test_many)

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"
