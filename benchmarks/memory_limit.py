"""Limits the memory of a child process, page cache included, by a Linux control group."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

_ROOT = Path('/sys/fs/cgroup')


@contextlib.contextmanager
def memory_limit(size: int) -> Iterator[Callable[[], None] | None]:
    """Create a control group limited to `size` bytes, as a child of this process's group.

    Yields:
        A function that moves the calling process into the group, for `preexec_fn`; None where
        this system has no memory groups or this user may not create them.
    """
    group = _group()
    if group is None:
        yield None
        return
    folder, limit = group
    try:
        (folder / limit).write_text(str(size))
        yield lambda: (folder / 'cgroup.procs').write_text(str(os.getpid())) and None
    finally:
        folder.rmdir()


def _group() -> tuple[Path, str] | None:
    """Create a group (cgroups version 1 or 2); return its folder and the limit's file name."""
    for line in Path('/proc/self/cgroup').read_text().splitlines():
        _, controllers, own = line.split(':', 2)
        if controllers == 'memory':
            folder, limit = _ROOT / 'memory' / own.lstrip('/'), 'memory.limit_in_bytes'
        elif not controllers and (_ROOT / 'cgroup.controllers').exists():
            folder, limit = _ROOT / own.lstrip('/'), 'memory.max'
        else:
            continue
        folder = folder / f'drive_segment_bench_{os.getpid()}'
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / limit).exists():
                return folder, limit
            folder.rmdir()
    return None
