# SPDX-License-Identifier: Apache-2.0
"""Network namespaces and veth pairs, made and removed by tests (needs root)."""
import contextlib
import itertools
import os
import subprocess
import threading

_numbers = itertools.count()


def ip(*words, netns=None):
    prefix = ["ip", "-n", netns.name] if netns else ["ip"]
    subprocess.run(prefix + [str(w) for w in words], check=True, stdout=subprocess.DEVNULL)


def usable():
    """Whether namespaces can be made here."""
    if os.geteuid() != 0:
        return False
    probe = f"at{os.getpid()}probe"
    if subprocess.run(["ip", "netns", "add", probe], stderr=subprocess.DEVNULL,
                      check=False).returncode:
        return False
    subprocess.run(["ip", "netns", "del", probe], check=True)
    return True


class Netns:
    """One namespace with lo up."""

    def __init__(self, label):
        self.name = f"at{os.getpid()}-{next(_numbers)}-{label}"
        ip("netns", "add", self.name)
        self.prefix = ["ip", "netns", "exec", self.name]
        ip("link", "set", "lo", "up", netns=self)

    def run(self, *argv, check=True, stdin=None):
        """Runs a command inside; returns its output."""
        done = subprocess.run(self.prefix + [str(a) for a in argv], check=False, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, input=stdin)
        assert not check or done.returncode == 0, f"{argv}: {done.stdout}"
        return done.stdout

    def nstat(self, name):
        """A counter of the kernel since the namespace was made."""
        return int(self.run("nstat", "-asz", name).split()[-2])

    def nft(self, rules):
        """Loads rules in nft syntax."""
        self.run("nft", "-f", "-", stdin=rules)

    def address(self, device, *addresses):
        for address in addresses:
            extra = ["nodad"] if ":" in address else []
            ip("address", "add", address, "dev", device, *extra, netns=self)
        ip("link", "set", device, "up", netns=self)

    def route(self, prefix, via):
        ip("route", "replace", prefix, "via", via, netns=self)

    def mtu(self, device, size):
        ip("link", "set", device, "mtu", size, netns=self)

    @contextlib.contextmanager
    def inside(self):
        """The calling thread enters the namespace; sockets made meanwhile stay in it."""
        assert hasattr(os, "setns")
        with open("/proc/thread-self/ns/net", "rb") as old, \
                open(f"/run/netns/{self.name}", "rb") as new:
            os.setns(new.fileno(), os.CLONE_NEWNET)
            try:
                yield
            finally:
                os.setns(old.fileno(), os.CLONE_NEWNET)

    def thread(self, function, *args):
        """Runs function in a new thread that lives in the namespace."""
        def run():
            with self.inside():
                function(*args)
        started = threading.Thread(target=run, daemon=True)
        started.start()
        return started

    def delete(self):
        ip("netns", "del", self.name)


def veth(left, left_device, right, right_device, mtu=1500):
    """A cable between two namespaces."""
    ip("link", "add", left_device, "netns", left.name, "type", "veth", "peer", "name",
       right_device, "netns", right.name)
    for side, device in ((left, left_device), (right, right_device)):
        side.mtu(device, mtu)


class Net:
    """All namespaces of a test."""

    def __init__(self):
        self.all = []

    def add(self, label):
        made = Netns(label)
        self.all.append(made)
        return made

    def close(self):
        for namespace in reversed(self.all):
            namespace.delete()
        self.all = []
