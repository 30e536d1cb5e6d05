"""Files that are either whole or not there, whenever a process is killed or a disk is full.

`write_whole` does it in one go, whoever else may write the same file. The steps apart are for
files that belong together, and for temporary names that whoever tidies up can tell.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

TEMPORARY = '.tmp'


def write_whole(path: Path, data: bytes, *, synced: bool = True) -> None:
    """Write a file under a temporary name, sync it and rename it; its folder is made if missing.

    Args:
        path: of the file, replaced if there is one.
        data: its content.
        synced: whether it must outlast a power cut, for which one waits for the disk.

    Raises:
        OSError: if it cannot be written; nothing of it stays then.
    """
    temporary = ''
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file, temporary = tempfile.mkstemp(prefix=f'.{path.name}.', dir=path.parent)
        with os.fdopen(file, 'wb') as stream:
            stream.write(data)
            if synced:
                stream.flush()
                os.fsync(stream.fileno())
        # mkstemp's files are private; these are as readable as any other.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = ''
    finally:
        # After an interrupt as well.
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def write_temporary(path: Path, data: bytes) -> None:
    """Write and sync a file under its temporary name, that with `TEMPORARY` added."""
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


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk: renames and removals are safe after that only."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
