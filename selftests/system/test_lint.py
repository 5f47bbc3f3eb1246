# SPDX-License-Identifier: Apache-2.0
"""make lint finds what it is there to find.

A tree of one clean part is copied for each case, one thing is made wrong in it, and the check that
has to say so says so and names the file. The clean tree passes every check.
"""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.group("core")

TOP = pathlib.Path(__file__).resolve().parents[2]
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
KINDS = ["tree", "headers", "format", "shell", "analyzer", "cppcheck", "tidy"]

CODE = SPDX + """#include "daemon/wire/sum.h"

int sum(int a, int b)
{
	return a + b;
}
"""
HEADER = SPDX + """#ifndef DAEMON_WIRE_SUM_H
#define DAEMON_WIRE_SUM_H

int sum(int a, int b);

#endif
"""
PROGRAM = SPDX + """#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return ctx->data < ctx->data_end ? XDP_PASS : XDP_DROP;
}
"""
SCRIPT = "#!/bin/bash\n# SPDX-License-Identifier: Apache-2.0\necho \"$1\"\n"


def write(tree, path, text):
    (tree / path).parent.mkdir(parents=True, exist_ok=True)
    (tree / path).write_text(text)


@pytest.fixture
def tree(tmp_path):
    """The rules of this tree with one part of one file."""
    for path in ("Makefile", ".clang-format", ".clang-tidy", "bpf/.clang-tidy", "selftests/.clang-tidy",
                 "selftests/lint", "packaging/packaging.mk"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (TOP / path).is_dir() else shutil.copy)(TOP / path, tmp_path / path)
    lists = (TOP / "daemon/daemon.mk").read_text()
    empty = "".join(f"{part}_objs :=\n" for part in re.search(
        r"^parts := ((?:.*\\\n)*.*)", lists, re.M).group(1).replace("\\\n", " ").split())
    write(tmp_path, "daemon/daemon.mk", f"{lists}{empty}wire_objs := daemon/wire/sum.o\n"
                                           "bpf_progs := pass\nbpf_users :=\n")
    write(tmp_path, "selftests/selftests.mk", "# SPDX-License-Identifier: Apache-2.0\n")
    write(tmp_path, "daemon/wire/sum.c", CODE)
    write(tmp_path, "daemon/wire/sum.h", HEADER)
    write(tmp_path, "bpf/pass.bpf.c", PROGRAM)
    write(tmp_path, "packaging/script", SCRIPT)
    return tmp_path


