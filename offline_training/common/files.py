"""Atomic writing of files, with errors that say what to do."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros import text_files
from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.dataset.frame import encode_png
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import filesystem, is_remote, key, plain_errors, write_whole


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file atomically, see `write_whole`.

    Raises:
        DatasetError: if it cannot be written; nothing of it is kept then.
    """
    try:
        write_whole(path, data)
    except OSError as err:
        raise DatasetError(f'cannot write {path}: {err.strerror}; {disk_advice(err)}') from err


def write_json(path: Path, content: Any) -> None:
    """Write an object as indented JSON, atomically."""
    write_atomic(path, (json.dumps(content, indent=2, allow_nan=False) + '\n').encode())


def read_json(path: Path) -> Any:
    """Read a file of `write_json`.

    Raises:
        DatasetError: if it cannot be read, or is damaged.
    """
    try:
        return text_files.read_json(path)
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror}') from err
    except ValueError as err:
        raise DatasetError(f'{path} is damaged: {err}') from err


def read_object(path: Path) -> dict[str, Any]:
    """Read a file of `write_json` with an object.

    Raises:
        DatasetError: as `read_json`, and if it is not an object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DatasetError(f'{path} is damaged: it is not an object')
    return content


def write_png(path: Path, image: NDArray[Any]) -> None:
    """Write an image (H, W) or BGR (H, W, 3), uint8 or uint16, as PNG, atomically."""
    write_atomic(path, encode_png(np.ascontiguousarray(image)))


def absolute(path: Path) -> Path:
    """Return an absolute path, valid in other processes; links are not resolved."""
    return path if is_remote(path) else Path(os.path.abspath(path))


def files_below(folder: Path) -> list[Path]:
    """Return the files in a folder and below it, in order of path.

    Links to folders are followed, since large data sets are often linked; a folder that is reached
    twice is listed once. A folder of object storage is listed by one request.

    Raises:
        OSError: if object storage cannot be listed.
    """
    if is_remote(folder):
        with plain_errors(folder):
            found = filesystem(folder).find(key(folder))
        return sorted(folder / name.removeprefix(key(folder)).lstrip('/') for name in found)
    files: list[Path] = []
    seen: set[str] = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        folders.sort()
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        files.extend(Path(root, name) for name in names)
    return sorted(files)
