"""SIGINT and SIGTERM as an event, so that what runs ends in order."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_set(*events: threading.Event) -> Iterator[None]:
    """Have signals set events meanwhile; in the main thread, no other can catch them."""

    def set_events(*_: object) -> None:
        for event in events:
            event.set()

    previous = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, set_events) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
