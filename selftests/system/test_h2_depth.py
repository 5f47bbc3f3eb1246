# SPDX-License-Identifier: Apache-2.0
"""What test_http_depth.py holds of QUIC, held of HTTP/2: bodies, heads and connections in depth."""
import pytest

from test_http_depth import (  # noqa: F401
    fixture_pipe, fixture_large, fixture_visitor, test_large_down, test_large_down_chunked,
    test_large_up, test_large_up_chunked, test_encoded_bodies_are_untouched,
    test_accept_encoding_is_the_visitors, test_nginx_gzip, test_ranges, test_header_of_eight_kib,
    test_header_of_eighty_kib, test_body_without_length_zero, test_get_with_a_body,
    test_options_star, test_head, test_expect_continue, test_expect_without_waiting,
    test_expect_that_nobody_serves, test_pipelined_requests, test_many_on_one_connection,
    test_http_1_0, test_http_1_0_without_host, test_nothing_is_left)

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"
