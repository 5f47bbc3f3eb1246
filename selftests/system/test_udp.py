# SPDX-License-Identifier: Apache-2.0
"""UDP through [udp] ports of the edge: DNS, sockets, a daemon in Python where the other side has to be
another one. Every test says which path carried its packets, by the path's own counters.

    dig, sockets --[udp]--> adit-edge (2 workers) ==QUIC DATAGRAM v3== aditd (2 workers) --anchor--> dnsmasq, echo
"""
import contextlib
import time

import pytest

from lib import dgram3, ports
from lib.adit import Daemon, Edge, section
from lib.dgram3_daemon import FEATURE, FlowServer
from lib.peer_daemon import FEATURES, Credentials, PeerDaemon
from lib.proc import Processes
from lib.udp_client import ask, client, udp_section
from lib.udp_origin import UdpEcho, bound
from lib.wait import holds, seconds, until

pytestmark = [pytest.mark.group("datapath"), pytest.mark.unprivileged,
              pytest.mark.carried(edge="socket")]

CLIENTS = 40    # enough for each of two workers to have some


@pytest.fixture(name="dns", scope="module")
def fixture_dns(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dns")
    processes = Processes(folder)
    yield processes, folder
    processes.close()


@pytest.fixture(name="pipe", scope="module")
def fixture_pipe(make_pipe):
    """One link, so that the clients of one of the edge's workers have to cross to the other."""
    at = {name: ports.free() for name in ("echo", "deaf", "denied", "brief", "dns")}
    with UdpEcho() as echo, UdpEcho("127.0.0.2") as denied:
        dest = {"echo": echo.address, "brief": echo.address, "denied": denied.address,
                "deaf": f"127.0.0.1:{ports.free()}", "dns": f"127.0.0.1:{ports.free()}"}
        extra = "".join(udp_section(name, at[name], dest[name],
                                    idle="2s" if name == "brief" else "5m") for name in at)
        pipe = make_pipe(edge={"extra": extra}, connections=1,
                         daemon={"extra": "[network]\nallow = 127.0.0.0/8\ndeny = 127.0.0.2/32\n"})
        pipe.echo, pipe.denied, pipe.at, pipe.dest = echo, denied, at, dest
        yield pipe


def carried(program, path):
    """Datagrams (rx, tx) that a program's path has carried."""
    page = program.metrics()
    return tuple(page.sum("adit_flow_packets_total", path=path, dir=k) for k in ("rx", "tx"))


def drops(program, where, reason):
    return program.counter("adit_drops_total", where=where, reason=reason)


def sent_registrations(edge, result="sent"):
    return edge.counter("adit_edge_flow_registrations_total", result=result)


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_many_clients(pipe):
    """T2: each client has a flow of its own, on either worker of the edge; by the edge's sockets and
    the daemon's anchors, each datagram once."""
    before = carried(pipe.edge, "socket"), carried(pipe.daemon, "anchor")
    forwarded = pipe.edge.counter("adit_edge_datagrams_forwarded_total")
    flows = pipe.daemon.counter("cloudflared_udp_total_flows")
    peers = len(pipe.echo.peers)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(pipe.at["echo"])) for _ in range(CLIENTS)]
        for turn in range(5):
            for number, connection in enumerate(clients):
                connection.send(b"%d %d" % (turn, number))
            for number, connection in enumerate(clients):
                assert connection.recv(100) == b"%d %d" % (turn, number)
    many = 5 * CLIENTS
    after = carried(pipe.edge, "socket"), carried(pipe.daemon, "anchor")
    assert [[a - b for a, b in zip(*pair)] for pair in zip(after, before)] == [[many] * 2] * 2
    crossed = pipe.edge.counter("adit_edge_datagrams_forwarded_total") - forwarded
    assert 0 < crossed < many and crossed % 5 == 0
    assert pipe.daemon.counter("cloudflared_udp_total_flows") - flows == CLIENTS
    assert len(pipe.echo.peers) - peers == CLIENTS, "one source port each"


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_dns(pipe, dns):
    """T2: dig against dnsmasq."""
    processes, folder = dns
    port = int(pipe.dest["dns"].rsplit(":", 1)[1])
    config = folder / "dnsmasq.conf"
    config.write_text("no-resolv\nno-hosts\nno-daemon\nbind-interfaces\nexcept-interface=none\n"
                      f"listen-address=127.0.0.1\nuser=root\nport={port}\npid-file={folder}/pid\n"
                      "host-record=a.flow.test,192.0.2.7\ntxt-record=big.flow.test,"
                      + ",".join('"' + "x" * 200 + '"' for _ in range(4)) + "\n")
    processes.start("dnsmasq", ["dnsmasq", f"--conf-file={config}"])

    def dig(*words):
        return processes.run("dig", ["dig", "+short", "+tries=5", "+timeout=1", "+notcp",
                                     "+bufsize=1232", "-p", str(pipe.at["dns"]), "@127.0.0.1",
                                     *words]).log.strip()
    until(lambda: dig("a.flow.test") == "192.0.2.7", 10, "the name server")
    before = carried(pipe.daemon, "anchor")
    for _ in range(10):
        assert dig("a.flow.test") == "192.0.2.7"
    assert len(dig("big.flow.test", "TXT")) > 800
    after = carried(pipe.daemon, "anchor")
    assert [a - b for a, b in zip(after, before)] == [11, 11]


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_sizes(pipe):
    """T3: WireGuard's sizes to 1 312 pass, 1 380 is the most, beyond it is counted and harms nothing."""
    with client(pipe.at["echo"]) as connection:
        for size in (1380, 1312, 1280, 1279, 1, 0):
            ask(connection, bytes(size), 10)
        before = drops(pipe.edge, "datagram", "too-big")
        for size in (1381, 1452, 9000):
            connection.send(bytes(size))
        until(lambda: drops(pipe.edge, "datagram", "too-big") == before + 3, 5, "three too large")
        ask(connection, b"still here")


