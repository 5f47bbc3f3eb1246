# SPDX-License-Identifier: Apache-2.0
"""What test_trailers.py holds of QUIC, held of HTTP/2: trailers and endings of bodies."""
import pytest

from test_trailers import (  # noqa: F401
    fixture_pipe, test_both_ways, test_trailers_need_no_announcement,
    test_announced_with_a_length, test_grpc_over_http_1, test_http_1_0_gets_none,
    test_names_that_do_not_pass, test_limits, test_limits_of_an_origin,
    test_endings_of_framed_answers, test_head_of_a_framed_exchange, test_nothing_is_left)

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"
