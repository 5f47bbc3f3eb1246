# SPDX-License-Identifier: Apache-2.0
"""Tests that mostly wait, run side by side: each is a function that asserts, in a thread of its own."""
import concurrent.futures
import contextlib
import threading
import traceback

from .wait import seconds


class Scenarios:
    """add(name)(function) lists one; start() begins those that were asked for; result() is the outcome."""

    def __init__(self):
        self.functions = {}
        self.futures = {}
        self.pool = self.barrier = None

    def add(self, name):
        def note(function):
            assert name not in self.functions, name
            self.functions[name] = function
            return function
        return note

    @property
    def names(self):
        return list(self.functions)

    def start(self, names, folder):
        """Each function gets a folder of its own."""
        self.pool = concurrent.futures.ThreadPoolExecutor(len(names))
        self.barrier = threading.Barrier(len(names))
        for name in names:
            own = folder / name
            own.mkdir()
            self.futures[name] = self.pool.submit(self._run, self.functions[name], own)

    def _run(self, function, folder):
        try:
            function(folder)
        finally:
            self.barrier.abort()    # whoever still waits has waited long enough

    def together(self):
        """Waits until every other one has come so far: their programs start no more."""
        with contextlib.suppress(threading.BrokenBarrierError):
            self.barrier.wait(seconds(60))

    def result(self, name):
        """Waits for the end of one; fails as it failed, and with its traceback."""
        error = self.futures[name].exception()
        if error:
            raise AssertionError("".join(traceback.format_exception(error)))

    def close(self):
        if self.pool:
            self.pool.shutdown()
