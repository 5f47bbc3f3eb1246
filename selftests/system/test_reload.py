# SPDX-License-Identifier: Apache-2.0
"""T8: a changed configuration in running programs.

    visitors --> adit-edge --> aditd --> origins; SIGHUP, Varlink, `adit reload`, the watched file
"""
import contextlib
import itertools
import json
import os
import signal
import socket
import ssl

import pytest

from lib import certs, needs
from lib.adit import DOMAIN, Daemon, Edge, binary, peer_edge_keys, section, write_token
from lib.crowd import allow_files
from lib.origin import Origin
from lib.peer_edge import PeerEdge
from lib.service_user import UID, with_service_user
from lib.holder import Holder, Visitors
from lib.varlink import Refused, Varlink
from lib.wait import SLOW, holds, until

pytestmark = pytest.mark.group("http")

HOST = f"a.{DOMAIN}"
RELOADS = 1000 if SLOW <= 1 else 150      # of each program
STREAMS = 1000 if SLOW <= 1 else 200


@pytest.fixture(name="edge")
def fixture_edge(processes, tmp_path):
    edge = Edge(processes, tmp_path)
    edge.start()
    return edge


@pytest.fixture(name="daemon")
def fixture_daemon(processes, tmp_path, edge):
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file,
                    rules=[(HOST, "http_status:201")])
    return daemon.serve()


def change(program, old, new):
    """Replaces a piece of its configuration file."""
    text = program.config.read_text()
    assert old in text, text
    program.write(text.replace(old, new))


def version(program):
    with Varlink(program) as link:
        return link.call("Status")["config_version"]


def reload(program):
    """By the control interface: what changed and what needs a restart."""
    with Varlink(program) as link:
        answer = link.call("Reload")
    return answer["changed"], answer["need_restart"]


def refused(program):
    """The faults of a configuration that isn't taken."""
    with Varlink(program) as link, pytest.raises(Refused) as caught:
        link.call("Reload")
    assert caught.value.args[0] == f"{link.interface}.BadConfig"
    return caught.value.parameters["errors"]


def test_rules(edge, daemon):
    """SIGHUP and `adit reload`: a request that comes after it gets the new rules."""
    assert edge.fetch("/").status == 201
    change(daemon, "http_status:201", "http_status:202")
    assert edge.fetch("/").status == 201
    daemon.process.signal(signal.SIGHUP)
    until(lambda: version(daemon) == 2, 10, "the reload")
    assert edge.fetch("/").status == 202
    change(daemon, "http_status:202", "http_status:203")
    done = daemon.adit("reload")
    assert done.stdout == "changed:\n  ingress.rule0.service\n"
    assert edge.fetch("/").status == 203
    assert daemon.adit("reload").stdout == "nothing has changed\n"
    assert json.loads(daemon.adit("--json", "reload").stdout) == {"changed": [],
                                                                  "need_restart": []}
    assert version(daemon) == 5 == daemon.counter("adit_config_version")


def test_order_and_new_rules(edge, daemon):
    """Rules that come, go, and change places."""
    rule = section("ingress first", hostname=HOST, path="^/first", service="http_status:204")
    change(daemon, "[ingress rule0]", rule + "[ingress rule0]")
    assert reload(daemon) == (["ingress.first (new)"], [])
    assert [edge.fetch(p).status for p in ("/first", "/x")] == [204, 201]
    change(daemon, rule, "")
    change(daemon, "[metrics]", rule + "[metrics]")
    assert reload(daemon) == (["ingress (order)"], [])
    assert edge.fetch("/first").status == 201
    change(daemon, rule, "")
    assert reload(daemon) == (["ingress.first (removed)"], [])


