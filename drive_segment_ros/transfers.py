"""Copies folders from and to object storage."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from drive_segment_ros.errors import StorageError
from drive_segment_ros.storage import filesystem, key, plain_errors

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def remote_files(path: Path) -> dict[str, str]:
    """Return the files of a remote folder by relative name, '' for a file itself.

    A value changes when its file does.
    """
    own = key(path).strip('/')
    found = filesystem(path).find(key(path), detail=True)
    listing = {}
    for name, entry in found.items():
        relative = name.strip('/').removeprefix(own).lstrip('/')
        if '..' in PurePosixPath(relative).parts:
            raise StorageError(f'{path}: {name} leads out of the folder; rename it')
        if not name.endswith('/'):  # such objects mark empty folders
            state = (entry.get(what) for what in ('size', 'ETag', 'etag', 'LastModified', 'mtime'))
            listing[relative] = repr([*state])
    return listing


def download(path: Path, copy: Path) -> None:
    """Copy a remote file or folder to a local one.

    Raises:
        StorageError: if it does not exist or cannot be copied.
    """
    try:
        with plain_errors(path):
            fetch(path, copy)
    except OSError as err:
        raise StorageError(f'cannot read {path}: {err.strerror or err}') from err


def fetch(path: Path, copy: Path) -> None:
    """Copy a remote file or folder to a local one.

    Raises:
        OSError: if it does not exist or cannot be copied, see `plain_errors`.
    """
    names = list(remote_files(path))
    if not names:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    remote = [key(path / name if name else path) for name in names]
    local = [copy / name if name else copy for name in names]
    for folder in {file.parent for file in local}:
        folder.mkdir(parents=True, exist_ok=True)
    try:
        filesystem(path).get(remote, [str(file) for file in local])
    except OSError as err:
        if err.errno not in _FULL:
            raise
        raise OSError(
            err.errno,
            f'not enough space for a copy in {tempfile.gettempdir()}; set TMPDIR to a larger disk',
            str(path),
        ) from err


def send(path: Path, local: Path, names: Sequence[str]) -> None:
    """Copy files of a local folder, by relative names, to a remote one."""
    if names:
        filesystem(path).put(
            [str(local / name) for name in names], [key(path / name) for name in names]
        )
