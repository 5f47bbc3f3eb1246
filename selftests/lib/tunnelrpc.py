# SPDX-License-Identifier: Apache-2.0
"""The tunnel protocol's messages over lib/capnp: stream heads, RPC frames, structs of each method.

Sections in comments are those of the edge protocol specification (docs/protocol.md).
"""
import base64
import dataclasses
import json

from . import capnp

DATA_SIGNATURE = bytes.fromhex("0a36cd12a13e")
RPC_SIGNATURE = bytes.fromhex("52bb825cdb65")
DATA_PREAMBLE = DATA_SIGNATURE + b"01"

HTTP, WEBSOCKET, TCP = 0, 1, 2

REGISTRATION = 0xF71695EC7FE85497
SESSIONS = 0x839445A59FB01686
CONFIGURATION = 0xB48EDFBDAA25DB04

KINDS = {0: "unimplemented", 1: "abort", 2: "call", 3: "return", 4: "finish", 5: "resolve",
         6: "release", 8: "bootstrap", 13: "disembargo"}
RETURNS = ("results", "exception", "canceled", "resultsSentElsewhere", "takeFromOtherQuestion",
           "acceptFromThirdParty")


# ---- data streams (section 10) --------------------------------------------------------------

def _metadata(holder, index, entries):
    if entries is None:
        return
    items = holder.structs(index, len(entries), 0, 2)
    for item, (key, value) in zip(items, entries):
        item.text(0, key)
        item.text(1, value)


def _entries(holder, index):
    return [(item.text(0), item.text(1)) for item in holder.structs(index)]


def connect_request(kind, dest, metadata=None):
    """ConnectRequest with its preamble. metadata: list of (key, value), None for a null list."""
    builder = capnp.Builder()
    root = builder.root(1, 2)
    root.u16(0, kind)
    root.text(0, dest)
    _metadata(root, 1, metadata)
    return DATA_PREAMBLE + builder.finish()


def connect_response(error="", metadata=None):
    builder = capnp.Builder()
    root = builder.root(0, 2)
    root.text(0, error)
    _metadata(root, 1, metadata)
    return DATA_PREAMBLE + builder.finish()


def http_request(method, host, path, headers=(), kind=HTTP, more=()):
    """The ConnectRequest of one HTTP request, in the order in which the reference's edge lists it."""
    entries = [("HttpMethod", method), ("HttpHost", host)]
    entries += [*more, *((f"HttpHeader:{name}", value) for name, value in headers)]
    return connect_request(kind, path, entries)


def http_response(status, headers=()):
    entries = [("HttpStatus", str(status))]
    return connect_response("", entries + [(f"HttpHeader:{n}", v) for n, v in headers])


def read_connect_request(message):
    """Message without preamble -> (kind, dest, metadata)."""
    root = capnp.Message(message).root()
    return root.u16(0), root.text(0), _entries(root, 1)


def read_connect_response(message):
    """Message without preamble -> (error, metadata)."""
    root = capnp.Message(message).root()
    return root.text(0), _entries(root, 1)


# ---- RPC frames (section 6) -----------------------------------------------------------------

def _frame(tag):
    builder = capnp.Builder()
    root = builder.root(1, 1)
    root.u16(0, tag)
    return builder, root


def bootstrap(question):
    builder, root = _frame(8)
    root.struct(0, 1, 1).u32(0, question)
    return builder.finish()


def call(question, interface, method, params, target=None, null_transform=False):
    """target: None = the promised answer of question 0, else an imported capability.

    params: function(payload) that creates the parameter struct in pointer 0 of the Payload.
    """
    builder, root = _frame(2)
    frame = root.struct(0, 3, 3)
    frame.u32(0, question)
    frame.u16(4, method)
    frame.u64(8, interface)
    holder = frame.struct(0, 1, 1)
    if target is None:
        holder.u16(4, 1)
        promised = holder.struct(0, 1, 1)
        promised.u32(0, 0)
        if not null_transform:
            promised.structs(0, 0, 1, 0)
    else:
        holder.u32(0, target)
    payload = frame.struct(1, 0, 2)
    params(payload)
    payload.structs(1, 0, 1, 1)
    return builder.finish()


def _return(answer, tag):
    builder, root = _frame(3)
    frame = root.struct(0, 2, 1)
    frame.u32(0, answer)
    frame.u8(4, 1)
    frame.u16(6, tag)
    return builder, frame


