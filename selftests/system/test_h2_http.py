# SPDX-License-Identifier: Apache-2.0
"""What test_http.py holds of QUIC, held of HTTP/2: HTTP with curl and nginx."""
import pytest

from test_http import (  # noqa: F401
    fixture_pipe, test_get_from_nginx, test_ten_mib_down, test_ten_mib_up, test_put_to_nginx,
    test_head, test_post, test_other_methods, test_unknown_method, test_chunked_up,
    test_expect_continue, test_bodies_down, test_statuses, test_rules_by_host,
    test_rules_by_path, test_built_in_services, test_header_policy, test_proto_over_tls,
    test_keep_alive, test_origin_connections_are_reused, test_streaming)

pytestmark = pytest.mark.group("supervisor")

PROTOCOL = "http2"
