"""Signals as events, which the interrupted thread may be using."""

from __future__ import annotations

import subprocess
import sys

IN_THE_MIDDLE = """
import os, signal, threading
from drive_segment_ros.nodes.signals import signals_set

ended = threading.Event()
with signals_set(ended):
    # As at the start and the end of `wait`.
    with ended._cond:
        os.kill(os.getpid(), signal.SIGTERM)
    print(ended.wait(60.0))
"""


def test_a_signal_while_the_event_is_locked_does_not_hang():
    command = [sys.executable, '-c', IN_THE_MIDDLE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, 'True\n'), done.stderr
