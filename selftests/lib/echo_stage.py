# SPDX-License-Identifier: Apache-2.0
"""The stage of selftests/bench/datapath: UDP echoes through an edge and daemons, each by its path.

Two processors have roles of their own. What is measured is on the first: the daemon whose turn it is,
and the interrupts of its cable, as a thread of the kernel whose time is the daemon's. Everything else
is on the second: the edge, which is the load as well (bench/edge_load.c), and the origin, a program in
the driver that sends frames back.
"""
import hashlib
import json
import os
import pathlib
import re
import secrets
import socket
import subprocess
import urllib.request
import uuid

from . import netns, ports
from .adit import DOMAIN, Daemon, Edge, section, write_token
from .proc import Processes
from .short_cut import DEVICE, THERE, ShortCut
from .wait import until

BENCH = pathlib.Path(__file__).resolve().parent.parent / "bench"
UNDER_WAY = 1024    # datagrams at a time
ATTEMPTS = 3        # at a measurement by one path
WAITING = 0         # as a burst: one datagram is under way
HEAD = 17           # bytes before the payload of a flow's datagram
ROUND = 4           # datagrams of each flow after which all have had their turn, both ways
PROVED = 0.95       # the part of datagrams that goes by the short cut when it is measured
ADDRESSES, FIRST, ORIGINS = 64, "10.56.0.1", "10.56.0.0/24"
# Who puts one datagram into each packet though there are more: (the edge, the daemon).
MODES = {"one per packet": (True, True), "packed out": (True, False), "packed": (False, False)}


def pin(cpu):
    """Words before a command that hold it to a processor."""
    return ["taskset", "-c", str(cpu % os.cpu_count())]


def threads_of(device):
    """{pid: comm} of the kernel's threads that receive for devices of this name, as far as they
    can be seen from here."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        try:
            comm = (entry / "comm").read_text().strip() if entry.name.isdigit() else ""
        except OSError:
            continue
        if comm.startswith(f"napi/{device}-"):
            found[int(entry.name)] = comm
    return found


def receive_by_thread(device, cpu, prefix):
    """Has the kernel receive for a device by a thread of its own: its pids; none, and no thread, where
    such threads can't be seen. prefix enters the device's network with a /sys of that."""
    def use(value):
        subprocess.run([*prefix, "sh", "-c", f"echo {value} >/sys/class/net/{device}/threaded"],
                       check=True)
    before = threads_of(device)
    use(1)
    made = [p for p in threads_of(device) if p not in before]
    for pid in made:
        os.sched_setaffinity(pid, {cpu % os.cpu_count()})
    if not made:
        use(0)
    return made


def put_first(pids):
    """Before all processes, as interrupts are."""
    for pid in pids:
        os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))


def memory(pid, field):
    """MiB of a line of smaps_rollup."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
    return int(re.search(rf"^{field}:\s+(\d+)", text, re.MULTILINE)[1]) / 1024


class Subject:
    """A way for echoes. paths: which of aditd's paths carry them; None: it isn't aditd."""

    def __init__(self, name, ways, process, page=None, paths=None):
        """ways: the first of edge_load's, and how many."""
        self.name, self.ways, self.process, self.paths = name, ways, process, paths
        self.page, self.threads, self.under_way = page, [], UNDER_WAY

    def carried(self):
        """Datagrams by path, of those that came several at a time, and packets of the links."""
        page = self.page()
        count = {p: page.sum("adit_flow_packets_total", path=p)
                 for p in {labels["path"] for name, labels, _ in page.series
                           if name == "adit_flow_packets_total"}}
        return (count, page.sum("adit_flow_aggregated_packets_total"),
                page.sum("adit_link_packets_total"))

    def wait_proved(self, flows):
        """Until most of what all flows send goes by the short cut, if it is to."""
        if not self.paths or "xdp" not in self.paths:
            return
        last, grown = self.carried()[0], {}

        def look():
            nonlocal last, grown
            now = self.carried()[0]
            grown = {p: n - last.get(p, 0) for p, n in now.items()}
            whole = sum(grown.values())
            if whole < ROUND * flows:
                return False
            last = now
            return grown["xdp"] >= PROVED * whole
        try:
            until(look, 30, "flows by the short cut", step=0.1)
        except AssertionError as error:
            told = {(name, *labels.values()): value for name, labels, value in self.page().series
                    if value and name.startswith(("adit_short_cut_", "adit_flow_drop"))}
            raise AssertionError(f"{error}: of {flows} flows came {grown}; {told}") from error

    def cpu_seconds(self):
        kernel = [pathlib.Path(f"/proc/{p}/schedstat").read_text() for p in self.threads]
        return self.process.cpu_seconds() + sum(int(t.split()[0]) / 1e9 for t in kernel)


