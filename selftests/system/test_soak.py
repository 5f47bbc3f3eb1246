# SPDX-License-Identifier: Apache-2.0
"""T12: 24 connections over 4 addresses, three minutes of load with a random fault every 10 s.

    visitors --> [E1], [E2] adit-edge === hub === wan === [daemon] aditd --> origin   (lib/topology.py)

The first 20 s have no fault; then everything is quiet, and descriptors, streams, links, requests,
buffers and arenas of all three programs are written down. At the end, when all indexes are up again
(within one cap of the back-off, 60 s), they are the same. Whatever failed meanwhile failed with a
status, but for what a visitor asked an edge that was killed meanwhile.

ADIT_SOAK_SECONDS is how long faults come (make soak: an hour; under the sanitizers a minute), ADIT_SEED
the seed of a run to repeat.
"""
import collections
import os
import random
import threading
import time

import pytest

from lib.adit import section
from lib.steady import Client
from lib.topology import E1, E2, HOST, PATIENCE, TRANSPORTS
from lib.wait import SLOW, lasts, until

pytestmark = pytest.mark.group("supervisor")

CONNECTIONS, RATE, WARM, EVERY = 24, 40, 20, 10
# An edge keeps a connection whose daemon has gone, and whose goodbye was lost, for the idle time (60 s)
# from its own first word that nobody heard, at most a keep-alive (15 s) later.
FORGOTTEN = 80
DURATION = int(os.environ.get("ADIT_SOAK_SECONDS")
               or (60 if os.environ.get("ADIT_SANITIZER") else 160))
SEED = int(os.environ.get("ADIT_SEED") or random.randrange(1 << 32))


NAMES = ("process_open_fds", "adit_buffer_bytes", "adit_requests_active", "adit_origin_connections",
         "adit_link_streams", "adit_link_up", "adit_edge_links", "adit_edge_unregistered",
         "adit_arena_bytes")
# A link over HTTP/2 keeps a chunk of its arena for the next head; it may have been QUIC before.
KEPT_ARENA = 4096


def gauges(ground):
    """What must be as before when nothing is left to do; links may live at one edge or the other."""
    found = {}
    for program in (ground.daemon, *ground.edges):
        seen = program.metrics()
        for name in NAMES:
            key = program.program, name
            found[key] = found.get(key, 0) + seen.sum(name)
    return found


def changed(ground, before):
    """{(program, gauge): (now, before)} of what isn't as before."""
    kept = KEPT_ARENA * list(ground.protocols().values()).count("http2")
    return {key: (value, before[key]) for key, value in gauges(ground).items()
            if not before[key] <= value <= before[key] + kept * (key[1] == "adit_arena_bytes")}


def resident(program):
    return program.metrics().sum("process_resident_memory_bytes")


class Absences:
    """When which edge was dead: who asked it then may be cut off without a status."""

    def __init__(self):
        self.lock = threading.Lock()
        self.spans = collections.defaultdict(list)

    def begin(self, edge):
        with self.lock:
            self.spans[edge.name].append([time.monotonic(), float("inf")])

    def end(self, edge):
        with self.lock:
            self.spans[edge.name][-1][1] = time.monotonic()

    def covers(self, edge, asked):
        with self.lock:
            return any(asked.began <= end and asked.ended >= begin
                       for begin, end in self.spans[edge.name])


class LongLoad:
    """Requests at a steady rate by both edges."""

    def __init__(self, ground, duration, absences):
        self.logs, self.absences = [], absences
        self.threads = [ground.visitor.thread(self._run, edge, duration) for edge in ground.edges]

    def _judge(self, edge, asked):
        if asked.is_truthful:
            return asked.outcome
        return "cut" if self.absences.covers(edge, asked) else f"untrue: {asked.outcome}"

    def _run(self, edge, duration):
        # In pieces, or the log of an hour would fill the memory.
        end = time.monotonic() + duration
        counts = collections.Counter()
        self.logs.append(counts)
        while (left := end - time.monotonic()) > 0:
            log = Client(edge.http_port, HOST, RATE, min(left, 30), edge.host).run((), PATIENCE)
            counts.update(self._judge(edge, asked) for asked in log)

    def wait(self):
        for thread in self.threads:
            thread.join()
        return sum(self.logs, collections.Counter())


