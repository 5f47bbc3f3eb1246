# SPDX-License-Identifier: Apache-2.0
"""What test_websocket.py holds of QUIC, held of HTTP/2: WebSockets."""
import pytest

from test_websocket import (  # noqa: F401
    fixture_pipe, fixture_joined, test_messages, test_fields, test_close_codes, test_refused,
    test_connection_after_refusal, test_other_upgrades, test_bytes_before_and_behind,
    test_half_close, test_reset, test_pressure, test_access_log)

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"
