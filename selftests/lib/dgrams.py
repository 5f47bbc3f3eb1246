# SPDX-License-Identifier: Apache-2.0
"""What all ends in Python have in common that read a link's datagrams, whatever those mean to them."""
import collections

from .wait import until


class Reader:
    """Sorts what came on a link; `other` is what it makes nothing of."""

    def __init__(self, link):
        self.link, self.seen = link, 0
        self.other = []

    def sort(self, datagram):
        self.other.append(datagram)

    def read(self):
        fresh = self.link.datagrams[self.seen:]
        self.seen += len(fresh)
        for datagram in fresh:
            self.sort(datagram)

    def wait(self, condition, timeout=5, what="datagrams of the peer"):
        def look():
            self.read()
            return condition()
        return self.link.hub.wait(look, timeout, what)


class Carrier(Reader):
    """Payloads of flows or sessions by their ids; carry(id, payload) makes the datagram."""

    carry = None

    def __init__(self, link):
        super().__init__(link)
        self.payloads = {}      # id -> list of bytes
        self.owed = collections.Counter()   # (id, payload) -> echoes that may still come

    def send(self, *datagrams):
        self.link.send_datagrams(*datagrams)

    def wait_payload(self, flow, timeout=5):
        """The next payload of a flow, taken out."""
        self.wait(lambda: self.payloads.get(flow), timeout, "a payload")
        return self.payloads[flow].pop(0)

    def echo(self, flow, payload, timeout=5):
        """Sends a payload until it comes back: datagrams may be lost, and the path's size grows in
        the first moments of a link. The echo of what was sent again may come later."""
        def once():
            self.send(self.carry(flow, payload))
            self.owed[flow, payload] += 1
            got = None
            while got != payload:
                try:
                    got = self.wait_payload(flow, 0.5)
                except AssertionError:
                    return False
                self.owed[flow, got] -= 1
                assert self.owed[flow, got] >= 0, (len(got), len(payload))
            return True
        until(once, timeout, f"the echo of {len(payload)} bytes")
