"""The process that workers are forked from imports this first: it ends at once, without a word."""

from __future__ import annotations

import atexit
import os
import signal

# Ctrl-C while it imports.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
# To take all modules apart at its end takes as long as some of them took to import.
atexit.register(os._exit, 0)
