# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 frames by hand (RFC 9113 §4, §6): made as asked, right or wrong, and cut out of bytes."""
import dataclasses

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE,
 CONTINUATION) = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 0x20
(HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE,
 MAX_HEADER_LIST_SIZE) = range(1, 7)
(NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED,
 FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM) = range(12)
KEPT = (DATA, HEADERS, CONTINUATION)    # frames whose payload a log of frames leaves out


def frame(kind, flags=0, number=0, payload=b"", length=None):
    """length: what the frame claims, if not the truth."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + payload


def data(number, payload=b"", fin=False):
    return frame(DATA, END_STREAM if fin else 0, number, payload)


def headers(number, block, fin=False, end=True):
    return frame(HEADERS, (END_STREAM if fin else 0) | (END_HEADERS if end else 0), number, block)


def whole_head(number, block, fin=False, size=16384):
    """A head in as many frames as it takes."""
    parts = [block[n:n + size] for n in range(0, len(block), size)] or [b""]
    return headers(number, parts[0], fin, len(parts) == 1) + b"".join(
        continuation(number, part, n == len(parts) - 2) for n, part in enumerate(parts[1:]))


def continuation(number, block, end=True):
    return frame(CONTINUATION, END_HEADERS if end else 0, number, block)


def reset(number, code=CANCEL):
    return frame(RST_STREAM, 0, number, code.to_bytes(4, "big"))


def window(number, increment):
    return frame(WINDOW_UPDATE, 0, number, increment.to_bytes(4, "big"))


def settings(*pairs, ack=False):
    payload = b"".join(k.to_bytes(2, "big") + v.to_bytes(4, "big") for k, v in pairs)
    return frame(SETTINGS, ACK if ack else 0, 0, payload)


def ping(payload=bytes(8), ack=False):
    return frame(PING, ACK if ack else 0, 0, payload)


def goaway(last=0, code=NO_ERROR, text=b""):
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + text)


@dataclasses.dataclass
class Frame:
    kind: int
    flags: int
    number: int
    payload: bytes

    @property
    def raw(self):
        return frame(self.kind, self.flags, self.number, self.payload)

    def word(self, at=0):
        return int.from_bytes(self.payload[at:at + 4], "big")

    @property
    def content(self):
        """Payload of DATA or HEADERS without padding and priority."""
        body = self.payload
        if self.flags & PADDED:
            body = body[1:len(body) - body[0]]
        return body[5:] if self.kind == HEADERS and self.flags & WITH_PRIORITY else body

    @property
    def settings(self):
        return [(int.from_bytes(self.payload[n:n + 2], "big"), self.word(n + 2))
                for n in range(0, len(self.payload), 6)]


class Cutter:
    """Cuts a stream of bytes into whole frames."""

    def __init__(self):
        self.pending = bytearray()

    def feed(self, some):
        self.pending += some
        found, at = [], 0
        while len(self.pending) - at >= 9:
            size = int.from_bytes(self.pending[at:at + 3], "big")
            if len(self.pending) - at < 9 + size:
                break
            number = int.from_bytes(self.pending[at + 5:at + 9], "big") & 0x7fffffff
            found.append(Frame(self.pending[at + 3], self.pending[at + 4], number,
                               bytes(self.pending[at + 9:at + 9 + size])))
            at += 9 + size
        del self.pending[:at]
        return found