def test_denied(pipe):
    """[network] of the daemon: refused, told, not asked for again and again."""
    before = sent_registrations(pipe.edge), sent_registrations(pipe.edge, "refused")
    with client(pipe.at["denied"]) as connection:
        connection.send(b"let me in")
        until(lambda: sent_registrations(pipe.edge, "refused") == before[1] + 1, 5, "a refusal")
        for _ in range(10):
            connection.send(b"please")
        until(lambda: drops(pipe.edge, "datagram", "refused") >= 11, 5, "drops")
    assert sent_registrations(pipe.edge) == before[0] + 1
    assert not pipe.denied.peers and drops(pipe.daemon, "datagram", "denied") >= 1


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_idle(pipe):
    """§4.5: forgotten at the edge after its idle time, a little later at the daemon; the next datagram
    makes another flow."""
    def edge_flows():
        return pipe.edge.counter("adit_flows", kind="udp")
    with client(pipe.at["brief"]) as connection:
        ask(connection, b"x")
        last = time.monotonic()
        before = edge_flows()
        total = pipe.daemon.counter("cloudflared_udp_total_flows")
        until(lambda: edge_flows() < before, 5, "the edge to forget it")
        assert 1 <= time.monotonic() - last <= 2 + seconds(1)
        ask(connection, b"y")
        assert pipe.daemon.counter("cloudflared_udp_total_flows") == total + 1


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_nobody_listens(pipe):
    """§4.7, §14 row 6: the daemon ends the flow without a word; the edge notices the silence."""
    failed = pipe.daemon.counter("cloudflared_udp_failed_flows")
    host, port = pipe.dest["deaf"].split(":")
    with client(pipe.at["deaf"]) as connection:
        connection.send(b"anyone?")
        until(lambda: pipe.daemon.counter("cloudflared_udp_failed_flows") > failed, 5, "the end")
        with UdpEcho(host, int(port)):
            ask(connection, b"now?", 15)


# ---- a daemon in Python ----

