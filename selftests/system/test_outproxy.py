# SPDX-License-Identifier: Apache-2.0
"""[edge] proxy: the daemon's host reaches the edges through a proxy only. Needs root.

The ground is lib.topology; the hub drops what the daemon sends to the edges themselves.

    aditd == 10.81.8.2 [visitor: OutProxy] == E1, E2
"""
import pytest

from lib.origin import Origin, digest, pattern
from lib.outproxy import OutProxy
from lib.topology import E1, E2, HOST, until_served
from lib.wait import holds, seconds, until

pytestmark = pytest.mark.group("supervisor")

WHERE = "10.81.8.2"
USER, PASSWORD = "aladdin", "open sesame:1"
USER_INFO = "aladdin:open%20sesame%3A1"


class Ground:
    def __init__(self, make_topology, kind, credentials=None, user_info=None, addresses=E1):
        self.top = make_topology()
        self.top.start_edges()
        for address in (*E1, *E2):
            self.top.block("all", address)
        self.proxy = OutProxy(kind, WHERE, credentials, netns=self.top.visitor)
        self.top.closing.callback(self.proxy.close)
        self.origin = Origin("a", netns=self.top.daemon_ns)
        self.top.closing.callback(self.origin.close)
        self.daemon = self.top.make_daemon("auto", rules=[(HOST, self.origin.service)],
                                           connections=2, addresses=addresses,
                                           edge_keys={"proxy": self.proxy.url(user_info)})

    @property
    def edge(self):
        return self.top.edges[0]

    def last_errors(self):
        return {c.get("last_error") or "" for c in self.daemon.status()["connections"]}

    def all_words(self):
        """Everything that the daemon has said, anywhere."""
        return "\n".join([self.daemon.process.log, self.daemon.adit("--json", "status").stdout,
                          self.daemon.page("/metrics")[1], self.daemon.page("/config")[1]])


@pytest.mark.parametrize("has_password", [False, True], ids=["open", "password"])
@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_proxy(make_topology, kind, has_password):
    """All connections go through it, over HTTP/2; bodies pass whole; the password stays unsaid."""
    if has_password:
        ground = Ground(make_topology, kind, (USER, PASSWORD), USER_INFO)
    else:
        ground = Ground(make_topology, kind)
    ground.daemon.serve()
    assert set(ground.top.protocols().values()) == {"http2"}
    edges = {(address, ground.top.port) for address in E1}
    assert len(ground.proxy.asked) >= 2 and set(ground.proxy.asked) <= edges
    assert not ground.proxy.failed
    body = pattern(1 << 20)
    assert digest(ground.edge.fetch(f"/bytes/{len(body)}").body) == digest(body)
    assert ground.edge.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:",
                             stdin=body).text == digest(body)
    words = ground.all_words()
    assert "sesame" not in words and "b3BlbiBzZXNhbWU" not in words


@pytest.mark.parametrize("kind", ["http", "socks5"])
def test_wrong_password(make_topology, kind):
    """The cause is told, without the password; a proxy that changes its mind is used within seconds."""
    ground = Ground(make_topology, kind, (USER, "another"), USER_INFO)
    ground.daemon.start()
    until(lambda: ground.daemon.page("/metrics")[0] == 200, 5, "the metrics page")
    until(lambda: any("the proxy refuses our user or password" in e
                      for e in ground.last_errors()), 10, "the cause in the status")
    assert "sesame" not in ground.all_words()
    ground.proxy.credentials = (USER, PASSWORD)
    ground.daemon.wait_ready(2, timeout=10)


def test_proxy_dies(make_topology):
    """Its connections end; those who ask are served again within 5 s."""
    ground = Ground(make_topology, "http")
    ground.daemon.serve()
    ground.proxy.cut()
    until_served(ground.edge, seconds(5))
    ground.daemon.wait_ready(2)


def test_silent_proxy(make_topology):
    """It takes connections and says nothing: given up, tried again, and never more than two a second."""
    ground = Ground(make_topology, "socks5")
    ground.proxy.is_silent = True
    ground.daemon.start()
    until(lambda: ground.daemon.page("/metrics")[0] == 200, 5, "the metrics page")
    until(lambda: any("the proxy doesn't answer" in e for e in ground.last_errors()), 15,
          "the cause in the status")
    before = len(ground.proxy.open)
    holds(lambda: ground.daemon.process.is_running, 3)
    assert len(ground.proxy.open) - before <= 6
    ground.proxy.is_silent = False
    ground.proxy.cut()
    ground.daemon.wait_ready(2, timeout=15)


def test_unreachable_targets(make_topology):
    """The proxy can't reach one edge: the other is used."""
    ground = Ground(make_topology, "socks5", addresses=(*E1, *E2))
    ground.top.visitor.nft(f"""table inet lost {{
      chain out {{ type filter hook output priority 0;
        ip daddr {{ {E1[0]}, {E1[1]} }} tcp dport {ground.top.port} reject with tcp reset; }}
    }}""")
    ground.daemon.serve()
    until_served(ground.top.edges[1], seconds(5))
    assert ground.top.links()[0] == 0
