# SPDX-License-Identifier: Apache-2.0
"""Programs without any right: the user nobody, no capability, nothing to be gained by executing. The socket half of
the group datapath runs so (T9 of issue 12), with `mode = sockets`; a test that needs rights says so. Without root every
program is like that."""
import contextlib
import os
import pathlib
import tempfile

UID = 65534
WRAP = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs", "--inh-caps=-all",
        "--ambient-caps=-all", "--bounding-set=-all"]

_is_default = [False]


@contextlib.contextmanager
def default(is_default):
    """What a program is started as meanwhile, unless it or the call says otherwise."""
    before, _is_default[0] = _is_default[0], is_default
    try:
        yield
    finally:
        _is_default[0] = before


def is_default():
    return _is_default[0]


def wrap(folder, *files):
    """A command that executes another one without rights, and gives it a folder with all that is in it, and files
    elsewhere that it reads."""
    if os.geteuid() != 0:
        return []
    folder, top = pathlib.Path(folder), pathlib.Path(tempfile.gettempdir())
    for path in (folder, *folder.rglob("*"), *map(pathlib.Path, files)):
        os.chown(path, UID, UID, follow_symlinks=False)
        for above in path.parents:      # those of pytest are their owner's alone
            if top in above.parents and not above.stat().st_mode & 0o001:
                above.chmod(above.stat().st_mode | 0o011)
    return WRAP


def check(process):
    """It is without any right."""
    for kind in ("Inh", "Prm", "Eff", "Amb"):
        assert int(process.status(f"Cap{kind}"), 16) == 0, kind
    assert "0" not in process.status("Uid").split()
