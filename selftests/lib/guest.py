# SPDX-License-Identifier: Apache-2.0
"""A virtual machine with another kernel than ours: the one that lies in the root where the tests run.

Its root file system is the one that we see, read-only, handed over by virtiofsd; what it writes is in its
memory. It is emulated, so that it works where there is no virtualisation, and slow.
"""
import os
import pathlib
import re
import signal

from .proc import Process
from .wait import until

HERE = pathlib.Path(__file__).resolve().parent
CPUS, MEMORY = 2, "2G"
CPU = "max,avx=off,avx2=off,vaes=off,vpclmulqdq=off"    # AES is a good deal slower with them, emulated


def kernel():
    """The newest kernel image, or None."""
    return max(pathlib.Path("/boot").glob("vmlinuz-*"), default=None)


class Guest:
    """Boots, runs a script of bash, and ends with it."""

    def __init__(self, folder, script):
        path, door = folder / "script", folder / "fs"
        path.write_text(script)
        self.share = Process("virtiofsd", [
            "/usr/libexec/virtiofsd", f"--socket-path={door}", "--shared-dir=/", "--readonly",
            "--sandbox=none", "--cache=always", "--log-level=error"], folder)
        until(door.exists, 10, "virtiofsd's socket")
        self.machine = Process("guest", [
            "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", CPU, "-smp", str(CPUS),
            "-m", MEMORY, "-object", f"memory-backend-memfd,id=mem,size={MEMORY},share=on",
            "-numa", "node,memdev=mem", "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot",
            "-chardev", f"socket,id=fs,path={door}", "-device", "vhost-user-fs-pci,chardev=fs,tag=root",
            "-kernel", kernel(), "-append", "console=ttyS0 quiet panic=-1 rootfstype=virtiofs root=root ro "
            f"init={HERE}/guest-init -- {path}"], folder)

    @property
    def console(self):
        return self.machine.log.replace("\r\n", "\n")

    def wait(self, timeout):
        """Until the script has ended; its exit status."""
        return int(self.machine.wait_line(r"^guest: done (\d+)", timeout).group(1))

    def release(self):
        """The version of its kernel."""
        return re.search(r"^guest: kernel (\S+)", self.console, re.MULTILINE).group(1)

    def close(self):
        for process in (self.machine, self.share):
            if process.is_running:
                os.killpg(process.pid, signal.SIGKILL)
            process.popen.wait()