@pytest.mark.parametrize("which", ["edge", "daemon"])
def test_bad_file(edge, daemon, which):
    """A bad file changes nothing, is counted, and says file and line, to whoever asked and in the
    log."""
    program = {"edge": edge, "daemon": daemon}[which]
    good = program.config.read_text()
    lines = len(good.splitlines())
    program.write(good + "[log]\nlevel = loud\n[nonsense]\n")
    expected = [f"{program.config}:{lines + 1}: error: ", f"{program.config}:{lines + 3}: error: "]
    faults = refused(program)
    assert len(faults) >= 2
    for start in expected:
        assert any(f.startswith(start) for f in faults), faults
        program.process.wait_line(f"error.*{start}", 5)
    done = program.adit("reload", check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert "BadConfig" in done.stderr and expected[0] in done.stderr
    program.process.signal(signal.SIGHUP)
    program.process.wait_line("refused, the old one stays", 5, count=3)
    assert version(program) == 1 and edge.fetch("/").status == 201
    program.config.unlink()
    assert "No such file" in refused(program)[0]
    assert program.counter("adit_config_errors_total", source="file") == 4
    program.write(good)
    assert reload(program) == ([], [])
    assert version(program) == 2 and edge.fetch("/").status == 201


def test_needs_restart(edge, daemon):
    """Keys that can't change are named, by reload and by status, until they are as they were."""
    change(daemon, "workers = 2", "workers = 3")
    change(daemon, "level = debug", "level = debug\naccess = on")
    assert reload(daemon) == (["log.access"], ["process.workers"])
    assert reload(daemon) == ([], ["process.workers"])
    done = daemon.adit("reload")
    assert done.stdout == "after a restart:\n  process.workers\n"
    assert daemon.status()["need_restart"] == ["process.workers"]
    assert "process.workers" in daemon.adit("status").stdout
    assert edge.fetch("/logged").status == 201
    daemon.process.wait_line("/logged", 5)
    change(daemon, "workers = 3", "workers = 2")
    assert reload(daemon) == ([], [])
    assert daemon.status()["need_restart"] == []
    change(edge, f"listen = 127.0.0.1:{edge.http_port}", "listen = 127.0.0.1:1")
    change(edge, "location = tst", "location = ams")
    assert reload(edge) == (["edge.location"], ["http.listen"])
    assert edge.status()["need_restart"] == ["http.listen"]
    assert edge.fetch("/").status == 201


def test_log_level(daemon):
    """[log] level, whole and by area."""
    change(daemon, "level = debug", "level = warning, config:info")
    assert reload(daemon) == (["log.level"], [])
    before = daemon.process.log
    with Varlink(daemon) as link:
        link.call("Reconnect")
    until(lambda: daemon.ready() == 2, 10, "the connections")
    reload(daemon)
    daemon.process.wait_line("in force.*version=3", 5)
    added = daemon.process.log[len(before):]
    assert "registered" not in added and "step" not in added, added


def test_notify(processes, tmp_path, service_manager):
    """Type=notify-reload: RELOADING=1 with the time, then READY=1, also when the file is bad."""
    edge = Edge(processes, tmp_path)
    edge.start(env=service_manager.env)
    service_manager.wait("READY=1")

    def words():
        keep = ("READY", "RELOADING", "MONOTONIC_USEC")
        return [line for _, line in service_manager.messages if line.split("=")[0] in keep]
    for number, text in enumerate([edge.config.read_text(), "[nonsense]\n"], 1):
        edge.write(text)
        edge.process.signal(signal.SIGHUP)
        until(lambda n=number: len(words()) == 1 + 3 * n, 10, f"{words()}")
        said = words()[3 * number - 2:]
        assert said[0] == "RELOADING=1" and said[2] == "READY=1", said
        assert int(said[1].split("=")[1]) > 0
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file)
    service_manager.messages.clear()
    daemon.start(env=service_manager.env)
    daemon.wait_ready()
    daemon.process.signal(signal.SIGHUP)
    until(lambda: len(words()) == 4, 10, f"{words()}")
    assert [w.split("=")[0] for w in words()] == ["READY", "RELOADING", "MONOTONIC_USEC", "READY"]
    assert any(v.startswith("connected: ") for v in service_manager.values("STATUS")[-1:])


def test_stopping(edge, daemon):
    """A program that drains doesn't reload any more, and doesn't say READY."""
    with Origin("slow") as origin:
        change(daemon, "http_status:201", origin.service)
        reload(daemon)
        slow = edge.processes.start("curl", ["curl", "-s", "--resolve",
                                             f"{HOST}:{edge.http_port}:127.0.0.1",
                                             edge.url("/silent")])
        origin.wait_requests(1)
        daemon.process.signal(signal.SIGTERM)
        daemon.process.wait_line("draining", 5)
        daemon.process.signal(signal.SIGHUP)
        daemon.process.wait_line("no reload", 5)
        with Varlink(daemon) as link, pytest.raises(Refused):
            link.call("Reload")
        origin.release.set()
        assert daemon.process.wait_exit(20) == 0
        slow.wait_exit(10)


