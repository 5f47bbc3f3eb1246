# SPDX-License-Identifier: Apache-2.0
"""What no honest HTTP/2 peer sends, for tests of both ends; links are h2peer's."""
from . import h2frames as fr
from .wait import until

BATCH = 1 << 16         # bytes that go out before the next look at how the other end takes it
OVERFLOW = (1 << 31) - 1


def drain(link, timeout=20):
    """Waits until the socket has taken what was sent; False when the link is over."""
    until(lambda: link.closed or not link.transport.get_write_buffer_size(), timeout,
          "bytes taken", 0.001)
    return link.closed is None


def flood(link, parts, stop=lambda: False):
    """Sends bytes one after the other, as fast as they are taken, to the end of parts or of the link.
    Returns how many parts went out."""
    count, batch = 0, bytearray()
    for part in parts:
        batch += part
        count += 1
        if len(batch) >= BATCH:
            link.raw(batch)
            batch.clear()
            if not drain(link) or stop():
                return count
    if link.closed is None:
        link.raw(batch)
        drain(link)
    return count


def continuations(link, number, fields, count, size):
    """A head that never ends: count CONTINUATION frames of size bytes each."""
    block = link.block(fields)
    yield fr.headers(number, block, True, False)
    # An indexed field again and again (0x82 is :method GET): any length is well formed.
    for _ in range(count):
        yield fr.continuation(number, b"\x82" * size, False)


def opened_and_reset(link, fields, first, count, code=fr.CANCEL):
    """Streams that are reset as soon as they are there."""
    blocks = [link.block(fields), link.block(fields)]   # the second one is all from the table
    for n in range(count):
        number = first + 2 * n
        yield fr.headers(number, blocks[min(n, 1)], True) + fr.reset(number, code)


def next_number(link):
    """A stream number that the link's client has not used yet."""
    used = [n for n in link.streams if n & 1]
    return max(used, default=-1) + 2


# Bytes that break a rule of the connection, and the codes that may be told for it. The names of the
# frames' flaws are those of RFC 9113.
VIOLATIONS = {
    "DATA on no stream": (fr.data(0, b"x"), {fr.PROTOCOL_ERROR}),
    "PING of 7 bytes": (fr.ping(bytes(7)), {fr.FRAME_SIZE_ERROR}),
    "PING on a stream": (fr.frame(fr.PING, 0, 1, bytes(8)), {fr.PROTOCOL_ERROR}),
    "SETTINGS of 5 bytes": (fr.frame(fr.SETTINGS, 0, 0, bytes(5)), {fr.FRAME_SIZE_ERROR}),
    "SETTINGS on a stream": (fr.frame(fr.SETTINGS, 0, 1, b""), {fr.PROTOCOL_ERROR}),
    "a window of 2^31": (fr.settings((fr.INITIAL_WINDOW_SIZE, 1 << 31)), {fr.FLOW_CONTROL_ERROR}),
    "frames of 100 bytes": (fr.settings((fr.MAX_FRAME_SIZE, 100)), {fr.PROTOCOL_ERROR}),
    "RST_STREAM of 3 bytes": (fr.frame(fr.RST_STREAM, 0, 1, bytes(3)), {fr.FRAME_SIZE_ERROR}),
    "RST_STREAM on no stream": (fr.reset(0), {fr.PROTOCOL_ERROR}),
    "RST_STREAM of an idle stream": (fr.reset(0x7ffffff1), {fr.PROTOCOL_ERROR}),
    "a window grown by nothing": (fr.window(0, 0), {fr.PROTOCOL_ERROR}),
    "a window too large": (fr.window(0, OVERFLOW) * 2, {fr.FLOW_CONTROL_ERROR}),
    "CONTINUATION of nothing": (fr.continuation(1, b"\x82"), {fr.PROTOCOL_ERROR}),
    "a frame too long": (fr.frame(fr.DATA, 0, 1, bytes(64), 0xffffff), {fr.FRAME_SIZE_ERROR}),
    "GOAWAY on a stream": (fr.frame(fr.GOAWAY, 0, 1, bytes(8)), {fr.PROTOCOL_ERROR}),
    "no HTTP/2 at all": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" + bytes(100),
                         {fr.FRAME_SIZE_ERROR, fr.PROTOCOL_ERROR, fr.ENHANCE_YOUR_CALM}),
}

# Frames that cost their sender nothing, each repeated; what a flood of it is told.
CHEAP = {
    "PING": fr.ping(), "SETTINGS": fr.settings(), "SETTINGS that change": fr.settings(
        (fr.INITIAL_WINDOW_SIZE, 65535)), "empty SETTINGS": fr.settings((fr.HEADER_TABLE_SIZE, 4096)),
}
