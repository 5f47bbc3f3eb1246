# SPDX-License-Identifier: Apache-2.0
"""A small Cap'n Proto reader and writer, independent of daemon/wire.

It shares no line with the C code, so that an agreement of the two means something. Reading takes
any number of segments; writing makes one segment and appends each object in the order in which it
is created, which is what reproduces the recorded bytes (edge protocol, "Allocation order").
"""
import struct

MAX_SEGMENTS = 513
MAX_DEPTH = 64
MAX_BYTES = 64 << 20


class CapnpError(ValueError):
    """The bytes are no message that a reader has to accept."""


def frame_length(data):
    """Bytes of the first message in `data`, or None while its segment table is incomplete."""
    if len(data) < 4:
        return None
    count = struct.unpack_from("<I", data)[0] + 1
    if count > MAX_SEGMENTS:
        raise CapnpError(f"{count} segments")
    table = (4 + 4 * count + 7) & ~7
    if len(data) < table:
        return None
    words = sum(struct.unpack_from(f"<{count}I", data, 4))
    if table + 8 * words > MAX_BYTES:
        raise CapnpError("message too large")
    return table + 8 * words


def split(data):
    """Cuts complete messages off the front of a bytearray and returns them."""
    found = []
    while True:
        length = frame_length(data)
        if length is None or length > len(data):
            return found
        found.append(bytes(data[:length]))
        del data[:length]


