# SPDX-License-Identifier: Apache-2.0
"""Two edges, a daemon and a visitor around a router that loses what a test wants lost. Needs root.

    [E1] 10.81.1.2 .3 fd81:1::2 ::3 --e0 ===- e1 \\
    [E2] 10.81.2.2 .3 fd81:2::2 ::3 --e0 ===- e2  [hub]  dm -=== d0-- 10.81.9.2 fd81:9::2 [daemon]
    [visitor]    10.81.8.2 fd81:8::2 --v0 ===- vi /           (a plain cable, or a wan)

The edges share one tunnel and one CA, and listen on the same port everywhere. Faults are rules in the
hub (and in the daemon's namespace for errors of its own kernel); they meet what the daemon exchanges
with the edges and leave the visitor alone.
"""
import contextlib
import itertools
import pathlib
import re
import time

from . import netns, ports
from .adit import DOMAIN, Daemon, Edge
from .proc import Processes
from .steady import Client, CountingOrigin
from .wait import during, seconds, until
from .wan import Wan

HOST = f"a.{DOMAIN}"
E1, E2 = ("10.81.1.2", "10.81.1.3"), ("10.81.2.2", "10.81.2.3")
E1_V6, E2_V6 = ("fd81:1::2", "fd81:1::3"), ("fd81:2::2", "fd81:2::3")
HUB = "10.81.9.1"                       # as the daemon sees it
TRANSPORTS = ["quic", "http2"]
PATIENCE = 75
REFUSALS = {"udp": "reject", "tcp": "reject with tcp reset", "all": "reject"}
KINDS = {"udp": "meta l4proto udp", "tcp": "meta l4proto tcp", "all": "meta l4proto { tcp, udp }"}
QUIET = """
table inet quiet {
  chain answers { type filter hook output priority 0;
    icmp type destination-unreachable icmp code frag-needed drop; }
}
"""
NAT = """
table ip nat
delete table ip nat
table ip nat {{
  chain leaving {{ type nat hook postrouting priority 100;
    iifname "dm" ip protocol {{ tcp, udp }} masquerade {ports}; }}
}}
table inet own
delete table inet own
table inet own {{
  chain arriving {{ type filter hook input priority 0;
    iifname {{ "e1", "e2" }} meta l4proto {{ tcp, udp }} ct state {{ new, invalid }} drop; }}
}}
"""


def _family(address):
    return "ip6" if ":" in address else "ip"


