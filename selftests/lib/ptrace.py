# SPDX-License-Identifier: Apache-2.0
"""Holding one thread of a process as a debugger does: it doesn't run, and the others do."""
import contextlib
import ctypes
import os
import pathlib

SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
WALL = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


def _ptrace(request, tid):
    if libc.ptrace(request, tid, None, None) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace: {os.strerror(number)}")


def thread(pid, name):
    """The thread of a process that has this name."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int(task.name)
    raise KeyError(f"no thread {name} in {pid}")


@contextlib.contextmanager
def held(tid):
    """Inside, the thread stands still. All of it belongs to the calling thread."""
    _ptrace(SEIZE, tid)
    try:
        _ptrace(INTERRUPT, tid)
        os.waitpid(tid, WALL)
        yield
    finally:
        _ptrace(DETACH, tid)