class Faults:
    """A fault every 10 s, each over before the next; each kind once before one comes again."""

    def __init__(self, ground, seed, absences):
        self.ground, self.random, self.absences = ground, random.Random(seed), absences
        self.seen = collections.Counter()
        self.kinds = [self.lose_address, self.lose_address, self.refuse, self.lose_udp,
                      self.bad_wire, self.stop_edge, self.kill_edge, self.stop_daemon,
                      self.reconnect]

    def run(self, duration):
        end, deck = time.monotonic() + duration, []
        while time.monotonic() + EVERY <= end:
            began = time.monotonic()
            deck = deck or self.random.sample(self.kinds, len(self.kinds))
            fault = deck.pop()
            length = self.random.uniform(1, EVERY - 2)
            self.seen[fault.__name__] += 1
            fault(length)
            lasts(began + EVERY - time.monotonic(), "no fault")

    def _block(self, length, *what, **how):
        number = self.ground.block(*what, **how)
        lasts(length, f"{what} {how}")
        self.ground.unblock(number)

    def lose_address(self, length):
        self._block(length, self.random.choice(["udp", "all"]), self.random.choice([*E1, *E2]))

    def refuse(self, length):
        self._block(length, self.random.choice(["udp", "all"]), self.random.choice([*E1, *E2]),
                    how=self.random.choice(["reject", "eperm"]))

    def lose_udp(self, length):
        self._block(length, "udp")

    def bad_wire(self, length):
        self.ground.wan.set(loss="3%", jitter="20ms", twice="1%", reorder="1%")
        lasts(length, "bad wire")
        self.ground.wan.set(loss=0, jitter=0, twice=0, reorder=0)

    def _stop(self, length, program):
        program.process.signal(19)      # SIGSTOP, and SIGCONT
        lasts(length, f"{program.name} stopped")
        program.process.signal(18)

    def stop_edge(self, length):
        self._stop(length, self.random.choice(self.ground.edges))

    def kill_edge(self, length):
        """It comes back with the addresses and the state that it had."""
        edge = self.random.choice(self.ground.edges)
        self.absences.begin(edge)
        edge.process.kill()
        lasts(length, f"{edge.name} killed")
        edge.start()
        self.absences.end(edge)

    def stop_daemon(self, length):
        self._stop(length, self.ground.daemon)

    def reconnect(self, _):
        self.ground.daemon.adit("reconnect", str(self.random.randrange(CONNECTIONS)))


def wait_quiet(ground, limit):
    """Until all indexes are up and nothing is under way; returns all gauges."""
    started = time.monotonic()
    ground.daemon.wait_ready(CONNECTIONS, limit)
    print(f"all up after {time.monotonic() - started:.1f} s")
    seen = {}

    def look():
        seen.update(gauges(ground))
        busy = [key for key in seen if seen[key] and key[1] in (
            "adit_requests_active", "adit_origin_connections", "adit_edge_unregistered")]
        return seen["adit-edge", "adit_edge_links"] == CONNECTIONS and not busy
    try:
        until(look, FORGOTTEN, "a quiet tunnel", 0.2)
    except AssertionError:
        raise AssertionError(f"not quiet: {seen}") from None
    print(f"quiet after {time.monotonic() - started:.1f} s")
    return seen


@pytest.mark.timeout(DURATION + 400)
@pytest.mark.parametrize("protocol", ["auto" if len(TRANSPORTS) > 1 else "quic"])
def test_random_faults(make_topology, protocol):
    print(f"seed {SEED}")
    ground = make_topology(wan={"delay": "5ms"}, seed=SEED)
    # One visitor stands for many: while no link answers its requests wait, some hundreds of them.
    ground.start_edges(log_level="info", extra=section("front", client_concurrency=8192))
    ground.make_daemon(protocol, connections=CONNECTIONS, log_level="info",
                       origin_keys={"keep_alive_timeout": "1s"}).start()
    ground.daemon.wait_ready(CONNECTIONS, 30)
    absences = Absences()
    outcomes = LongLoad(ground, WARM, absences).wait()
    assert set(outcomes) == {"200"}, outcomes
    before = wait_quiet(ground, 5)
    memory = {p.name: resident(p) for p in (ground.daemon, *ground.edges)}

    load, faults = LongLoad(ground, DURATION, absences), Faults(ground, SEED, absences)
    faults.run(DURATION)
    outcomes = load.wait()
    print(dict(faults.seen), dict(outcomes))
    assert not any(outcome.startswith("untrue") for outcome in outcomes), outcomes
    assert outcomes["200"] > RATE * DURATION / 2, outcomes
    wait_quiet(ground, 65)
    try:
        until(lambda: not changed(ground, before), 20, "the gauges of before", 0.5)
    except AssertionError:
        raise AssertionError(f"now and before: {changed(ground, before)}") from None
    for program in (ground.daemon, *ground.edges):
        assert resident(program) < memory[program.name] + (32 << 20) * SLOW
