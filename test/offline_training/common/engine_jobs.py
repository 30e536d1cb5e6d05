"""Job functions for tests of the engine; workers can import this file."""

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

# A sweep with this number of points ends the process with `FatalParameters`.
FATAL_POINTS = 7


@dataclasses.dataclass(frozen=True)
class FatalParameters(FrameParameters):
    """Parameters that end the process at a sweep of FATAL_POINTS points, like the OOM killer."""

    def cloud(self, message: Any) -> PointCloud:
        """Read a sweep; end the process if it has FATAL_POINTS points."""
        if message.width == FATAL_POINTS:
            os._exit(9)
        return super().cloud(message)


def raise_for_odd(number: int) -> int:
    """Return an even number; raise DatasetError for an odd one."""
    if number % 2:
        raise DatasetError(f'{number} is odd')
    return number


def call(job: tuple[str, int]) -> object:
    """Call a function of the standard library by name, such as `math.factorial`."""
    module, name = job[0].split('.')
    return getattr(importlib.import_module(module), name)(job[1])


def slow_pid(number: int) -> int:
    """Return the process id after 50 ms."""
    time.sleep(0.05)
    return os.getpid()


def sleep_long(folder: str) -> None:
    """Create a file named by the process id in the folder, and sleep for a minute."""
    Path(folder, str(os.getpid())).touch()
    time.sleep(60.0)


def die_the_first_time(name: str) -> str:
    """Return the name; end the process at the first attempt at the job whose file name is 2."""
    path = Path(name)
    if path.name == '2' and not path.exists():
        path.touch()
        os._exit(1)
    return name


def refuse(number: int) -> None:
    """Raise the error of a full disk."""
    raise DatasetError('no room') from OSError(errno.ENOSPC, 'No space left on device')


def refuse_where_first_asked(name: str) -> str:
    """Raise the error of a full disk in the process called first; return the id of others."""
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
