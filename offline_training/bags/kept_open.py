"""A recording that a worker keeps open between its jobs on it."""

from __future__ import annotations

import contextlib
import functools
import weakref
from pathlib import Path

from drive_segment_ros.ros.bags import BagReader
from drive_segment_ros.ros.joined_bags import open_drive


def opened(bags: tuple[Path, ...], run: str) -> BagReader:
    """Return the reader of a bag, or of the bags of one drive, and keep it open for the next call.

    Args:
        bags: the bag, or the bags of the drive.
        run: identifies the command: in the next one, the files may have changed.

    Raises:
        BagError: as `open_drive`, and if no part of it can be read.
    """
    return _opened(bags, run).reader


def close_recordings() -> None:
    """Close the bag that this process has kept open."""
    _opened.cache_clear()


class _Recording:
    """An open recording that is closed when it is garbage-collected."""

    def __init__(self, bags: tuple[Path, ...]) -> None:
        with contextlib.ExitStack() as stack:
            self.reader = stack.enter_context(open_drive(bags))
            self._close = weakref.finalize(self, stack.pop_all().close)


@functools.lru_cache(maxsize=1)
def _opened(bags: tuple[Path, ...], run: str) -> _Recording:
    return _Recording(bags)