class Topology:
    """wan: settings of the cable to the daemon (lib.wan), or None for a plain one."""

    def __init__(self, net, processes, folder, wan=None, seed=1):
        self.processes, self.folder = processes, pathlib.Path(folder)
        self.port = ports.free()
        self.closing = contextlib.ExitStack()
        self.hub, self.daemon_ns, self.visitor = (net.add(n) for n in ("hub", "dm", "vi"))
        self.edge_ns = [net.add("e1"), net.add("e2")]
        for namespace in (self.hub, self.daemon_ns, self.visitor, *self.edge_ns):
            namespace.run("sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0",
                          "net.ipv6.conf.default.accept_dad=0")
        self.wan = None
        self._faults = {}
        self._numbers = itertools.count()
        for number, (v4, v6) in enumerate(((E1, E1_V6), (E2, E2_V6)), 1):
            self._join(self.edge_ns[number - 1], "e0", f"e{number}", f"81.{number}",
                       [*v4, *v6])
        self._join(self.visitor, "v0", "vi", "81.8", ["10.81.8.2", "fd81:8::2"])
        if wan is not None:
            self.wan = Wan(self.daemon_ns, "d0", self.hub, "dm", seed, **wan)
            self.closing.callback(self.wan.close)
        self._join(self.daemon_ns, "d0", "dm", "81.9", ["10.81.9.2", "fd81:9::2"],
                   cable=wan is None)
        self.hub.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
        for address in (E1[0], E1_V6[0], E2_V6[0]):     # neighbours are learned slowly at first
            until(lambda a=address: "1 received" in self.daemon_ns.run(
                "ping", "-c", 1, "-W", 1, a, check=False), 10, f"a way to {address}")
        self.edges, self.daemon, self.origin = [], None, None

    def _join(self, side, device, hub_device, prefix, addresses, cable=True):
        if cable:
            netns.veth(side, device, self.hub, hub_device)
        v6 = "fd" + prefix.replace(".", ":") + "::"
        self.hub.address(hub_device, f"10.{prefix}.1/24", f"{v6}1/64")
        side.address(device, *(f"{a}/64" if ":" in a else f"{a}/24" for a in addresses))
        # No default route: what asks for a name by the way is told at once that nobody is there.
        side.route("10.81.0.0/16", f"10.{prefix}.1")
        side.route("fd81::/16", f"{v6}1")

    # ---- programs ------------------------------------------------------------------------------

    def start_edges(self, **options):
        """adit-edge on E1 and on E2; options as for Edge."""
        for number, addresses in enumerate(((*E1, *E1_V6), (*E2, *E2_V6))):
            edge = Edge(self.processes, self.folder, f"e{number + 1}", host=addresses[0],
                        addresses=addresses, port=self.port, netns=self.edge_ns[number],
                        twin=self.edges[0] if number else None, metrics_host=addresses[0],
                        **options)
            self.edges.append(edge)
            edge.start()
        return self.edges

    def address_keys(self, addresses=(*E1, *E2)):
        """[edge] of a daemon that knows these addresses."""
        return {"address": ", ".join(f"[{a}]:{self.port}" if ":" in a else f"{a}:{self.port}"
                                     for a in addresses)}

    def make_daemon(self, protocol="quic", addresses=(*E1, *E2), connections=4, rules=None,
                    tunnel_keys=None, edge_keys=None, **options):
        """aditd before a CountingOrigin, unless there are rules. Not started."""
        if rules is None:
            with self.daemon_ns.inside():
                self.origin = self.closing.enter_context(CountingOrigin())
            rules = [(HOST, self.origin.service)]
        self.daemon = Daemon(self.processes, self.folder, token_file=self.edges[0].token_file,
                             rules=rules, connections=connections, netns=self.daemon_ns,
                             edge_keys={**self.address_keys(addresses), **(edge_keys or {})},
                             tunnel_keys={"protocol": protocol, **(tunnel_keys or {})}, **options)
        return self.daemon

    def links(self):
        """Registered links at both edges."""
        return [edge.links() for edge in self.edges]

    def protocols(self):
        """{index: protocol} of the daemon's registered connections."""
        return {labels["index"]: labels["protocol"]
                for labels, value in self.daemon.metrics().find("adit_link_up") if value == 1}

    def places(self):
        """{index: (address, time of its registration)} of the daemon's registered connections."""
        return {c["index"]: (c["edge"].rsplit(":", 1)[0].strip("[]"), c["since_usec"])
                for c in self.daemon.status()["connections"] if c["state"] == "up"}

    def lose_address_of(self, index, limit):
        """Black-holes the address of an index. It must be up elsewhere within so many seconds and no
        other may move; returns how many it took."""
        before = self.places()
        lost = before[index][0]
        self.block("all", lost)
        began = time.monotonic()

        def moved():
            now = self.places()
            return now if now.get(index, (lost,))[0] != lost else None
        now = until(moved, limit, f"index {index} to be up elsewhere")
        took = time.monotonic() - began
        others = [{i: p for i, p in places.items() if i != index} for places in (before, now)]
        assert others[0] == others[1], others
        return took

    # ---- faults --------------------------------------------------------------------------------

    def _rules(self, kind, address, how):
        """Lines for the hub's chain, and for the chain of the daemon's own output."""
        match = KINDS[kind]
        if how == "eperm":
            to = f"{_family(address)} daddr {address} " if address else ""
            return [], [f'oifname "d0" {to}{match} drop;']
        up = f'iifname "dm" ' + (f"{_family(address)} daddr {address} " if address else "") + match
        down = f'oifname "dm" ' + (f"{_family(address)} saddr {address} " if address else "") + match
        if how == "drop":
            return [f"{up} counter drop;", f"{down} counter drop;"], []
        assert how == "reject", how
        if kind == "all":
            return [*self._rules("tcp", address, how)[0], *self._rules("udp", address, how)[0]], []
        return [f"{up} counter {REFUSALS[kind]};", f"{down} counter drop;"], []

    def _load(self):
        """All faults at once, in one transaction for each namespace."""
        hub = [line for fault in self._faults.values() for line in fault[0]]
        own = [line for fault in self._faults.values() for line in fault[1]]
        for namespace, hook, lines in ((self.hub, "forward", hub), (self.daemon_ns, "output", own)):
            namespace.nft("table inet faults\ndelete table inet faults\ntable inet faults {\n"
                          f"chain faults {{ type filter hook {hook} priority 0;\n"
                          + "\n".join(lines) + "\n}\n}\n")

    def block(self, kind="all", address=None, how="drop"):
        """Loses what the daemon exchanges with an address, or with every one of them.

        kind: udp, tcp, all. how: drop (both ways, without a word), reject (ICMP or RST), eperm (an
        output rule on the daemon's host). Returns what unblock() takes.
        """
        number = next(self._numbers)
        self._faults[number] = self._rules(kind, address, how)
        self._load()
        return number

    def unblock(self, number=None):
        """Ends one fault, or all."""
        if number is None:
            self._faults.clear()
        else:
            del self._faults[number]
        self._load()

    def squeeze(self, size, told):
        """The hub sends packets of at most `size` bytes on; told: whether it says so by ICMP."""
        for prefix, device in (("81.1", "e1"), ("81.2", "e2"), ("81.9", "dm")):
            netns.ip("route", "replace", f"10.{prefix}.0/24", "dev", device, "mtu", "lock", size,
                     "proto", "kernel", "scope", "link", "src", f"10.{prefix}.1", netns=self.hub)
        if not told:
            self.hub.nft(QUIET)

    def nat(self, first=None, last=None):
        """The hub hides the daemon behind its own address and these ports, or its own ones if they are
        free, from now on others than before; what it doesn't know it drops."""
        self.hub.nft(NAT.format(ports=f"to :{first}-{last}" if first else ""))

    def remembers(self):
        """The hub's NAT has state of a connection between the daemon and an edge."""
        return f"dport={self.port}" in self.hub.run("conntrack", "-L", check=False)

    def forget(self):
        """The hub's NAT loses its state."""
        self.hub.run("conntrack", "-D", check=False)    # fails when there is none

    # ---- the end -------------------------------------------------------------------------------

    def close(self):
        self.closing.close()


