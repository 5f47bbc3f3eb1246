# SPDX-License-Identifier: Apache-2.0
"""Many visitors at once, and an origin that holds their requests until all have come (asyncio)."""
import asyncio
import contextlib
import resource
import threading

from .wait import seconds


def allow_files(count):
    """Raises the soft limit of descriptors of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


class Gate:
    """An origin that answers nothing until `count` requests are there at the same time."""

    def __init__(self, count):
        self.count, self.waiting, self.most = count, 0, 0
        self.loop = asyncio.new_event_loop()
        self.all_there = asyncio.Event()
        self.started = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        self.started.wait(10)

    def _run(self):
        asyncio.set_event_loop(self.loop)
        server = self.loop.run_until_complete(
            asyncio.start_server(self._client, "127.0.0.1", 0, backlog=4096))
        self.port = server.sockets[0].getsockname()[1]
        self.started.set()
        self.loop.run_forever()

    @property
    def service(self):
        return f"http://127.0.0.1:{self.port}"

    async def _client(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.waiting += 1
                self.most = max(self.most, self.waiting)
                if self.waiting >= self.count:
                    self.all_there.set()
                await self.all_there.wait()
                self.waiting -= 1
                target = head.split(b" ", 2)[1]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                             % (len(target), target))
                await writer.drain()

    async def _end(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self):
        asyncio.run_coroutine_threadsafe(self._end(), self.loop).result(seconds(10))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


async def _visit(port, host, number):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /v{number} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.split(b" ")[1:2] == [b"200"] and body == f"/v{number}".encode()


def visit(port, host, count, timeout=60):
    """`count` visitors at the same time; how many of them got the right answer."""
    async def run():
        visits = [_visit(port, host, number) for number in range(count)]
        return await asyncio.wait_for(asyncio.gather(*visits, return_exceptions=True),
                                      seconds(timeout))
    return sum(result is True for result in asyncio.run(run()))
