# SPDX-License-Identifier: Apache-2.0
"""T10 (part): what docs/ARCHITECTURE.md says about parts is what the include lines say; README's
configuration is one."""
import pathlib
import re
import textwrap

import pytest

from lib.adit import binary, write_token

pytestmark = pytest.mark.group("core")

TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
TREE = pathlib.Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (\d) \| `(\w+)` \| [^|]* \| ([^|]*) \|$", re.MULTILINE)
INCLUDE = re.compile(r'^#include "daemon/(\w+)/', re.MULTILINE)


def table():
    """{part: (rank, parts that it includes)} of the document."""
    text = (TREE / "docs/ARCHITECTURE.md").read_text()
    return {part: (int(rank), set(includes.split())) for rank, part, includes in ROW.findall(text)}


def folder(part):
    """netlink stands beside daemon: it needs nothing of it."""
    return TREE / part if part == "netlink" else TREE / "daemon" / part


def included(part):
    """Parts whose headers the part's files include, its own left out."""
    found = set()
    for path in folder(part).glob("*.[ch]"):
        found |= set(INCLUDE.findall(path.read_text()))
    return found - {part}


def ranks():
    """{part: rank} of the table that lint reads."""
    lines = (TREE / "selftests/lint/layers").read_text().splitlines()
    rows = [line.split() for line in lines if line[:1].isdigit()]
    return {row[1].removeprefix("daemon/"): int(row[0]) for row in rows if "include/" not in row[1]}


def test_every_part_is_there():
    """T10: the document has every folder of daemon/, and no other."""
    folders = {path.name for path in [TREE / "netlink", *(TREE / "daemon").iterdir()]
               if path.is_dir() and list(path.glob("*.c"))}
    assert set(table()) == folders


@pytest.mark.parametrize("part", sorted(table()))
def test_part(part):
    """T10: a part's rank is lint's, and it includes what the document says."""
    rank, includes = table()[part]
    assert rank == ranks()[part]
    assert includes - {"util", "–"} == included(part)


def test_files_that_are_named_exist():
    """Every `part/file` of the document is a file or a folder."""
    text = (TREE / "docs/ARCHITECTURE.md").read_text()
    gone = [name for name in re.findall(r"`(\w+/[\w*]+(?:\.\w+)?)`", text)
            if not any(list((TREE / top).glob(f"{name}*")) for top in ("daemon", "include", "."))]
    assert not gone


def test_options_are_those_of_the_program(processes):
    """docs/config.md is what `aditd --dump-docs` prints."""
    done = processes.run("docs", [binary("aditd"), "--dump-docs"])
    assert done.code == 0
    assert done.log.strip() == (TREE / "docs/config.md").read_text().strip()


def test_configuration_of_readme(processes, tmp_path):
    """README: its example passes --check, word for word but for the token's place."""
    token = write_token(tmp_path / "token", "0" * 32, TUNNEL, bytes(32),
                        {"v": 1, "edge": ["edge.example.com:7844"]})
    blocks = re.findall(r"(?:^    .*\n|^\n)+", (TREE / "README.md").read_text(), re.MULTILINE)
    example = next(block for block in blocks if block.lstrip().startswith("[tunnel]"))
    text = textwrap.dedent(example).replace("/etc/adit/token", str(token))
    assert str(token) in text
    (tmp_path / "adit.conf").write_text(text)
    done = processes.run("check", [binary("aditd"), "--check", "--config", tmp_path / "adit.conf"])
    assert done.code == 0 and "warning" not in done.log, done.tail()


def named_tests():
    """{"row" or "pitfall": {number: tests named}} of docs/datagrams.md."""
    text = (TREE / "docs/datagrams.md").read_text()
    found = {}
    for kind in ("row", "pitfall"):
        part = text.split(f"| {kind} |")[1].split("\n\n")[0]
        rows = re.findall(r"^\| (\d+) \|.*\| ([^|]*) \|$", part, re.MULTILINE)
        assert len(rows) == len({number for number, _ in rows})
        found[kind] = {int(number): re.findall(r"`([^`]+)`", tests) for number, tests in rows}
    return found


def test_requirements_have_tests():
    """docs/datagrams.md: every number is there, with tests that exist."""
    found = named_tests()
    assert sorted(found["row"]) == list(range(1, 36)) and sorted(found["pitfall"]) == list(range(1, 33))
    for tests in [*found["row"].values(), *found["pitfall"].values()]:
        assert tests
        for test in tests:
            file, name = test.split(" ")
            if file.endswith(".py"):
                text = (TREE / "selftests/system" / file).read_text()
                assert f"\ndef test_{name}(" in text, test
            else:
                text = (TREE / "selftests/unit" / f"{file}.c").read_text()
                assert f"\nstatic void test_{name}(" in text, test


def test_programs_of_the_kernel():
    """Pitfalls 1 to 4, 7: no program for TC, none that redirects to a device or sends a frame back."""
    code = "".join(path.read_text() for path in (TREE / "bpf").rglob("*.[ch]"))
    kinds = set(re.findall(r'SEC\("([^"]+)"\)', code)) - {"license", ".maps"}
    assert kinds == {"xdp", "xdp.frags", "socket", "sk_reuseport"}
    assert set(re.findall(r"\bbpf_redirect\w*", code)) == {"bpf_redirect_map"}
    assert set(re.findall(r"\bXDP_(?:TX|REDIRECT)\b", code)) == set()
    assert code.count("__uint(type, BPF_MAP_TYPE_DEVMAP") == 0
