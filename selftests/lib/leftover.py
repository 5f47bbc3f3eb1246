# SPDX-License-Identifier: Apache-2.0
"""What a program leaves in the kernel that is killed in the middle of whatever it does. Needs root."""
import json
import pathlib
import re
import signal
import subprocess

from .wait import until

KINDS = ("prog", "map", "link")
COMMANDS = (("ip", "rule"), ("ip", "-6", "rule"), ("ip", "route", "show", "table", "all"),
            ("ip", "-6", "route", "show", "table", "all"), ("ip", "-o", "link"),
            ("nft", "list", "ruleset"))


def network(run):
    """Rules, routes, links and nftables of a network in which run(word, …) executes commands; without
    the kernel's own addresses of links, which come a second after them."""
    return {command: sorted(line for line in run(*command).splitlines() if "fe80::" not in line)
            for command in COMMANDS}


def mentioning(run, *words):
    """Lines of that with one of the words, each once."""
    return sorted({line for lines in network(run).values() for line in lines if any(w in line for w in words)})


def until_as(before, run):
    """Waits until the network is as it was."""
    def differences():
        return [(command, sorted(set(lines) ^ set(before[command])))
                for command, lines in network(run).items() if lines != before[command]]
    try:
        until(lambda: not differences(), 5, "the network as it was")
    except AssertionError as error:
        raise AssertionError(f"{error}: {differences()}") from None


def bpf_objects(pid):
    """{(kind, id)} that the process has descriptors of."""
    found = set()
    for path in pathlib.Path(f"/proc/{pid}/fdinfo").iterdir():
        found.update(re.findall(rf"^({'|'.join(KINDS)})_id:\s+(\d+)", path.read_text(), re.MULTILINE))
    return {(kind, int(number)) for kind, number in found}


def kill(process):
    """SIGKILL; what the process had of BPF in that moment."""
    process.signal(signal.SIGSTOP)
    until(process.is_stopped, 5, "a process that stands still")
    had = bpf_objects(process.pid)
    process.kill()
    return had


def still_there(objects):
    """Those of the BPF objects that the kernel has."""
    found = set()
    for kind in KINDS:
        done = subprocess.run(["bpftool", "-j", kind, "show"], check=True, stdout=subprocess.PIPE)
        found |= {(kind, row["id"]) for row in json.loads(done.stdout)}
    return objects & found
