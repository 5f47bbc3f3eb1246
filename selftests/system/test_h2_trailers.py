# SPDX-License-Identifier: Apache-2.0
"""What test_trailers.py holds of QUIC, held of HTTP/2: trailers and endings of bodies."""
import pytest

from lib.wait import until
from test_trailers import (  # noqa: F401
    fixture_pipe, test_both_ways, test_trailers_need_no_announcement,
    test_announced_with_a_length, test_grpc_over_http_1, test_http_1_0_gets_none,
    test_names_that_do_not_pass, test_limits, test_limits_of_an_origin,
    test_endings_of_framed_answers, test_head_of_a_framed_exchange, test_nothing_is_left)
from test_trailers import HOST, Visitor, drops

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"


def test_unannounced_are_dropped_and_counted(pipe):
    """A link over HTTP/2 has trailers for everybody: the edge drops what its visitor's exchange has no
    place for, and counts it, each body once; those without trailers aren't counted."""
    before = drops(pipe.edge, where="trailers", reason="raw")
    with Visitor(pipe.edge) as visitor:
        for _ in range(3):
            visitor.request("GET", "/trailers", HOST, "TE: trailers")
            got = visitor.answer()
            assert (got.body, got.trailers, got.header("trailer")) == (b"hello", [], None)
        visitor.request("GET", "/", HOST)
        assert visitor.answer().status == 200
    until(lambda: drops(pipe.edge, where="trailers", reason="raw") >= before + 3, 5, "the counter")
    assert drops(pipe.edge, where="trailers", reason="raw") == before + 3
