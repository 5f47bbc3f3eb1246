# SPDX-License-Identifier: Apache-2.0
"""curl as the visitor: one request, its status, headers and body."""
import dataclasses
import pathlib
import subprocess
import tempfile

from .wait import seconds

# Not %{json}: that looks the host's own name up, which takes 5 s where a route to a name server is
# and no name server.
FACTS = "%{http_code} %{time_total}"


@dataclasses.dataclass
class Result:
    code: int               # curl's exit code
    status: int
    headers: list
    body: bytes
    seconds: float
    error: str

    def header(self, name):
        found = [v for n, v in self.headers if n.lower() == name.lower()]
        return ", ".join(found) if found else None

    @property
    def text(self):
        return self.body.decode(errors="replace")


def _headers(text):
    """The header lines of the last response head of a dump."""
    blocks = [b for b in text.replace("\r\n", "\n").strip().split("\n\n") if b]
    lines = blocks[-1].split("\n")[1:] if blocks else []
    return [tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line]


def curl(url, *options, timeout=30, prefix=(), stdin=None):
    """Runs curl with the options; never fails by itself: look at .code and .status."""
    with tempfile.TemporaryDirectory() as folder:
        head, body = pathlib.Path(folder, "head"), pathlib.Path(folder, "body")
        done = subprocess.run(
            [*prefix, "curl", "-q", "-sS", "--http1.1", "--noproxy", "*", "-D", head, "-o", body,
             "-w", FACTS, "--max-time", str(seconds(timeout)), *map(str, options), url],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, input=stdin)
        status, took = (done.stdout or b"0 0").split()
        heads = head.read_bytes() if head.exists() else b""
        content = body.read_bytes() if body.exists() else b""
        if "-I" in options:     # then curl shows the head as if it were a body
            content = content.removeprefix(heads)
        return Result(done.returncode, int(status),
                      _headers(heads.decode("latin-1")), content,
                      float(took), done.stderr.decode(errors="replace").strip())
