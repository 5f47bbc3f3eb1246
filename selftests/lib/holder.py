# SPDX-License-Identifier: Apache-2.0
"""A steady load while something else happens: long streams that stay open, and short requests one
after the other (asyncio, each side on a thread of its own)."""
import asyncio
import contextlib
import threading

from .wait import seconds, until


class _Thread:
    """An event loop on a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def run(self, coroutine, timeout=30):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(seconds(timeout))

    async def _cancel(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self):
        self.run(self._cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


class Holder(_Thread):
    """An origin. /hold/N begins an answer and ends it when release() is called; everything else is
    answered with `name`, whatever the method and body."""

    BEGIN, END = b"begin\n", b"end\n"

    def __init__(self, name):
        super().__init__()
        self.name = name.encode()
        self.held, self.served = 0, 0
        self.released = asyncio.Event()
        self.server = self.run(asyncio.start_server(self._client, "127.0.0.1", 0, backlog=4096))
        self.port = self.server.sockets[0].getsockname()[1]

    @property
    def service(self):
        return f"http://127.0.0.1:{self.port}"

    def release(self):
        self.loop.call_soon_threadsafe(self.released.set)

    async def _client(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(_length(head))
                if head.split(b" ", 2)[1].startswith(b"/hold"):
                    await self._hold(writer)
                else:
                    self.served += 1
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                                 % (len(self.name), self.name))
                await writer.drain()
        writer.close()

    async def _hold(self, writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n"
                     % (len(self.BEGIN), self.BEGIN))
        await writer.drain()
        self.held += 1
        await self.released.wait()
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(self.END), self.END))


def _length(head):
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


class Visitors(_Thread):
    """Clients of an HTTP port. What goes wrong is collected in .faults."""

    def __init__(self, port, host):
        super().__init__()
        self.port, self.host = port, host
        self.faults, self.answers = [], {}
        self.requests = 0
        self.stopping = False
        self.long, self.short = [], []

    def _start(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    async def _connect(self):
        return await asyncio.open_connection("127.0.0.1", self.port)

    def _head(self, method, path, length=0):
        return (f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\n"
                f"Content-Length: {length}\r\n\r\n").encode()

    def hold(self, count):
        """Opens that many streams that stay open."""
        self.long += [self._start(self._hold(n)) for n in range(count)]

    async def _hold(self, number):
        reader, writer = await self._connect()
        writer.write(self._head("GET", f"/hold/{number}"))
        status, body = await _answer(reader)
        writer.close()
        return status, body

    def load(self, count, body=b"x" * 3000):
        """Starts that many visitors who send GET and POST in turn until stop()."""
        self.short += [self._start(self._visit(n, body)) for n in range(count)]

    async def _visit(self, number, body):
        reader, writer = await self._connect()
        while not self.stopping:
            self.requests += 1
            is_post = (number + self.requests) % 2
            writer.write(self._head("POST" if is_post else "GET", "/short",
                                    len(body) if is_post else 0) + (body if is_post else b""))
            try:
                status, answer = await _answer(reader)
            except (OSError, EOFError, ValueError) as error:
                self.faults.append(f"{type(error).__name__}: {error}")
                reader, writer = await self._connect()
                continue
            self.answers[answer] = self.answers.get(answer, 0) + 1
            if status != 200:
                self.faults.append(f"{status} {answer[:80]!r}")
        writer.close()

    def stop(self):
        """Ends the short ones and waits for them."""
        self.stopping = True
        for visitor in self.short:
            visitor.result(seconds(30))

    def wait_long(self, timeout=60):
        """(status, body) of each stream that was held, or the exception that it ended with."""
        until(lambda: all(v.done() for v in self.long), timeout, "the held streams' end")
        return [v.exception() or v.result() for v in self.long]


async def _answer(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ")[1])
    if b"transfer-encoding: chunked" not in head.lower():
        return status, await reader.readexactly(_length(head))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return status, body
