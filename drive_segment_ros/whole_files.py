"""Atomic files: complete or absent, even if a process is killed or the disk is full.

`write_whole` does all steps and is safe if others write the same file. The separate steps are for
files that belong together, with temporary names that a repair recognises.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from pathlib import Path

TEMPORARY = '.tmp'
# A name that `write_whole` gives meanwhile.
_UNFINISHED = re.compile(r'\.(.+)\.\w{8}')


def write_whole(path: Path, data: bytes, *, synced: bool = True) -> None:
    """Write a file under a temporary name, sync it and rename it; its folder is made if missing.

    Args:
        path: of the file, replaced if there is one.
        data: its content.
        synced: whether to sync it to the disk, so that it survives a power cut.

    Raises:
        OSError: if it cannot be written; nothing of it is kept then.
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
        # mkstemp's files are private; use the default permissions.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = ''
    finally:
        # Also after an interrupt.
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def final_name(name: str) -> str:
    """Return the name that a file left by a killed `write_whole` would have got.

    Empty if its name is no temporary one, such as `.drive.json.x7_k2m1q`.
    """
    found = _UNFINISHED.fullmatch(name)
    return '' if found is None else found[1]


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
    """Rename a file to its final name, replacing an existing one."""
    os.replace(f'{path}{TEMPORARY}', path)


def discard(path: Path) -> None:
    """Remove a file under both names, ignoring errors."""
    for name in (f'{path}{TEMPORARY}', path):
        with contextlib.suppress(OSError):
            os.unlink(name)


def sync_folder(path: Path) -> None:
    """Sync a folder: renames and removals are only safe on the disk after that."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
