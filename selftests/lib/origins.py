# SPDX-License-Identifier: Apache-2.0
"""Where the UDP origins of a test are: beside the daemon, where there is no short cut to them; or on another host, over
the cable of lib.short_cut, with every flow promoted. paths.BOTH runs a test either way."""
import contextlib

from . import netns, paths
from .short_cut import DEVICE, THERE, THERE_V6, ShortCut
from .udp_origin import UdpEcho, bound


class Origins:
    """On loopback."""

    device = None       # where flows take the short cut
    host, host_v6, other = "127.0.0.1", "::1", "127.0.0.2"
    allow = "127.0.0.0/8, ::1"

    def inside(self):
        """Sockets made meanwhile are those of an origin."""
        return contextlib.nullcontext()

    def echo(self, host=None):
        with self.inside():
            return UdpEcho(host or self.host)

    def bound(self, host=None):
        with self.inside():
            return bound(host or self.host)

    def settle(self, daemon, turn, count=1):
        paths.settle(daemon, turn, count, self.device is not None)


class Cabled(Origins):
    """Over there."""

    device = DEVICE
    host, host_v6, other = THERE, THERE_V6, "10.55.0.3"
    allow = "10.55.0.0/24, fd55::/64"

    def __init__(self, net):
        self.cut = ShortCut(net)
        netns.ip("address", "add", f"{self.other}/24", "dev", "eth0", netns=self.cut.origin)

    def inside(self):
        return self.cut.origin.inside()


@contextlib.contextmanager
def place(is_short):
    if not is_short:
        yield Origins()
        return
    net = netns.Net()
    made = Cabled(net)
    yield made
    made.cut.close()
    net.close()
