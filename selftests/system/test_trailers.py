# SPDX-License-Identifier: Apache-2.0
"""T1 (trailers), item 4 (framed bodies): what goes behind a body, and how its end is told.

    sockets --> adit-edge (2 workers) ==QUIC==> aditd (2 workers) --> Origin
    PeerEdge (aioquic) ==QUIC==> aditd --> Origin;   sockets --> adit-edge ==QUIC==> PeerDaemon (aioquic)
"""
import json

import pytest

from lib import tunnelrpc as rpc
from lib.adit import DOMAIN, Daemon, Edge, peer_edge_keys, write_token
from lib.origin import Origin, digest, pattern
from lib.peer_daemon import FEATURES, Credentials, PeerDaemon
from lib.peer_edge import PeerEdge
from lib.proc import Processes
from lib.visitor import CutShort, Visitor, chunked
from lib.wait import until

pytestmark = pytest.mark.group("http")

HOST = f"a.{DOMAIN}"
TE = "Transfer-Encoding: chunked"


# ---- our own pair -------------------------------------------------------------------------------

@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe):
    return make_pipe("trailers")


def drops(program, **labels):
    return program.counter("adit_drops_total", **labels)


@pytest.mark.parametrize("size", [0, 1, 5000, 3_000_000])
@pytest.mark.parametrize("tls", [False, True])
def test_both_ways(pipe, size, tls):
    """T1: trailers of a chunked request reach the origin, those of its answer the visitor; on
    connections enough to meet both workers of both."""
    body = pattern(size)
    pieces = [body[n:n + 70_000] for n in range(0, size, 70_000)]
    for turn in range(6):
        with Visitor(pipe.edge, tls) as visitor:
            for _ in range(2):
                visitor.request("POST", "/trailers", HOST, TE, "Trailer: X-A, x-b", body=chunked(
                    *pieces, trailers=[("X-A", f"{turn}"), ("x-b", "two words")]))
                got = visitor.answer()
                assert (got.status, got.body) == (200, b"hello"), got
                assert got.header("trailer") == "X-Sum, X-Last"
                found = {n.lower(): v for n, v in got.trailers}
                assert found == {"x-sum": digest(body), "x-last": "1"}
        request = [r for r in pipe.origin.requests if r.target == "/trailers"][-1]
        assert [t.lower() for t in request.trailers] == [f"x-a: {turn}", "x-b: two words"]
        assert request.header("trailer") == "X-A, x-b"


def test_trailers_need_no_announcement(pipe):
    """T1: a chunked request is enough; nothing is said before."""
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/echo", HOST, TE, body=chunked(b"hello", trailers=[("X-A", "1")]))
        seen = json.loads(visitor.answer().body)
    assert [t.lower() for t in seen["trailers"]] == ["x-a: 1"]


def test_announced_with_a_length(pipe):
    """T1: a Trailer field in a request with a length: its answer's trailers pass."""
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/trailers", HOST, "Content-Length: 5", "Trailer: X", body=b"hello")
        got = visitor.answer()
        assert dict(got.trailers)["x-sum"] == digest(b"hello")
        visitor.request("GET", "/trailers", HOST, "Trailer: X")
        assert dict(visitor.answer().trailers)["x-sum"] == digest(b"")


def test_grpc_over_http_1(pipe):
    """T1: so does a content type of gRPC."""
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/trailers", HOST, "Content-Length: 5",
                        "Content-Type: application/grpc+proto", "TE: trailers", body=b"hello")
        assert dict(visitor.answer().trailers)["x-last"] == "1"


def test_unannounced_are_dropped_and_counted(pipe):
    """Item 4: an ordinary exchange stays raw; what has no place is counted. TE alone changes nothing."""
    before = drops(pipe.daemon, where="trailers", reason="raw")
    with Visitor(pipe.edge) as visitor:
        visitor.request("GET", "/trailers", HOST, "TE: trailers")
        got = visitor.answer()
        assert (got.body, got.trailers, got.header("trailer")) == (b"hello", [], None)
    until(lambda: drops(pipe.daemon, where="trailers", reason="raw") == before + 1, 5, "the counter")


def test_http_1_0_gets_none(pipe):
    """Item 4: nor does a visitor whose answer can't have them."""
    before = drops(pipe.edge, where="trailers", reason="raw")
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/trailers", HOST, "Content-Length: 5", "Trailer: X", body=b"hello",
                        version="1.0")
        assert visitor.answer().body == b"hello"
    until(lambda: drops(pipe.edge, where="trailers", reason="raw") == before + 1, 5, "the counter")


