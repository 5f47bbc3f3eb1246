# SPDX-License-Identifier: Apache-2.0
"""Public UDP ports of an edge, [udp NAME], and clients of them and of private networks; both ends of ours."""
import contextlib
import socket

from .adit import Daemon, Edge, section
from .wait import seconds


def udp_section(name, port, dest, **keys):
    return section(f"udp {name}", listen=f"127.0.0.1:{port}", tunnel="home", dest=dest, **keys)


def both_ends(processes, folder, sections, connections=2, edge=None, daemon=None):
    """(edge, daemon) that are connected: public ports of the edge, and the daemon may reach this host."""
    made = Edge(processes, folder, extra=sections, **(edge or {}))
    made.start()
    behind = Daemon(processes, folder, token_file=made.token_file, connections=connections,
                    extra=section("network", allow="127.0.0.0/8"), **(daemon or {})).serve()
    made.wait_links(connections)
    return made, behind


def client(port, host="127.0.0.1", namespace=None):
    with namespace.inside() if namespace else contextlib.nullcontext():
        made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.connect((host, port))
    made.settimeout(seconds(5))
    return made


def ask(connection, payload, timeout=5):
    """Sends until the echo is there."""
    connection.settimeout(0.5)
    for _ in range(int(seconds(timeout) * 2)):
        connection.send(payload)
        with contextlib.suppress(TimeoutError):
            while (got := connection.recv(65536)) != payload:
                pass
            return got
    raise AssertionError(f"no echo of {len(payload)} bytes")