def lint(tree, kind):
    unwanted = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "O", "T", "U", "V", "CC")
    environment = {k: v for k, v in os.environ.items() if k not in unwanted}
    return subprocess.run(["make", f"lint-{kind}"], cwd=tree, env=environment, text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def in_code(text):
    return lambda tree: write(tree, "daemon/wire/sum.c", CODE + text)


def in_header(text):
    return lambda tree: write(tree, "daemon/wire/sum.h", HEADER.replace("\nint sum", f"\n{text}\nint sum"))


def includes(line):
    return lambda tree: write(tree, "daemon/wire/sum.c", CODE.replace('sum.h"\n', f'sum.h"\n{line}\n'))


def in_program(text):
    return lambda tree: write(tree, "bpf/pass.bpf.c", PROGRAM + text)


def another(path, text):
    return lambda tree: write(tree, path, text)


def neighbour(tree):
    write(tree, "daemon/base/log.h", HEADER.replace("WIRE_SUM", "BASE_LOG"))
    includes('#include "daemon/base/log.h"')(tree)


def upwards(tree):
    write(tree, "daemon/flow/stream.h", HEADER.replace("WIRE_SUM", "FLOW_STREAM"))
    includes('#include "daemon/flow/stream.h"')(tree)


LINES = "\tb += a;\n"
WRONG = [
    ("tree", "neighbour", neighbour, r"sum\.c:3: .*includes daemon/base"),
    ("tree", "upwards", upwards, r"sum\.c:3: .*includes daemon/flow"),
    ("tree", "library", includes("#include <openssl/ssl.h>"), r"sum\.c:3: .*no library of daemon/wire"),
    ("tree", "library-in-header",
     another("daemon/net/x.h", SPDX + "#ifndef DAEMON_NET_X_H\n#define DAEMON_NET_X_H\n"
             "#include <openssl/ssl.h>\n#endif\n"), r"x\.h:4: .*only in \.c and \*_priv\.h"),
    ("tree", "own-header-first",
     lambda t: write(t, "daemon/wire/sum.c", CODE.replace("#inc", "#include <stdio.h>\n#inc")), r"sum\.c:2: .*N5"),
    ("tree", "unknown-include", includes('#include "sum_more.h"'), r"sum\.c:3: .*N5"),
    ("tree", "unlisted", another("daemon/wire/more.c", CODE), r"more\.c:1: in no list"),
    ("tree", "listed-and-absent", lambda t: (t / "daemon/wire/sum.c").unlink(), r"sum\.c:1: .*doesn't exist"),
    ("tree", "long-function", in_code("\nint more(int a, int b)\n{\n" + LINES * 81 + "}\n"), r"81 lines"),
    ("tree", "long-file", in_code("\n" * 800), r"80\d lines, the limit is 800"),
    ("tree", "long-header", in_header("\n" * 150), r"sum\.h:\d+: 15\d lines, the limit is 150"),
    ("tree", "guard", another("daemon/wire/b.h", HEADER), r"b\.h:1: .*DAEMON_WIRE_B_H"),
    ("tree", "no-licence", another("daemon/wire/sum.h", HEADER.replace(SPDX, "")), r"sum\.h:1: no SPDX"),
    ("tree", "goto", in_code("\nvoid f(void)\n{\n\tgoto out;\nout:\n}\n"), r"sum\.c:\d+: .*O2"),
    ("tree", "line-comment", in_code("// no\n"), r"sum\.c:\d+: .*D2"),
    ("tree", "typedef", in_header("typedef struct x x;\n"), r"sum\.h:\d+: .*N1"),
    ("tree", "machine-path", in_code("/* /hom" "e/someone/adit */\n"), r"sum\.c:\d+: .*no path of one machine"),
    ("tree", "mirror", another("packaging/x", SCRIPT + "# http://deb.debia" "n.org\n"), r"x:4: .*mirrors"),
    ("tree", "program-unlisted", another("bpf/more.bpf.c", PROGRAM), r"more\.bpf\.c:1: in no list"),
    ("tree", "program-includes-daemon", lambda t: write(t, "bpf/pass.bpf.c", PROGRAM.replace(
        "\n\n", '\n#include "daemon/wire/sum.h"\n\n', 1)), r"pass\.bpf\.c:3: .*includes daemon/wire"),
    ("tree", "program-unknown", includes('#include "embed/gone.bpf.h"'), r"sum\.c:3: .*no bpf/gone\.bpf\.c"),
    ("headers", "program-header", another("bpf/lib/b.h", SPDX + "#ifndef BPF_LIB_B_H\n#define BPF_LIB_B_H\n"
                                          "__u32 b(void);\n#endif\n"), r"b\.h:\d+:\d+: error"),
    ("format", "program", in_program("\n  int g(void);\n"), r"pass\.bpf\.c:\d+:\d+: error"),
    ("tidy", "program", in_program("\nint f(int a)\n{\n\treturn a - a;\n}\n"), r"misc-redundant-expression"),
    ("headers", "not-alone", in_header("size_t len(void);\n"), r"sum\.h:\d+:\d+: error"),
    ("headers", "no-guard", another("daemon/wire/b.h", SPDX + "static inline int b(void)\n{\n\treturn 1;\n}\n"), r"b\.h.*redefinition"),
    ("format", "indentation", in_code("\nint f(void);\n  int g(void);\n"), r"sum\.c:\d+:\d+: error"),
    ("shell", "quoting", another("packaging/x", SCRIPT.replace('"', "") + "rm $1\n"), r"packaging/x"),
    ("analyzer", "null", in_code("\n#include <stdlib.h>\nint *f(void);\nint *f(void)\n{\n"
                                 "\tint *p = malloc(sizeof(*p));\n\t*p = 1;\n\treturn p;\n}\n"), r"analyzer-possible-null"),
    ("cppcheck", "division", in_code("\nint f(void);\nint f(void)\n{\n\tint z = 0;\n\treturn 1 / z;\n}\n"),
     r"sum\.c:\d+:.*zerodiv"),
    ("tidy", "parameters", in_code("\nint f(int a, int b, int c, int d, int e, int g);\n"
                                   "int f(int a, int b, int c, int d, int e, int g)\n{\n"
                                   "\treturn a + b + c + d + e + g;\n}\n"), r"readability-function-size"),
    ("tidy", "suspicious", in_code("\nint f(int a)\n{\n\treturn a - a;\n}\n"), r"misc-redundant-expression"),
]


@pytest.mark.parametrize("kind", KINDS)
def test_clean_tree_passes(tree, kind):
    done = lint(tree, kind)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("kind,spoil,said", [w[:1] + w[2:] for w in WRONG], ids=[f"{w[0]}-{w[1]}" for w in WRONG])
def test_finds(tree, kind, spoil, said):
    spoil(tree)
    done = lint(tree, kind)
    assert done.returncode != 0, done.stdout
    assert re.search(said, done.stdout), done.stdout


def test_unchanged_is_not_checked_twice(tree):
    assert "TIDY" in lint(tree, "tidy").stdout
    assert "TIDY" not in lint(tree, "tidy").stdout
    (tree / "daemon/wire/sum.h").touch()
    assert "TIDY" in lint(tree, "tidy").stdout
