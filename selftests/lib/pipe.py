# SPDX-License-Identifier: Apache-2.0
"""The whole pipe on loopback: visitor -> adit-edge -> tunnel -> aditd -> origin."""
import contextlib

from .adit import DOMAIN, Daemon, Edge
from .origin import Origin
from .proc import Processes


class Pipe:
    """One edge, one daemon, one origin `a`; more rules may be given. close() ends everything."""

    def __init__(self, folder, rules=(), edge=None, daemon=None, connections=2):
        self.processes = Processes(folder)
        self.closing = contextlib.ExitStack()
        self.closing.callback(self.processes.close)
        try:
            self.origin = self.closing.enter_context(Origin("a"))
            self.edge = Edge(self.processes, folder, **(edge or {}))
            self.edge.start()
            every = [(f"a.{DOMAIN}", self.origin.service), *rules]
            self.daemon = Daemon(self.processes, folder, token_file=self.edge.token_file,
                                 rules=every, connections=connections, **(daemon or {}))
            self.daemon.serve()
        except BaseException:
            self.closing.close()
            raise

    def fetch(self, *arguments, **options):
        return self.edge.fetch(*arguments, **options)

    def close(self):
        self.closing.close()