@pytest.fixture(name="make_edge")
def fixture_make_edge(processes, tmp_path):
    """make_edge(dest, **[udp]'s keys) -> (edge, public port)"""
    def make(dest="192.0.2.5:53", extra="", workers=2, **keys):
        port = ports.free()
        edge = Edge(processes, tmp_path, workers=workers,
                    extra=udp_section("port", port, dest, **keys) + extra)
        edge.start()
        return edge, port
    return make


@contextlib.contextmanager
def peer(edge, *features, **members):
    """(daemon, link, its flows); of ours with the feature adit_1."""
    with PeerDaemon(Credentials.from_token(edge.token), edge.address, edge.ca,
                    features=[*FEATURES, *features], **members) as daemon:
        link, _ = daemon.register()
        edge.wait_links(1)
        yield daemon, link, FlowServer(link)


def test_repeated_and_held(make_edge):
    """§5, §14: the registration is repeated until it is answered, payloads wait for that, in order;
    a foreign daemon gets nothing bundled."""
    edge, port = make_edge()
    with peer(edge, FEATURE) as (_, _, flows), client(port) as connection:
        for number in range(10):
            connection.send(b"%d" % number)
        first, second, third = (flows.wait_registration(n) for n in (1, 2, 3))
        assert first.flow == second.flow == third.flow and len(set(first.flow)) > 4
        assert (first.address, first.port, first.idle) == (bytes([192, 0, 2, 5]), 53, 65)
        assert not (first.payload or second.payload) and not flows.payloads
        flows.respond(first.flow)
        assert flows.wait_payloads(10) == [b"%d" % n for n in range(10)]
        connection.send(b"then")
        assert flows.wait_payloads(11)[-1] == b"then"
        flows.send(first.flow, b"answer")
        assert connection.recv(100) == b"answer"
        flows.send(first.flow, b"")
        assert connection.recv(100) == b""
        assert sent_registrations(edge) == len(flows.registrations)
        assert sent_registrations(edge, "repeated") == len(flows.registrations) - 1


def test_bundled_to_ours(make_edge):
    """The first payload goes with each registration to a daemon of ours, and not again after it."""
    edge, port = make_edge("[2001:db8::5]:53")
    with peer(edge, FEATURE, "adit_1") as (_, _, flows), client(port) as connection:
        connection.send(b"first")
        connection.send(b"second")
        first, again = (flows.wait_registration(n) for n in (1, 2))
        assert first.payload == again.payload == b"first" and len(first.address) == 16
        flows.respond(first.flow)
        assert flows.wait_payloads(1) == [b"second"]
        holds(lambda: flows.read() or len(flows.payloads) == 1, 0.3)


def test_held_has_a_bound(make_edge):
    """§13: what waits for an answer is bounded, and the oldest is kept."""
    edge, port = make_edge(extra="[limits]\nflow-queue = 8K\n")
    with peer(edge, FEATURE) as (_, _, flows), client(port) as connection:
        for number in range(20):
            connection.send(bytes([number]) * 1000)
        until(lambda: drops(edge, "datagram", "held") == 12, 5, "twelve dropped")
        flows.respond(flows.wait_registration().flow)
        assert flows.wait_payloads(8) == [bytes([n]) * 1000 for n in range(8)]


@pytest.mark.parametrize("code", [dgram3.UNREACHABLE, dgram3.NO_SOCKET, dgram3.TOO_MANY, 0xff, 9])
def test_refusals(make_edge, code):
    """§5: every code but 0 is a refusal; after a while it is tried again."""
    edge, port = make_edge()
    with peer(edge, FEATURE) as (_, _, flows), client(port) as connection:
        connection.send(b"x")
        flows.respond(flows.wait_registration().flow, code)
        until(lambda: sent_registrations(edge, "refused") == 1, 5, "the refusal")
        assert drops(edge, "datagram", "refused") == 1

        def tried_again():
            connection.send(b"y")
            flows.read()
            return len(flows.registrations) >= 2
        until(tried_again, 8, "another try", 0.1)
        flows.respond(flows.registrations[-1].flow)
        flows.wait_payloads(1)
        assert all(data == b"y" for _, data in flows.payloads)


