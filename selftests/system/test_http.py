# SPDX-License-Identifier: Apache-2.0
"""T2: HTTP through the whole pipe, with curl and nginx at its ends.

    curl --http(s), v4/v6--> adit-edge (2 workers) ==QUIC, 2 links==> aditd (2 workers) --> nginx
                                                                                       +-> python, unix
"""
import hashlib
import http.client
import json
import ssl

import pytest

from lib import ports
from lib.adit import DOMAIN, binary
from lib.nginx import Nginx
from lib.origin import Origin, digest, pattern

pytestmark = pytest.mark.group("http")

TEN_MIB = 10 << 20
WAYS = [(tls, address) for tls in (False, True) for address in ("127.0.0.1", "::1")]
NAMES = [f"{n}.{DOMAIN}" for n in ("a", "nginx", "unix", "path", "six", "gone", "hello", "teapot")]
NGINX = f"nginx.{DOMAIN}"


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe, tmp_path_factory):
    folder, port = tmp_path_factory.mktemp("origins"), ports.free()
    with Origin("unix", path=folder / "origin.sock") as unix, Origin("wild") as wild, \
            Origin("api") as api, Origin("six", host="::1") as six:
        pipe = make_pipe(edge={"hosts": [*NAMES, f"*.wild.{DOMAIN}"]}, rules=[
            (f"*.wild.{DOMAIN}", wild.service), (f"unix.{DOMAIN}", unix.service),
            (f"path.{DOMAIN}", api.service, {"path": "^/api/"}),
            (f"path.{DOMAIN}", wild.service), (f"six.{DOMAIN}", six.service),
            (f"hello.{DOMAIN}", "hello_world"), (f"teapot.{DOMAIN}", "http_status:418"),
            (NGINX, f"http://127.0.0.1:{port}")])
        nginx = Nginx(pipe.processes, folder / "nginx", pipe.origin.service, port=port)
        nginx.put("ten", pattern(TEN_MIB))
        yield pipe


def echo(result):
    assert result.status == 200, result
    return json.loads(result.body)


@pytest.mark.parametrize("tls, address", WAYS)
def test_get_from_nginx(pipe, tls, address):
    """T2: GET, in clear and over TLS, IPv4 and IPv6."""
    got = pipe.fetch("/hello", host=NGINX, tls=tls, address=address)
    assert (got.code, got.status, got.text) == (0, 200, "hello from nginx\n"), got
    assert got.header("x-origin") == "nginx"


@pytest.mark.parametrize("tls, address", WAYS)
def test_ten_mib_down(pipe, tls, address):
    """T2: 10 MiB from nginx, equal SHA-256."""
    got = pipe.fetch("/ten", host=NGINX, tls=tls, address=address)
    assert (got.code, got.status, len(got.body)) == (0, 200, TEN_MIB), got.error
    assert digest(got.body) == digest(pattern(TEN_MIB))


@pytest.mark.parametrize("tls, address", WAYS)
def test_ten_mib_up(pipe, tmp_path, tls, address):
    """T2: POST of 10 MiB to nginx, which hands it to a summing origin: equal SHA-256."""
    (tmp_path / "body").write_bytes(pattern(TEN_MIB))
    got = pipe.fetch("/sum", "--data-binary", f"@{tmp_path}/body", "-H", "Expect:", host=NGINX,
                     tls=tls, address=address)
    # nginx hands on the path; the origin behind it answers every other path with its name.
    assert (got.code, got.status) == (0, 200), got
    last = pipe.origin.requests[-1]
    assert last.length == TEN_MIB and last.hash.hexdigest() == digest(pattern(TEN_MIB))


def test_put_to_nginx(pipe, tmp_path):
    """T2: an upload that nginx writes to its own disk and gives back unchanged."""
    body = pattern(1 << 20)
    (tmp_path / "body").write_bytes(body)
    got = pipe.fetch("/put/there", "-T", tmp_path / "body", host=NGINX)
    assert got.status == 201, got
    assert pipe.fetch("/put/there", host=NGINX).body == body


@pytest.mark.parametrize("tls", [False, True])
def test_head(pipe, tls):
    """T2: HEAD has the length of the GET and no body."""
    got = pipe.fetch("/ten", "-I", host=NGINX, tls=tls)
    assert (got.code, got.status, got.body) == (0, 200, b""), got
    assert got.header("content-length") == str(TEN_MIB)


