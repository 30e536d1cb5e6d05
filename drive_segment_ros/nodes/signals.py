"""Handling of SIGINT and SIGTERM: as an event for an orderly shutdown, or as immediate exit."""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def signals_set(*events: threading.Event) -> Iterator[None]:
    """Set events on signals within the block; only in the main thread."""
    with _handled(setter(*events)):
        yield


def setter(*events: threading.Event) -> Callable[..., None]:
    """Return a signal handler that sets events."""

    def set_events(*_: object) -> None:
        for event in events:
            # By another thread: the interrupted one may hold the event's lock, which it would
            # wait for here for ever.
            _thread.start_new_thread(event.set, ())

    return set_events


@contextlib.contextmanager
def signals_leave() -> Iterator[None]:
    """End the process immediately on signals within the block, while nothing has to be stopped.

    An exception would be raised inside a module that is being imported, as an error of it.
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
