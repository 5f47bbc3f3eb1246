# SPDX-License-Identifier: Apache-2.0
"""What test_bridge.py holds of QUIC, held of HTTP/2: links of other workers."""
import pytest

from test_bridge import (  # noqa: F401
    fixture_pipe, test_sixty_four_visitors, test_large_bodies_cross, test_flows_cross,
    test_stalled_readers, test_stalled_upload, test_nothing_is_left)

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"
