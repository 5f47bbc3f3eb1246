# SPDX-License-Identifier: Apache-2.0
"""WebSocket and TCP echoes and their clients at little cost (asyncio, frames made by hand)."""
import asyncio
import base64
import contextlib
import hashlib
import threading
import time

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
PAYLOAD = b"p" * 64
PING = b"\x81\xc0\x00\x00\x00\x00" + PAYLOAD  # text, masked with zeros
PONG = b"\x81\x40" + PAYLOAD


def accept_key(key):
    return base64.b64encode(hashlib.sha1(key + GUID).digest())


class Echo:
    """Speaks WebSocket to who asks for an upgrade (frames like PING only), echoes raw bytes else."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        server = asyncio.start_server(self._client, "127.0.0.1", 0, backlog=4096)
        self.server = asyncio.run_coroutine_threadsafe(server, self.loop).result(10)
        self.port = self.server.sockets[0].getsockname()[1]
        self.service = f"http://127.0.0.1:{self.port}"

    async def _client(self, reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first = await reader.readexactly(4)
            if first == b"GET ":
                await self._websocket(reader, writer)
                return
            writer.write(first)
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _websocket(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        key = next(v for n, v in fields.items() if n.lower() == b"sec-websocket-key")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept_key(key)
                     + b"\r\n\r\n")
        while True:
            await reader.readexactly(len(PING))
            writer.write(PONG)

    def close(self):
        async def end():
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)


async def open_websocket(port, host):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                 f"Sec-WebSocket-Key: {KEY.decode()}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return reader, writer


async def _exchange(reader, writer, ping, size, end):
    count = 0
    while time.monotonic() < end:
        writer.write(ping)
        await reader.readexactly(size)
        count += 1
    writer.close()
    return count


def ping_websocket(port, host, clients, seconds):
    """Messages answered in so many seconds."""
    async def main():
        opened = await asyncio.gather(*(open_websocket(port, host) for _ in range(clients)))
        end = time.monotonic() + seconds
        return sum(await asyncio.gather(*(_exchange(*o, PING, len(PONG), end) for o in opened)))
    return asyncio.run(main())


def ping_tcp(port, clients, seconds):
    async def main():
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
        end = time.monotonic() + seconds
        return sum(await asyncio.gather(*(_exchange(*o, PAYLOAD, len(PAYLOAD), end)
                                          for o in opened)))
    return asyncio.run(main())


@contextlib.contextmanager
def hold_websockets(port, host, count):
    """That many upgraded and idle connections."""
    loop = asyncio.new_event_loop()

    async def main():
        held = []
        for _ in range(0, count, 100):
            held += await asyncio.gather(*(open_websocket(port, host) for _ in range(100)))
        return held

    async def end(held):
        for _, writer in held:
            writer.close()
        await asyncio.sleep(0)
    held = loop.run_until_complete(main())
    try:
        yield
    finally:
        loop.run_until_complete(end(held))
        loop.close()
