# SPDX-License-Identifier: Apache-2.0
"""The link emulator does what it is told, by its own counters and by those of the ends. Needs root.

    [left] 10.79.0.1 --l0 === wan === r0-- 10.79.0.2 [right]
"""
import math
import re
import socket
import threading
import time

import pytest

from lib.wait import SLOW, seconds, until
from lib.wan import Wan

pytestmark = pytest.mark.group("supervisor")

SO_RCVBUFFORCE = 33
LEFT, RIGHT, PORT = "10.79.0.1", "10.79.0.2", 9000


class Link:
    """The two ends, and a counting receiver on the right."""

    def __init__(self, net, seed=7):
        self.left, self.right = net.add("left"), net.add("right")
        self.wan = Wan(self.left, "l0", self.right, "r0", seed=seed)
        for side, device, address in ((self.left, "l0", LEFT), (self.right, "r0", RIGHT)):
            # What IPv6 says by itself would be counted.
            side.run("sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=1")
            side.run("ip", "link", "set", device, "address", f"02:00:00:00:00:0{address[-1]}")
            side.address(device, f"{address}/24")
            # Packets that wait for ARP are overtaken by those that come when the answer does.
            peer = {LEFT: RIGHT, RIGHT: LEFT}[address]
            side.run("ip", "neigh", "replace", peer, "dev", device, "nud", "permanent",
                     "lladdr", f"02:00:00:00:00:0{peer[-1]}")
        with self.left.inside():
            self.out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.out.connect((RIGHT, PORT))
        with self.right.inside():
            self.inbox = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inbox.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
        self.inbox.bind((RIGHT, PORT))
        self.inbox.settimeout(seconds(5))

    def send(self, count, size=100):
        """Numbered datagrams, in bursts that fit into the device's queue."""
        for number in range(count):
            self.out.send(number.to_bytes(4, "big") + bytes(size - 4))
            if number % 500 == 499:
                until(lambda n=number: self.wan.counters["up"]["received"] > n, 10, "the burst to be read")
        until(lambda: self.wan.counters["up"]["received"] >= count, 10, "all to be read")

    def receive(self):
        """Numbers of those that have arrived, in their order."""
        seen = []
        self.inbox.setblocking(False)
        while True:
            try:
                seen.append(int.from_bytes(self.inbox.recv(2048)[:4], "big"))
            except BlockingIOError:
                return seen

    def wait_empty(self):
        """Until nothing is under way."""
        def look():
            up = self.wan.counters["up"]
            return up["sent"] == up["received"] + up["twice"] - up["lost"] - up["full"] - up["large"]
        until(look, 10, "an empty wire")

    def rtt(self, address=RIGHT, spread=5 * SLOW):
        """Milliseconds of five pings: the least and the middle one. They differ more where the machine was
        busy, and ping doesn't wait for the last one then: the best of five tries counts."""
        found = []
        for _ in range(5):
            text = self.left.run("ping", "-c", 6, "-i", "0.1", "-W", 5, address)
            times = [float(t) for t in re.findall(r"time=([\d.]+)", text)][1:]
            if len(times) < 5:
                continue
            least, middle = min(times), sorted(times)[2]
            found.append((middle - least, least, middle))
            if found[-1][0] < spread:
                break
        assert found, text
        return min(found)[1:]


@pytest.fixture(name="link")
def fixture_link(net):
    made = Link(net)
    yield made
    made.out.close()
    made.inbox.close()
    made.wan.close()


def within(count, total, part):
    """Whether count is within five standard deviations of the binomial distribution."""
    return abs(count - total * part) <= 5 * math.sqrt(total * part * (1 - part))


def test_delay(link):
    """50 ms each way, one way, jitter within its bounds, on IPv4 and IPv6; changed while it runs."""
    late = 5 * SLOW
    least, middle = link.rtt()
    assert middle < late, (least, middle)
    for side, device, address in ((link.left, "l0", "fd79::1/64"), (link.right, "r0", "fd79::2/64")):
        side.run("sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=0")
        side.address(device, address)
    link.wan.set(delay="50ms")
    for address in (RIGHT, "fd79::2"):
        least, middle = link.rtt(address)
        assert 100 <= least and middle < 100 + late, (least, middle)
    link.wan.set("down", delay=0)
    least, middle = link.rtt()
    assert 50 <= least and middle < 50 + late, (least, middle)
    link.wan.set("up", jitter="30ms")
    least, middle = link.rtt(spread=30 + late)
    assert 50 <= least and middle < 80 + late, (least, middle)