class Message:
    """One received message: its segments and the budget that bounds reading it."""

    def __init__(self, data):
        length = frame_length(data)
        if length is None or length > len(data):
            raise CapnpError("cut short")
        count = struct.unpack_from("<I", data)[0] + 1
        at = (4 + 4 * count + 7) & ~7
        self.segments = []
        for words in struct.unpack_from(f"<{count}I", data, 4):
            self.segments.append(bytes(data[at:at + 8 * words]))
            at += 8 * words
        if not self.segments[0]:
            raise CapnpError("first segment is empty")
        self.budget = 8 * max(1, length // 8)

    def word(self, segment, index):
        if segment >= len(self.segments):
            raise CapnpError("no such segment")
        if index < 0 or 8 * index + 8 > len(self.segments[segment]):
            raise CapnpError("outside the segment")
        return struct.unpack_from("<Q", self.segments[segment], 8 * index)[0]

    def range(self, segment, index, words):
        """Checks that an object lies in its segment and charges it to the budget."""
        if index < 0 or words < 0 or 8 * (index + words) > len(self.segments[segment]):
            raise CapnpError("outside the segment")
        self.budget -= words + 1
        if self.budget < 0:
            raise CapnpError("traversal limit")
        return segment, index

    def follow(self, segment, index):
        """Resolves far pointers. Returns (segment, base word, pointer)."""
        pointer = self.word(segment, index)
        if pointer & 3 != 2:
            return segment, index + 1, pointer
        pad_segment, pad = pointer >> 32, (pointer >> 3) & 0x1FFFFFFF
        landing = self.word(pad_segment, pad)
        if not pointer & 4:
            if landing & 3 == 2:
                raise CapnpError("far pointer to a far pointer")
            return pad_segment, pad + 1, landing
        if landing & 7 != 2:
            raise CapnpError("bad landing pad")
        tag = self.word(pad_segment, pad + 1)
        if tag & 3 == 2 or (tag >> 2) & 0x3FFFFFFF:
            raise CapnpError("bad landing pad tag")
        target, base = landing >> 32, (landing >> 3) & 0x1FFFFFFF
        if target >= len(self.segments):
            raise CapnpError("no such segment")
        return target, base, tag

    def root(self):
        return read_struct(self, 0, 0, 0)


class Struct:
    """A struct as read. Fields outside of what was sent read as their default."""

    def __init__(self, message=None, segment=0, start=0, data_words=0, pointers=0, depth=0):
        self.message, self.segment, self.start = message, segment, start
        self.data_words, self.pointers, self.depth = data_words, pointers, depth

    def _number(self, code, size, at, default=0):
        if at + size > 8 * self.data_words:
            return default
        raw = self.message.segments[self.segment]
        return struct.unpack_from(code, raw, 8 * self.start + at)[0] ^ default

    def u8(self, at):
        return self._number("<B", 1, at)

    def u16(self, at):
        return self._number("<H", 2, at)

    def u32(self, at):
        return self._number("<I", 4, at)

    def u64(self, at):
        return self._number("<Q", 8, at)

    def i32(self, at):
        return self._number("<i", 4, at)

    def i64(self, at):
        return self._number("<q", 8, at)

    def bit(self, number, default=False):
        return bool(self.u8(number // 8) >> number % 8 & 1) ^ default

    def _slot(self, index):
        if index >= self.pointers:
            return None
        return self.start + self.data_words + index

    def is_null(self, index):
        slot = self._slot(index)
        return slot is None or self.message.word(self.segment, slot) == 0

    def struct(self, index):
        slot = self._slot(index)
        if slot is None:
            return Struct()
        return read_struct(self.message, self.segment, slot, self.depth + 1)

    def capability(self, index):
        """Index into the capability table, or None."""
        slot = self._slot(index)
        if slot is None:
            return None
        _, _, pointer = self.message.follow(self.segment, slot)
        return pointer >> 32 if pointer & 3 == 3 else None

    def data(self, index):
        """Bytes of a Data field; None when null."""
        slot = self._slot(index)
        return None if slot is None else read_bytes(self.message, self.segment, slot)

    def text(self, index):
        raw = self.data(index)
        if not raw or raw[-1]:
            return ""
        return raw[:-1].decode("utf-8", "surrogateescape")

    def structs(self, index):
        slot = self._slot(index)
        return [] if slot is None else read_structs(self.message, self.segment, slot, self.depth + 1)

    def texts(self, index):
        slot = self._slot(index)
        return [] if slot is None else read_texts(self.message, self.segment, slot)


def read_struct(message, segment, index, depth):
    if depth > MAX_DEPTH:
        raise CapnpError("nested too deep")
    segment, base, pointer = message.follow(segment, index)
    if pointer & 3 == 3 and pointer & 0xFFFFFFFC:
        raise CapnpError("unknown pointer kind")
    if pointer == 0 or pointer & 3:
        return Struct()
    offset = (pointer & 0xFFFFFFFF) >> 2
    offset -= (offset & 0x20000000) << 1
    data_words, pointers = pointer >> 32 & 0xFFFF, pointer >> 48
    message.range(segment, base + offset, data_words + pointers)
    return Struct(message, segment, base + offset, data_words, pointers, depth)


def read_list(message, segment, index):
    """(segment, first word, element kind, count), or None for null and foreign pointers."""
    segment, base, pointer = message.follow(segment, index)
    if pointer & 3 == 3 and pointer & 0xFFFFFFFC:
        raise CapnpError("unknown pointer kind")
    if pointer == 0 or pointer & 3 != 1:
        return None
    offset = (pointer & 0xFFFFFFFF) >> 2
    offset -= (offset & 0x20000000) << 1
    kind, count = pointer >> 32 & 7, pointer >> 35
    bits = (0, 1, 8, 16, 32, 64, 64, 64)[kind] * count
    words = (bits + 63) // 64 + (kind == 7)
    message.range(segment, base + offset, words)
    return segment, base + offset, kind, count


def read_bytes(message, segment, index):
    found = read_list(message, segment, index)
    if found is None or found[2] != 2:
        return None
    segment, start, _, count = found
    return message.segments[segment][8 * start:8 * start + count]


def read_structs(message, segment, index, depth):
    found = read_list(message, segment, index)
    if found is None:
        return []
    segment, start, kind, words = found
    if kind != 7:
        raise CapnpError("list of structs expected")
    tag = message.word(segment, start)
    if tag & 3:
        raise CapnpError("composite tag is no struct pointer")
    count, data_words, pointers = (tag & 0xFFFFFFFF) >> 2, tag >> 32 & 0xFFFF, tag >> 48
    size = data_words + pointers
    if count * size > words:
        raise CapnpError("more elements than words")
    message.budget -= count
    if message.budget < 0 or depth > MAX_DEPTH:
        raise CapnpError("traversal limit")
    return [Struct(message, segment, start + 1 + n * size, data_words, pointers, depth)
            for n in range(count)]


def read_texts(message, segment, index):
    found = read_list(message, segment, index)
    if found is None:
        return []
    segment, start, kind, count = found
    if kind != 6:
        raise CapnpError("list of pointers expected")
    texts = []
    for n in range(count):
        raw = read_bytes(message, segment, start + n)
        texts.append(raw[:-1].decode("utf-8", "surrogateescape") if raw and not raw[-1] else "")
    return texts


class Builder:
    """One segment that grows by words; pointers are written when their target is created."""

    def __init__(self):
        self.segment = bytearray(8)

    def alloc(self, words):
        at = len(self.segment) // 8
        self.segment += bytes(8 * words)
        return at

    def put(self, word, value):
        struct.pack_into("<Q", self.segment, 8 * word, value)

    def root(self, data_words, pointers):
        return self.struct_at(0, data_words, pointers)

    def struct_at(self, slot, data_words, pointers):
        if data_words + pointers == 0:
            self.put(slot, 0xFFFFFFFC)
            return StructBuilder(self, slot, 0, 0)
        at = self.alloc(data_words + pointers)
        self.put(slot, (at - slot - 1) << 2 | data_words << 32 | pointers << 48)
        return StructBuilder(self, at, data_words, pointers)

    def bytes_at(self, slot, raw):
        at = self.alloc((len(raw) + 7) // 8)
        self.segment[8 * at:8 * at + len(raw)] = raw
        self.put(slot, (at - slot - 1) << 2 | 1 | 2 << 32 | len(raw) << 35)

    def finish(self):
        return struct.pack("<II", 0, len(self.segment) // 8) + bytes(self.segment)


class StructBuilder:
    def __init__(self, builder, start, data_words, pointers):
        self.builder, self.start = builder, start
        self.data_words, self.pointers = data_words, pointers

    def _number(self, code, at, value):
        assert at + struct.calcsize(code) <= 8 * self.data_words
        struct.pack_into(code, self.builder.segment, 8 * self.start + at, value)

    def u8(self, at, value):
        self._number("<B", at, value)

    def u16(self, at, value):
        self._number("<H", at, value)

    def u32(self, at, value):
        self._number("<I", at, value)

    def u64(self, at, value):
        self._number("<Q", at, value)

    def i32(self, at, value):
        self._number("<i", at, value)

    def i64(self, at, value):
        self._number("<q", at, value)

    def bit(self, number, value):
        at = 8 * self.start + number // 8
        mask = 1 << number % 8
        old = self.builder.segment[at]
        self.builder.segment[at] = old | mask if value else old & ~mask

    def slot(self, index):
        assert index < self.pointers
        return self.start + self.data_words + index

    def struct(self, index, data_words, pointers):
        return self.builder.struct_at(self.slot(index), data_words, pointers)

    def text(self, index, value):
        """Empty text is a null pointer, as the reference sends it."""
        if value:
            self.builder.bytes_at(self.slot(index),
                                  value.encode("utf-8", "surrogateescape") + b"\0")

    def data(self, index, value):
        """None is a null pointer; empty bytes are a list of no elements."""
        if value is not None:
            self.builder.bytes_at(self.slot(index), value)

    def capability(self, index, number):
        self.builder.put(self.slot(index), 3 | number << 32)

    def structs(self, index, count, data_words, pointers):
        slot, size = self.slot(index), data_words + pointers
        at = self.builder.alloc(1 + count * size)
        self.builder.put(slot, (at - slot - 1) << 2 | 1 | 7 << 32 | (count * size) << 35)
        self.builder.put(at, count << 2 | data_words << 32 | pointers << 48)
        return [StructBuilder(self.builder, at + 1 + n * size, data_words, pointers)
                for n in range(count)]

    def texts(self, index, values):
        slot = self.slot(index)
        at = self.builder.alloc(len(values))
        self.builder.put(slot, (at - slot - 1) << 2 | 1 | 6 << 32 | len(values) << 35)
        for n, value in enumerate(values):
            if value:
                self.builder.bytes_at(at + n, value.encode("utf-8", "surrogateescape") + b"\0")
