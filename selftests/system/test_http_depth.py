# SPDX-License-Identifier: Apache-2.0
"""T1: HTTP/1.1 in depth, with curl and sockets before the edge, nginx and Python behind the daemon.

    curl, sockets --> adit-edge (2 workers) ==QUIC, 2 links==> aditd (2 workers) --> nginx, Origin
"""
import gzip
import hashlib
import http.client
import json

import pytest

from lib import ports
from lib.adit import DOMAIN
from lib.nginx import Nginx
from lib.origin import digest, pattern
from lib.visitor import Visitor, chunked
from lib.wait import SLOW, until

pytestmark = pytest.mark.group("http")

HOST, NGINX = f"a.{DOMAIN}", f"nginx.{DOMAIN}"
LARGE = (100 << 20) if SLOW <= 1 else (20 << 20)


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("nginx"), ports.free()
    pipe = make_pipe("depth", edge={"hosts": [HOST, NGINX]},
                     rules=[(NGINX, f"http://127.0.0.1:{port}")])
    pipe.nginx = Nginx(pipe.processes, folder / "nginx", pipe.origin.service, port=port)
    return pipe


@pytest.fixture(name="large", scope="module")
def fixture_large(tmp_path_factory):
    """A file of 100 MiB and its sum."""
    path = tmp_path_factory.mktemp("large") / "large"
    path.write_bytes(pattern(LARGE))
    return path, digest(pattern(LARGE))


@pytest.fixture(name="visitor")
def fixture_visitor(pipe):
    with Visitor(pipe.edge) as made:
        yield made


# ---- large bodies -------------------------------------------------------------------------------

@pytest.mark.parametrize("tls", [False, True])
def test_large_down(pipe, large, tls):
    """T1: 100 MiB from nginx, equal SHA-256."""
    pipe.nginx.put("large", large[0].read_bytes())
    got = pipe.fetch("/large", host=NGINX, tls=tls, timeout=60)
    assert (got.code, got.status, digest(got.body)) == (0, 200, large[1]), got.error


def test_large_down_chunked(pipe, large):
    """T1: the same chunked from the origin, and chunked to the visitor."""
    got = pipe.fetch(f"/chunked/{LARGE}", timeout=60)
    assert (got.code, got.status, digest(got.body)) == (0, 200, large[1]), got.error
    assert got.header("transfer-encoding") == "chunked"


