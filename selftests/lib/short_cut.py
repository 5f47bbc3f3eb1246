# SPDX-License-Identifier: Apache-2.0
"""A daemon with a short cut on a cable to a host of UDP origins, and an edge in Python. Needs root.

    PeerEdge (aioquic) <==QUIC DATAGRAM== aditd  10.55.0.1 --lan0 ===- eth0-- 10.55.0.2  [origin]
                                                 fd55::1                      fd55::2
"""
import contextlib
import json
import socket
import subprocess

from . import netns
from .adit import Daemon, peer_edge_keys, section, write_token
from .dgram3 import Flows, carry
from .udp_origin import UdpEcho, bound
from .wait import seconds, settled, until

ACCOUNT = "0123456789abcdef0123456789abcdef"
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
HERE, HERE_V6 = "10.55.0.1", "fd55::1"
THERE, THERE_V6 = "10.55.0.2", "fd55::2"
FAR = "10.57.0.2"
DEVICE = "lan0"


class ShortCut:
    """The cable, the origin's host, the daemon. Everything of it on this side is in the network of the
    test run itself."""

    def __init__(self, net, queues=1):
        self.net, self.origin, self.queues = net, net.add("origin"), queues
        self.daemon = self.flows = None
        self.plug()

    def plug(self):
        """Lays the cable, also anew after unplug()."""
        queues = ["numrxqueues", self.queues, "numtxqueues", self.queues]
        netns.ip("link", "add", DEVICE, *queues, "type", "veth", "peer", "name", "eth0", *queues,
                 "netns", self.origin.name)
        self.origin.address("eth0", f"{THERE}/24", f"{THERE_V6}/64")
        self.addresses()
        # Its link-local address is there at once, and isn't news a second later.
        self.here("sysctl", "-qw", f"net.ipv6.conf.{DEVICE}.accept_dad=0")
        netns.ip("link", "set", DEVICE, "up")

    @contextlib.contextmanager
    def far(self, mtu):
        """An echo behind the origin's host, which routes, on a cable of this MTU."""
        far = self.net.add("far")
        netns.veth(self.origin, "r1", far, "f0", mtu)
        self.origin.address("r1", "10.57.0.1/24")
        far.address("f0", f"{FAR}/24")
        far.route("default", "10.57.0.1")
        self.origin.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        netns.ip("route", "add", "10.57.0.0/24", "via", THERE)
        with far.inside():
            made = UdpEcho(FAR)
        with made:
            yield made

    def addresses(self):
        """Those of this end, which go when it is moved or deleted."""
        for address in (f"{HERE}/24", f"{HERE_V6}/64"):
            extra = ["nodad"] if ":" in address else []
            netns.ip("address", "replace", address, "dev", DEVICE, *extra)

    @staticmethod
    def unplug():
        netns.ip("link", "del", DEVICE)

    @classmethod
    def beside(cls, other):
        """For another daemon on the same cable."""
        made = cls.__new__(cls)
        made.origin, made.daemon, made.flows = other.origin, None, None
        return made

    @staticmethod
    def here(*words):
        """A command on this side; its output."""
        done = subprocess.run([str(w) for w in words], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, f"{words}: {done.stdout}"
        return done.stdout

    @staticmethod
    def try_here(*words):
        """The exit status of a command."""
        return subprocess.run([str(w) for w in words], check=False, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode

    @contextlib.contextmanager
    def ruleset(self, table):
        """One table of nftables, in nft's words."""
        subprocess.run(["nft", "-f", "-"], input=table, text=True, check=True)
        try:
            yield
        finally:
            self.here("nft", "delete", *table.split()[:3])

    @classmethod
    @contextlib.contextmanager
    def setting(cls, name, value):
        """A sysctl of this side's network for a while."""
        before = cls.here("sysctl", "-n", name).strip()
        cls.here("sysctl", "-qw", f"{name}={value}")
        try:
            yield
        finally:
            cls.here("sysctl", "-qw", f"{name}={before}")

    def close(self):
        with contextlib.suppress(Exception):
            self.unplug()

    @contextlib.contextmanager
    def second_cable(self):
        """Another way to the origin's host, without a short cut; its address there."""
        netns.ip("link", "add", "lan1", "type", "veth", "peer", "name", "eth1", "netns",
                 self.origin.name)
        netns.ip("address", "add", "10.56.0.1/24", "dev", "lan1")
        netns.ip("link", "set", "lan1", "up")
        self.origin.address("eth1", "10.56.0.2/24")
        try:
            yield "10.56.0.2"
        finally:
            netns.ip("link", "del", "lan1")

    def packets(self, device):
        """Sent by a device of this side."""
        about, = json.loads(self.here("ip", "-j", "-s", "link", "show", device))
        return about["stats64"]["tx"]["packets"]

    @contextlib.contextmanager
    def echo(self, host=THERE, port=0):
        with self.origin.inside():
            made = UdpEcho(host, port)
        with made:
            yield made

    @staticmethod
    def wait_kernel(echo):
        """Until an ordinary socket of this side gets an answer: on a cable that was just laid the kernel's
        first question for a neighbour may be lost, and the next comes a second later. Its address."""
        with bound(HERE_V6 if ":" in echo.host else HERE) as client:
            client.setblocking(False)

            def has_answer():
                with contextlib.suppress(OSError):
                    client.sendto(b"?", (echo.host, echo.port))
                with contextlib.suppress(OSError):
                    return client.recv(100)
                return None
            until(has_answer, 10, "an answer to an ordinary socket")
            return client.getsockname()[:2]

    def origin_mac(self):
        about, = json.loads(self.origin.run("ip", "-j", "link", "show", "eth0"))
        return about["address"]

    @staticmethod
    def local_echo(host=HERE):
        """A service of this host on the cable."""
        return UdpEcho(host)

    @contextlib.contextmanager
    def from_origin(self, host=THERE):
        with self.origin.inside():
            made = bound(host)
        with made:
            yield made

    @staticmethod
    def with_options(sock):
        """What the socket sends from here on has options: of IPv4, or for the destination in a header of their own."""
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([1, 1, 1, 0]))
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))

    def make(self, processes, folder, peer, authority, workers=1, datapath=None, connections=1,
             network="10.55.0.0/16, 10.57.0.0/16, fd55::/64"):
        """A daemon that isn't started."""
        token = write_token(folder / "token", ACCOUNT, TUNNEL, bytes(range(32)))
        extra = section("network", allow=network)
        extra += section("datapath", **({"interface": DEVICE, "promote": 0} | (datapath or {})))
        self.daemon = Daemon(processes, folder, token_file=token,
                             rules=[(None, "http_status:404")],
                             edge_keys=peer_edge_keys(peer, authority), workers=workers,
                             connections=connections, extra=extra)
        return self.daemon

    def start(self, processes, folder, peer, authority, wrap=(), connections=1, **options):
        self.make(processes, folder, peer, authority, connections=connections, **options)
        self.daemon.start(wrap=wrap)
        self.links = [Flows(k) for k in peer.wait_registered(connections, 15)]
        self.flows = self.links[0]
        return self.daemon

    # ---- what the daemon counts ----

    def counter(self, name, **labels):
        return self.daemon.metrics().sum(name, **labels)

    def by_path(self, path):
        """Packets (to, from) origins."""
        page = self.daemon.metrics()
        return tuple(page.sum("adit_flow_packets_total", path=path, dir=way) for way in ("tx", "rx"))

    def promoted(self):
        return self.counter("adit_flows", path="xdp", kind="udp")

    def frames(self, verdict):
        return self.counter("adit_short_cut_frames_total", verdict=verdict)

    def lost(self):
        """Datagrams to origins that were lost here, by whatever cause."""
        page = self.daemon.metrics()
        return (page.sum("adit_drops_total", where="datagram", reason="origin") +
                page.sum("adit_drops_total", where="xdp", reason="not-sent"))

    def row(self):
        """The only flow, as `adit status --flows` shows it."""
        row, = json.loads(self.daemon.adit("--json", "status", "--flows").stdout)["flows"]
        return row

    def wait_open(self, count=1, timeout=10):
        until(lambda: self.counter("adit_short_cut_interfaces") == count, timeout,
              f"{count} interfaces with a short cut")

    # ---- flows ----

    def keep_busy(self, flow, condition, timeout=15, what="a condition"):
        """Echoes on a flow until the condition holds."""
        def once():
            self.flows.echo(flow, b"busy", 10)
            return condition()
        until(once, timeout, what)

    def answers(self, flow):
        """How many have come back that nobody has waited for."""
        self.flows.read()
        return len(self.flows.payloads.get(flow, ()))

    def forget_answers(self, flow):
        """Those, once no more come."""
        settled(lambda: self.answers(flow), seconds(0.3), what="answers")
        self.flows.payloads.clear()

    def each_echoed(self, flow, number, payload=None):
        """So many datagrams there and back, of which none is lost."""
        for i in range(number):
            sent = b"%d" % i if payload is None else payload
            self.flows.send(carry(flow, sent))
            assert self.flows.wait_payload(flow) == sent

    def promote(self, flow, count=1):
        self.keep_busy(flow, lambda: self.promoted() == count, what=f"{count} promoted flows")

    def promote_all(self, flows, timeout=30):
        """All there are, by echoes of their ids."""
        def once():
            for flow in flows:
                self.flows.echo(flow, flow)
            return self.promoted() == len(flows)
        until(once, timeout, f"{len(flows)} promoted flows")

    def carried(self, flow, path, number=20):
        """Echoes on a flow that go both ways by this path, but for the datagram in ten seconds that
        a socket sends of a promoted flow."""
        before = self.by_path(path)
        for i in range(number):
            self.flows.echo(flow, b"%d" % i)
        after = self.by_path(path)
        assert after[1] - before[1] >= number, (before, after)
        assert after[0] - before[0] >= number - 1, (before, after)
