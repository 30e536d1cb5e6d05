"""SIGINT and SIGTERM as an event, so that what runs ends in order; or as the end itself."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_set(*events: threading.Event) -> Iterator[None]:
    """Have signals set events meanwhile; in the main thread, no other can catch them."""

    def set_events(*_: object) -> None:
        for event in events:
            event.set()

    with _handled(set_events):
        yield


@contextlib.contextmanager
def signals_leave() -> Iterator[None]:
    """Have signals end the process at once meanwhile: nothing is begun that has to be ended.

    An exception would come out of whatever is being imported, as an error of that.
    """

    def leave(number: int, _: object) -> None:
        os.write(2, b'interrupted; nothing was begun\n')
        os._exit(128 + number)

    with _handled(leave):
        yield


@contextlib.contextmanager
def _handled(handler: Callable[[int, Any], None]) -> Iterator[None]:
    previous: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        previous = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
