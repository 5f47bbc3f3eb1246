# SPDX-License-Identifier: Apache-2.0
"""T7: an edge refuses every registration for 30 s, in each of the ways that it can; then no more.

    aditd (2 connections) ==> adit-edge (adit edge refuse KIND), a pair for each kind and transport

In 30 s at most 20 dials an index and less than 1 % of a core. What the answer asks for is done: no
second try within a minute after a refusal for good, none before retryAfter. Status and log name the
cause, the process lives, /ready says no. When the edge accepts again the tunnel is up within the
longest wait that is left, or 5 s after `adit reconnect`.
"""
import collections
import re
import signal
import time

import pytest

from lib.adit import DOMAIN, Daemon, Edge, section
from lib.topology import TRANSPORTS
from lib.wait import SLOW, lasts, seconds, until

pytestmark = pytest.mark.group("supervisor")

CONNECTIONS, PERIOD, MOST_DIALS = 2, 30, 20

Kind = collections.namedtuple("Kind", "cause least most again")
# The cause in status and log; registrations that an index tries at least and at most in 30 s while no
# other is up; seconds until the tunnel is up when the edge accepts again (None: by reconnect only).
KINDS = {
    "unauthorized": Kind("Unauthorized: tunnel or secret not known", 1, 1, None),
    "permanent": Kind("refused for good", 1, 1, None),
    "too-many": Kind("too many connections", 1, 1, None),       # again after 30 s
    "retry": Kind("try again later", 4, 7, 8),                  # again after 5 s
    "draining": Kind("edge is draining", 8, MOST_DIALS, 5),     # again after 1 s
    "duplicate": Kind("EDUPCONN", 8, MOST_DIALS, 5),
    "exception": Kind("malformed registration", 8, MOST_DIALS, 5),
    "silent": Kind("registration (timeout: no answer|lost)|not registered: peer", 4, MOST_DIALS, 10),
    "close": Kind("registration lost", 8, MOST_DIALS, 5),
}


class Refused:
    """An edge that refuses and a daemon that tries."""

    def __init__(self, processes, folder, kind, transport, **options):
        self.kind, self.transport, self.name = kind, transport, f"{kind}-{transport}"
        self.edge = Edge(processes, folder, f"edge-{self.name}", workers=1, **options)
        self.edge.start()
        self.edge.adit("edge", "refuse", kind)
        self.daemon = Daemon(processes, folder, f"aditd-{self.name}", token_file=self.edge.token_file,
                             connections=CONNECTIONS, workers=1,
                             rules=[(f"a.{DOMAIN}", "http_status:204")],
                             tunnel_keys={"protocol": transport})
        self.daemon.start()

    def check(self):
        """What has happened in the period; a list of what is wrong."""
        want, faults = KINDS[self.kind], []
        elapsed = time.monotonic() - self.daemon.process.started
        cpu = self.daemon.process.cpu_seconds()
        tries = self.edge.counter("adit_edge_registrations_total", result="ordered")
        log = self.daemon.process.log
        dials = collections.Counter(re.findall(r"tunnel: dialing index=(\d+)", log))
        errors = [c["last_error"] or "" for c in self.daemon.status()["connections"]]
        print(f"{self.name}: dials {dict(dials)}, {tries:.0f} registrations, {cpu * 1e3:.0f} ms in "
              f"{elapsed:.0f} s; {errors}")
        periods = elapsed / PERIOD
        if not 1 <= max(dials.values(), default=0) <= MOST_DIALS * periods:
            faults.append(f"dials by index: {dict(dials)}")
        if not want.least <= tries <= want.most * CONNECTIONS * max(1, periods):
            faults.append(f"{tries} registrations")
        if cpu > 0.01 * elapsed * SLOW:
            faults.append(f"{cpu:.3f} s of CPU in {elapsed:.0f} s")
        if not any(re.search(want.cause, error) for error in errors):
            faults.append(f"no cause in status: {errors}")
        if not re.search(want.cause, log):
            faults.append("no cause in the log")
        if not self.daemon.process.is_running or self.daemon.page("/ready")[0] != 503:
            faults.append("not alive and waiting")
        return [f"{self.name}: {fault}" for fault in faults]

    def accept(self):
        self.edge.adit("edge", "refuse", "none")
        self.accepted = time.monotonic()
        if KINDS[self.kind].again is None:
            self.daemon.adit("reconnect")

    def check_up(self):
        """Up again in time, measured for all kinds at once; a list of what is wrong."""
        limit = seconds(KINDS[self.kind].again or 5)
        try:
            left = max(0.0, self.accepted + limit - time.monotonic())
            until(lambda: self.daemon.ready() >= 1, left / SLOW, "a registration")
        except AssertionError:
            return [f"{self.name}: not up {limit:g} s after the edge accepts"]
        return []


def test_refusals(processes, tmp_path):
    pairs = [Refused(processes, tmp_path, kind, transport)
             for transport in TRANSPORTS for kind in KINDS]
    lasts(pairs[-1].daemon.process.started + PERIOD - time.monotonic(), "refusals")
    faults = [fault for pair in pairs for fault in pair.check()]
    for pair in pairs:
        pair.accept()
    for pair in sorted(pairs, key=lambda p: KINDS[p.kind].again or 0):
        faults += pair.check_up()
    assert not faults, "\n".join(faults)
    for pair in pairs:
        pair.daemon.wait_ready(CONNECTIONS, 20)


@pytest.fixture(name="unanswered", params=TRANSPORTS)
def fixture_unanswered(processes, tmp_path, request):
    """An edge that answers no registration, and waits a second for one to begin."""
    return Refused(processes, tmp_path, "silent", request.param,
                   extra=section("limits", register_timeout="1s"))


def test_closed_meanwhile(unanswered):
    """Row 6: the edge goes while a registration is under way: that is what was lost."""
    edge, log = unanswered.edge, unanswered.daemon.process
    until(lambda: edge.counter("adit_edge_registrations_total", result="ordered"), 5, "a registration")
    edge.process.signal(signal.SIGKILL if unanswered.transport == "http2" else signal.SIGTERM)
    log.wait_line('connection failed .*cause="?registration lost', 5)


def test_closed_before(unanswered):
    """Row 6: the edge closes a connection that waits for the end of another one's registration."""
    unanswered.daemon.process.wait_line('connection failed .*cause="not registered: peer', 10)
