# SPDX-License-Identifier: Apache-2.0
"""Origins with TLS: whom aditd trusts, which name it asks for, and what it says when that fails.

    sockets --> adit-edge ==QUIC==> aditd (2 workers), ca-pool of the test's CA --TLS--> Origins, nginx
"""
import contextlib
import json
import socket
import ssl
import threading

import pytest

from lib import certs, ports
from lib.adit import DOMAIN, Daemon, write_token
from lib.origin import Origin, digest, pattern
from lib.visitor import CutShort, Visitor
from lib.wait import seconds, until

pytestmark = pytest.mark.group("http")

NAME = "origin.test"


def server_side(authority, name, names, days=90, versions=None):
    """An SSLContext with a leaf for names, which remembers the names that it was asked for."""
    chain, key = authority.leaf(name, names, days)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.asked = []
    context.sni_callback = lambda _sock, asked, _context: context.asked.append(asked)
    if versions:
        context.minimum_version, context.maximum_version = versions
    return context


class Farm:
    """Origins with certificates of all kinds, behind one daemon."""

    def __init__(self, make_pipe, folder, stack):
        self.stack, self.rules, self.origins = stack, [], {}
        self.ours = certs.Authority(folder / "ours", "origins' CA")
        self.other = certs.Authority(folder / "other", "nobody's CA")
        local = ["localhost", "127.0.0.1"]
        self.add("good", local)
        self.add("named", [NAME], origin_server_name=NAME)
        self.add("match", [f"x.match.{DOMAIN}", f"y.match.{DOMAIN}"], host=f"*.match.{DOMAIN}",
                 match_sni_to_host="yes")
        self.add("matchhost", [NAME], match_sni_to_host="yes", http_host_header=f"{NAME}:8443")
        self.add("old", local, versions=(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2))
        self.add("wrongname", ["elsewhere.test"])
        self.add("expired", local, days=-1)
        self.add("foreign", local, authority=self.other)
        self.add("noverify", ["elsewhere.test"], authority=self.other, no_tls_verify="yes")
        self.add("system", local, ca_pool=None)
        self.add("unix", [f"unix.{DOMAIN}"], path=folder / "tls.sock")
        self.add("unixnamed", [NAME], path=folder / "named.sock", origin_server_name=NAME)
        self.mute = socket.create_server(("127.0.0.1", 0))
        stack.callback(self.mute.close)
        self.rule("mute", f"https://127.0.0.1:{self.mute.getsockname()[1]}", tls_timeout="500ms")
        self.clear = socket.create_server(("127.0.0.1", 0))
        stack.callback(self.clear.close)
        threading.Thread(target=self.answer_in_clear, daemon=True).start()
        self.rule("clear", f"https://127.0.0.1:{self.clear.getsockname()[1]}")
        self.rule("inverse", f"http://127.0.0.1:{self.origins['good'].port}")
        self.rule("absent", f"https://127.0.0.1:{ports.free()}")
        hosts = [f"a.{DOMAIN}", *(rule[0] for rule in self.rules)]
        self.pipe = make_pipe("tls", edge={"hosts": hosts}, rules=self.rules)

    def answer_in_clear(self):
        """Whatever comes, it is answered as a web server without TLS does."""
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.clear.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    def rule(self, name, service, host=None, **keys):
        self.rules.append((host or f"{name}.{DOMAIN}", service,
                           {"ca_pool": self.ours.path, **keys}))

    def add(self, name, names, days=90, authority=None, versions=None, path=None, host=None, **keys):
        context = server_side(authority or self.ours, name, names, days, versions)
        origin = self.stack.enter_context(Origin(name, path=path, tls=context))
        self.origins[name] = origin
        service = origin.service.replace("127.0.0.1", "localhost")
        self.rule(name, service, host, **keys)

    def get(self, name, target="/echo", host=None, method="GET", *fields, body=b""):
        with Visitor(self.pipe.edge) as visitor:
            visitor.request(method, target, host or f"{name}.{DOMAIN}", *fields, body=body)
            return visitor.answer(method)

    def asked(self, name):
        return self.origins[name].tls.asked