BAD = ["Host", "Connection", "Authorization", "Set-Cookie",
       "Content-Type", "X-Forwarded-For", "Cf-Connecting-IP", "Cf-Ray", "X-Real-IP", "Expect", "Te",
       "Trailer", "Cookie"]


def test_names_that_do_not_pass(pipe):
    """Item 4: a trailer can't be what the head's policy removes, nor frame, route or authenticate."""
    before = drops(pipe.edge, where="trailers", reason="name")
    trailers = [(name, "5") for name in BAD] + [("X-Kept", "1")]
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/echo", HOST, TE, body=chunked(b"hello", trailers=trailers))
        seen = json.loads(visitor.answer().body)
        assert [t.lower() for t in seen["trailers"]] == ["x-kept: 1"]
        pipe.origin.raw["bad"] = (
            b"HTTP/1.1 200 OK\r\n" + TE.encode() + b"\r\n\r\n" + chunked(
                b"hello", trailers=[("Set-Cookie", "a=b"), ("Cf-Cloudflared-X", "1"), ("X-Kept", "1"),
                                    ("Content-Length", "5")]))
        visitor.request("POST", "/raw/bad", HOST, TE, body=chunked(b"x"))
        assert [n.lower() for n, _ in visitor.answer().trailers] == ["x-kept"]
    until(lambda: drops(pipe.edge, where="trailers", reason="name") == before + len(BAD), 5,
          "the counter")


@pytest.mark.parametrize("trailers, status", [
    ([("X", "y" * 15_000)], 200), ([("X", "y" * 17_000)], 400),
    ([(f"X-{n}", "1") for n in range(100)], 200), ([(f"X-{n}", "1") for n in range(101)], 400)],
    ids=["15K", "17K", "100", "101"])
def test_limits(pipe, trailers, status):
    """Item 4: 16 KiB and 100 fields."""
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/echo", HOST, TE, body=chunked(b"hello", trailers=trailers))
        got = visitor.answer()
    assert got.status == status
    if status == 200:
        assert len(json.loads(got.body)["trailers"]) == len(trailers)


def test_limits_of_an_origin(pipe):
    """Item 4: an origin's trailers over a limit break the answer off; no trailers arrive."""
    pipe.origin.raw["large"] = (b"HTTP/1.1 200 OK\r\n" + TE.encode() + b"\r\n\r\n"
                                + chunked(b"hello", trailers=[("X", "y" * 17_000)]))
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/raw/large", HOST, TE, body=chunked(b"x"))
        with pytest.raises(CutShort):
            visitor.answer()


@pytest.mark.parametrize("target", ["/abort/300000", "/abort-chunked/300000", "/reset/300000",
                                    "/close", "/status/204", "/early"])
def test_endings_of_framed_answers(pipe, target):
    """Item 4: endings of a framed exchange are as truthful as those of a raw one, and say why."""
    before = pipe.edge.counter("adit_request_errors_total", reason="origin-reset")
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", target, HOST, TE, body=chunked(b"x"))
        head = visitor.head()
        if target in ("/status/204", "/early"):
            assert visitor.body(head).status in (200, 204)
            return
        if target == "/close":
            assert head.status == 502
        else:
            with pytest.raises(CutShort) as cut:
                visitor.body(head)
            assert "reset" in target or len(cut.value.body) >= 300_000
    until(lambda: pipe.edge.counter("adit_request_errors_total", reason="origin-reset") > before, 5,
          "the counter")


def test_head_of_a_framed_exchange(pipe):
    """Item 4: HEAD with a Trailer field has no frames to read."""
    with Visitor(pipe.edge) as visitor:
        for _ in range(2):
            visitor.request("HEAD", "/bytes/1000", HOST, "Trailer: X")
            assert visitor.answer("HEAD").header("content-length") == "1000"


def test_nothing_is_left(pipe):
    """Item 4: no request remains, nothing was malformed."""
    for program in (pipe.edge, pipe.daemon):
        until(lambda p=program: p.counter("adit_requests_active") == 0, 5, "no request")
        assert drops(program, where="frames") == 0


# ---- a Python edge, our daemon -------------------------------------------------------------------

