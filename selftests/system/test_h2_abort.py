# SPDX-License-Identifier: Apache-2.0
"""What test_http_abort.py holds of QUIC, held of HTTP/2: exchanges that break off."""
import pytest

from test_http_abort import (  # noqa: F401
    fixture_pipe, fixture_narrow, test_visitor_leaves_before_the_answer,
    test_visitor_leaves_a_stuck_upload, test_visitor_leaves_during_the_answer,
    test_visitor_leaves_between_requests, test_origin_breaks_off, test_origin_gives_no_answer,
    test_two_hundred_fields_pass, test_odd_answers, test_interim_answers_are_counted,
    test_no_body_where_there_is_none, test_early_answer, test_error_page_during_an_upload,
    test_upload_that_breaks_off_is_not_whole, test_stale_connection_is_retried,
    test_stale_connection_is_not_retried, test_closed_idle_connection)

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"
