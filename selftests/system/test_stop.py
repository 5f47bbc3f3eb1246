# SPDX-License-Identifier: Apache-2.0
"""Both ends stopped, in either order, while a download runs: it ends whole, both exit with 0.

    http.client --> adit-edge (SIGTERM) ==QUIC==> aditd (SIGTERM) --> origin that takes its time
"""
import http.client
import signal

import pytest

from lib.adit import DOMAIN, Daemon, Edge
from lib.origin import Origin

pytestmark = pytest.mark.group("edge")

LINES = 30


def download(edge):
    """A response of LINES lines whose first line has come."""
    connection = http.client.HTTPConnection("127.0.0.1", edge.http_port, timeout=30)
    connection.request("GET", f"/slow/{LINES}/50", headers={"Host": f"a.{DOMAIN}"})
    response = connection.getresponse()
    assert response.readline()
    return response


@pytest.mark.parametrize("order", ["edge first", "daemon first", "at once"])
def test_both_stop(processes, tmp_path, order):
    """T4: the edge's goodbye and the daemon's meet; neither crashes, waits or cuts the other off."""
    with Origin("a") as origin:
        edge = Edge(processes, tmp_path)
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=2,
                        rules=[(f"a.{DOMAIN}", origin.service)],
                        tunnel_keys={"grace_period": "20s"})
        daemon.serve()
        response = download(edge)
        first, second = edge, daemon
        said = "going away"
        if order == "daemon first":
            first, second, said = daemon, edge, "unregistered"
        first.process.signal(signal.SIGTERM)
        if order != "at once":
            second.process.wait_line(said, 5)
        second.process.signal(signal.SIGTERM)
        assert response.read().count(b"\n") == LINES - 1
        assert daemon.process.wait_exit(15) == 0, daemon.process.tail()
        assert edge.process.wait_exit(15) == 0, edge.process.tail()