def test_post(pipe):
    """T2: a small POST arrives with its method, target, body and headers."""
    got = echo(pipe.fetch("/echo?x=%2f&y", "--data-binary", "hello", "-H", "X-One: 1",
                          "-H", "X-One: 2"))
    assert (got["method"], got["target"]) == ("POST", "/echo?x=%2f&y")
    assert (got["length"], got["sha256"]) == (5, digest(b"hello"))
    assert [v for n, v in got["headers"] if n.lower() == "x-one"] == ["1", "2"]


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods(pipe, method):
    """T2: methods arrive as sent."""
    assert echo(pipe.fetch("/echo", "-X", method))["method"] == method


def test_unknown_method(pipe):
    """T2 (header policy): a method that the parser does not know gets 501 at the front."""
    assert pipe.fetch("/echo", "-X", "FROB").status == 501


def test_chunked_up(pipe):
    """T2: a body of unknown length arrives whole."""
    body = pattern(300_001)
    got = pipe.fetch("/sha256", "-X", "POST", "-T", "-", "-H", "Expect:", stdin=body)
    assert (got.code, got.status, got.text) == (0, 200, digest(body)), got


def test_expect_continue(pipe, tmp_path):
    """T2: 100 is answered by the edge; the body follows and the answer is whole."""
    (tmp_path / "body").write_bytes(pattern(2_000_000))
    got = pipe.fetch("/sha256", "--data-binary", f"@{tmp_path}/body", "-H", "Expect: 100-continue")
    assert (got.code, got.text) == (0, digest(pattern(2_000_000))), got


@pytest.mark.parametrize("path", ["/bytes/0", "/bytes/1", "/bytes/1048577", "/chunked/700001"])
def test_bodies_down(pipe, path):
    """T2: bodies of odd lengths, with a length and chunked."""
    got = pipe.fetch(path)
    assert (got.code, got.status) == (0, 200), got
    assert got.body == pattern(int(path.rsplit("/", 1)[1]))


@pytest.mark.parametrize("status", [204, 304, 404, 418, 500, 503])
def test_statuses(pipe, status):
    """T2: the origin's status is the visitor's; it is no error page of ours."""
    got = pipe.fetch(f"/status/{status}")
    assert (got.code, got.status, got.body) == (0, status, b"")
    assert got.header("adit-error") is None


@pytest.mark.parametrize("host, expected", [
    (f"x.wild.{DOMAIN}", "origin wild"), (f"a.b.wild.{DOMAIN}", "origin wild"),
    (f"unix.{DOMAIN}", "origin unix"), (f"six.{DOMAIN}", "origin six"),
    (f"A.{DOMAIN.upper()}", "origin a")])
def test_rules_by_host(pipe, host, expected):
    """T2: exact and wildcard hosts, unix socket and IPv6 origins, names in any case."""
    got = pipe.fetch("/x", host=host)
    assert got.status == 200 and got.text.startswith(expected), got


def test_rules_by_path(pipe):
    """T2: the first rule whose path expression matches wins."""
    assert pipe.fetch("/api/x", host=f"path.{DOMAIN}").text == "origin api /api/x\n"
    assert pipe.fetch("/x/api/", host=f"path.{DOMAIN}").text == "origin wild /x/api/\n"


def test_built_in_services(pipe):
    """T2: http_status and hello_world answer inside the daemon; no rule is 404."""
    assert pipe.fetch("/", host=f"teapot.{DOMAIN}").status == 418
    hello = pipe.fetch("/", host=f"hello.{DOMAIN}")
    assert hello.status == 200 and hello.body
    assert pipe.fetch("/", host=f"gone.{DOMAIN}").status == 404


def test_header_policy(pipe):
    """T2 (header policy): what a visitor may not say is replaced; hop-by-hop fields end at the edge."""
    got = echo(pipe.fetch("/echo", "-H", "X-Forwarded-For: 9.9.9.9", "-H", "Cf-Connecting-IP: 9.9.9.9",
                          "-H", "Cf-Anything: 1", "-H", "Connection: close, X-Hop",
                          "-H", "X-Hop: 1", "-H", "TE: trailers", "-H", "X-Real-IP: 9.9.9.9",
                          "-H", "X-Original-Host: evil", "-H", "Proxy-Connection: keep-alive"))
    headers = {}
    for name, value in got["headers"]:
        headers.setdefault(name.lower(), []).append(value)
    assert headers["x-forwarded-for"] == ["127.0.0.1"]
    assert headers["cf-connecting-ip"] == ["127.0.0.1"]
    assert headers["x-forwarded-proto"] == ["http"]
    assert headers["host"][0].split(":")[0] == f"a.{DOMAIN}" and len(headers["host"]) == 1
    ray, location = headers["cf-ray"][0].rsplit("-", 1)
    assert len(ray) == 16 and int(ray, 16) >= 0 and location.lower() == "tst"
    assert "cf-warp-tag-id" in headers and "cf-visitor" in headers
    for gone in ("x-hop", "cf-anything", "x-real-ip", "x-original-host", "proxy-connection",
                 "upgrade", "keep-alive"):
        assert gone not in headers, (gone, headers)


