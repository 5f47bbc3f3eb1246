# SPDX-License-Identifier: Apache-2.0
"""The test library's own Cap'n Proto against the recorded bytes and the capnp tool (for T3).

The peers stand on lib/capnp and lib/tunnelrpc; if these were wrong in the same way as the C code, T3
would prove nothing. So they are held against the vectors first.
"""
import json
import pathlib
import subprocess
import sys

import pytest

from lib import capnp, needs, tunnelrpc as rpc

pytestmark = pytest.mark.group("wire")

DATA = pathlib.Path(__file__).resolve().parents[1] / "data"
VECTORS = json.loads((DATA / "edge-protocol.json").read_text())
BY_NAME = {v["name"]: v for v in VECTORS}


def raw(name):
    return bytes.fromhex(BY_NAME[name]["hex"])


def frames_of(prefixes):
    """Every recorded RPC message that is well formed."""
    return [v["name"] for v in VECTORS
            if v["name"].startswith(prefixes) and v["fields"].get("which_tag") is not None]


RPC_FRAMES = frames_of(("registration/", "edge-rpc/", "daemon-rpc/"))
CONNECTS = [v["name"] for v in VECTORS if v["name"].startswith(("connect-request/",
                                                               "connect-response/"))]


def again(frame):
    """Encodes what was decoded; None for a kind that this writer never makes."""
    q = frame.question
    if frame.which == "bootstrap":
        return rpc.bootstrap(q)
    if frame.which == "finish":
        return rpc.finish(q, frame.flag)
    if frame.which == "release":
        return rpc.release(q, frame.count)
    if frame.which == "abort":
        return rpc.abort(frame.reason)
    if frame.which == "call":
        target = None if frame.target[0] == "promised" else frame.target[1]
        return rpc.call(q, frame.interface, frame.method, params_of(frame), target)
    if frame.outcome == "exception":
        return rpc.return_exception(q, frame.reason)
    if frame.exports:
        return rpc.return_bootstrap(q, frame.exports[0][1])
    return rpc.return_results(q, results_of(frame))


def params_of(frame):
    p = frame.params
    if frame.interface == rpc.REGISTRATION:
        return (rpc.Registration.read(p).params, rpc.empty,
                rpc.local_configuration(p.data(0)))[frame.method]
    if frame.interface == rpc.CONFIGURATION:
        return rpc.update_configuration(p.i32(0), p.data(0))
    if frame.method == 0:
        return rpc.register_udp_session(p.data(0), p.data(1), p.u16(0), p.i64(8), p.text(2))
    return rpc.unregister_udp_session(p.data(0), p.text(1))


def results_of(frame):
    """The struct of the results is told by its shape; the shapes of all methods differ."""
    root = frame.results
    if root.pointers == 0:
        return rpc.empty
    body = root.struct(0)
    if (body.data_words, body.pointers) == (0, 2):
        return rpc.udp_session_response(body.text(0), body.data(1))
    if body.struct(0).pointers:
        return rpc.read_connection_response(root).results
    return rpc.update_configuration_response(body.i32(0), body.text(0))


@pytest.mark.parametrize("name", RPC_FRAMES)
def test_rpc_frame_round_trip(name):
    """T3: decoding a recorded RPC message and encoding it again gives the same bytes."""
    frame = rpc.read_frame(raw(name))
    assert frame.which == BY_NAME[name]["fields"]["which"]
    assert again(frame) == raw(name)


@pytest.mark.parametrize("name", CONNECTS)
def test_connect_round_trip(name):
    """T3: the same for the heads of data streams; the null lists are those the record names."""
    data, fields = raw(name), BY_NAME[name]["fields"]
    assert data.startswith(rpc.DATA_PREAMBLE)
    metadata = [(m["key"], m["val"]) for m in fields["metadata"]]
    null = name.rsplit("/", 1)[1] in ("tcp", "minimal", "error") and not metadata
    if name.startswith("connect-request/"):
        assert rpc.read_connect_request(data[8:]) == (fields["type"], fields["dest"], metadata)
        made = rpc.connect_request(fields["type"], fields["dest"], None if null else metadata)
    else:
        assert rpc.read_connect_response(data[8:]) == (fields["error"], metadata)
        made = rpc.connect_response(fields["error"], None if null else metadata)
    assert made == data


def encodings():
    """Recorded good and bad encodings; not those decided before a message is read, nor bare headers."""
    return [v["name"] for v in VECTORS
            if v["name"].startswith(("multi-segment/connect", "evolution/", "malformed/"))
            and "-limit" not in v["name"] and len(v["hex"]) >= 32
            and v["hex"].startswith(rpc.DATA_SIGNATURE.hex())]


@pytest.mark.parametrize("name", encodings())
def test_reader_agrees_with_record(name):
    """T3: what the reference's reader took is taken, with the same values; the rest is refused."""
    data, fields = raw(name), BY_NAME[name]["fields"]
    want = fields.get("go_result", "accepted")
    response = name.startswith("malformed/response")
    read = rpc.read_connect_response if response else rpc.read_connect_request
    if not want.startswith("accepted"):
        if "unknown-connection-type" in name:
            assert read(data[8:])[0] == 3
            return
        with pytest.raises(capnp.CapnpError):
            read(data[8:])
        return
    got = read(data[8:])
    parsed = fields.get("go_parsed")
    if isinstance(parsed, dict) and "dest" in parsed:
        assert got[1] == parsed["dest"]


def test_capnp_tool_reads_what_we_write():
    """T3: the reference tool decodes our messages, and we read its many-segment ones."""
    needs.tool("capnp")
    schema = str(DATA / "tunnel.capnp")
    request = rpc.http_request("POST", "a.example.com", "/x?y", [("X-A", "1"), ("X-A", "2")])[8:]
    shown = subprocess.run(["capnp", "convert", "binary:json", schema, "ConnectRequest"],
                           input=request, stdout=subprocess.PIPE, check=True).stdout
    document = json.loads(shown)
    assert document["dest"] == "/x?y" and len(document["metadata"]) == 4
    text = subprocess.run(["capnp", "decode", schema, "ConnectRequest"], input=request,
                          stdout=subprocess.PIPE, check=True).stdout
    pieces = subprocess.run(["capnp", "encode", "--segment-size=1", schema, "ConnectRequest"],
                            input=text, stdout=subprocess.PIPE, check=True).stdout
    assert len(capnp.Message(pieces).segments) > 3
    assert rpc.read_connect_request(pieces) == rpc.read_connect_request(request)
    for name in RPC_FRAMES[:40]:
        subprocess.run(["capnp", "decode", schema, "Message"], input=raw(name),
                       stdout=subprocess.DEVNULL, check=True)
        frame = rpc.read_frame(raw(name))
        subprocess.run(["capnp", "decode", schema, "Message"], input=again(frame),
                       stdout=subprocess.DEVNULL, check=True)


def test_every_truncation_and_bit_flip_is_bounded():
    """T3: damaged registrations give an error or a value, never another exception."""
    whole = raw("registration/success-pipelined/01-call")
    damaged = [whole[:n] for n in range(0, len(whole), 3)]
    for bit in range(0, 8 * len(whole), 7):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        try:
            frame = rpc.read_frame(data)
            if frame.params is not None:
                rpc.Registration.read(frame.params)
        except capnp.CapnpError:
            continue


def test_overrides_name_recorded_cases():
    """The list of overridden results matches the vector files that are here."""
    done = subprocess.run([sys.executable, str(DATA / "check_overrides.py"), str(DATA)],
                          stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stdout
