# SPDX-License-Identifier: Apache-2.0
"""A private network behind a tunnel, with a client beside the edge. Needs root.

    [client] 10.90.1.2 fd90:1::2 --c0 ===- c1-- 10.90.1.1 fd90:1::1  [edge]  10.90.2.1 --e0
                                                                                      ||
    [far] 10.90.4.2 --f0 ===- f1-- [router] --r1 ===- r0-- 10.90.3.1  [daemon] 10.90.2.2 --d0
          fd90:4::2                10.90.3.2  fd90:3::2     fd90:3::1

The edge routes 10.90.3.0/24, 10.90.4.0/24 and the same of IPv6 into the tunnel; it has no other way
there but its default route, which leads to the client. The daemon's host masquerades nothing: what it sends
into the private network is its own.
"""
import contextlib
import pathlib

from . import leftover, netns, paths
from .adit import Daemon, Edge, binary, section  # noqa: F401  (tests use them from here)
from .proc import Processes

EDGE, DAEMON = "10.90.2.1", "10.90.2.2"
CLIENT, CLIENT_V6 = "10.90.1.2", "fd90:1::2"
EDGE_HOST, EDGE_HOST_V6 = "10.90.1.1", "fd90:1::1"
DAEMON_LAN, DAEMON_LAN_V6 = "10.90.3.1", "fd90:3::1"
NEAR, NEAR_V6 = "10.90.3.2", "fd90:3::2"    # the router's
FAR, FAR_V6 = "10.90.4.2", "fd90:4::2"
DENIED = "10.90.4.3"                        # an address of the far host that the daemon doesn't allow
PREFIXES = "10.90.3.0/24, 10.90.4.0/24, fd90:3::/64, fd90:4::/64"
TABLE, MARK = 7844, 0xad17


class PrivateNet:
    """One edge, one daemon, and the namespaces around them. daemon: keys of its [tunnel]; sections: more of
    its configuration; is_short: it promotes every flow."""

    def __init__(self, net, processes, folder, connections=2, edge=None, forward=True, daemon=None,
                 is_short=False, sections=""):
        self.is_short = is_short
        self.processes, self.folder = processes, pathlib.Path(folder)
        names = ("client", "edge", "daemon", "router", "far")
        self.client, self.edge_ns, self.daemon_ns, self.router, self.far = (
            net.add(name) for name in names)
        for namespace in net.all:
            namespace.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0",
                          "net.ipv6.conf.default.accept_dad=0")
        self._cable(self.client, "c0", self.edge_ns, "c1", "90.1")
        self._cable(self.daemon_ns, "d0", self.edge_ns, "e0", "90.2")
        self._cable(self.router, "r1", self.daemon_ns, "r0", "90.3")
        self._cable(self.far, "f0", self.router, "f1", "90.4")
        self.far.address("f0", f"{DENIED}/24")
        for namespace, prefix in ((self.client, "90.1"), (self.far, "90.4")):
            self._default(namespace, prefix)
        self._default(self.edge_ns, "90.1", 2)
        self.daemon_ns.route("10.90.4.0/24", NEAR)
        self.daemon_ns.route("fd90:4::/64", NEAR_V6)
        self._default(self.router, "90.3")
        self.daemon_ns.run("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        routers = [self.router] + ([self.edge_ns] if forward else [])
        for namespace in routers:
            namespace.run("sysctl", "-qw", "net.ipv4.ip_forward=1",
                          "net.ipv6.conf.all.forwarding=1")
        self.edge = Edge(processes, self.folder, host=EDGE, addresses=[EDGE], netns=self.edge_ns,
                         extra=section("network lan", prefix=PREFIXES, tunnel="home"),
                         **(edge or {}))
        self.daemon = Daemon(
            processes, self.folder, token_file=self.edge.token_file, netns=self.daemon_ns,
            rules=[(None, "http_status:404")], connections=connections, tunnel_keys=daemon,
            promotes="r0" if is_short else None,
            extra=f"[network]\nallow = {PREFIXES}\ndeny = {DENIED}/32\n{sections}")

    @staticmethod
    def _cable(side, device, hub, hub_device, prefix):
        """The hub has .1, the side .2."""
        netns.veth(side, device, hub, hub_device)
        v6 = "fd" + prefix.replace(".", ":") + "::"
        hub.address(hub_device, f"10.{prefix}.1/24", f"{v6}1/64")
        side.address(device, f"10.{prefix}.2/24", f"{v6}2/64")

    @staticmethod
    def _default(namespace, prefix, host=1):
        v6 = "fd" + prefix.replace(".", ":") + f"::{host}"
        netns.ip("route", "replace", "default", "via", f"10.{prefix}.{host}", netns=namespace)
        netns.ip("-6", "route", "replace", "default", "via", v6, netns=namespace)

    def serve(self, **options):
        self.edge.start(**options)
        self.daemon.serve()
        return self

    def settle(self, turn, count):
        paths.settle(self.daemon, turn, count, self.is_short)

    def left_over(self):
        """What of an edge is in the kernel's network of its host."""
        return leftover.mentioning(self.edge_ns.run, str(TABLE), "adit")


@contextlib.contextmanager
def private_net(folder, **options):
    """With namespaces and processes of its own, which end with it."""
    with contextlib.ExitStack() as closing:
        net = netns.Net()
        closing.callback(net.close)
        processes = Processes(folder)
        closing.callback(processes.close)
        made = PrivateNet(net, processes, folder, **options)
        yield made
        for program in (made.edge, made.daemon):
            paths.note(program)
