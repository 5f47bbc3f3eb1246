# SPDX-License-Identifier: Apache-2.0
"""What can be wrong when a program starts: it says what failed, with the file, and ends as it should.

    aditd, adit-edge, each alone
"""
import json
import os
import re
import subprocess

import pytest

from lib import needs
from lib.adit import Daemon, Edge, Program, binary, section, write_token
from lib.wait import until

pytestmark = pytest.mark.group("core")

TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
PROGRAMS = ("aditd", "adit-edge")


@pytest.fixture(name="token")
def fixture_token(tmp_path):
    """A token file; nobody listens where it leads."""
    return write_token(tmp_path / "token", "0" * 32, TUNNEL, bytes(32),
                       {"v": 1, "edge": ["127.0.0.1:9"]})


def start(processes, program, *options, env=None):
    return processes.run(program, [binary(program), *options], env=env)


def warnings(log, word):
    return [line for line in log.splitlines() if word in line]


# ---- the configuration file ----

@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("mode", [(), ("--check",), ("--dump-config",)])
def test_named_file_is_missing(processes, tmp_path, program, mode):
    """§10: a file that --config names has to be there: 78, its name and the cause."""
    for words in (["--config", tmp_path / "none.conf"], [f"--config={tmp_path}/none.conf"],
                  ["-c", tmp_path / "none.conf"]):
        done = start(processes, program, *mode, *words)
        assert done.code == 78 and f"{tmp_path}/none.conf: error: No such file" in done.log, done.log


def test_settings_dont_replace_a_named_file(processes, tmp_path, token):
    """A token besides doesn't make a file optional that was asked for."""
    done = start(processes, "aditd", "--config", tmp_path / "none.conf", "--token-file", token)
    assert done.code == 78 and "none.conf: error: No such file" in done.log, done.log


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("what, cause", [("folder", "Is a directory"), ("below", "Not a directory")])
def test_file_that_cant_be_read(processes, tmp_path, program, what, cause):
    """The cause is the kernel's, with the file."""
    path = tmp_path / "x.conf"
    if what == "folder":
        path.mkdir()
    else:
        path.write_text("")
        path = path / "y.conf"
    done = start(processes, program, "--config", path)
    assert done.code == 78 and f"{path}: error: {cause}" in done.log, done.log


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_file_named(processes, program):
    """An empty name is no name: 64."""
    done = start(processes, program, "--config=")
    assert done.code == 64 and "config: needs a value" in done.log, done.log


@pytest.mark.parametrize("program, options", [("aditd", ()), ("aditd", ("--instance", "nobody")),
                                              ("adit-edge", ())])
def test_default_file_is_missing(processes, tmp_path, program, options):
    """§1: without any configuration two lines of help, which name the file, and 78."""
    needs.no_configuration()
    done = start(processes, program, *options, env={"XDG_CONFIG_HOME": str(tmp_path)})
    name = "edge" if program == "adit-edge" else "nobody" if options else "adit"
    assert done.code == 78 and len(done.log.splitlines()) == 2, done.log
    assert f"no configuration at {'/etc' if os.geteuid() == 0 else tmp_path}/adit/{name}.conf" \
        in done.log, done.log


def test_log_names_no_file_that_isnt_there(processes, tmp_path, token):
    """Started without a file, the log and status name none."""
    needs.no_configuration()
    process = processes.start("aditd", [binary("aditd"), "--token-file", token, "--run-dir",
                                        tmp_path / "run", "--state-dir", tmp_path / "state",
                                        "--set", "metrics.listen=off"],
                              env={"XDG_CONFIG_HOME": str(tmp_path)})
    until((tmp_path / "run/control").exists, 10, "the control socket")
    assert re.search(r"start: aditd .*config=none", process.log)
    shown = processes.run("status", [binary("adit"), "--run-dir", tmp_path / "run", "--json", "status"])
    assert json.loads(shown.out.read_text())["config"] == ""
    assert process.terminate() == 0


# ---- warnings ----

@pytest.mark.parametrize("where, place", [("argv", "command line"),
                                          ("environment", "environment variable TUNNEL_TOKEN")])
def test_visible_token_is_warned_about_once(processes, tmp_path, token, where, place):
    """§2.1: one warning, which names the place."""
    text = token.read_text().strip()
    (tmp_path / "x.conf").write_text("")
    done = start(processes, "aditd", "--check", "--config", tmp_path / "x.conf",
                 *(["--token", text] if where == "argv" else []),
                 env={"TUNNEL_TOKEN": text} if where == "environment" else {})
    assert done.code == 0, done.log
    lines = warnings(done.log, "seen by others")
    assert len(lines) == 1 and lines[0].startswith(f"{place}: warning: "), done.log


def test_command_line_wins_over_the_environments_token(processes, tmp_path, token):
    """§2.1: --token-file before TUNNEL_TOKEN."""
    (tmp_path / "x.conf").write_text("")
    words = ["--check", "--config", tmp_path / "x.conf"]
    env = {"TUNNEL_TOKEN": "no-token"}
    assert start(processes, "aditd", *words, env=env).code == 78
    assert start(processes, "aditd", *words, "--token-file", token, env=env).code == 0