@pytest.mark.parametrize("part", [0.01, 0.1])
def test_loss(link, part):
    """The part that is lost is within five standard deviations; the rest comes, in its order."""
    link.wan.set("up", loss=f"{part * 100:g}%")
    link.send(10_000)
    link.wait_empty()
    up = link.wan.counters["up"]
    assert within(up["lost"], up["received"], part), up
    seen = link.receive()
    assert up["received"] == 10_000
    assert len(seen) == up["sent"] and seen == sorted(seen)
    assert link.wan.counters["down"]["lost"] == 0


def test_seed(net):
    """The same seed loses the same packets; another one loses others."""
    fates = []
    for seed in (1, 1, 2):
        link = Link(net, seed)
        link.wan.set("up", loss="20%")
        link.send(300)
        link.wait_empty()
        fates.append(link.receive())
        link.wan.close()
    assert fates[0] == fates[1] != fates[2]


def test_twice_and_reorder(link):
    """Duplicates come beside the first; late ones arrive later than what follows, and all arrive."""
    link.wan.set("up", twice="10%", delay="10ms")
    link.send(2000)
    link.wait_empty()
    up, seen = link.wan.counters["up"], link.receive()
    assert within(up["twice"], up["received"], 0.1), up
    assert len(seen) == 2000 + up["twice"] and seen == sorted(seen)
    link.wan.set("up", twice=0, reorder="10%")
    link.send(2000)
    link.wait_empty()
    up, seen = link.wan.counters["up"], link.receive()
    assert within(up["late"], 2000, 0.1), up
    assert seen != sorted(seen) and sorted(seen) == list(range(2000))


def test_rate(link):
    """8 Mbit/s carries a megabyte in a second; what exceeds the queue is dropped and counted."""
    link.wan.set("up", rate="8mbit", queue="2000k")
    link.send(1, 1000)
    link.wait_empty()
    before = link.wan.counters["up"]["sent_bytes"]
    started = time.monotonic()
    link.send(1000, 1000)
    link.wait_empty()
    took = time.monotonic() - started
    sent = link.wan.counters["up"]["sent_bytes"] - before
    assert sent >= 1000 * 1028 and link.wan.counters["up"]["full"] == 0
    # A busy machine is late, but not early.
    assert sent / 1e6 * 0.98 <= took <= sent / 1e6 + SLOW, took
    link.wan.set("up", queue="64k")
    link.send(1000, 1000)
    link.wait_empty()
    up = link.wan.counters["up"]
    assert up["full"] >= 500 and len(link.receive()) == 2001 - up["full"]


def test_mtu(link):
    """Packets of up to that length pass; longer ones vanish without a word."""
    link.wan.set("up", mtu=1300)
    link.out.send(bytes(1300 - 28))
    link.out.send(bytes(1301 - 28))
    until(lambda: link.wan.counters["up"]["received"] >= 2, 5, "two packets")
    link.wait_empty()
    assert len(link.receive()) == 1 and link.wan.counters["up"]["large"] == 1


def test_wrong_commands(link):
    """What it doesn't understand it says, and goes on."""
    for line in ("delay", "delay 5", "delay -1ms", "delay nanms", "loss 101%", "speed 1", "x" * 200, ""):
        with pytest.raises(AssertionError):
            link.wan.set(**{"delay": f"0\n{line}"})
            answer = link.wan.process.stdout.readline()
            assert answer == "ok\n", answer
    link.wan.set(delay="1ms")
    assert link.rtt()[0] >= 2


def test_bulk(link):
    """TCP and UDP with segmentation offload pass whole in both directions at the same time."""
    link.wan.set(delay="5ms")
    data, got = bytes(range(256)) * 32768, {}

    def receive(name, connection):
        pieces = bytearray()
        while piece := connection.recv(1 << 16):
            pieces += piece
        got[name] = bytes(pieces)
    with link.right.inside():
        server = socket.create_server((RIGHT, PORT))
    with link.left.inside():
        left = socket.create_connection((RIGHT, PORT))
    right, _ = server.accept()
    threads = [threading.Thread(target=receive, args=("left", left)),
               threading.Thread(target=receive, args=("right", right)),
               threading.Thread(target=lambda: (left.sendall(data), left.shutdown(socket.SHUT_WR))),
               threading.Thread(target=lambda: (right.sendall(data), right.shutdown(socket.SHUT_WR)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds(30))
    assert got == {"left": data, "right": data}
    for sock in (left, right, server):
        sock.close()
    for direction in ("up", "down"):
        counters = link.wan.counters[direction]
        assert counters["sent"] == counters["received"], counters