def test_who_may(edge, daemon):
    """§11: changing is for root and the daemon's own user."""
    needs.root("other users")
    for program in (edge, daemon):
        (program.run / "control").chmod(0o666)
        for folder in (program.run, *program.run.parents[:4]):
            folder.chmod(folder.stat().st_mode | 0o111)
        done = program.processes.run("call", [
            "setpriv", "--reuid=64201", "--clear-groups", "varlinkctl", "call",
            f"unix:{program.run}/control",
            f"io.adit.{'Edge' if program is edge else 'Daemon'}.Reload", "{}"])
        assert done.code != 0 and "PermissionDenied" in done.log, done.log
        assert version(program) == 1


def test_watch(edge, daemon):
    """[process] watch-config: a file that is replaced takes effect by itself; a bad one doesn't."""
    def replace(old, new):
        text = daemon.config.read_text()
        assert old in text
        fresh = daemon.config.with_suffix(".new")
        fresh.write_text(text.replace(old, new))
        fresh.rename(daemon.config)
    replace("workers = 2", "workers = 2\nwatch-config = yes")
    assert reload(daemon) == (["process.watch-config"], [])
    replace("http_status:201", "http_status:202")
    until(lambda: edge.fetch("/").status == 202, 10, "the new rule")
    change(daemon, "http_status:202", "nonsense")
    daemon.process.wait_line("refused, the old one stays", 10)
    assert edge.fetch("/").status == 202
    change(daemon, "nonsense", "http_status:203")
    until(lambda: edge.fetch("/").status == 203, 10, "the new rule")
    replace("watch-config = yes", "watch-config = no")
    until(lambda: version(daemon) == 5, 10, "the reload")
    replace("http_status:203", "http_status:204")
    holds(lambda: version(daemon) == 5, 0.5, "not watched any more")


def test_watch_from_the_start(processes, tmp_path):
    """The same for adit-edge, configured before its start."""
    edge = Edge(processes, tmp_path)
    change(edge, "workers = 2", "workers = 2\nwatch-config = yes")
    edge.start()
    change(edge, "location = tst", "location = ams")
    until(lambda: version(edge) == 2, 10, "the reload")
    edge.process.wait_line("in force.*file changed.*edge.location", 5)


def test_limits(edge, daemon):
    """[limits] and [front] at both ends: for what begins from then on."""
    def head(length):
        return edge.fetch("/", "-H", f"X-Long: {'x' * length}").status
    assert head(6000) == 201
    edge.write(edge.config.read_text() + section("limits", head_size="4K", head_line="4K")
               + section("front", max_body="1K"))
    assert reload(edge)[0] == ["front.max-body", "limits.head-size", "limits.head-line"]
    assert head(6000) == 431 and head(100) == 201
    assert edge.fetch("/", "--data-binary", "x" * 2000).status == 413
    text = edge.config.read_text()
    edge.write(text[:text.index("[limits]")])
    assert len(reload(edge)[0]) == 3
    assert head(6000) == 201
    daemon.write(daemon.config.read_text() + section("limits", streams=1, head_fields=16))
    assert reload(daemon)[0] == ["limits.streams", "limits.head-fields"]
    many = [word for n in range(20) for word in ("-H", f"X-{n}: y")]
    assert edge.fetch("/", *many).status == 431 and edge.fetch("/").status == 201


def test_old_stream_keeps_its_rule(processes, edge):
    """An exchange that began before ends whole, though its rule and its tunnel's name are gone."""
    with Origin("old") as origin:
        daemon = Daemon(processes, edge.folder.parent, token_file=edge.token_file,
                        rules=[(HOST, origin.service)]).serve()
        slow = processes.start("curl", ["curl", "-sS", "-w", "%{http_code}", "--resolve",
                                        f"{HOST}:{edge.http_port}:127.0.0.1",
                                        edge.url("/slow/20/50")])
        origin.wait_requests(1)
        change(daemon, origin.service, "http_status:404")
        assert reload(daemon)[0] == ["ingress.rule0.service"]
        change(edge, f"hostname = {HOST}", f"hostname = b.{DOMAIN}")
        assert reload(edge)[0] == ["tunnel.home.hostname"]
        assert edge.fetch("/").status == 404 and edge.fetch("/", host=f"b.{DOMAIN}").status == 404
        assert edge.counter("adit_edge_no_route_total") == 1
        assert slow.wait_exit(20) == 0
        lines = "".join(f"line {n}\n" for n in range(20))
        assert slow.out.read_text() == lines + "200"


