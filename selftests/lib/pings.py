# SPDX-License-Identifier: Apache-2.0
"""ping and traceroute, as users of a network have them, from a namespace."""
import re

from .wait import seconds


def ping(namespace, host, *options, count=3, deadline=5):
    """Until so many are answered, or the deadline; what it says."""
    return namespace.run("ping", "-n", "-c", count, "-i", 0.02, "-w", int(seconds(deadline)), *options, host,
                         check=False)


def counts(said):
    """(sent, answered): a machine that stalls lets more be sent than were wanted."""
    found = re.search(r"(\d+) packets transmitted, (\d+) received", said)
    assert found, said
    return tuple(map(int, found.groups()))


def is_answered(namespace, host, *options, count=3, **more):
    return counts(ping(namespace, host, *options, count=count, **more))[1] >= count


def hops(namespace, host, *options):
    """Who answers a traceroute by ICMP, in turn; "*" is nobody."""
    said = namespace.run("traceroute", "-n", "-I", "-q", 1, "-w", int(seconds(2)), "-m", 8, *options, host)
    return [line.split()[1] for line in said.splitlines()[1:]]
