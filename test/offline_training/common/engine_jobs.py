"""Functions for workers, which can import this file."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import os
import time
from pathlib import Path
from typing import Any

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.frame.parameters import FrameParameters
from drive_segment_ros.perception.clouds import PointCloud

# A sweep of so many points ends the process.
FATAL_POINTS = 7


@dataclasses.dataclass(frozen=True)
class FatalParameters(FrameParameters):
    """Parameters that end the process at a sweep of some points, as a lack of memory does."""

    def cloud(self, message: Any) -> PointCloud:
        """Read a sweep."""
        if message.width == FATAL_POINTS:
            os._exit(9)
        return super().cloud(message)


def raise_for_odd(number: int) -> int:
    """Fail for every other job."""
    if number % 2:
        raise DatasetError(f'{number} is odd')
    return number


def call(job: tuple[str, int]) -> object:
    """Call a function of the standard library."""
    module, name = job[0].split('.')
    return getattr(importlib.import_module(module), name)(job[1])


def slow_pid(number: int) -> int:
    """Say who works."""
    time.sleep(0.05)
    return os.getpid()


def sleep_long(folder: str) -> None:
    """Say who works, and do for a minute."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(60.0)


def die_the_first_time(name: str) -> str:
    """End the process at the first try of the third job."""
    path = Path(name)
    if path.name == '2' and not path.exists():
        path.touch()
        os._exit(1)
    return name


def refuse(number: int) -> None:
    """Have no room."""
    raise DatasetError('no room') from OSError(errno.ENOSPC, 'No space left on device')


def refuse_where_first_asked(name: str) -> str:
    """Have no room in the process that was asked first."""
    path = Path(name)
    own = str(os.getpid())
    try:
        with path.open('x') as file:
            file.write(own)
    except FileExistsError:
        pass
    if path.read_text() == own:
        refuse(0)
    time.sleep(0.05)
    return own
