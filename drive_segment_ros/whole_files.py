"""Files that are either whole or not there, whenever a process is killed or a disk is full."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


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


def sync_folder(path: Path) -> None:
    """Bring the names in a folder to the disk: renames and removals are safe after that only."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