@pytest.fixture(name="served", scope="module")
def fixture_served(tmp_path_factory, request):
    """(link of a PeerEdge to aditd, origin, daemon)"""
    folder = tmp_path_factory.mktemp("served")
    processes = Processes(folder)
    authority = request.getfixturevalue("authority")
    token = write_token(folder / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef", bytes(32))
    try:
        with Origin("a") as origin, PeerEdge(*authority.leaf("framed")) as edge:
            daemon = Daemon(processes, folder, token_file=token, connections=1,
                            rules=[(None, origin.service)],
                            edge_keys=peer_edge_keys(edge, authority))
            daemon.start()
            link = edge.wait_registered(1, 15)[0]
            assert "adit_1" in link.registration.features
            yield link, origin, daemon
    finally:
        processes.close()


def framed_request(path="/echo", fields=(TE,), frames=()):
    """ConnectRequest with AditFrames, and the frames behind it."""
    headers = [tuple(field.split(": ", 1)) for field in fields]
    raw = rpc.http_request("POST", "a.example.com", path, headers, rpc.HTTP,
                           more=[("AditFrames", "1")])
    return raw, b"".join(frames)


def data(payload):
    return rpc.body_frame(rpc.DATA, payload)


def answer_of(stream):
    """(status, frames) of an answer that ends well."""
    answer = stream.answer(15)
    assert answer.end == "fin", answer
    assert not answer.error, answer.error
    return answer.status, rpc.read_frames(answer.body)


def body_of(frames):
    return b"".join(payload for kind, payload in frames if kind == rpc.DATA)


TRAILERS = rpc.trailers_frame([("x-a", "1"), ("x-b", "two")])
GOOD = {
    "one": [data(b"hello")],
    "many": [data(bytes([b])) for b in b"hello"],
    "empty-frames": [data(b""), data(b"hel"), data(b""), data(b"lo"), data(b"")],
    "unknown-types": [rpc.body_frame(3, b"x" * 3000), data(b"hel"), rpc.body_frame(0x1234567, b""),
                      data(b"lo"), rpc.body_frame((1 << 62) - 1, b"yz")],
    "trailers": [data(b"hello"), TRAILERS],
    "trailers-empty": [data(b"hello"), rpc.body_frame(rpc.TRAILERS, b"")],
    "trailers-then-unknown": [data(b"hello"), TRAILERS, rpc.body_frame(9, b"abc")],
    "long-varints": [b"\xc0" + bytes(7) + b"\xc0" + bytes(6) + b"\x05hello"],
}


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("split", [False, True])
def test_frames_of_an_edge(served, name, split):
    """Item 4: frames in any pieces; unknown types are skipped; the answer is framed, too."""
    link, _, _ = served
    head, body = framed_request(frames=GOOD[name])
    stream = link.data_stream()
    if split and len(body) < 100:
        stream.pieces([head] + [bytes([b]) for b in body], fin=True)
    else:
        stream.send(head + body, True)
    status, frames = answer_of(stream)
    seen = json.loads(body_of(frames))
    assert (status, seen["sha256"]) == (200, digest(b"hello"))
    expected = ["x-a: 1", "x-b: two"] if "trailers" in name and "empty" not in name else []
    assert [t.lower() for t in seen["trailers"]] == expected


def test_trailers_of_an_answer(served):
    """Item 4: TRAILERS behind the answer's DATA, in lower case."""
    link, _, _ = served
    stream = link.data_stream()
    stream.send(b"".join(framed_request("/trailers", frames=[data(b"hello")])), True)
    status, frames = answer_of(stream)
    assert (status, body_of(frames)) == (200, b"hello")
    assert frames[-1] == (rpc.TRAILERS,
                          rpc.read_frames(rpc.trailers_frame([("x-sum", digest(b"hello")),
                                                              ("x-last", "1")]))[0][1])


def test_abort_of_an_answer(served):
    """Item 4: an origin that breaks off: ABORT with the reason's number, then FIN."""
    link, _, _ = served
    for target in ("/abort/100000", "/abort-chunked/100000", "/reset/100000"):
        stream = link.data_stream()
        stream.send(b"".join(framed_request(target, frames=[data(b"x")])), True)
        _, frames = answer_of(stream)
        assert frames[-1] == (rpc.ABORT, rpc.varint(9)), (target, frames[-1])  # origin-reset
        assert pattern(100_000).startswith(body_of(frames))


def test_large_framed_bodies(served):
    """Item 4: 8 MiB each way in frames."""
    link, _, _ = served
    body = pattern(8 << 20)
    frames = [data(body[n:n + 30_000]) for n in range(0, len(body), 30_000)]
    stream = link.data_stream()
    stream.send(b"".join(framed_request("/sha256", frames=frames)), True)
    assert body_of(answer_of(stream)[1]).decode() == digest(body)
    stream = link.data_stream()
    stream.send(b"".join(framed_request(f"/chunked/{len(body)}", frames=[data(b"")])), True)
    assert digest(body_of(answer_of(stream)[1])) == digest(body)


BROKEN = {
    "cut-head": data(b"hello") + b"\x00",
    "cut-length": data(b"hello") + b"\x00\x40",
    "cut-data": data(b"hello") + b"\x00\x05abc",
    "cut-unknown": data(b"hello") + b"\x05\x40\x40abc",
    "cut-trailers": data(b"hello") + TRAILERS[:-1],
    "data-behind-trailers": data(b"hello") + TRAILERS + data(b"x"),
    "trailers-twice": data(b"hello") + TRAILERS + TRAILERS,
    "trailers-too-long": data(b"hello") + rpc.trailers_frame([("x", "y" * 16_400)]),
    "trailers-too-many": data(b"hello") + rpc.trailers_frame([(f"x-{n}", "") for n in range(101)]),
    "trailers-upper-case": data(b"hello") + rpc.trailers_frame([("X", "y")]),
    "trailers-bad-name": data(b"hello") + rpc.trailers_frame([("x y", "z")]),
    "trailers-bad-value": data(b"hello") + rpc.trailers_frame([("x", "a\r\nb: c")]),
    "trailers-cut-field": data(b"hello") + rpc.body_frame(rpc.TRAILERS, b"\x01x\x05ab"),
    "trailers-name-only": data(b"hello") + rpc.body_frame(rpc.TRAILERS, b"\x01x"),
    "abort-empty": data(b"hello") + rpc.body_frame(rpc.ABORT, b""),
    "abort-long": data(b"hello") + rpc.body_frame(rpc.ABORT, bytes(9)),
    "abort-more": data(b"hello") + rpc.body_frame(rpc.ABORT, b"\x01\x01"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_frames_of_an_edge(served, name):
    """Item 4: what is no framed body resets the stream and is counted; the origin never sees an end."""
    link, origin, daemon = served
    before, count = drops(daemon, where="frames", reason="malformed"), len(origin.requests)
    stream = link.data_stream()
    stream.send(framed_request("/sha256")[0] + BROKEN[name], True)
    assert stream.wait_end(10) == ("reset", 0)
    assert drops(daemon, where="frames", reason="malformed") == before + 1
    assert not any(r.complete for r in origin.requests[count:])


@pytest.mark.parametrize("reason", [13, 4, 1 << 40])
def test_abort_of_a_request(served, reason):
    """Item 4: ABORT is the end of a request that is not whole: the origin never sees its end."""
    link, origin, daemon = served
    count = len(origin.requests)
    stream = link.data_stream()
    stream.send(b"".join(framed_request("/sha256", frames=[data(b"hello")])))
    request = origin.wait_requests(count + 1)[-1]
    until(lambda: request.length == 5, 5, "what was sent")
    stream.send(rpc.body_frame(rpc.ABORT, rpc.varint(reason)), True)
    stream.wait_end(10)
    until(lambda: daemon.counter("adit_requests_active") == 0, 5, "no request")
    assert not request.complete


@pytest.mark.parametrize("length, sent", [(5, b"hell"), (5, b"hello!"), (5, b"")])
def test_length_of_frames(served, length, sent):
    """Item 4: with a Content-Length the DATA bytes must add up to it."""
    link, _, _ = served
    stream = link.data_stream()
    stream.send(b"".join(framed_request("/sha256", [f"Content-Length: {length}"],
                                        [data(sent)] if sent else [])), True)
    answer = stream.answer(10)
    assert answer.error.startswith("bad-request") or answer.end == ("reset", 0), answer


def test_good_requests_go_on(served):
    """Item 4: after all that the link serves, and nothing is left."""
    link, _, daemon = served
    stream = link.data_stream()
    stream.send(b"".join(framed_request(frames=[data(b"hello")])), True)
    assert answer_of(stream)[0] == 200
    assert link.request("GET", path="/x").body.startswith(b"origin a")
    until(lambda: daemon.counter("adit_requests_active") == 0, 5, "no request")


# ---- our edge, a Python daemon -------------------------------------------------------------------

@pytest.fixture(name="edge", scope="module")
def fixture_edge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edge")
    processes = Processes(folder)
    try:
        made = Edge(processes, folder)
        made.start()
        yield made
    finally:
        processes.close()


@pytest.fixture(name="peer")
def fixture_peer(edge):
    """peer(frames, features): a daemon that answers with these bytes behind a head of status 200."""
    made = []

    def start(body, headers=(), features=(*FEATURES, "adit_1")):
        def serve(request):
            if "chunked" in (request.header("Transfer-Encoding") or ""):
                request.stream.wait_end(10)
            request.stream.send(rpc.http_response(200, list(headers)) + body, True)

        daemon = PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca, serve,
                            features=features)
        made.append(daemon)
        assert isinstance(daemon.register()[1], rpc.Accepted)
        edge.wait_links(1)
        return daemon
    yield start
    for daemon in made:
        daemon.stop()
    until(lambda: edge.links() == 0, 5, "no link")


def post(edge, *fields):
    """A chunked request with a trailer."""
    with Visitor(edge) as visitor:
        visitor.request("POST", "/x", HOST, TE, *fields,
                        body=chunked(b"hel", b"lo", trailers=[("X-A", "1")]))
        return visitor.answer()


def test_frames_to_a_daemon(edge, peer):
    """Item 4: a daemon that announced adit_1 gets frames for a chunked request, and may answer so."""
    daemon = peer(data(b"he") + rpc.body_frame(77, b"x") + data(b"y")
                  + rpc.trailers_frame([("x-t", "2")]))
    got = post(edge, "Trailer: X-A")
    assert (got.body, got.trailers) == (b"hey", [("x-t", "2")])
    request = daemon.requests[0]
    assert request.meta("AditFrames") == "1" and request.header("Trailer") == "X-A"
    frames = rpc.read_frames(request.body_so_far)
    assert body_of(frames) == b"hello" and frames[-1] == (
        rpc.TRAILERS, rpc.read_frames(rpc.trailers_frame([("x-a", "1")]))[0][1])


def test_plain_requests_are_raw(edge, peer):
    """Item 4: no frames where nothing asks for them."""
    daemon = peer(b"raw", [("Content-Length", "3")])
    assert edge.fetch("/x", "-H", "TE: trailers").body == b"raw"
    assert edge.fetch("/x", "-d", "hello").body == b"raw"
    assert [r.meta("AditFrames") for r in daemon.requests] == [None, None]


def test_no_frames_to_another_daemon(edge, peer):
    """T11 (part): a daemon without adit_1 gets everything raw; trailers are dropped and counted."""
    before = drops(edge, where="trailers", reason="raw")
    daemon = peer(b"raw", [("Content-Length", "3")], FEATURES)
    assert post(edge, "Trailer: X-A").body == b"raw"
    request = daemon.requests[0]
    assert request.meta("AditFrames") is None and request.header("Trailer") is None
    assert request.body_so_far == b"hello"
    assert drops(edge, where="trailers", reason="raw") == before + 1


def test_both_kinds_on_one_edge(edge, peer):
    """T11: a daemon with adit_1 and one without serve one tunnel; each is spoken to as it knows."""
    framed = peer(rpc.body_frame(1 << 40, b"?") + data(b"hey"))
    raw = peer(b"raw", [("Content-Length", "3")], FEATURES)
    edge.wait_links(2)
    bodies = [post(edge, "Trailer: X-A").body for _ in range(20)]
    assert {len(framed.requests), len(raw.requests)} != {0, 20}, "both are used"
    assert bodies.count(b"hey") == len(framed.requests) and bodies.count(b"raw") == len(raw.requests)
    assert {r.meta("AditFrames") for r in framed.requests} == {"1"}
    assert {r.meta("AditFrames") for r in raw.requests} == {None}


@pytest.mark.parametrize("reason, name", [(9, "origin-reset"), (8, "origin-timeout"),
                                          (10, "overloaded"), (99, "origin-reset")])
def test_abort_of_a_daemon(edge, peer, reason, name):
    """Item 4: ABORT breaks the answer off at the visitor, and is counted under its reason."""
    before = edge.counter("adit_request_errors_total", reason=name)
    peer(data(b"hello") + rpc.body_frame(rpc.ABORT, rpc.varint(reason)))
    with pytest.raises(CutShort) as cut:
        post(edge)
    assert b"hello" in cut.value.body
    until(lambda: edge.counter("adit_request_errors_total", reason=name) == before + 1, 5, name)


@pytest.mark.parametrize("name", ["cut-data", "data-behind-trailers", "trailers-twice",
                                  "trailers-too-long", "trailers-bad-value", "abort-empty"])
def test_broken_frames_of_a_daemon(edge, peer, name):
    """Item 4: what is no framed body is never a whole answer."""
    before = drops(edge, where="frames", reason="malformed")
    peer(BROKEN[name])
    with pytest.raises(CutShort):
        post(edge)
    until(lambda: drops(edge, where="frames", reason="malformed") == before + 1, 5, "the counter")
