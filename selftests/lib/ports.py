# SPDX-License-Identifier: Apache-2.0
"""Free ports on loopback. One process of tests hands out each port once."""
import socket

_given = set()


def _is_free(port):
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with socket.socket(family, kind) as probe:
                try:
                    probe.bind((host, port))
                except OSError:
                    return False
    return True


def free():
    """A port that is free on 127.0.0.1 and ::1, for TCP and UDP."""
    for _ in range(200):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise OSError("no free port")
