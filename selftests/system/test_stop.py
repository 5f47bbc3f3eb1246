# SPDX-License-Identifier: Apache-2.0
"""Both ends stopped, in either order, while a download runs: it ends whole, both exit with 0. An
edge that stops takes leave of its daemons.

    http.client --> adit-edge (SIGTERM) ==QUIC==> aditd (SIGTERM) --> origin that takes its time
                    adit-edge (SIGTERM) ==QUIC==> PeerDaemon
"""
import http.client
import signal

import pytest

from lib import tunnelrpc as rpc
from lib.adit import DOMAIN, Daemon, Edge
from lib.origin import Origin
from lib.peer_daemon import FEATURES, Credentials, PeerDaemon
from lib.wait import seconds

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


def test_first_request_of_a_stopping_edge(processes, tmp_path):
    """Who had connected when the edge was stopped may ask once, on any worker; who doesn't is left, soon."""
    edge = Edge(processes, tmp_path)
    edge.start()
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca) as daemon:
        daemon.register()
        visitors = [http.client.HTTPConnection("127.0.0.1", edge.http_port, timeout=10) for _ in range(9)]
        for visitor in visitors:
            visitor.connect()
        edge.process.signal(signal.SIGTERM)
        edge.process.wait_line("draining", 5)
        for visitor in visitors[1:]:
            visitor.request("POST", "/x", b"body", {"Host": f"a.{DOMAIN}"})
            answer = visitor.getresponse()
            assert (answer.status, answer.getheader("Connection")) == (200, "close"), answer.read()
        assert edge.process.wait_exit(10) == 0
        visitors[0].close()


@pytest.mark.parametrize("features, least, most", [(FEATURES, 0.7, 2.5), (FEATURES + ["adit_1"], 0, 0.5)],
                         ids=["reference", "ours"])
def test_idle_links_of_a_stopping_edge(processes, tmp_path, features, least, most):
    """§4: daemons that know nothing of our goodbye lose one link a second, so that they don't all dial
    at once (two links of one worker: every other second); ours lose them at once. The edge exits 0."""
    edge = Edge(processes, tmp_path)
    edge.start()
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca,
                    features=features) as daemon:
        links = []
        for index in range(2):
            link, outcome = daemon.register(index)
            assert isinstance(outcome, rpc.Accepted)
            links.append(link)
        edge.process.signal(signal.SIGTERM)
        for link in links:
            assert link.wait_closed_link(8)[0] == 0 and link.peer_closed
        first, second = sorted(link.closed_at for link in links)
        assert least <= second - first <= seconds(most)
        assert edge.process.wait_exit(5) == 0
