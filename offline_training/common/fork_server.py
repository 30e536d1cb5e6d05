"""Imported first by the process that workers are forked from, to make it end fast and silently."""

from __future__ import annotations

import atexit
import os
import signal

# Let Ctrl-C end the process immediately, also during imports.
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
# Regular finalisation of all modules takes as long as some imports.
atexit.register(os._exit, 0)
