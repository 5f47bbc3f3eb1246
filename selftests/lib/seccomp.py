# SPDX-License-Identifier: Apache-2.0
"""Programs to which options of sockets are refused, as in a container whose seccomp profile doesn't
know them: setsockopt() says EPERM. As a program: seccomp.py OPTION,… COMMAND…"""
import ctypes
import errno
import os
import platform
import socket
import struct
import sys

SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF = 51, 52
SETSOCKOPT = {"x86_64": 54, "aarch64": 208}
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, MODE_FILTER = 22, 38, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7fff0000, 0x00050000 | errno.EPERM
AT_NUMBER, AT_LEVEL, AT_NAME = 0, 24, 32     # in struct seccomp_data, the lower halves of arguments


def refusing(*names):
    """A command that executes another one, to which these options of SOL_SOCKET are refused."""
    return [sys.executable, __file__, ",".join(map(str, names))] if names else []


def program(names):
    rows = [(LOAD, 0, 0, AT_NUMBER), (EQUAL, 0, len(names) + 3, SETSOCKOPT[platform.machine()]),
            (LOAD, 0, 0, AT_LEVEL), (EQUAL, 0, len(names) + 1, socket.SOL_SOCKET),
            (LOAD, 0, 0, AT_NAME)]
    rows += [(EQUAL, len(names) - number, 0, name) for number, name in enumerate(names)]
    return [*rows, (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]


def install(rows):
    code = b"".join(struct.pack("=HBBI", *row) for row in rows)
    held = ctypes.create_string_buffer(code, len(code))
    given = ctypes.create_string_buffer(struct.pack("@HP", len(rows), ctypes.addressof(held)))
    call = ctypes.CDLL(None, use_errno=True).prctl
    if call(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or call(PR_SET_SECCOMP, MODE_FILTER, given, 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp")


if __name__ == "__main__":
    install(program([int(word) for word in sys.argv[1].split(",")]))
    os.execvp(sys.argv[2], sys.argv[2:])