@pytest.fixture(name="farm", scope="module")
def fixture_farm(make_pipe, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        yield Farm(make_pipe, tmp_path_factory.mktemp("farm"), stack)


@pytest.mark.parametrize("name, asked", [
    ("good", "localhost"), ("named", NAME), ("matchhost", NAME), ("old", "localhost"),
    ("noverify", "localhost"), ("unix", f"unix.{DOMAIN}"), ("unixnamed", NAME)])
def test_trusted(farm, name, asked):
    """Item 3: a verified origin answers; it is asked for the right name."""
    got = farm.get(name)
    assert (got.status, json.loads(got.body)["origin"]) == (200, name), got
    assert set(farm.asked(name)) == {asked}


@pytest.mark.parametrize("name", ["x", "y"])
def test_match_sni_to_host(farm, name):
    """Item 3: match-sni-to-host asks for the request's Host without its port; connections of one name
    do not serve another."""
    host = f"{name}.match.{DOMAIN}"
    for suffix in ("", ":8080", "."):
        assert farm.get("match", host=host.upper() + suffix).status == 200
    assert farm.asked("match").count(host) >= 1
    assert set(farm.asked("match")) <= {f"x.match.{DOMAIN}", f"y.match.{DOMAIN}"}
    assert host in farm.asked("match")


def test_match_sni_of_a_name_that_is_not_theirs(farm):
    """Item 3: a Host for which the origin has no certificate is refused."""
    got = farm.get("match", host=f"z.match.{DOMAIN}")
    assert (got.status, got.header("adit-error")) == (502, "origin-tls")


def test_address_is_not_asked_for(make_pipe, farm):
    """Item 3: an origin named by its address: no name is asked for, the address is verified."""
    origin = farm.origins["good"]
    pipe = make_pipe("address", rules=[(f"x.wild.{DOMAIN}", f"https://127.0.0.1:{origin.port}",
                                        {"ca_pool": farm.ours.path})])
    before = len(origin.tls.asked)
    assert pipe.fetch("/x", host=f"x.wild.{DOMAIN}").status == 200
    assert set(origin.tls.asked[before:]) == {None}


@pytest.mark.parametrize("name, words", [
    ("wrongname", "hostname mismatch|name"), ("expired", "expired"),
    ("foreign", "issuer|self-signed"), ("system", "issuer|self-signed"),
    ("clear", "wrong version|handshake|packet length")])
def test_not_trusted(farm, name, words):
    """Item 3: what can't be verified gets 502 origin-tls; the log says why, the page does not say
    where."""
    got = farm.get(name)
    assert (got.status, got.header("adit-error")) == (502, "origin-tls"), got
    assert b"127.0.0.1" not in got.body and b"localhost" not in got.body
    farm.pipe.daemon.process.wait_line(f"(?i)origin-tls.*({words})", 5)
    if name in farm.origins:
        assert not farm.origins[name].requests, "nothing was sent to it"


def test_clear_text_to_a_tls_port(farm):
    """Item 3: http:// to a port with TLS."""
    got = farm.get("inverse")
    assert got.status == 502 and got.header("adit-error") in ("origin-protocol", "origin-reset")


def test_tls_timeout(farm):
    """Item 3: an origin that connects and never shakes hands: 504 within tls-timeout."""
    with Visitor(farm.pipe.edge, timeout=5) as visitor:
        visitor.request("GET", "/", f"mute.{DOMAIN}")
        got = visitor.answer()
    assert (got.status, got.header("adit-error")) == (504, "origin-timeout")


def test_absent(farm):
    """Item 3: nobody listens: refused, as without TLS."""
    got = farm.get("absent")
    assert (got.status, got.header("adit-error")) == (502, "origin-refused")


def test_bodies(farm):
    """Item 3: 10 MiB each way over TLS, equal sums; keep-alive over one connection a worker."""
    body = pattern(10 << 20)
    before = farm.origins["good"].connections
    for _ in range(4):
        got = farm.get("good", f"/bytes/{len(body)}")
        assert digest(got.body) == digest(body)
        got = farm.get("good", "/sha256", None, "POST", f"Content-Length: {len(body)}", body=body)
        assert got.body.decode() == digest(body)
    assert farm.origins["good"].connections - before <= 4


@pytest.mark.parametrize("name, raw, is_whole", [
    ("closed", b"\r\nhello", True), ("cut", b"\r\nhello", False),
    ("cut-length", b"Content-Length: 10\r\n\r\nhello", False),
    ("cut-behind", b"Content-Length: 5\r\n\r\nhello", True)])
def test_end_of_an_answer(farm, name, raw, is_whole):
    """Item 3: an answer until close is whole only with a close_notify (RFC 9112 §9.8)."""
    farm.origins["good"].raw[name] = b"HTTP/1.1 200 OK\r\n" + raw
    if is_whole:
        assert farm.get("good", f"/raw/{name}").body == b"hello"
    else:
        with pytest.raises(CutShort):
            farm.get("good", f"/raw/{name}")


def test_visitor_leaves(farm):
    """Item 3: the visitor's end frees a TLS origin, too."""
    origin = farm.origins["good"]
    count = len(origin.requests)
    visitor = Visitor(farm.pipe.edge)
    visitor.request("POST", "/stall", f"good.{DOMAIN}", "Content-Length: 10000000")
    request = origin.wait_requests(count + 1)[-1]
    visitor.push(bytes(65536))
    visitor.reset()
    until(lambda: request.cancelled, 1, "the end of the origin's connection")


@pytest.mark.parametrize("content, words", [("no certificate at all", "ca-pool"), (None, "ca-pool")])
def test_bad_ca_pool(processes, tmp_path, content, words):
    """Item 3: a ca-pool that is no PEM, or is not there: exit 78, the rule and the file are named."""
    pool = tmp_path / "pool.pem"
    if content:
        pool.write_text(content)
    token = write_token(tmp_path / "token", "0" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ef",
                        bytes(32))
    daemon = Daemon(processes, tmp_path, token_file=token,
                    rules=[(f"a.{DOMAIN}", "https://localhost:1", {"ca_pool": pool})],
                    edge_keys={"address": "127.0.0.1:1", "pin": "sha256/" + "A" * 43 + "="})
    daemon.start()
    assert daemon.process.wait_exit(seconds(10)) == 78
    assert words in daemon.process.log and str(pool) in daemon.process.log
    assert "rule0" in daemon.process.log