def test_as_service_user(processes, tmp_path):
    """§14: after the drop adit-edge reads its file as its own user: init gives it the group, and a
    file that it can't read is said at the start and refused later."""
    needs.root("changes the user")
    for above in [tmp_path, *tmp_path.parents[:2]]:
        above.chmod(0o755)
    wrap = with_service_user(tmp_path)
    made = processes.run("init", [*wrap, binary("adit-edge"), "init", "--config",
                                  tmp_path / "edge.conf", "--state-dir", tmp_path / "s",
                                  "--domain", DOMAIN, "--advertise", "127.0.0.1:7844",
                                  "--tunnel", "home", "--hostname", HOST])
    assert made.code == 0, made.log
    state = (tmp_path / "edge.conf").stat()
    assert (state.st_uid, state.st_gid, state.st_mode & 0o777) == (0, UID, 0o640)
    edge = Edge(processes, tmp_path)
    os.chown(edge.config, 0, UID)
    edge.config.chmod(0o640)
    for path in (edge.run, edge.certificates, *edge.certificates.iterdir()):
        os.chown(path, UID, UID)
    edge.start(wrap=wrap)
    assert "no reload" not in edge.process.log
    change(edge, "location = tst", "location = ams")
    assert reload(edge) == (["edge.location"], [])
    edge.config.chmod(0o600)
    assert "Permission denied" in refused(edge)[0]
    edge.process.terminate()
    edge.start(wrap=wrap)
    edge.process.wait_line("can't read the configuration: no reload", 5)


# ---- tunnels and secrets ----

OTHER = section("tunnel other", id="6ff42ae2-765d-4adf-8112-31c55c155100", account="b" * 32,
                secret_sha256="66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925",
                hostname=f"b.{DOMAIN}")


def other_token(edge, path, secret=bytes(32)):
    return write_token(path, "b" * 32, "6ff42ae2-765d-4adf-8112-31c55c155100", secret,
                       {"v": 1, "edge": [edge.address],
                        "pin": edge.credentials["x"]["pin"]})


def test_tunnels(processes, tmp_path, edge, daemon):
    """Tunnels come and go: daemons of the others notice nothing; one that is gone is sent away and
    its requests end in 404."""
    other = Daemon(processes, tmp_path, "other", token_file=other_token(edge, tmp_path / "token"),
                   rules=[(f"b.{DOMAIN}", "http_status:202")])
    other.start()
    other.process.wait_line("Unauthorized", 10)
    good = edge.config.read_text()
    edge.write(good.replace("[tunnel home]", OTHER + "[tunnel home]"))  # before the one with links
    assert reload(edge) == (["tunnel.other (new)"], [])
    with Varlink(other) as link:
        link.call("Reconnect")
    other.wait_ready()
    assert edge.fetch("/", host=f"b.{DOMAIN}").status == 202
    assert edge.fetch("/").status == 201
    assert edge.links("other") == 2 and edge.links("home") == 2
    tunnels = {t["name"]: t["connections"] for t in edge.status()["tunnels"]}
    assert tunnels == {"home": 2, "other": 2}
    edge.write(good)
    assert reload(edge) == (["tunnel.other (removed)"], [])
    assert edge.fetch("/", host=f"b.{DOMAIN}").status == 404
    until(lambda: other.ready() == 0, 10, "the other tunnel's end")
    assert edge.links("other") == 0 and edge.links("home") == 2
    assert edge.fetch("/").status == 201
    assert {c["tunnel"] for c in edge.status()["connections"]} == {"home"}
    assert daemon.counter("quic_client_total_connections") == 2  # of the start


def test_renamed_tunnel(edge, daemon):
    """Another name for the same tunnel: its links stay."""
    change(edge, "[tunnel home]", "[tunnel casa]")
    changed, _ = reload(edge)
    assert sorted(changed) == ["tunnel.casa (new)", "tunnel.home (removed)"]
    assert edge.fetch("/").status == 201
    assert edge.links("casa") == 2 and edge.links("home") == 0
    assert daemon.counter("quic_client_total_connections") == 2
    assert edge.counter("adit_requests_total", tunnel="casa") == 1


