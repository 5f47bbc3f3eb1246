# SPDX-License-Identifier: Apache-2.0
"""Free ports on loopback. One process of tests hands out each port once."""
import pathlib
import random
import socket

LOWEST = 10_000
OURS = range(20_200, 20_300)    # where the programs look for one themselves
_given = set()


def _lowest_ephemeral():
    text = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text()
    return max(int(text.split()[0]), LOWEST + 5000)


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
    """A port that is free on 127.0.0.1 and ::1, for TCP and UDP. It lies below those that the kernel
    gives to connections: none of the hundreds that a test makes can take it before it is listened
    on."""
    for _ in range(200):
        port = random.randrange(LOWEST, _lowest_ephemeral())
        if port not in _given and port not in OURS and _is_free(port):
            _given.add(port)
            return port
    raise OSError("no free port")
