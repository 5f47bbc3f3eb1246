#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn a file of recorded vectors (JSON) into a C table that unit tests include.

usage: vectors.py FILE.json|FILE.md > FILE.h

The table is `static const struct vector_case vector_cases[]` (selftests/lib/vectors.h): a case is an
element of a list, with its name, direction, octets, every scalar below it as "path" = "text", and the
overrides that touch it (selftests/data/README.md). An override's path is relative to its case; an
empty one stands for the whole case.

Of Markdown it takes the tables of recorded sessions: a row with four cells is a case, named as
check_overrides does ("A6/3 edge#0 -> daemon#0"), with its "meaning" as the field.
"""
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "..", "data")
sys.path.insert(0, DATA)
import check_overrides  # noqa: E402  (it stays beside the vectors that it checks)


def c_string(data):
    """A C string literal; octal escapes end by themselves, so nothing can run together."""
    out = []
    for byte in data:
        char = chr(byte)
        if char in "\"\\?":
            out.append("\\" + char)
        elif 32 <= byte < 127:
            out.append(char)
        else:
            out.append(f"\\{byte:03o}")
    return '"' + "".join(out) + '"'


def c_text(value):
    return c_string(value.encode())


def scalars(node, at=""):
    if isinstance(node, dict):
        for key, child in node.items():
            yield from scalars(child, f"{at}/{key}" if at else key)
    elif isinstance(node, list):
        yield f"{at}/#", str(len(node))
        for number, child in enumerate(node):
            yield from scalars(child, f"{at}/{number}" if at else str(number))
    elif isinstance(node, str):
        yield at, node
    else:
        yield at, json.dumps(node)


def lists(node, at=""):
    """Every topmost list of objects, with its address."""
    if isinstance(node, list):
        if node and all(isinstance(i, dict) for i in node):
            yield at, node
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from lists(child, f"{at}/{key}" if at else key)


def cell_octets(cell):
    """What a cell says of bytes: `digits`, and counts of bytes that stand for 00 01 .. ff 00 .."""
    out = b""
    for digits, count in re.findall(r"`([0-9a-f]+)`|(\d+) (?:pattern bytes|bytes of)", cell):
        out += bytes.fromhex(digits) if digits else bytes(i & 0xff for i in range(int(count)))
    return out


def trace_rows(text):
    """(address, case) of every row of a recorded session."""
    names = [a for a in check_overrides.trace_addresses(text) if re.match(r"\w+/\d+ ", a)]
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    rows = [r for r in rows if len(r) == 4 and r[0].isdigit()]
    for name, (_, way, cell, meaning) in zip(names, rows, strict=True):
        yield name, {"direction": way.replace("→", "->"), "hex": cell_octets(cell).hex(),
                     "fields": {"meaning": meaning}}


def cases_of(path):
    """(address, case) of everything that a file has."""
    with open(path, encoding="utf-8") as f:
        if path.endswith(".md"):
            yield from trace_rows(f.read())
            return
        document = json.load(f)
    for at, cases in lists(document):
        for name, case in zip(check_overrides.keys(cases), cases):
            yield f"{at}/{name}" if at else name, case


def overrides(path):
    """{address: [kind]} of one vector file; none when the list isn't there."""
    name = os.path.basename(path)
    listed = os.path.join(DATA, "overrides.json")
    if not os.path.exists(listed):
        return {}
    table = {name: check_overrides.load(listed).get(name, [])}
    places = check_overrides.resolve(os.path.dirname(path) or ".", table)
    return {address: [e["kind"] for e in entries] for (_, address), entries in places.items()}


def touching(places, address):
    """(path inside the case, kind) pairs; a place around the case counts as the whole case."""
    for outer in check_overrides.inside(address):
        for kind in places.get(outer, ()):
            yield "", kind
    for place, kinds in places.items():
        if place.startswith(address + "/"):
            for kind in kinds:
                yield place[len(address) + 1:], kind


def emit_case(address, case, places, out):
    name = address.replace("→", "->")
    # What is no scalar, or a member of its own in the table, is no field.
    octets = bytes.fromhex(case["hex"]) if isinstance(case.get("hex"), str) else b""
    fields = {**case.get("fields", {})} if isinstance(case.get("fields"), dict) else \
        {k: v for k, v in case.items() if k not in ("name", "direction", "description", "hex")}
    out.append("\t{")
    out.append(f"\t\t.name = {c_text(name)},")
    out.append(f"\t\t.direction = {c_text(str(case.get('direction', '')))},")
    out.append(f"\t\t.octets = (const uint8_t *){c_string(octets)},")
    out.append(f"\t\t.len = {len(octets)},")
    pairs = [f"{{ {c_text(k)}, {c_text(v)} }}" for k, v in scalars(fields)]
    out.append("\t\t.fields = (const struct vector_field[]){ " + ", ".join(pairs + ["{}"]) + " },")
    kinds = [f"{{ {c_text(p)}, {c_text(k)} }}" for p, k in touching(places, address)]
    out.append("\t\t.overrides = (const struct vector_field[]){ " + ", ".join(kinds + ["{}"]) + " },")
    out.append("\t},")


def main(argv):
    if len(argv) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    places = overrides(argv[1])
    out = ["/* Generated by selftests/lib/vectors.py: do not edit. */",
           '#include "selftests/lib/vectors.h"', "",
           "/* clang-format off */",
           "static const struct vector_case vector_cases[] = {"]
    for address, case in cases_of(argv[1]):
        emit_case(address, case, places, out)
    out += ["};", "/* clang-format on */"]
    print("\n".join(out))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
