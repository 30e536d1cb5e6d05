"""The rule for outputs of commands: existing files are replaced only with `--overwrite`."""

from __future__ import annotations

import itertools
from pathlib import Path

from drive_segment_ros.errors import OutputError, StorageError
from drive_segment_ros.storage import is_remote, is_there


def refuse_existing(*paths: Path, overwrite: bool, instead: str = 'choose another output') -> None:
    """Check, before any work is done, that a command's results replace nothing.

    Args:
        paths: files and folders that the command will write.
        overwrite: whether `--overwrite` was given.
        instead: the alternative that the message suggests.

    Raises:
        OutputError: if a path exists, unless it is an empty folder, and `overwrite` is off.
        StorageError: as `is_taken`.
    """
    for path in paths:
        if not overwrite and is_taken(path):
            raise OutputError(
                f'{path} exists and is not overwritten; {instead}, or replace it by --overwrite'
            )


def is_taken(path: Path) -> bool:
    """Return whether a path exists and is not an empty folder; broken links count as existing.

    Raises:
        StorageError: if remote storage cannot be queried.
    """
    if is_remote(path):
        try:
            return is_there(path)
        except OSError as err:
            raise StorageError(f'{path}: {err.strerror}') from err
    if path.is_dir():
        return next(path.iterdir(), None) is not None
    return path.exists() or path.is_symlink()


def free_name(path: Path) -> Path:
    """Return a path that is not taken: itself, or with `_2`, `_3`, ... added to its name."""
    others = (path.with_name(f'{path.name}_{number}') for number in itertools.count(2))
    return next(one for one in itertools.chain([path], others) if not is_taken(one))