def test_proto_over_tls(pipe):
    """T2 (header policy): X-Forwarded-Proto says how the visitor came."""
    got = echo(pipe.fetch("/echo", tls=True))
    assert ["X-Forwarded-Proto".lower(), "https"] in [[n.lower(), v] for n, v in got["headers"]]


@pytest.mark.parametrize("tls", [False, True])
def test_keep_alive(pipe, tls):
    """T2: many requests on one connection of a visitor, bodies both ways."""
    name, edge = f"a.{DOMAIN}", pipe.edge
    if tls:
        context = ssl.create_default_context(cafile=str(edge.authority.path))
        connection = http.client.HTTPSConnection("localhost", edge.https_port, context=context,
                                                 timeout=20)
    else:
        connection = http.client.HTTPConnection("127.0.0.1", edge.http_port, timeout=20)
    for number in range(20):
        body = pattern(number * 1001)
        connection.request("POST", "/sha256", body, {"Host": name})
        first = connection.sock
        response = connection.getresponse()
        assert response.read() == hashlib.sha256(body).hexdigest().encode()
        assert connection.sock is first, "the edge closed a connection that could be kept"
    connection.close()


def test_origin_connections_are_reused(pipe):
    """T2: requests one after the other do not open an origin connection each."""
    before = pipe.origin.connections
    for _ in range(20):
        assert pipe.fetch("/x").status == 200
    # Two links on two workers, each with a pool of its own.
    assert pipe.origin.connections - before <= 4


def test_streaming(pipe):
    """T2: a slow answer arrives as it is made: the first line long before the last."""
    connection = http.client.HTTPConnection("127.0.0.1", pipe.edge.http_port, timeout=20)
    connection.request("GET", "/slow/10/50", headers={"Host": f"a.{DOMAIN}"})
    response = connection.getresponse()
    assert response.readline() == b"line 0\n"
    last = pipe.origin.requests[-1]
    assert last.target == "/slow/10/50"
    assert response.read().count(b"\n") == 9
    connection.close()


def test_metrics_and_ready(pipe):
    """T2: what passed is in the metrics of both programs, /ready counts the links."""
    daemon, edge = pipe.daemon.metrics(), pipe.edge.metrics()
    assert daemon.sum("adit_requests_total") > 20 and edge.sum("adit_requests_total") > 20
    assert daemon.sum("adit_link_up", protocol="quic") == 2
    assert daemon.sum("cloudflared_tunnel_total_requests") > 20
    assert pipe.edge.links() == 2
    assert pipe.daemon.ready() == 2
    assert daemon.has("adit_build_info") and edge.has("adit_build_info")
    assert pipe.daemon.page("/nothing")[0] == 404


def test_status(pipe):
    """T2: `adit status` and `adit version` of both programs."""
    for program in (pipe.daemon, pipe.edge):
        assert program.adit("status").stdout.strip()
        assert program.adit("version").stdout.strip()
    document = pipe.daemon.status()
    links = document["connections"]
    assert sorted(link["index"] for link in links) == [0, 1]
    assert {link["protocol"] for link in links} == {"quic"}
    assert {link["location"] for link in links} == {"tst"}
    assert {link["group"] for link in links} == {"X25519MLKEM768"}
    assert document["pid"] == pipe.daemon.process.pid
    assert document["metrics"].endswith(f":{pipe.daemon.metrics_port}")
    assert (pipe.daemon.run / "metrics").read_text().strip().endswith(str(pipe.daemon.metrics_port))


def test_status_without_a_daemon(pipe, tmp_path):
    """T2: exit codes of the operator command: 3 without a daemon, 64 for wrong usage."""
    run = pipe.processes.run
    assert run("no-daemon", [binary("adit"), "--run-dir", tmp_path, "status"]).code == 3
    assert run("no-verb", [binary("adit"), "no-such-verb"]).code == 64