def test_another_secret(processes, tmp_path, edge):
    """A secret that has changed at the edge ends the links that were made with the old one; aditd
    reads its own again on reload and comes back without a restart."""
    change(edge, "[tunnel home]", OTHER + "[tunnel home]")
    reload(edge)
    token = other_token(edge, tmp_path / "token")
    daemon = Daemon(processes, tmp_path, "other", token_file=token,
                    rules=[(f"b.{DOMAIN}", "http_status:202")]).serve()
    change(edge, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925",
           "af9613760f72635fbdb44a5a0a63c39f12af30f950a6ee5c971be188e89c4051")
    assert reload(edge)[0] == ["tunnel.other.secret-sha256"]
    until(lambda: daemon.ready() == 0, 10, "the links' end")
    daemon.process.wait_line("Unauthorized", 10)
    other_token(edge, token, b"\xff" * 32)
    assert reload(daemon) == (["credential (secret)"], [])
    with Varlink(daemon) as link:
        link.call("Reconnect")
    daemon.wait_ready()
    assert edge.fetch("/", host=f"b.{DOMAIN}").status == 202
    # Another tunnel's token is for a restart.
    write_token(token, "b" * 32, "6ff42ae2-765d-4adf-8112-31c55c1551ff", bytes(32),
                {"v": 1, "edge": [edge.address], "pin": edge.credentials["x"]["pin"]})
    assert reload(daemon) == ([], ["credential (another tunnel)"])
    assert edge.fetch("/", host=f"b.{DOMAIN}").status == 202


def test_max_connections(processes, tmp_path, edge, daemon):
    """[tunnel] max-connections holds for registrations from then on; who is there stays."""
    change(edge, "[tunnel home]", "[tunnel home]\nmax-connections = 1")
    assert reload(edge) == (["tunnel.home.max-connections"], [])
    second = Daemon(processes, tmp_path, "second", token_file=edge.token_file, connections=1)
    second.start()
    second.process.wait_line("too many connections", 10)
    assert daemon.ready() == 2


def test_certificate_at_once(edge):
    """[https] certificates: what has changed in the folder is served after the reload."""
    context = ssl.create_default_context(cafile=edge.authority.path)

    def names():
        with socket.create_connection(("127.0.0.1", edge.https_port)) as plain:
            with context.wrap_socket(plain, server_hostname=HOST) as tls:
                return {value for _, value in tls.getpeercert()["subjectAltName"]}
    assert f"*.wild.{DOMAIN}" in names()
    chain, key = edge.authority.leaf("fresh", [HOST])
    (edge.certificates / "public.pem").unlink()
    whole = edge.certificates / "fresh.pem"
    whole.write_bytes(chain.read_bytes() + key.read_bytes())
    whole.chmod(0o600)
    reload(edge)
    assert [names() for _ in range(8)] == [{HOST}] * 8  # of every worker


def test_authorities(processes, tmp_path, authority):
    """[edge] ca-file: its content is read again; a bad one is a bad configuration."""
    other = certs.Authority(tmp_path / "other", "other CA")
    trust = tmp_path / "trust.pem"
    trust.write_bytes(other.pem)
    with PeerEdge(*authority.leaf("peer")) as peer:
        keys = {**peer_edge_keys(peer, authority), "ca_file": trust}
        token = write_token(tmp_path / "token", "0" * 32,
                            "6ff42ae2-765d-4adf-8112-31c55c1551ef", bytes(32))
        daemon = Daemon(processes, tmp_path, token_file=token, connections=1, edge_keys=keys)
        daemon.start()
        daemon.process.wait_line("connection failed", 10)
        trust.write_text("no certificate\n")
        assert "trust.pem" in refused(daemon)[0]
        trust.write_bytes(authority.pem)
        assert reload(daemon) == ([], [])
        daemon.wait_ready(1)