@pytest.mark.parametrize("tls", [False, True])
def test_large_up(pipe, large, tls):
    """T1: 100 MiB to nginx with a length, equal SHA-256 at what nginx wrote."""
    got = pipe.fetch("/put/large", "-T", large[0], "-H", "Expect:", host=NGINX, tls=tls, timeout=60)
    assert (got.code, got.status) in ((0, 201), (0, 204)), got
    with open(pipe.nginx.www / "put/large", "rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == large[1]


def test_large_up_chunked(pipe, large):
    """T1: the same of unknown length; the origin gets it chunked."""
    got = pipe.fetch("/echo", "-X", "POST", "-T", "-", "-H", "Expect:", stdin=pattern(LARGE),
                     timeout=60)
    seen = json.loads(got.body)
    assert (got.code, seen["sha256"], seen["length"]) == (0, large[1], LARGE)
    assert ["transfer-encoding", "chunked"] in [[n.lower(), v] for n, v in seen["headers"]]


# ---- what must not be touched -------------------------------------------------------------------

@pytest.mark.parametrize("coding", ["gzip", "br", "deflate"])
def test_encoded_bodies_are_untouched(pipe, coding):
    """T1: a body that the origin has compressed arrives byte for byte, with its fields."""
    body = gzip.compress(pattern(100_000), mtime=0)
    pipe.origin.raw[coding] = (f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nETag: W/\"x\"\r\n"
                               f"Vary: Accept-Encoding\r\nContent-Length: {len(body)}\r\n"
                               "\r\n").encode() + body
    got = pipe.fetch(f"/raw/{coding}", "-H", f"Accept-Encoding: {coding}")
    assert (got.status, got.body) == (200, body)
    assert (got.header("content-encoding"), got.header("vary")) == (coding, "Accept-Encoding")
    assert got.header("content-length") == str(len(body))


def test_accept_encoding_is_the_visitors(pipe):
    """T1: none is added where the visitor sent none."""
    for given in ([], ["-H", "Accept-Encoding: gzip;q=0"]):
        seen = json.loads(pipe.fetch("/echo", *given).body)["headers"]
        assert [v for n, v in seen if n.lower() == "accept-encoding"] == (["gzip;q=0"] if given
                                                                           else [])


def test_nginx_gzip(pipe):
    """T1: nginx compresses for who asks, chunked; what arrives unpacks to the file."""
    text = b"abcdefgh" * 50_000
    pipe.nginx.put("text.txt", text)
    got = pipe.fetch("/text.txt", "-H", "Accept-Encoding: gzip", host=NGINX)
    assert (got.status, got.header("content-encoding")) == (200, "gzip"), got.headers
    assert gzip.decompress(got.body) == text
    assert pipe.fetch("/text.txt", host=NGINX).body == text


def test_ranges(pipe):
    """T1: 206 with its part, 416 beyond the end."""
    pipe.nginx.put("text.txt", b"abcdefgh" * 50_000)
    got = pipe.fetch("/text.txt", "-r", "3-9", host=NGINX)
    assert (got.status, got.body) == (206, b"defghab")
    assert got.header("content-range") == "bytes 3-9/400000"
    assert pipe.fetch("/text.txt", "-r", "500000-", host=NGINX).status == 416


@pytest.mark.parametrize("target", ["/", "/?", "/a//b/../c/./", "/%2e%2e/%2F?x=%zz&y=a+b", "/a;b=c",
                                    "/*", "/a?b?c", "/~'!$&()+,;=:@", "/" + "x" * 7000])
def test_targets(visitor, target):
    """T1: path and query arrive as they were sent."""
    visitor.request("GET", "/echo" if target == "/" else f"/echo/..{target}", HOST)
    got = visitor.answer()
    expected = "/echo" if target == "/" else f"/echo/..{target}"
    assert (got.status, json.loads(got.body)["target"]) == (200, expected)


# ---- heads --------------------------------------------------------------------------------------

@pytest.mark.parametrize("tls", [False, True])
def test_header_of_eight_kib(pipe, tls):
    """T1: a field of 8 KiB passes to the origin, and one of its answer back."""
    value = "x" * 8192
    got = pipe.fetch("/echo", "-H", f"X-Large: {value}", tls=tls)
    assert [v for n, v in json.loads(got.body)["headers"] if n.lower() == "x-large"] == [value]
    pipe.origin.raw["large"] = (f"HTTP/1.1 200 OK\r\nX-Large: {value}\r\nContent-Length: 0\r\n"
                                "\r\n").encode()
    assert pipe.fetch("/raw/large", tls=tls).header("x-large") == value


@pytest.mark.parametrize("fields", [["X: " + "x" * 80_000], [f"X-{n}: {'x' * 4000}"
                                                             for n in range(20)]],
                         ids=["one", "twenty"])
def test_header_of_eighty_kib(pipe, visitor, fields):
    """T1: 80 KiB get 431, and the origin never hears of it."""
    count = len(pipe.origin.requests)
    visitor.request("GET", "/x", HOST, *fields)
    assert visitor.answer().status == 431
    assert len(pipe.origin.requests) == count


def test_repeated_fields_keep_their_order(pipe, visitor):
    """T1: values of one name stay apart and in order, both ways."""
    visitor.request("GET", "/echo", HOST, "Cookie: a=1", "X: 1", "cookie: b=2", "x: 2")
    seen = json.loads(visitor.answer().body)["headers"]
    assert [v for n, v in seen if n.lower() == "cookie"] == ["a=1", "b=2"]
    assert [v for n, v in seen if n.lower() == "x"] == ["1", "2"]
    pipe.origin.raw["cookies"] = (b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2, c\r\n"
                                  b"Content-Length: 0\r\n\r\n")
    visitor.request("GET", "/raw/cookies", HOST)
    got = visitor.answer()
    assert [v for n, v in got.headers if n.lower() == "set-cookie"] == ["a=1", "b=2, c"]


# ---- methods ------------------------------------------------------------------------------------

ODD = ["PROPFIND", "PROPPATCH", "MKCOL", "COPY", "MOVE", "LOCK", "UNLOCK", "SEARCH", "REPORT", "MERGE",
       "CHECKOUT", "M-SEARCH", "NOTIFY", "SUBSCRIBE", "PURGE", "MKCALENDAR", "LINK", "UNLINK", "ACL",
       "BIND", "REBIND", "TRACE", "OPTIONS", "PATCH", "DELETE"]


def test_odd_methods(visitor):
    """T1: every method that the parser knows arrives as sent, without a body and with one."""
    for method in ODD:
        visitor.request(method, "/echo", HOST)
        seen = json.loads(visitor.answer().body)
        assert (seen["method"], seen["length"]) == (method, 0)
        names = [n.lower() for n, _ in seen["headers"]]
        assert "transfer-encoding" not in names, (method, names)
        visitor.request(method, "/echo", HOST, "Content-Length: 5", body=b"hello")
        seen = json.loads(visitor.answer().body)
        assert (seen["method"], seen["sha256"]) == (method, digest(b"hello"))


def test_body_without_length_zero(visitor):
    """T1: a POST without a body says so to the origin."""
    for method in ("POST", "PUT", "PATCH"):
        visitor.request(method, "/echo", HOST, "Content-Length: 0")
        seen = json.loads(visitor.answer().body)
        assert ["content-length", "0"] in [[n.lower(), v] for n, v in seen["headers"]], method


def test_get_with_a_body(visitor):
    """T1: unusual, but legal."""
    visitor.request("GET", "/echo", HOST, "Transfer-Encoding: chunked", body=chunked(b"a", b"bc"))
    assert json.loads(visitor.answer().body)["sha256"] == digest(b"abc")


def test_options_star(pipe, visitor):
    """T1: OPTIONS * is no path; the origin gets a request all the same, and the connection lives."""
    visitor.request("OPTIONS", "*", HOST)
    assert visitor.answer().status in (200, 400, 404)
    visitor.request("GET", "/x", HOST)
    assert visitor.answer().status == 200


@pytest.mark.parametrize("status", [200, 204, 304, 404])
def test_head(pipe, visitor, status):
    """T1: HEAD has the fields of GET, no body, and the connection goes on."""
    pipe.origin.raw[f"h{status}"] = (f"HTTP/1.1 {status} X\r\nContent-Length: 12345\r\nX-A: b\r\n"
                                     "\r\n").encode()
    for _ in range(2):
        visitor.request("HEAD", f"/raw/h{status}", HOST)
        got = visitor.answer("HEAD")
        assert (got.status, got.header("x-a"), got.body) == (status, "b", b"")
        assert got.header("content-length") == (None if status == 204 else "12345")
    pipe.origin.raw["hc"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    visitor.request("HEAD", "/raw/hc", HOST)
    assert visitor.answer("HEAD").status == 200


# ---- Expect -------------------------------------------------------------------------------------

@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_expect_continue(visitor, framing):
    """T1: 100 comes before the body, from the edge; Expect does not reach the origin."""
    length = "Content-Length: 5" if framing == "length" else "Transfer-Encoding: chunked"
    visitor.request("POST", "/echo", HOST, length, "Expect: 100-continue")
    assert visitor.head().status == 100
    visitor.send(b"hello" if framing == "length" else chunked(b"hello"))
    seen = json.loads(visitor.answer().body)
    assert seen["sha256"] == digest(b"hello")
    assert "expect" not in [n.lower() for n, _ in seen["headers"]]
    visitor.request("GET", "/x", HOST)
    assert visitor.answer().status == 200


def test_expect_without_waiting(visitor):
    """T1: a visitor that does not wait gets one final answer."""
    visitor.request("POST", "/sha256", HOST, "Content-Length: 5", "Expect: 100-continue",
                    body=b"hello")
    assert visitor.answer().body.decode() == digest(b"hello")


def test_expect_that_nobody_serves(pipe):
    """T1: no tunnel, no 100: the final answer comes at once, and the connection ends."""
    with Visitor(pipe.edge) as visitor:
        visitor.request("POST", "/", "nobody.example.org", "Content-Length: 5",
                        "Expect: 100-continue")
        got = visitor.head()
        assert (got.status, got.header("connection")) == (404, "close")


# ---- one after the other ------------------------------------------------------------------------

@pytest.mark.parametrize("tls", [False, True])
def test_pipelined_requests(pipe, tls):
    """T1: requests sent ahead, bodies among them, are answered in order, on one connection."""
    count = 40
    with Visitor(pipe.edge, tls) as visitor:
        data = b""
        for n in range(count):
            body = pattern(n * 700)
            head = f"POST /sha256 HTTP/1.1\r\nHost: {HOST}\r\n"
            data += (f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body if n % 2 else
                     f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
                     + (chunked(body) if body else b"0\r\n\r\n"))
            data += f"GET /bytes/{n} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
        visitor.send(data)
        for n in range(count):
            assert visitor.answer().body.decode() == digest(pattern(n * 700)), n
            assert visitor.answer().body == pattern(n), n


def test_pipelined_behind_close(visitor, pipe):
    """T1: what is sent behind a request with Connection: close is not served."""
    visitor.request("GET", "/last", HOST, "Connection: close")
    visitor.request("GET", "/behind", HOST)
    assert visitor.answer().status == 200
    assert visitor.rest() == b""
    assert not any(r.target == "/behind" for r in pipe.origin.requests)


def test_many_on_one_connection(pipe):
    """T1: a thousand requests on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", pipe.edge.http_port, timeout=20)
    for number in range(1000 if SLOW <= 1 else 200):
        connection.request("GET", f"/n{number}", headers={"Host": HOST})
        first = connection.sock
        assert connection.getresponse().read() == f"origin a /n{number}\n".encode()
        assert connection.sock is first
    connection.close()


# ---- HTTP/1.0 -----------------------------------------------------------------------------------

def test_http_1_0(pipe):
    """T1: without keep-alive the connection ends with the answer, which is never chunked."""
    for target, body in (("/bytes/1000", pattern(1000)), ("/chunked/50000", pattern(50_000)),
                         ("/x", b"origin a /x\n")):
        with Visitor(pipe.edge) as visitor:
            visitor.request("GET", target, HOST, version="1.0")
            got = visitor.answer()
            assert (got.status, got.body) == (200, body)
            assert got.header("transfer-encoding") is None
            assert visitor.rest() == b""


def test_http_1_0_keep_alive(visitor):
    """T1: kept where the visitor asks and the length is known."""
    for _ in range(3):
        visitor.request("GET", "/bytes/1000", HOST, "Connection: keep-alive", version="1.0")
        got = visitor.answer()
        assert (got.header("connection"), got.body) == ("keep-alive", pattern(1000))
    visitor.request("POST", "/sha256", HOST, "Content-Length: 5", body=b"hello", version="1.0")
    assert visitor.answer().body.decode() == digest(b"hello")
    assert visitor.rest() == b""


def test_http_1_0_without_host(pipe):
    """T1: an HTTP/1.0 request without Host belongs to no tunnel."""
    with Visitor(pipe.edge) as visitor:
        visitor.send(b"GET / HTTP/1.0\r\n\r\n")
        assert visitor.answer().status in (400, 404)


def test_nothing_is_left(pipe):
    """T1: no request remains at either end."""
    for program in (pipe.edge, pipe.daemon):
        until(lambda p=program: p.counter("adit_requests_active") == 0, 5, "no request")
