# SPDX-License-Identifier: Apache-2.0
"""What test_tcp.py holds of QUIC, held of HTTP/2: TCP ports."""
import pytest

from test_tcp import (  # noqa: F401
    fixture_pipe, fixture_joined, test_much_each_way, test_origin_speaks_first, test_half_close,
    test_reset, test_forbidden_destination, test_nobody_listens, test_many_small,
    test_stop_with_open_flows, test_early_bytes, test_two_kinds_of_daemons)

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"
