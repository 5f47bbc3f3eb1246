# SPDX-License-Identifier: Apache-2.0
"""A steady stream of numbered requests over kept-alive connections, and the origin that answers them.

Both write down what they saw: the client when each request began and how it ended, the origin which
numbers it was asked for.
"""
import asyncio
import contextlib
import dataclasses
import re
import threading
import time

from .wait import seconds

BODY = b"x" * 64


async def _message(reader):
    """(first line, headers by name, body) of a message with Content-Length, None at the end."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    first, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return first, headers, body


class CountingOrigin:
    """Answers every request with its X-Number, after `delay` seconds."""

    def __init__(self, delay=0.005):
        self.delay = delay
        self.seen = []              # (method, number), as they came
        self.loop = asyncio.new_event_loop()
        self.server = self.loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024))
        self.port = self.server.sockets[0].getsockname()[1]
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    @property
    def service(self):
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while message := await _message(reader):
                number = int(message[1]["x-number"])
                self.seen.append((message[0].split(" ")[0], number))
                await asyncio.sleep(self.delay)
                text = b"%d" % number
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
                             % (len(text), text))
                await writer.drain()
        writer.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        async def end():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(seconds(10))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(seconds(5))


@dataclasses.dataclass
class Asked:
    """One request of the client's log. Times are of the monotonic clock."""
    number: int
    method: str
    began: float
    ended: float = 0.0
    outcome: str = ""       # "200", another status with its Adit-Error, or an exception

    @property
    def failed(self):
        return self.outcome != "200"

    @property
    def is_truthful(self):
        """Answered, or refused with a status and its reason; not cut off."""
        return re.fullmatch(r"200|50[234] [a-z-]+", self.outcome) is not None


class Client:
    """GETs and POSTs in turn, `rate` a second in all, for `duration` seconds.

    fresh: each on a connection of its own, so that every worker of the edge gets some.
    """

    def __init__(self, port, host, rate, duration, address="127.0.0.1", fresh=False):
        self.port, self.host, self.rate, self.duration = port, host, rate, duration
        self.address = address
        self.fresh = fresh
        self.ends = False           # set it, from any thread, to end before the time
        self.log = []
        self.idle = []

    async def _connect(self):
        return await asyncio.open_connection(self.address, self.port)

    def _take_idle(self):
        """An idle connection that the server hasn't closed meanwhile, or None."""
        while self.idle:
            reader, writer = self.idle.pop()
            if not reader.at_eof() and not reader.exception():
                return reader, writer
            writer.close()
        return None

    async def _exchange(self, asked, fresh=False):
        """fresh: on a connection of its own."""
        kept = None if fresh else self._take_idle()
        reader, writer = kept or await self._connect()
        body = BODY if asked.method == "POST" else b""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        writer.write(f"{asked.method} /{asked.number} HTTP/1.1\r\nHost: {self.host}\r\n"
                     f"X-Number: {asked.number}\r\n{length}\r\n".encode() + body)
        try:
            first, headers, body = await _message(reader) or ("", {}, b"")
        except BaseException:
            writer.close()
            raise
        status = first.split(" ")[1] if first else "closed"
        if headers.get("connection") == "close" or not first or fresh:
            writer.close()
        else:
            self.idle.append((reader, writer))
        if status == "200" and body != b"%d" % asked.number:
            return f"wrong answer {body!r}"
        return " ".join([status, *filter(None, [headers.get("adit-error")])])

    async def _ask(self, asked, patience):
        try:
            asked.outcome = await asyncio.wait_for(self._exchange(asked, self.fresh), patience)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            asked.outcome = repr(error)
        asked.ended = time.monotonic()

    async def _run(self, events, patience):
        loop = asyncio.get_running_loop()
        for after, function in events:
            loop.call_later(after, function)
        started, tasks = time.monotonic(), []
        count = int(self.rate * self.duration)
        for number in range(count):
            await asyncio.sleep(max(0, started + number / self.rate - time.monotonic()))
            if self.ends:
                break
            asked = Asked(number, "POST" if number % 2 else "GET", time.monotonic())
            self.log.append(asked)
            tasks.append(asyncio.create_task(self._ask(asked, patience)))
        await asyncio.gather(*tasks)
        for _, writer in self.idle:
            writer.close()

    def run(self, events=(), patience=30):
        """events: (seconds after the start, function). Returns the log when all have ended."""
        asyncio.run(self._run(events, seconds(patience)))
        return self.log


class Failover(Client):
    """A client as a balancer is one: it goes to the first of the ports where somebody listens, and asks
    again, once, what a kept connection that was closed meanwhile didn't answer."""

    def __init__(self, ports, *words, **options):
        super().__init__(ports[0], *words, **options)
        self.ports = ports

    async def _connect(self):
        for port in self.ports[:-1]:
            with contextlib.suppress(ConnectionError):
                return await asyncio.open_connection(self.address, port)
        return await asyncio.open_connection(self.address, self.ports[-1])

    async def _exchange(self, asked, fresh=False):
        if asked.method == "POST" or not self.idle:     # a POST may not be sent twice
            return await super()._exchange(asked, asked.method == "POST")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            outcome = await super()._exchange(asked)
            if outcome != "closed":
                return outcome
        return await super()._exchange(asked, True)
