# SPDX-License-Identifier: Apache-2.0
"""A daemon in the routed mode, on the ground of lib.private_net. Needs root.

Its host forwards, and the private network has its default route by it, so it knows a way back. `tun-prefix`
is 10.91.0.0/24 and fd91::/112; the client beside the edge has an address of it, besides its own.
"""
import contextlib

from . import netns, private_net
from .adit import section
from .private_net import CLIENT, CLIENT_V6, DAEMON_LAN, FAR, FAR_V6, NEAR, NEAR_V6  # noqa: F401

DEVICE = "adit0"
PREFIX, PREFIX_V6 = "10.91.0.0/24", "fd91::/112"
OWN, OWN_V6 = "10.91.0.1", "fd91::1"            # the device's
KEPT, KEPT_V6 = "10.91.0.77", "fd91::77"        # the client's


def sections(prefix=f"{PREFIX}, {PREFIX_V6}", **more):
    return section("datapath", tun=DEVICE, tun_prefix=prefix, **more)


def forward(namespace, v4=1, v6=1):
    namespace.run("sysctl", "-qw", f"net.ipv4.ip_forward={v4}", f"net.ipv6.conf.all.forwarding={v6}")


def no_way_back(ground):
    """The private network's router knows nothing but its own links."""
    for family in ("-4", "-6"):
        netns.ip(family, "route", "del", "default", netns=ground.router)


@contextlib.contextmanager
def routed(folder, keys=None, forwards=True, **options):
    with private_net.private_net(folder, sections=sections(**(keys or {})), **options) as ground:
        if forwards:
            forward(ground.daemon_ns)
        for namespace in (ground.daemon_ns, ground.router, ground.edge_ns):     # every word of theirs counts
            namespace.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0")
        ground.client.address("c0", f"{KEPT}/32", f"{KEPT_V6}/128")
        yield ground


def carried(ground, path="tun"):
    page = ground.daemon.metrics()
    return [page.sum("adit_flow_packets_total", path=path, dir=k) for k in ("rx", "tx")]


def drops(ground, reason, where="tun"):
    return ground.daemon.counter("adit_drops_total", where=where, reason=reason)