def return_bootstrap(answer, export=0):
    builder, frame = _return(answer, 0)
    payload = frame.struct(0, 0, 2)
    payload.capability(0, 0)
    entry = payload.structs(1, 1, 1, 1)[0]
    entry.u16(0, 1)
    entry.u32(4, export)
    return builder.finish()


def return_results(answer, results):
    """results: function(payload), as for call()."""
    builder, frame = _return(answer, 0)
    payload = frame.struct(0, 0, 2)
    results(payload)
    payload.structs(1, 0, 1, 1)
    return builder.finish()


def return_exception(answer, reason, kind=0):
    builder, frame = _return(answer, 1)
    holder = frame.struct(0, 1, 1)
    holder.u16(4, kind)
    holder.text(0, reason)
    return builder.finish()


def finish(question, release_caps=False):
    builder, root = _frame(4)
    frame = root.struct(0, 1, 0)
    frame.u32(0, question)
    frame.bit(32, not release_caps)
    return builder.finish()


def release(export, count=1):
    builder, root = _frame(6)
    frame = root.struct(0, 1, 0)
    frame.u32(0, export)
    frame.u32(4, count)
    return builder.finish()


def abort(reason="rpc: shutdown", kind=0):
    builder, root = _frame(1)
    holder = root.struct(0, 1, 1)
    holder.u16(4, kind)
    holder.text(0, reason)
    return builder.finish()


@dataclasses.dataclass
class Frame:
    """One RPC message as read; only the members of its kind are set."""
    which: str
    tag: int
    question: int = 0          # question or answer id
    interface: int = 0
    method: int = 0
    target: object = None      # ("imported", id) or ("promised", question id)
    params: capnp.Struct = None
    outcome: str = ""          # of a return
    results: capnp.Struct = None
    exports: list = dataclasses.field(default_factory=list)
    reason: str = ""
    count: int = 0
    flag: bool = False         # releaseParamCaps or releaseResultCaps
    raw: bytes = b""


def _target(call_frame):
    holder = call_frame.struct(0)
    if holder.u16(4) == 0:
        return "imported", holder.u32(0)
    if holder.u16(4) == 1:
        return "promised", holder.struct(0).u32(0)
    return "unknown", holder.u16(4)


def _read_return(frame, body):
    frame.question, frame.flag = body.u32(0), body.bit(32, True)
    tag = body.u16(6)
    frame.outcome = RETURNS[tag] if tag < len(RETURNS) else f"unknown {tag}"
    if tag == 1:
        frame.reason = body.struct(0).text(0)
    if tag == 0:
        payload = body.struct(0)
        frame.exports = [(entry.u16(0), entry.u32(4)) for entry in payload.structs(1)]
        frame.results = payload.struct(0)


def read_frame(message):
    root = capnp.Message(message).root()
    tag, body = root.u16(0), root.struct(0)
    frame = Frame(KINDS.get(tag, "unknown"), tag, raw=message)
    if tag == 2:
        frame.question, frame.interface, frame.method = body.u32(0), body.u64(8), body.u16(4)
        frame.target, frame.params = _target(body), body.struct(1).struct(0)
    elif tag == 3:
        _read_return(frame, body)
    elif tag == 4:
        frame.question, frame.flag = body.u32(0), body.bit(32, True)
    elif tag == 6:
        frame.question, frame.count = body.u32(0), body.u32(4)
    elif tag == 8:
        frame.question = body.u32(0)
    elif tag == 1:
        frame.reason = body.text(0)
    return frame


# ---- registration (sections 5.2, 7) ---------------------------------------------------------

@dataclasses.dataclass
class Registration:
    """Parameters of registerConnection."""
    account: str = ""
    secret: bytes = b""
    tunnel: bytes = b""
    index: int = 0
    client_id: bytes = b""
    features: list = dataclasses.field(default_factory=list)
    version: str = ""
    arch: str = ""
    origin_ip: bytes = b""
    replace_existing: bool = False
    compression: int = 0
    attempts: int = 0

    def params(self, payload):
        """Creates the parameter struct, fields in the reference's order."""
        root = payload.struct(0, 1, 3)
        auth = root.struct(0, 0, 2)
        auth.text(0, self.account)
        auth.data(1, self.secret)
        root.data(1, self.tunnel)
        root.u8(0, self.index)
        options = root.struct(2, 1, 2)
        options.bit(0, self.replace_existing)
        options.u8(1, self.compression)
        options.u8(2, self.attempts)
        client = options.struct(0, 0, 4)
        client.data(0, self.client_id or None)
        if self.features:
            client.texts(1, self.features)
        client.text(2, self.version)
        client.text(3, self.arch)
        options.data(1, self.origin_ip or None)

    @classmethod
    def read(cls, root):
        auth, options = root.struct(0), root.struct(2)
        client = options.struct(0)
        return cls(auth.text(0), auth.data(1) or b"", root.data(1) or b"", root.u8(0),
                   client.data(0) or b"", client.texts(1), client.text(2), client.text(3),
                   options.data(1) or b"", options.bit(0), options.u8(1), options.u8(2))


