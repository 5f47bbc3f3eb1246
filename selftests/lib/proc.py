# SPDX-License-Identifier: Apache-2.0
"""Processes of a test: started with their logs in files, ended by pid, held to account at the end."""
import os
import pathlib
import re
import signal
import subprocess
import time

from .wait import seconds, until

SANITIZER = re.compile(r"ERROR: (Address|Leak)Sanitizer|runtime error:|"
                       r"WARNING: ThreadSanitizer|WARNING: MemorySanitizer")


OURS = {"aditd", "adit-edge"}


def children_of_session(session):
    """Pids of live (not zombie) processes of a session."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(entry.name))
    return found


class Process:
    """One program. Its stdout and stderr are FOLDER/NAME.out and FOLDER/NAME.err."""

    def __init__(self, name, argv, folder, env=None, netns=None, cwd=None, user=None):
        self.name, self.argv = name, [str(a) for a in argv]
        self.signals = set()        # that the test has sent
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        prefix = netns.prefix if netns else []
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.popen = subprocess.Popen(
                prefix + self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=cwd,
                env={**os.environ, **(env or {})}, start_new_session=True, user=user)
        self.pid = self.popen.pid
        self.started = time.monotonic()

    @property
    def log(self):
        """All that it has said so far."""
        return (self.err.read_text(errors="replace") + self.out.read_text(errors="replace"))

    @property
    def is_running(self):
        return self.popen.poll() is None

    def tail(self, lines=25):
        return "\n".join(self.log.splitlines()[-lines:])

    def wait_line(self, pattern, timeout=10, count=1):
        """Waits for the count-th match of a regular expression in the log."""
        regex = re.compile(pattern, re.MULTILINE)

        def look():
            found = list(regex.finditer(self.log))
            if len(found) < count:
                assert self.is_running, (f"{self.name} ended with {self.popen.returncode} before "
                                         f"{pattern!r}:\n{self.tail()}")
                return None
            return found[count - 1]
        try:
            return until(look, timeout, f"{pattern!r} in the log of {self.name}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.tail()}") from None

    def wait_exit(self, timeout=10):
        """The exit code (negative: the signal); AssertionError when it lives on."""
        try:
            return self.popen.wait(seconds(timeout))
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs:\n{self.tail()}") from None

    def signal(self, number):
        if self.is_running:
            self.signals.add(number)
            os.kill(self.pid, number)

    @property
    def is_ours(self):
        """A program under test; whatever wraps it hands its exit code on."""
        return any(os.path.basename(word) in OURS for word in self.argv)

    def terminate(self, timeout=40):
        self.signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.wait_exit(5)

    def is_stopped(self):
        """Every thread of it is."""
        tasks = pathlib.Path(f"/proc/{self.pid}/task").iterdir()
        return all((t / "stat").read_text().rsplit(")", 1)[1].split()[0] == "T" for t in tasks)

    def cpu_seconds(self):
        """User and system time of all its threads."""
        total = 0.0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            try:
                total += int((task / "schedstat").read_text().split()[0]) / 1e9
            except OSError:
                continue
        return total

    def status(self, field):
        """A line of /proc/PID/status."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return line.split(":", 1)[1].strip()
        raise KeyError(field)

    def sanitizer_findings(self):
        lines = self.log.splitlines()
        for number, line in enumerate(lines):
            if SANITIZER.search(line):
                return "\n".join(lines[number:number + 40])
        return ""


class Processes:
    """All processes of one test; close() is called by its fixture."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.all = []

    def start(self, name, argv, **options):
        number = sum(p.name.split("~")[0] == name for p in self.all)
        process = Process(f"{name}~{number}" if number else name, argv, self.folder, **options)
        self.all.append(process)
        return process

    def run(self, name, argv, timeout=20, **options):
        """Starts and waits; returns the process with its exit code in .code."""
        process = self.start(name, argv, **options)
        try:
            process.code = process.wait_exit(timeout)
        except AssertionError:
            process.kill()
            raise
        return process

    def close(self):
        """Ends what still runs; fails on sanitizer findings, hung exits, crashes, exits of ours after
        SIGTERM with another code than 0, and children left behind."""
        faults = []
        running = [p for p in self.all if p.is_running]
        for process in reversed(running):
            process.signal(signal.SIGTERM)
        for process in reversed(running):
            try:
                code = process.wait_exit(10)
                if process.is_ours and code != 0:
                    faults.append(f"{process.name} ended with {code} at SIGTERM:\n"
                                  f"{process.tail()}")
            except AssertionError:
                faults.append(f"{process.name} did not end within 10 s of SIGTERM:\n"
                              f"{process.tail()}")
                process.kill()
        for process in self.all:
            code = process.popen.returncode
            if process.is_ours and code < 0 and -code not in process.signals:
                faults.append(f"{process.name} died of signal {-code}:\n{process.tail()}")
            for pid in children_of_session(process.pid):
                faults.append(f"{process.name} left process {pid} behind")
                os.kill(pid, signal.SIGKILL)
            finding = process.sanitizer_findings()
            if finding:
                faults.append(f"{process.name}:\n{finding}")
        assert not faults, "\n".join(faults)
