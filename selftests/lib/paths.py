# SPDX-License-Identifier: Apache-2.0
"""Which path carried a test's packets, by the programs' own counters.

    @pytest.mark.carried(aditd="anchor", edge="tun stream?")

says it of a test, or of those of a file that don't say it themselves: every path named has carried
something while the test ran, those with a question mark may have, others have not. Each test of the group
datapath has to say it. carried(None): what it counts has ended with the test; it asserts that itself.

A test whose origins may be behind a cable runs twice, by BOTH or with a fixture of the parameters MODES: by sockets, and
with every flow of aditd promoted as soon as it can be; what is said to go by anchors has to go by the short cut then. To
origins on loopback there is no short cut, which begins at a network interface, nor is there one for pings and TCP: no
second run.
"""
import pytest

from .wait import until

KINDS = {"aditd": "aditd", "adit-edge": "edge"}
MARK = "carried"
MODES = [pytest.param(False, id="sockets"),
         pytest.param(True, id="short-cut", marks=pytest.mark.short_cut)]
BOTH = pytest.mark.parametrize("origins", MODES, indirect=True)


def packets(program):
    """{path: packets both ways}; TCP connections into a private network are `stream`."""
    page, found = program.metrics(), {}
    for labels, value in page.find("adit_flow_packets_total"):
        found[labels["path"]] = found.get(labels["path"], 0) + value
    for labels, value in page.find("adit_requests_total"):
        if labels.get("hostname", "").startswith("network/"):
            found["stream"] = found.get("stream", 0) + value
    return found


def note(program):
    """Keeps what a program has counted so far, as it is going to end."""
    if program.is_running and program.page("/metrics")[0] == 200:
        program.counted[program.process.pid] = packets(program)


def snapshot(programs):
    """{pid: packets} of all processes of these programs."""
    found = {}
    for program in programs:
        note(program)
        found.update(program.counted)
    return found


def since(programs, before):
    """{kind: paths that have carried something since the snapshot}"""
    snapshot(programs)
    moved = {kind: set() for kind in KINDS.values()}
    for program in programs:
        for pid, counts in program.counted.items():
            moved[KINDS[program.program]] |= {path for path, count in counts.items()
                                              if count > before.get(pid, {}).get(path, 0)}
    return moved


def check(programs, before, said, is_short=False):
    """said: {kind: names of paths}"""
    assert set(said) <= set(KINDS.values()), said
    wanted = {kind: set(said.get(kind, "").split()) for kind in KINDS.values()}
    if is_short and "anchor" in wanted["aditd"]:
        wanted["aditd"] = {name.rstrip("?") + "?" for name in wanted["aditd"]} | {"xdp"}
    must = {kind: {name for name in names if name[-1] != "?"} for kind, names in wanted.items()}
    may = {kind: {name.rstrip("?") for name in names} for kind, names in wanted.items()}

    def have():     # the last one may not be counted yet
        return all(must[kind] <= moved for kind, moved in since(programs, before).items())
    until(have, 10, f"packets by the paths {must}, and there were {since(programs, before)}")
    for kind, moved in since(programs, before).items():
        assert moved <= may[kind], f"{kind} carried by {moved}, not only by {may[kind]}"


def by_path(daemon, *names):
    """UDP datagrams (to, from) origins by these paths of aditd."""
    page = daemon.metrics()
    return tuple(sum(page.sum("adit_flow_packets_total", path=name, dir=way) for name in names)
                 for way in ("tx", "rx"))


def settle(daemon, turn, count, is_short):
    """Takes turns, each of one datagram and its answer on so many flows, until all go by the path that the mode is
    about. Of a promoted flow a socket sends one in ten seconds."""
    name = "xdp" if is_short else "anchor"

    def settled():
        before = by_path(daemon, name)
        turn()
        sent, got = (a - b for a, b in zip(by_path(daemon, name), before))
        return got >= count and sent >= (count * 0.8 if is_short and count > 1 else count)
    until(settled, 30, f"{count} flows to go by path {name}", 0.1)