def test_never_answered(make_edge):
    """§5: after some tries it is given up; nothing is held for ever."""
    edge, port = make_edge()
    with peer(edge, FEATURE) as (_, _, flows), client(port) as connection:
        connection.send(b"x")
        until(lambda: sent_registrations(edge, "unanswered") == 1, 30, "the end of patience")
        flows.read()
        assert len(flows.registrations) == 6
        assert drops(edge, "datagram", "refused") == 1


def test_silence_asks_again(make_edge):
    """§5: where no answer comes for a while the registration goes before the next payload."""
    edge, port = make_edge()
    with peer(edge, FEATURE) as (_, _, flows), client(port) as connection:
        connection.send(b"x")
        flow = flows.wait_registration().flow
        flows.respond(flow)
        flows.wait_payloads(1)
        before = len(flows.registrations)

        def asked():
            connection.send(b"y")
            flows.read()
            return len(flows.registrations) > before
        until(asked, 15, "another registration", 0.2)
        assert flows.registrations[-1].flow == flow and not flows.registrations[-1].payload


def test_malformed_and_unknown(make_edge):
    """T8: what a daemon sends that it may not, or for nobody, is counted; nothing else happens."""
    edge, port = make_edge()
    with peer(edge, FEATURE) as (_, link, flows), client(port) as connection:
        connection.send(b"x")
        flow = flows.wait_registration().flow
        bad = [b"", b"\x07", bytes(26), bytes([dgram3.RESPONSE]) + bytes(10),
               bytes([dgram3.PAYLOAD]) + flow[:15], dgram3.carry(flow, bytes(1281))]
        for data in [*bad, dgram3.carry(bytes(16), b"who?"), bytes([dgram3.ICMP, 0x45])]:
            link.send_datagram(data)
        until(lambda: drops(edge, "datagram", "malformed") == len(bad), 5, "all counted")
        until(lambda: drops(edge, "datagram", "icmp") == 1, 5, "ICMP counted")
        assert drops(edge, "datagram", "no-flow") == 1
        flows.respond(bytes(16))
        flows.respond(flow)
        flows.wait_payloads(1)
        assert link.closed is None


def test_without_datagrams(make_edge):
    """§1: a daemon that takes no datagrams carries no flows, whatever it announces."""
    edge, port = make_edge()
    with peer(edge, FEATURE, max_datagram_frame_size=None) as (_, link, _), \
            client(port) as connection:
        connection.send(b"x")
        until(lambda: drops(edge, "udp", "no-link") == 1, 5, "no link")
        assert not link.datagrams


def test_limit_of_clients(make_edge):
    """§13: no more flows than that; those that there are go on."""
    edge, port = make_edge(extra="[limits]\nflows = 4\n", workers=1)
    with peer(edge, FEATURE) as (_, _, flows), contextlib.ExitStack() as stack:
        clients = [stack.enter_context(client(port)) for _ in range(6)]
        for number, connection in enumerate(clients):
            connection.send(b"%d" % number)
            if number < 4:
                flows.respond(flows.wait_registration(number + 1).flow)
        assert flows.wait_payloads(4) == [b"0", b"1", b"2", b"3"]
        until(lambda: drops(edge, "udp", "too-many-flows") == 2, 5, "two too many")
        assert edge.counter("adit_flows", kind="udp") == 4


