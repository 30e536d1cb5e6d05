"""A worker thread with a short queue in which the latest item wins."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar, cast

T = TypeVar('T')
_logger = logging.getLogger(__name__)


def _log(error: Exception) -> None:
    _logger.error('worker: %s: %s', type(error).__name__, error)


class Worker(Generic[T]):
    """Calls a function with one item after the other on a separate thread.

    Callbacks only submit items, so a slow function does not delay subscriptions; if it cannot keep
    up, the oldest waiting item is dropped and counted. Each item ends in exactly one way: its
    function returns after a successful `commit`, or `on_error` or `on_drop` is called.

    Attributes:
        done: items processed, including failed ones.
        dropped: items dropped by newer ones or by `close`.
        failed: items whose function raised.
    """

    def __init__(
        self,
        function: Callable[[T], None],
        size: int = 1,
        on_error: Callable[[Exception], None] = _log,
        on_drop: Callable[[T], None] = lambda item: None,
        name: str = 'worker',
    ) -> None:
        """Start the thread.

        Args:
            function: what to do with an item.
            size: largest number of waiting items; 1 for live views, more if every frame counts.
            on_error: called with the exception of `function`, on the worker's thread.
            on_drop: called with each dropped item, on the thread that caused it.
            name: of the thread.
        """
        self.done = 0
        self.dropped = 0
        self.failed = 0
        self._function = function
        self._size = max(1, size)
        self._on_error = on_error
        self._on_drop = on_drop
        self._waiting: deque[T] = deque()
        self._busy = False
        self._committed = self._given_up = False
        self._in_hand: T | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Number of items that wait."""
        return len(self._waiting)

    @property
    def pending(self) -> int:
        """Number of items waiting or in progress, without committed and abandoned ones."""
        with self._changed:
            undecided = self._busy and not self._committed and not self._given_up
            return len(self._waiting) + undecided

    def commit(self) -> bool:
        """Return to the function, before it publishes its result, whether that is still wanted.

        Returns:
            False if `close` has abandoned the item; otherwise it no longer will.
        """
        with self._changed:
            self._committed = not self._given_up
            return self._committed

    def submit(self, item: T) -> bool:
        """Submit an item without blocking; False if it, or another one for it, was dropped.

        After `close` items are dropped.
        """
        with self._changed:
            lost = [item] if self._closing else []
            if not self._closing:
                if len(self._waiting) >= self._size:
                    lost.append(self._waiting.popleft())
                self._waiting.append(item)
            self._changed.notify_all()
        self._drop(lost)
        return not lost

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until all items are processed; False on a timeout."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self, timeout_s: float = 5.0, drain: bool = False) -> bool:
        """Stop the thread; False if it was still busy after the timeout.

        Args:
            timeout_s: total time to wait.
            drain: process waiting items instead of dropping them.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._closing = True
            lost = [] if drain else self._take_waiting()
            self._changed.notify_all()
        self._drop(lost)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            # Items remain only if draining timed out.
            lost = self._take_waiting()
            if self._busy and not self._committed and not self._given_up:
                self._given_up = True
                lost.insert(0, cast(T, self._in_hand))
        self._drop(lost)
        return not self._thread.is_alive()

    def _take_waiting(self) -> list[T]:
        waiting = list(self._waiting)
        self._waiting.clear()
        return waiting

    def _drop(self, items: list[T]) -> None:
        for item in items:
            self.dropped += 1
            self._on_drop(item)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = self._committed = False
                self._in_hand = None
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                item = self._in_hand = self._waiting.popleft()
                self._busy = True
            self._work(item)
            # Not kept in memory until the next item arrives.
            del item

    def _work(self, item: T) -> None:
        try:
            self._function(item)
        except Exception as err:
            self.failed += 1
            if self.commit():
                self._report(err)
        self.done += 1

    def _report(self, error: Exception) -> None:
        try:
            self._on_error(error)
        except Exception:
            _logger.exception('worker: the error handler failed')
