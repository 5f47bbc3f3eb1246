# SPDX-License-Identifier: Apache-2.0
"""Waiting for conditions. Every wait has a deadline; ADIT_SLOW stretches all of them.

Where time itself is the subject of a test, lasts() and during() say so; nothing else sleeps.
"""
import os
import time

SLOW = float(os.environ.get("ADIT_SLOW") or 1)


def seconds(value):
    """A deadline or bound of `value` seconds on this machine in this build (sanitizers are slow)."""
    return value * SLOW


def many(count):
    """So many at once; fewer where the processor is emulated: their ends in Python couldn't keep to our deadlines,
    which nothing stretches."""
    return max(count // 10, 10) if os.environ.get("ADIT_EMULATED") else count


def until(condition, timeout=10, what="condition", step=0.02):
    """Polls until condition() is true and returns its value; AssertionError at the deadline."""
    end = time.monotonic() + seconds(timeout)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise AssertionError(f"timed out after {seconds(timeout):g} s waiting for {what}")
        time.sleep(step)


def lasts(duration, what):
    """Lets time pass that the test is about: an outage, a silence, a period that is measured."""
    print(f"{max(0, duration):.1f} s: {what}", flush=True)
    time.sleep(max(0, duration))


def during(duration, step=0.05):
    """Runs the body of a loop for a while, with a pause of `step` after each time."""
    end = time.monotonic() + duration
    while time.monotonic() < end:
        yield
        time.sleep(step)


def holds(condition, duration, what="condition", step=0.05):
    """Asserts that condition() stays true for a while (for things that must not happen)."""
    for _ in during(duration, step):
        assert condition(), f"no longer true: {what}"


def settled(value, quiet, timeout=10, what="value"):
    """Polls until value() has been the same for so many seconds, and returns it."""
    last, since = value(), time.monotonic()

    def look():
        nonlocal last, since
        now = value()
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() >= since + quiet
    until(look, timeout, f"{what} to settle")
    return last