def test_another_connection(make_edge):
    """W: a flow whose link goes is registered on another, by the same id."""
    edge, port = make_edge()
    with peer(edge, FEATURE) as (daemon, link, flows), client(port) as connection:
        connection.send(b"one")
        flow = flows.wait_registration().flow
        flows.respond(flow)
        flows.wait_payloads(1)
        other, _ = daemon.register(1)
        edge.wait_links(2)
        second = FlowServer(other)
        link.close_link()
        until(lambda: edge.links() == 1, 5, "the first link's end")
        connection.send(b"two")
        moved = second.wait_registration()
        second.respond(moved.flow)
        assert second.wait_payloads(1) == [b"two"]
        second.send(moved.flow, b"back")
        assert connection.recv(100) == b"back"


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_daemon_comes_back(processes, tmp_path):
    """T6 (part): a daemon that was killed and started again serves the same client's socket."""
    with UdpEcho() as echo:
        port = ports.free()
        edge = Edge(processes, tmp_path, extra=udp_section("echo", port, echo.address))
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                        extra=section("network", allow="127.0.0.0/8"))
        with client(port) as connection:
            connection.send(b"nobody there")
            until(lambda: drops(edge, "udp", "no-link") == 1, 5, "no link")
            daemon.serve()
            edge.wait_links(1)
            ask(connection, b"first")
            daemon.process.kill()
            daemon.serve()
            ask(connection, b"second", 30)
            assert carried(daemon, "anchor")[1] >= 1


@pytest.mark.carried(edge="socket", aditd="anchor")
def test_addresses(processes, tmp_path):
    """§5: answers come from the address that was asked, on any of the host's; IPv6 clients."""
    with UdpEcho("::1") as echo:
        port = ports.free()
        text = section("udp any", listen=f"0.0.0.0:{port}, [::]:{port}", tunnel="home",
                       dest=echo.address)
        edge = Edge(processes, tmp_path, extra=text)
        edge.start()
        daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                        extra=section("network", allow="::1/128")).serve()
        edge.wait_links(1)
        for host in ("127.0.0.1", "127.0.0.9", "::1"):
            with client(port, host) as connection:  # connected: other sources aren't heard
                ask(connection, host.encode())
        assert len(echo.peers) == 3
        assert carried(daemon, "anchor")[1] >= 3


def test_reload(make_edge):
    """Ports need a restart: a reload says so and changes nothing; limits and tunnels change at once."""
    edge, port = make_edge()
    more = "".join(udp_section(f"more{n}", ports.free(), "192.0.2.6:53") for n in range(40))
    before = edge.config.read_text()
    with peer(edge, FEATURE) as (_, _, flows), client(port) as connection:
        edge.write(before.replace("192.0.2.5:53", "192.0.2.9:99") + more
                   + "[limits]\nflows = 2\n")
        edge.adit("reload")
        assert "udp" in " ".join(edge.status()["need_restart"])
        connection.send(b"x")
        first = flows.wait_registration()
        assert (first.address, first.port) == (bytes([192, 0, 2, 5]), 53)
        flows.respond(first.flow)
        flows.wait_payloads(1)
        flows.send(first.flow, b"y")
        assert connection.recv(10) == b"y"
        with contextlib.ExitStack() as stack:
            for _ in range(20):
                stack.enter_context(client(port)).send(b"z")
            until(lambda: drops(edge, "udp", "too-many-flows") > 0, 5, "the new limit")


@pytest.mark.carried()
def test_ports_are_checked(processes, tmp_path):
    """What can't be served is said with its line, before anything starts."""
    edge = Edge(processes, tmp_path)
    good = edge.config.read_text()
    for keys, words in (({"dest": "example.com:53"}, "is no address with a port"),
                        ({"tunnel": "nobody"}, "there is no [tunnel nobody]"),
                        ({"listen": f"127.0.0.1:{edge.port}"}, "[edge] listens at"),
                        ({"idle": "5"}, "idle")):
        keys = {"listen": f"127.0.0.1:{ports.free()}", "tunnel": "home", "dest": "192.0.2.1:53",
                **keys}
        edge.write(good + section("udp x", **keys))
        edge.start("--check", wait=False)
        assert edge.process.wait_exit(10) == 78, edge.process.tail()
        assert words in edge.process.log, (words, edge.process.log)


@pytest.mark.carried()
def test_taken_port(processes, tmp_path):
    """A port that somebody has is told at start."""
    with bound() as other:
        port = other.getsockname()[1]
        edge = Edge(processes, tmp_path, extra=udp_section("taken", port, "192.0.2.1:53"))
        edge.start(wait=False)
        assert edge.process.wait_exit(10) == 1
        assert f"127.0.0.1:{port}" in edge.process.log