def test_local_configuration(processes, tmp_path, authority):
    """Connection 0 sends the edge what is new, once for several changes, and nothing else does."""
    with PeerEdge(*authority.leaf("peer")) as peer:
        token = write_token(tmp_path / "token", "0" * 32,
                            "6ff42ae2-765d-4adf-8112-31c55c1551ef", bytes(32))
        daemon = Daemon(processes, tmp_path, token_file=token, connections=2,
                        edge_keys=peer_edge_keys(peer, authority),
                        rules=[(HOST, "http_status:201")]).serve()

        def services():
            return [[r["service"] for r in json.loads(link.config)["ingress"]]
                    for link in peer.links if link.config]
        until(lambda: services() == [["http_status:201", "http_status:404"]], 5, "the first")
        change(daemon, "http_status:201", "http_status:202")
        reload(daemon)
        until(lambda: services() == [["http_status:202", "http_status:404"]], 5, "the second")
        reload(daemon)
        assert daemon.counter("cloudflared_config_local_config_pushes") == 2
        for status in range(203, 240):
            change(daemon, f"http_status:{status - 1}", f"http_status:{status}")
            reload(daemon)
        until(lambda: services() == [["http_status:239", "http_status:404"]], 5, "the last")
        assert daemon.counter("cloudflared_config_local_config_pushes_errors") == 0


# ---- T8 ----

def by_signal(program, link):
    before = link.call("Status")["config_version"]
    program.process.signal(signal.SIGHUP)
    until(lambda: link.call("Status")["config_version"] > before, 10, "a reload by SIGHUP", 0.002)


def by_varlink(_program, link):
    link.call("Reload")


def by_command(program, _link):
    program.adit("reload")


def refuse_one(program, link, good):
    """A bad file in between."""
    before = link.call("Status")["config_version"]
    program.write(good + "[nonsense]\n")
    with contextlib.suppress(Refused):
        link.call("Reload")
        raise AssertionError("a bad file was taken")
    assert link.call("Status")["config_version"] == before


def reload_many(programs, texts, count):
    """Each program `count` times, between its two texts, in every way."""
    links = [Varlink(p) for p in programs]
    ways = itertools.cycle([by_varlink] * 7 + [by_signal] * 2 + [by_command])
    for number in range(count):
        for program, link, pair in zip(programs, links, texts):
            if number % 50 == 25:
                refuse_one(program, link, pair[0])
            program.write(pair[number % 2])
            next(ways)(program, link)
    return [link.call("Status")["config_version"] for link in links]


def memory(program):
    """KiB that are its own."""
    return int(program.process.status("RssAnon").split()[0])


@pytest.mark.timeout(400)
def test_thousand_reloads(processes, tmp_path):
    """T8: rules at aditd, hostnames and settings at the edge, changing a thousand times under load
    and 1 000 open streams: no failed request, no reset, no memory that stays."""
    allow_files(8 * STREAMS)
    origins = [Holder("one"), Holder("two")]
    edge = Edge(processes, tmp_path, extra=section("front", client_concurrency=8 * STREAMS))
    edge.start()
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=4,
                    rules=[(HOST, origins[0].service)]).serve()
    daemon_texts = [daemon.config.read_text(),
                    daemon.config.read_text().replace(origins[0].service, origins[1].service)
                    + section("ingress more", hostname="*.more.test", service="hello_world")]
    edge_text = edge.config.read_text()
    edge_texts = [edge_text, edge_text.replace("location = tst", "location = ams").replace(
        "[tunnel home]", OTHER + "[tunnel home]")]
    visitors = Visitors(edge.http_port, HOST)
    try:
        visitors.hold(STREAMS)
        until(lambda: origins[0].held == STREAMS, 60, "all streams to be open")
        visitors.load(8)
        programs, texts = (daemon, edge), (daemon_texts, edge_texts)
        warm = RELOADS // 5
        assert reload_many(programs, texts, warm) == [1 + warm] * 2
        before = [memory(p) for p in programs]
        assert reload_many(programs, texts, RELOADS - warm) == [1 + RELOADS] * 2
        visitors.stop()
        after = [memory(p) for p in programs]
        origins[0].release()
        ends = visitors.wait_long()
    finally:
        visitors.close()
        for origin in origins:
            origin.close()
    assert not visitors.faults, visitors.faults[:5]
    assert visitors.requests > RELOADS and len(visitors.answers) == 2, visitors.answers
    whole = (200, Holder.BEGIN + Holder.END)
    assert [end for end in ends if end != whole] == []
    for program in programs:
        seen = program.metrics()
        assert seen.sum("adit_request_errors_total") == 0
        assert seen.sum("adit_requests_active") == 0
        assert seen.sum("adit_config_version") == 1 + RELOADS
    assert edge.links() == 4 and daemon.counter("quic_client_total_connections") == 4
    if SLOW <= 1:
        assert all(b - a < 3000 for a, b in zip(before, after)), (before, after)