@contextlib.contextmanager
def ground(folder, **options):
    """A topology with namespaces and processes of its own, which end with it."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as closing:
        net = netns.Net()
        closing.callback(net.close)
        processes = Processes(folder)
        made = Topology(net, processes, folder, **options)
        closing.callback(made.close)
        closing.callback(processes.close)   # while their cables are there
        closing.callback(made.unblock)
        yield made


def retransmitted(topology, transport):
    """Packets that a sender has sent again: [the daemon's, E1's]."""
    if transport == "quic":
        return [p.counter("adit_link_lost_packets_total")
                for p in (topology.daemon, topology.edges[0])]
    return [sum(int(n) for n in re.findall(r"retrans:\d+/(\d+)", namespace.run(
        "ss", "-tinH", f"sport = :{topology.port} or dport = :{topology.port}")))
            for namespace in (topology.daemon_ns, topology.edge_ns[0])]


class Load:
    """Steady requests of the visitor, through every edge, in threads of their own, until end()."""

    def __init__(self, topology, rate, duration=600, fresh=False):
        share = rate / len(topology.edges)
        self.clients = [Client(edge.http_port, HOST, share, duration, edge.host, fresh)
                        for edge in topology.edges]
        # A POST on a link that died waits for the end of its idle timeout, 60 s.
        self.threads = [topology.visitor.thread(client.run, (), PATIENCE)
                        for client in self.clients]

    @property
    def log(self):
        """What has been asked so far; what isn't answered yet has no outcome."""
        return [asked for client in self.clients for asked in list(client.log)]

    def end(self):
        """Asks no more, waits for the last answers; returns the log."""
        for client in self.clients:
            client.ends = True
        for thread in self.threads:
            thread.join(seconds(PATIENCE + 5))
            assert not thread.is_alive(), "a request without an end"
        return self.log


def tell(log, at):
    """The first requests of a log, with times from `at`."""
    return "\n".join(f"{r.method} begun at {r.began - at:+.3f} s, ended {r.ended - at:+.3f}: "
                     f"{r.outcome}" for r in log[:20])


def until_served(edge, limit, what="a request to be served"):
    """Seconds until a request succeeds, each given 2 s and the next begun 50 ms later."""
    started = time.monotonic()
    for _ in during(limit):
        got = edge.fetch("/x", "-H", "X-Number: 0", timeout=2)
        took = time.monotonic() - started
        if got.status == 200 and took < limit:
            return took
    raise AssertionError(f"{what}: not within {limit:g} s: {got}\n{edge.process.tail(12)}")
