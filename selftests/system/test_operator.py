# SPDX-License-Identifier: Apache-2.0
"""What an operator gets wrong, and what it leaves behind: nothing.

    adit-edge init, two daemons in one folder, an environment instead of a file
"""
import os
import pathlib
import re
import shlex

import pytest

from lib import needs, ports
from lib.adit import DOMAIN, Daemon, Edge, binary, section, write_token
from lib.wait import until

pytestmark = pytest.mark.group("edge")

TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"


@pytest.fixture(name="init")
def fixture_init(processes, tmp_path):
    """init(tunnel, hostname, ...) -> the finished `adit-edge init`."""
    def run(tunnel, *hostnames, domain="adit.test"):
        words = ["--domain", domain, "--advertise", "127.0.0.1:7844", "--tunnel", tunnel]
        for name in hostnames:
            words += ["--hostname", name]
        return processes.run("init", [binary("adit-edge"), "init", "--config",
                                      tmp_path / "edge.conf", "--state-dir", tmp_path / "state",
                                      *words])
    return run


def files(folder):
    return {p: p.read_bytes() for p in folder.rglob("*")
            if p.is_file() and p.suffix not in (".out", ".err", ".log")}


@pytest.mark.parametrize("tunnel, hostname", [("../evil", "b.adit.test"), ("Two", "b.adit.test"),
                                              ("two", "not a name"), ("two", "a.adit.test")])
def test_refused_tunnel_leaves_nothing(init, tmp_path, tunnel, hostname):
    """§3: a bad name, or a hostname that another tunnel has: 78, and every file is as it was."""
    assert init("home", "a.adit.test").code == 0
    before = files(tmp_path)
    refused = init(tunnel, hostname)
    assert refused.code == 78 and "edge.conf:" in refused.log, refused.log
    assert files(tmp_path) == before


def test_hostname_without_a_dot(init, tmp_path):
    """§2.3: it lives below the edge's domain."""
    assert init("home", "blog", "*.wild.adit.test").code == 0
    text = (tmp_path / "edge.conf").read_text()
    assert "hostname = blog.adit.test\n" in text and "hostname = *.wild.adit.test\n" in text


def test_domain_that_is_none(init):
    """64, and the option is named."""
    refused = init("home", domain="bad name")
    assert refused.code == 64 and "--domain" in refused.log


def test_what_init_prints_starts_the_edge(init, processes, tmp_path):
    """The next command works as it is printed, also where the state isn't in its default place."""
    done = init("home", "a.adit.test")
    printed = re.search(r"^next: adit-edge (.*), and on the other host", done.log, re.MULTILINE)[1]
    free = [f"{key}=127.0.0.1:{ports.free()}" for key in ("edge.listen", "http.listen",
                                                          "metrics.listen")]
    edge = processes.start("edge", [binary("adit-edge"), *shlex.split(printed),
                                    *[word for key in free for word in ("--set", key)],
                                    "--run-dir", tmp_path / "run"])
    edge.wait_line("start: listening")


def test_two_in_one_folder(processes, tmp_path):
    """The second one ends with 1; the first one's control socket stays."""
    edge = Edge(processes, tmp_path)
    edge.start()
    second = processes.run("second", [binary("adit-edge"), "--config", edge.config, *edge.places])
    assert second.code == 1 and "run directory" in second.log, second.log
    assert edge.status()["state"] == "listening"


@pytest.mark.parametrize("variable, name", [("TUNNEL_TOKEN_FILE", "token"),
                                            ("CREDENTIALS_DIRECTORY", "")])
def test_environment_alone(processes, tmp_path, variable, name):
    """§2.1: a token by environment or from systemd needs no configuration file."""
    write_token(tmp_path / "token", "0" * 32, TUNNEL, bytes(32),
                {"v": 1, "edge": ["127.0.0.1:7844"]})
    env = {variable: str(tmp_path / name), "XDG_CONFIG_HOME": str(tmp_path / "empty")}
    needs.no_configuration()
    done = processes.run("check", [binary("aditd"), "--check"], env=env)
    assert done.code == 0 and "fine" in done.log, done.log


def test_key_log_of_the_edge(processes, tmp_path):
    """[debug] tls-key-log works on this side too; a place that can't be written ends the start."""
    path = tmp_path / "keys"
    edge = Edge(processes, tmp_path, extra=section("debug", tls_key_log=path))
    edge.start()
    Daemon(processes, tmp_path, token_file=edge.token_file, connections=1).serve()
    until(lambda: "CLIENT_TRAFFIC_SECRET_0" in path.read_text(), 5, "the secrets")
    assert path.stat().st_mode & 0o777 == 0o600
    edge.process.wait_line("secrets are written", 1)
    bad = processes.run("bad", [binary("adit-edge"), "--config", edge.config, "--run-dir",
                                tmp_path / "run2", "--state-dir", edge.state,
                                "--set", f"debug.tls-key-log={tmp_path}/none/keys"])
    assert bad.code == 1 and "tls-key-log" in bad.log, bad.log


