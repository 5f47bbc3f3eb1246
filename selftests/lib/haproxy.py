# SPDX-License-Identifier: Apache-2.0
"""HAProxy before several edges, as somebody would run it who has two: checked by their /ready."""
from . import ports

CONFIG = """
global
  maxconn 4000
defaults
  mode http
  timeout connect 1s
  timeout client 60s
  timeout server 30s
  # An edge that is slow to say that it is ready is not gone: it refuses, or answers 503.
  timeout check 2s
  retries 3
  option redispatch 1
  # What an edge hasn't answered is asked again elsewhere.
  retry-on conn-failure empty-response response-timeout
  http-reuse never
frontend visitors
  bind 127.0.0.1:{port}
  default_backend edges
backend edges
  http-request disable-l7-retry unless METH_GET
  balance roundrobin
  option httpchk GET /ready
  default-server check inter 200ms fall 1 rise 2
{servers}
"""


class Haproxy:
    """Listens on `port` of 127.0.0.1 in its namespace. edges: lib.adit.Edge, whose metrics it reaches."""

    def __init__(self, processes, folder, edges, netns):
        self.port = ports.free()
        servers = "\n".join(f"  server {e.name} {e.host}:{e.http_port} port {e.metrics_port} "
                            f"addr {e.metrics_host}" for e in edges)
        config = folder / "haproxy.cfg"
        config.write_text(CONFIG.format(port=self.port, servers=servers))
        self.process = processes.start("haproxy", ["haproxy", "-db", "-f", config], netns=netns)
