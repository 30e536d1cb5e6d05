"""A folder for local copies of remote files, removed at the latest by a later process.

It is located where `tempfile` puts it: set TMPDIR to a disk with enough space.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import time
from pathlib import Path

PREFIX = 'drive_segment_'
_COPIES = f'{PREFIX}copies_'
_BEING_MADE_S = 60.0


def scratch_folder(process: int) -> Path:
    """Return the process's folder; a new one if it was deleted by others."""
    if not made_scratch(process).is_dir():
        made_scratch.cache_clear()
    return made_scratch(process)


@functools.lru_cache(maxsize=1)
def made_scratch(process: int) -> Path:
    """Create the process's folder, and remove those of processes that were killed.

    The lock is the kernel's, so it is released when the process ends in any way.
    """
    for other in Path(tempfile.gettempdir()).glob(f'{_COPIES}*'):
        with contextlib.suppress(OSError):
            # A folder that was just created is not locked yet.
            if other.stat().st_mtime < time.time() - _BEING_MADE_S:
                lock = _locked(other)
                shutil.rmtree(other, ignore_errors=True)
                os.close(lock)
    folder = Path(tempfile.mkdtemp(prefix=_COPIES))
    _locked(folder)

    def remove() -> None:
        if os.getpid() == process:  # not in a forked process
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _locked(folder: Path) -> int:
    """Lock a folder as long as its descriptor, which is returned, is open.

    Raises:
        OSError: if another process has locked it.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        raise
    return opened
