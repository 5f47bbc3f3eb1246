# SPDX-License-Identifier: Apache-2.0
"""T5: wrong configurations: every fault is reported with file:line, key and what is accepted."""
import pathlib
import re

import pytest

from lib.adit import binary, write_token

pytestmark = pytest.mark.group("core")

CASES = sorted((pathlib.Path(__file__).resolve().parents[1] / "data/config-errors").glob("*.conf"))
TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"


def expectations(content):
    """[(line or None, [regular expressions])] of the `;^` and `;~` comments of a case."""
    found, last = [], 0
    for number, line in enumerate(content.decode(errors="replace").split("\n"), 1):
        if line.startswith((";^", ";~")):
            words = [word.strip() for word in line[2:].split(" | ")]
            found.append((last if line[1] == "^" else None, words))
        else:
            last = number
    return found


@pytest.fixture(name="files")
def fixture_files(tmp_path):
    """Files that stand behind the @NAME@ of the cases."""
    made = {name: tmp_path / name.lower() for name in ("TOKEN", "LOOSE", "GARBAGE", "EMPTY")}
    for name in ("TOKEN", "LOOSE"):
        write_token(made[name], "0" * 32, TUNNEL, bytes(32))
    made["GARBAGE"].write_text("this is no token\n")
    made["EMPTY"].write_text("")
    for path in made.values():
        path.chmod(0o600)
    made["LOOSE"].chmod(0o644)
    return made


def check(processes, program, path, *options, env=None):
    return processes.run("check", [binary(program), "--check", "--config", path, *options], env=env)


def test_there_are_enough_cases():
    """T5: the golden set has at least 40 wrong inputs, each with an expectation."""
    assert len(CASES) >= 40
    assert all(expectations(case.read_bytes()) for case in CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_wrong_configuration(processes, tmp_path, files, case):
    """T5: exit code 78; each expected fault is in one line of the output."""
    content = case.read_bytes()
    for name, path in files.items():
        content = content.replace(f"@{name}@".encode(), str(path).encode())
    config = tmp_path / case.name
    config.write_bytes(content)
    program = "adit-edge" if case.name.startswith("edge-") else "aditd"
    done = check(processes, program, config)
    assert done.code == 78, done.log
    lines = [line for line in done.log.splitlines() if case.name in line]
    for number, words in expectations(content):
        place = re.escape(case.name) + (f":{number}\\b" if number else r":\d+\b")
        assert any(re.search(place, line) and all(re.search(w, line, re.IGNORECASE) for w in words)
                   for line in lines), f"line {number}: {words} not in\n{done.log}"
    faulty = {int(m[1]) for line in lines
              if (m := re.search(re.escape(case.name) + r":(\d+): (?!warning)", line))}
    expected = {number for number, _ in expectations(content)}
    if None not in expected:
        assert faulty == expected, f"other lines are blamed too\n{done.log}"


def test_good_configuration_passes(processes, tmp_path, files):
    """T5: a good file passes; an omitted catch-all is one warning; the dump passes again, unchanged."""
    config = tmp_path / "good.conf"
    config.write_text(f"[tunnel]\ntoken-file = {files['TOKEN']}\ngrace-period = 5s\n"
                      "[edge]\naddress = edge.example.com:7844\n[ingress a]\nhostname = a.example.com\nservice = http://127.0.0.1:80\n[log]\n")
    done = check(processes, "aditd", config)
    assert done.code == 0, done.log
    assert done.log.lower().count("warning") == 1 and "http_status:404" in done.log
    dump = processes.run("dump", [binary("aditd"), "--dump-config", "--config", config])
    assert dump.code == 0
    text = dump.out.read_text()
    assert "grace-period = 5s" in text
    again = tmp_path / "dumped.conf"
    again.write_text(text)
    assert check(processes, "aditd", again).code == 0
    second = processes.run("dump2", [binary("aditd"), "--dump-config", "--config", again])
    strip = re.compile(r"\s*[;#].*")
    assert strip.sub("", second.out.read_text()) == strip.sub("", text)


@pytest.mark.parametrize("options, env, place", [
    (["--set", "tunnel.protocol=pigeon"], {}, "command line"),
    ([], {"TUNNEL_TRANSPORT_PROTOCOL": "pigeon"}, "environment|TUNNEL_TRANSPORT_PROTOCOL")])
def test_other_sources(processes, tmp_path, files, options, env, place):
    """T5: a wrong value from the command line or the environment is named by its source."""
    config = tmp_path / "x.conf"
    config.write_text(f"[tunnel]\ntoken-file = {files['TOKEN']}\nprotocol = quic\n"
                      "[edge]\naddress = edge.example.com:7844\n")
    done = check(processes, "aditd", config, *options, env=env)
    assert done.code == 78
    assert re.search(place, done.log) and "protocol" in done.log and "quic" in done.log, done.log


def test_precedence(processes, tmp_path, files):
    """T5: command line before environment before file."""
    config = tmp_path / "x.conf"
    config.write_text(f"[tunnel]\ntoken-file = {files['TOKEN']}\ngrace-period = 1s\n"
                      "[edge]\naddress = edge.example.com:7844\n")
    env = {"TUNNEL_GRACE_PERIOD": "2s"}
    for options, environment, want in (([], {}, "1s"), ([], env, "2s"),
                                       (["--set", "tunnel.grace-period=3s"], env, "3s")):
        done = processes.run("dump", [binary("aditd"), "--dump-config", "--config", config,
                                      *options], env=environment)
        assert f"grace-period = {want}" in done.out.read_text(), done.log