def window(burst, under_way):
    """How many a flow sends at once, and how many are under way at most."""
    return (1, 1) if burst == WAITING else (burst, under_way)


class NotUp(Exception):
    """Some flows of a subject never had an echo."""


class EchoStage:
    """The edge with its public ports, the origins, and who stands between."""

    def __init__(self, folder, mode, peer):
        self.folder, self.processes, self.mode = folder, Processes(folder), mode
        self.load, library = folder / "udp_load", folder / "one_datagram.so"
        flags = ["-std=gnu23", "-D_GNU_SOURCE", "-O2", "-Wall"]
        subprocess.run(["cc", *flags, "-o", self.load, BENCH / "udp_load.c"], check=True)
        subprocess.run(["cc", *flags, "-shared", "-fPIC", "-o", library,
                        BENCH / "one_datagram.c"], check=True)
        self.edge_env, self.daemon_env = ({"LD_PRELOAD": str(library)} if single else {}
                                          for single in MODES[mode])
        self.reflected, self.echoed = ports.free(), ports.free()
        self.net = netns.Net()
        self.lan = ShortCut(self.net)
        netns.ip("route", "add", "local", ORIGINS, "dev", "lo", netns=self.lan.origin)
        netns.ip("route", "add", ORIGINS, "via", THERE)
        self._start_origin()
        self._start_edge()
        self.subjects = self._start_daemons()
        if peer:
            self.subjects.append(self._start_peer(peer))
        self.floor = Subject("raw echo", None, self.origin)
        self._place_interrupts()

    def _start_origin(self):
        self.origin = self.processes.start("origin", [*pin(0), self.load, "echo", FIRST, ADDRESSES,
                                                      self.echoed], netns=self.lan.origin)
        reflector = self.processes.start("reflector", [self.load, "reflect", "eth0", self.reflected],
                                         netns=self.lan.origin)
        for process in (self.origin, reflector):
            process.wait_line("ready", 5)

    def _start_edge(self):
        counts = {"home": ADDRESSES, "one": 1, "fast": ADDRESSES, "peer": ADDRESSES}
        self.ways, self.tokens = {}, {}
        extra = "".join(self._tunnel(k) for k in ("fast", "peer"))
        for name, count in counts.items():
            self.ways[name] = (sum(n for _, n in self.ways.values()), count)
            for number in range(count):
                extra += section(f"udp {name}{number}", listen=f"127.0.0.1:{ports.free()}",
                                 idle="5s", tunnel="home" if name == "one" else name,
                                 dest=f"10.56.0.{number + 1}:{self.reflected}")
        commands = ports.free()
        self.edge = Edge(self.processes, self.folder, extra=extra, log_level="warning", workers=1,
                         env={**self.edge_env, "LOAD_PORT": str(commands)})
        self.edge.stand_in = f"{os.environ['ADIT_TOOLS']}/edge_load"
        self.edge.start(wrap=pin(1))
        self.commands = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.commands.settimeout(60)
        self.commands.connect(("127.0.0.1", commands))

    def _ask(self, *words):
        """A command to edge_load, and its answer."""
        self.commands.send(" ".join(str(w) for w in words).encode())
        return self.commands.recv(4096).decode()

    def _start_daemons(self):
        sockets = self._daemon("aditd", self.edge.token_file, mode="sockets")
        fast = self._daemon("short-cut", self.tokens["fast"], interface=DEVICE, promote=0)
        until(lambda: fast.counter("adit_short_cut_interfaces") == 1, 10, "the short cut")
        both = {"anchor", "connected"}
        return [
            Subject("shared socket", self.ways["home"], sockets.process, sockets.metrics, both),
            Subject("per-flow socket", self.ways["one"], sockets.process, sockets.metrics, both),
            Subject("short cut", self.ways["fast"], fast.process, fast.metrics, {"xdp"}),
        ]

    def _place_interrupts(self):
        own = ["unshare", "-m", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh"]
        self.here = receive_by_thread(DEVICE, 0, own)
        there = receive_by_thread("eth0", 1, self.lan.origin.prefix)
        put_first([*self.here, *there])
        self.has_threads = bool(self.here and there)
        for subject in self.subjects:
            subject.threads = self.here
        self.floor.threads = there

    def _tunnel(self, name):
        """A tunnel besides the edge's own: its section."""
        secret, account, number = secrets.token_bytes(32), secrets.token_hex(16), uuid.uuid4()
        self.tokens[name] = write_token(self.folder / f"{name}.token", account, str(number), secret)
        return section(f"tunnel {name}", id=number, account=account, hostname=f"{name}.{DOMAIN}",
                       secret_sha256=hashlib.sha256(secret).hexdigest())

    def _daemon(self, name, token_file, **datapath):
        made = Daemon(self.processes, self.folder, name, token_file=token_file, connections=1,
                      workers=1, log_level="warning", env=self.daemon_env,
                      edge_keys={"kind": "adit", "address": self.edge.address,
                                 "ca_file": self.edge.ca},
                      extra=section("network", allow="10.56.0.0/24")
                      + section("datapath", **datapath))
        made.start(wrap=pin(0))
        made.wait_ready()
        return made

    def _start_peer(self, peer):
        port = ports.free()
        process = self.processes.start(
            "peer", [*pin(0), peer, "tunnel", "--no-autoupdate", "--protocol", "quic",
                     *2 * ["--edge", self.edge.address], "--cacert", self.edge.ca,
                     "--metrics", f"127.0.0.1:{port}", "--grace-period", "1s",
                     "--loglevel", "error", "run", "--features", "support_datagram_v3_2"],
            env={"TUNNEL_TOKEN": self.tokens["peer"].read_text().strip()})

        def is_ready():
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
                    return answer.status == 200
            except OSError:
                return False
        until(is_ready, 20, "the peer's connection")
        return Subject("peer", self.ways["peer"], process)

    def run(self, subject, flows, size, burst, seconds, rate=0):
        """One measurement: what edge_load says, CPU us per echo, and how it was carried; NotUp."""
        for _ in range(ATTEMPTS):
            line = self._ask("load", *subject.ways, flows, size, *window(burst, subject.under_way))
            if line != "warm":
                raise NotUp(f"{subject.name}, {size} B, bursts of {burst}: {line}")
            subject.wait_proved(flows)
            before = subject.carried() if subject.paths else None
            spent = subject.cpu_seconds()
            said = json.loads(self._ask("measure", int(seconds * 1e6), f"{rate:.0f}"))
            spent = subject.cpu_seconds() - spent
            if not before or is_by_path(subject, before, subject.carried(), said):
                return judge(subject, said, spent, seconds)
        raise AssertionError(f"{subject.name} doesn't stay on its path: {said}")

    def find_window(self, subject):
        """Has no more under way for a subject than it carries without losing a hundredth."""
        while subject.under_way > 1 and any(
                self.run(subject, flows, 64, 1, 0.5)["loss"] > 0.01 for flows in (64, 4096)):
            subject.under_way //= 2

    def run_floor(self, flows, size, burst, seconds):
        """The same load to the origin itself, by sockets: what an echo costs a process there."""
        words = [*pin(1), self.load, "run", FIRST, self.echoed, flows, size, *window(burst, UNDER_WAY)]
        with subprocess.Popen([str(w) for w in words], stdin=subprocess.PIPE, text=True,
                              stdout=subprocess.PIPE) as load:
            assert load.stdout.readline() == "warm\n", words
            spent = self.floor.cpu_seconds()
            load.stdin.write(f"{seconds}\n")
            load.stdin.flush()
            said = json.loads(load.stdout.readline())
            return judge(self.floor, said, self.floor.cpu_seconds() - spent, seconds)

    def run_bare(self, flows, size, burst, seconds):
        """What QUIC alone costs an end for such an echo; None where one program can't be both."""
        if len(set(MODES[self.mode])) > 1 or burst > 1 or "ADIT_TOOLS" not in os.environ:
            return None
        done = subprocess.run([f"{os.environ['ADIT_TOOLS']}/quic_echo", str(HEAD + size),
                               str(window(burst, UNDER_WAY)[1]), f"{seconds}"], check=True, text=True,
                              stdout=subprocess.PIPE, env={**os.environ, **self.daemon_env})
        said = json.loads(done.stdout)
        return {**said, "rate": said["received"] / seconds}

    def close(self):
        self.processes.close()
        self.lan.close()
        self.net.close()


def judge(subject, said, spent, seconds):
    """What the load said, with what it has cost the subject: so many seconds of a processor."""
    said["cpu"] = spent / max(said["received"], 1) * 1e6
    said["rss"] = memory(subject.process.pid, "Rss")
    said["anonymous"] = memory(subject.process.pid, "Anonymous")
    said["loss"] = 1 - said["received"] / max(said["sent"], 1)
    said["rate"] = said["received"] / seconds
    return said


def is_by_path(subject, before, after, said):
    """Whether the echoes went by the path that the row says; news of the host take all flows off the
    short cut for some milliseconds."""
    grown = {p: n - before[0].get(p, 0) for p, n in after[0].items()}
    carried, whole = sum(grown.get(p, 0) for p in subject.paths), sum(grown.values())
    assert whole >= 1.9 * said["received"], (grown, said)
    said["by path"] = carried / max(whole, 1)
    said["aggregated"] = (after[1] - before[1]) / max(whole, 1)
    said["per packet"] = whole / max(after[2] - before[2], 1)
    return said["by path"] >= 0.9