def test_public_metrics_are_warned_about_once(processes, tmp_path, token):
    """§2.2: scraping from elsewhere is legitimate, and warned about once."""
    daemon = Daemon(processes, tmp_path, token_file=token, connections=1)
    text = daemon.config.read_text()
    daemon.write(text.replace("listen = 127.0.0.1:", "listen = 0.0.0.0:"))
    daemon.start()
    daemon.process.wait_line("metrics.*address=0.0.0.0", 10)
    assert daemon.stop() == 0
    found = warnings(daemon.process.log.lower(), "metrics can be read")
    assert len(found) == 1 and "aditd.conf:" in found[0], daemon.process.log


# ---- folders ----

@pytest.fixture(name="full")
def fixture_full(tmp_path):
    """full(folder): a file system without a free byte on it."""
    mounted = []

    def fill(folder):
        needs.root("a file system of its own")
        argv = ["mount", "-t", "tmpfs", "-o", "size=4k", "none", str(folder)]
        subprocess.run(argv, check=True)
        mounted.append(folder)
        (folder / "filler").write_bytes(bytes(4096))
        return folder
    yield fill
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(name="program")
def fixture_program(processes, tmp_path, token):
    """program(name) -> a Daemon or an Edge that would start."""
    def make(name):
        if name == "aditd":
            return Daemon(processes, tmp_path, token_file=token, connections=1)
        return Edge(processes, tmp_path)
    return make


def fails(program, code=1, options=()):
    """Starts it; the lines of its log that are errors."""
    Program.start(program, *options)
    assert program.process.wait_exit(10) == code, program.process.log
    return [line for line in program.process.log.splitlines() if "error" in line.lower()]


@pytest.mark.parametrize("name, file", [("aditd", "metrics"), ("adit-edge", "links")])
def test_full_run_directory(program, full, name, file):
    """ENOSPC: the one error names the file, and nothing stays behind, nor listens."""
    started = program(name)
    full(started.run)
    errors = fails(started)
    assert len(errors) == 1 and f"file={started.run}/{file}" in errors[0], errors
    assert "No space left on device" in errors[0] and "listen" not in errors[0]
    assert [path.name for path in started.run.iterdir()] == ["filler"]


@pytest.mark.parametrize("name, file", [("aditd", "metrics"), ("adit-edge", "links"),
                                        ("adit-edge", "metrics"), ("aditd", "control"),
                                        ("adit-edge", "control")])
def test_run_directory_that_cant_be_written(program, name, file):
    """What is in the way is named; what was made before the failure is gone."""
    started = program(name)
    (started.run / file).mkdir()
    errors = fails(started)
    assert len(errors) == 1 and f"{started.run}/{file}" in errors[0], errors
    assert [path.name for path in started.run.iterdir()] == [file]


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("option", ["--run-dir", "--state-dir"])
def test_folder_that_is_a_file(program, tmp_path, name, option):
    """The folder is named."""
    started = program(name)
    (tmp_path / "file").write_text("")
    errors = fails(started, options=[option, tmp_path / "file"])
    assert len(errors) == 1 and f"folder={tmp_path}/file" in errors[0], errors


# ---- debugging ----

@pytest.mark.parametrize("name", PROGRAMS)
def test_qlog_folder_is_missing(program, name):
    """A configuration error with its line; a warning where the file is only checked."""
    started = program(name)
    started.write(started.config.read_text() + section("debug", qlog="/nonexistent/qlog"))
    errors = fails(started, code=78)
    assert len(errors) == 1 and re.search(r"\.conf:\d+: error: \[debug\] qlog: /nonexistent/qlog: "
                                          r"No such file.*; accepted: an existing directory",
                                          errors[0]), errors
    done = start(started.processes, name, "--check", "--config", started.config)
    assert done.code == 0 and "[debug] qlog: /nonexistent/qlog" in done.log, done.log


def test_qlog_folder_disappears(processes, tmp_path):
    """What can't be written later is a warning, once for each worker, and the tunnel works."""
    folder = tmp_path / "qlog"
    folder.mkdir()
    edge = Edge(processes, tmp_path, workers=1, extra=section("debug", qlog=folder))
    edge.start()
    folder.rmdir()
    Daemon(processes, tmp_path, token_file=edge.token_file, connections=2).serve()
    found = warnings(edge.process.log, "qlog can't be written")
    assert len(found) == 1 and str(folder) in found[0], edge.process.log


@pytest.mark.parametrize("name", PROGRAMS)
def test_key_log_that_cant_be_written(program, tmp_path, name):
    """The file is named."""
    started = program(name)
    errors = fails(started, options=["--set", f"debug.tls-key-log={tmp_path}/none/keys"])
    assert len(errors) == 1 and f"file={tmp_path}/none/keys" in errors[0], errors