@dataclasses.dataclass
class Accepted:
    uuid: bytes
    location: str = "test"
    remotely_managed: bool = False

    def results(self, payload):
        response = payload.struct(0, 0, 1).struct(0, 1, 1)
        response.u16(0, 1)
        details = response.struct(0, 1, 2)
        details.bit(0, self.remotely_managed)
        details.data(0, self.uuid)
        details.text(1, self.location)


@dataclasses.dataclass
class Refused:
    cause: str
    should_retry: bool = False
    retry_after_ns: int = 0

    def results(self, payload):
        response = payload.struct(0, 0, 1).struct(0, 1, 1)
        error = response.struct(0, 2, 1)
        error.i64(0, self.retry_after_ns)
        error.bit(64, self.should_retry)
        error.text(0, self.cause)


def read_connection_response(root):
    """Results of registerConnection -> Accepted or Refused."""
    response = root.struct(0)
    body = response.struct(0)
    if response.u16(0) == 1:
        return Accepted(body.data(0) or b"", body.text(1), body.bit(0))
    return Refused(body.text(0), body.bit(64), body.i64(0))


def empty(payload):
    """A parameter or result struct without fields."""
    payload.struct(0, 0, 0)


def local_configuration(config):
    return lambda payload: payload.struct(0, 0, 1).data(0, config)


# ---- sessions and pushed configuration (sections 5.3, 8) ------------------------------------

def register_udp_session(session, address, port, idle_ns=0, trace=""):
    def params(payload):
        root = payload.struct(0, 2, 3)
        root.data(0, session)
        root.data(1, address)
        root.u16(0, port)
        root.i64(8, idle_ns)
        root.text(2, trace)
    return params


def unregister_udp_session(session, message):
    def params(payload):
        root = payload.struct(0, 0, 2)
        root.data(0, session)
        root.text(1, message)
    return params


def update_configuration(version, config):
    def params(payload):
        root = payload.struct(0, 1, 1)
        root.i32(0, version)
        root.data(0, config)
    return params


def update_configuration_response(version, error=""):
    def results(payload):
        body = payload.struct(0, 0, 1).struct(0, 1, 1)
        body.i32(0, version)
        body.text(0, error)
    return results


def udp_session_response(error="", spans=None):
    def results(payload):
        body = payload.struct(0, 0, 1).struct(0, 0, 2)
        body.text(0, error)
        body.data(1, spans)
    return results


# ---- framed bodies between our own ends ("AditFrames") ---------------------------------------

DATA, TRAILERS, ABORT = 0, 1, 2


def varint(value):
    for prefix, size in ((0, 1), (1, 2), (2, 4), (3, 8)):
        if value < 1 << (8 * size - 2):
            return (value | prefix << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def read_varint(data, at):
    """(value, next offset), or None when cut short."""
    if at >= len(data):
        return None
    size = 1 << (data[at] >> 6)
    if at + size > len(data):
        return None
    return int.from_bytes(data[at:at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def body_frame(kind, payload):
    return varint(kind) + varint(len(payload)) + payload


def trailers_frame(fields):
    raw = b"".join(varint(len(n)) + n.encode() + varint(len(v)) + v.encode() for n, v in fields)
    return body_frame(TRAILERS, raw)


def read_frames(data):
    """Frames of a whole body -> [(kind, payload)]; ValueError when it ends inside one."""
    at, found = 0, []
    while at < len(data):
        head = read_varint(data, at)
        length = read_varint(data, head[1]) if head else None
        if not length or length[1] + length[0] > len(data):
            raise ValueError("body ends inside a frame")
        found.append((head[0], bytes(data[length[1]:length[1] + length[0]])))
        at = length[1] + length[0]
    return found


def token(account, tunnel, secret, extra=None):
    """A tunnel token; extra is the member `x` of a join token."""
    document = {"a": account, "t": tunnel, "s": base64.b64encode(secret).decode()}
    if extra:
        document["x"] = extra
    return base64.b64encode(json.dumps(document).encode()).decode()
