# SPDX-License-Identifier: Apache-2.0
"""Waiting for conditions. Every wait has a deadline; ADIT_SLOW stretches all of them."""
import os
import time

SLOW = float(os.environ.get("ADIT_SLOW") or 1)


def seconds(value):
    """A deadline or bound of `value` seconds on this machine in this build (sanitizers are slow)."""
    return value * SLOW


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


def holds(condition, duration, what="condition", step=0.05):
    """Asserts that condition() stays true for a while (for things that must not happen)."""
    end = time.monotonic() + duration
    while time.monotonic() < end:
        assert condition(), f"no longer true: {what}"
        time.sleep(step)
