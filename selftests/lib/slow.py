# SPDX-License-Identifier: Apache-2.0
"""Slow peers in numbers (asyncio): an origin of endless answers that reads slowly, and visitors that
take little or give without end."""
import asyncio
import contextlib
import socket
import threading
import time

from .wait import seconds

LARGE = 1 << 30
BLOCK = bytes(64 * 1024)
SIP, PAUSE = 4096, 0.05  # how a slow peer reads: 80 kB/s
STILL = 0.3  # seconds without a byte: whoever gives is stuck


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def run(self, coroutine, timeout=30):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds(timeout))

    def close(self):
        async def end():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


def small_socket():
    """A TCP socket for which the kernel holds little."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SIP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SIP)
    return sock


async def sip(reader, progress):
    while data := await reader.read(SIP):
        progress[0] += len(data)
        await asyncio.sleep(PAUSE)


class SlowOrigin(Loop):
    """GET: 1 GiB as fast as it is taken; anything else: takes the body slowly, never answers."""

    def __init__(self):
        super().__init__()
        self.begun, self.taken = 0, [0]
        sock = small_socket()
        sock.bind(("127.0.0.1", 0))
        self.service = f"http://127.0.0.1:{sock.getsockname()[1]}"
        self.server = self.run(asyncio.start_server(self._client, sock=sock, backlog=4096,
                                                    limit=2 * SIP))

    async def _client(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.begun += 1
            if not head.startswith(b"GET "):
                await sip(reader, self.taken)
                return
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            for _ in range(LARGE // len(BLOCK)):
                writer.write(BLOCK)
                await writer.drain()


class StuckOrigin:
    """Accepts and never reads. On a Unix socket, of which the kernel holds some 200 KiB; of a TCP
    connection it would take MiBs."""

    def __init__(self, folder):
        self.sock, self.taken = socket.socket(socket.AF_UNIX), []
        self.sock.bind(str(folder / "stuck.sock"))
        self.sock.listen(1024)
        self.service = f"unix:{folder}/stuck.sock"
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                self.taken.append(self.sock.accept()[0])

    def close(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        for sock in (self.sock, *self.taken):
            sock.close()


class SlowVisitors(Loop):
    """`down` visitors that take a large answer slowly and `up` ones that send a body of `size`."""

    def __init__(self, port, host, down=0, up=0, size=LARGE, path="/"):
        super().__init__()
        self.port, self.host, self.size, self.path = port, host, size, path
        self.taken, self.given = [0], [0]
        self.moved_at = time.monotonic()  # when one of them could give something
        self.ended = []  # how visits ended, which none should
        # The loop itself keeps no task from being collected.
        self.visits = [asyncio.run_coroutine_threadsafe(self._visit(run), self.loop)
                       for run in down * [self._down] + up * [self._up]]

    def is_stuck(self):
        """Whether the visitors have given something, and nothing for a while."""
        return bool(self.given[0]) and time.monotonic() > self.moved_at + STILL

    async def _visit(self, run):
        try:
            sock = small_socket()
            sock.setblocking(False)
            await self.loop.sock_connect(sock, ("127.0.0.1", self.port))
            reader, writer = await asyncio.open_connection(sock=sock, limit=2 * SIP)
            await run(reader, writer)
            self.ended.append("end")
        except OSError as error:
            self.ended.append(repr(error))

    async def _down(self, reader, writer):
        writer.write(f"GET {self.path} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode())
        await sip(reader, self.taken)

    async def _up(self, reader, writer):
        writer.write(f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\n"
                     f"Content-Length: {self.size}\r\n\r\n".encode())
        for _ in range(self.size // len(BLOCK)):
            writer.write(BLOCK)
            await writer.drain()
            self.given[0] += len(BLOCK)
            self.moved_at = time.monotonic()
        await reader.read(1)
