"""A recording that a worker keeps open between its jobs on it."""

from __future__ import annotations

import contextlib
import functools
import weakref
from pathlib import Path

from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.joined_bags import open_drive


def opened(bags: tuple[Path, ...], run: str) -> BagReader:
    """Return the reader of a bag, or of the bags that are one drive; the last is kept open.

    Args:
        bags: which.
        run: names the command that this belongs to: the bag may be another in the next.

    Raises:
        BagError: as `open_drive`, and if no part of it can be read.
    """
    return _opened(bags, run).reader


def close_recordings() -> None:
    """Close what this process has kept open."""
    _opened.cache_clear()


class _Recording:
    """A recording that is closed when nobody needs it any more."""

    def __init__(self, bags: tuple[Path, ...]) -> None:
        with contextlib.ExitStack() as stack:
            self.reader = stack.enter_context(open_drive(bags))
            self._close = weakref.finalize(self, stack.pop_all().close)


@functools.lru_cache(maxsize=1)
def _opened(bags: tuple[Path, ...], run: str) -> _Recording:
    return _Recording(bags)
