# SPDX-License-Identifier: Apache-2.0
"""A UDP relay between a daemon and an edge: rebinds like a NAT, drops, counts.

    client --> (front socket) relay (one back socket per client) --> server
"""
import selectors
import socket
import threading


class Relay:
    def __init__(self, server, host="127.0.0.1", port=0):
        self.server = server                # (host, port)
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.front = self._socket()
        self.front.bind((host, port))
        self.port = self.front.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.backs = {}                     # client address -> socket
        self.clients = {}                   # socket -> client address
        self.deaf = []
        self.drop = lambda data, up: False  # a filter: True loses the packet
        self.up = self.down = self.rebinds = 0
        self.sizes = []                     # of packets that passed, both ways
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.front, selectors.EVENT_READ)
        self.wake, self.waker = socket.socketpair()
        self.selector.register(self.wake, selectors.EVENT_READ)
        self.running = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _socket(self):
        made = socket.socket(self.family, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        made.setblocking(False)
        return made

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def _back(self, client):
        if client not in self.backs:
            made = self._socket()
            made.connect(self.server)
            self.backs[client], self.clients[made] = made, client
            self.selector.register(made, selectors.EVENT_READ)
        return self.backs[client]

    def rebind(self):
        """Every client gets a new source port towards the server; the old one is deaf from now."""
        with self.lock:
            for client, old in list(self.backs.items()):
                self.selector.unregister(old)
                del self.backs[client], self.clients[old]
                self.deaf.append(old)   # open, or the kernel would answer for it by ICMP
                self._back(client)
                self.rebinds += 1

    def _run(self):
        while self.running:
            ready = self.selector.select()
            with self.lock:
                for key, _ in ready:
                    if key.fileobj is not self.wake:
                        self._drain(key.fileobj)

    def _drain(self, source):
        for _ in range(64):
            try:
                data, client = source.recvfrom(65536)
                is_up = source is self.front
                if self.drop(data, is_up):
                    continue
                self.sizes.append(len(data))
                if is_up:
                    self.up += 1
                    self._back(client).send(data)
                elif source in self.clients:
                    self.down += 1
                    self.front.sendto(data, self.clients[source])
            except BlockingIOError:
                return
            except (ConnectionRefusedError, OSError):
                return

    def close(self):
        self.running = False
        self.waker.send(b"x")
        self.thread.join(5)
        for made in [self.front, self.wake, self.waker, *self.clients, *self.deaf]:
            made.close()
        self.selector.close()