@pytest.mark.parametrize("target, end", [("/x?y=1", "/x?y=1"), ("*", "")])
def test_redirect(processes, tmp_path, target, end):
    """[https] redirect-http: clear text is sent to the port where TLS is."""
    edge = Edge(processes, tmp_path)
    edge.write(edge.config.read_text().replace("redirect-http = no\n", ""))
    edge.start()
    words = ["-X", "OPTIONS", "--request-target", target]
    got = edge.fetch("/", *words)
    assert got.status == 308
    assert got.header("location") == f"https://a.{DOMAIN}:{edge.https_port}{end}"


def test_metrics_of_the_reference(processes, tmp_path):
    """§12: names of the reference; a link that has ended shows nothing of its last values."""
    edge = Edge(processes, tmp_path)
    edge.start()
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1)
    daemon.serve()
    until(lambda: daemon.counter("cloudflared_config_local_config_pushes") == 1, 5, "the push")
    seen = daemon.metrics()
    assert seen.sum("build_info", type="adit") == 1 and seen.sum("adit_config_version") == 1
    assert seen.has("cloudflared_orchestration_config_version")
    assert seen.sum("cloudflared_config_local_config_pushes_errors") == 0
    assert seen.sum("quic_client_mtu") > 0
    assert seen.sum("quic_client_max_udp_payload") == seen.sum("quic_client_mtu")
    assert seen.sum("quic_client_total_connections") == 1
    assert seen.sum("quic_client_closed_connections") == 0
    assert edge.stop() == 0
    until(lambda: daemon.counter("adit_link_mtu_bytes") == 0, 10, "the link's end")
    assert daemon.counter("quic_client_closed_connections") >= 1


def test_bad_certificate(processes, tmp_path):
    """[https] certificates: a file that is none is said at the start; the good one serves."""
    edge = Edge(processes, tmp_path)
    (edge.certificates / "bad.pem").write_text("junk")
    edge.start()
    edge.process.wait_line("certificates that can't be used.*count=1", 2)
    assert edge.fetch("/", tls=True).status == 503


def test_few_descriptors(processes, tmp_path):
    """§13: limits are cut to the descriptors that a process may have, and a log line says so."""
    few = ["prlimit", "--nofile=200:800"]
    edge = Edge(processes, tmp_path)
    edge.start(wrap=few)
    edge.process.wait_line(r"limit is cut.*visitors.*16384.*700", 5)
    daemon = Daemon(processes, tmp_path, token_file=edge.token_file, connections=1,
                    rules=[(f"a.{DOMAIN}", "http_status:204")])
    daemon.start(wrap=few)
    daemon.process.wait_line(r"limit is cut.*streams.*65536.*700", 5)
    daemon.wait_ready()
    assert edge.fetch("/").status == 204
    limits = pathlib.Path(f"/proc/{daemon.process.pid}/limits").read_text()
    assert re.search(r"Max open files +800 +800", limits), limits


def test_server_name_outside_the_authority(processes, tmp_path):
    """§3: a server-name that every daemon would refuse ends the start."""
    edge = Edge(processes, tmp_path, edge_keys={"server_name": "edge.bank.test"})
    edge.start(wait=False)
    assert edge.process.wait_exit(10) == 78
    assert "server-name lies outside" in edge.process.log


def as_user(uid, gid):
    return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]


def test_who_may_use_the_socket(processes, tmp_path):
    """§11: with the operators' group on the run folder its members may read and nobody else; changing
    is for root and the daemon's own user."""
    needs.root("other users")
    operators, member, stranger = 64200, 64201, 64202
    tmp_path.chmod(0o755)
    for above in tmp_path.parents[:2]:
        above.chmod(0o755)
    daemon = Daemon(processes, tmp_path, connections=1, edge_keys={"address": "127.0.0.1:9"},
                    token_file=write_token(tmp_path / "token", "0" * 32, TUNNEL, bytes(32)))
    daemon.folder.chmod(0o755)
    os.chown(daemon.run, 0, operators)
    daemon.run.chmod(0o2755)
    daemon.start()
    socket = daemon.run / "control"
    until(socket.exists, 10, "the control socket")
    state = socket.stat()
    assert (state.st_mode & 0o777, state.st_gid) == (0o660, operators)

    def ask(method, user):
        call = ["varlinkctl", "call", f"unix:{socket}", f"io.adit.Daemon.{method}", "{}"]
        return processes.run(method.lower(), [*user, *call])
    status = ask("Status", as_user(member, operators))
    assert status.code == 0, status.log
    refused = ask("Drain", as_user(member, operators))
    assert refused.code != 0 and "PermissionDenied" in refused.log, refused.log
    assert ask("Status", as_user(stranger, stranger)).code != 0
    assert daemon.process.is_running
