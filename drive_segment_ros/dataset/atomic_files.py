"""The steps of writing a file so that it is whole or not there: temporary name, sync, rename."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TEMPORARY = '.tmp'


def write_temporary(path: Path, data: bytes) -> None:
    """Write and sync a file under its temporary name."""
    file = os.open(
        f'{path}{TEMPORARY}', os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
    )
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
    finally:
        os.close(file)


def publish(path: Path) -> None:
    """Give a file its name; whatever had it is gone."""
    os.replace(f'{path}{TEMPORARY}', path)


def discard(path: Path) -> None:
    """Remove a file under both names, as far as that goes."""
    for name in (f'{path}{TEMPORARY}', path):
        with contextlib.suppress(OSError):
            os.unlink(name)
