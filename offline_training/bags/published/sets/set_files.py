"""Files as most sets have them: images, texts, folders of numbered files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from drive_segment_ros.dataset.image_file import image_header
from drive_segment_ros.errors import DatasetError, ImageError
from drive_segment_ros.storage import read_whole


def read_file(path: Path, remedy: str = 'it is skipped') -> bytes:
    """Read a file that is to hold something.

    Raises:
        DatasetError: if it cannot be read, or is empty; the message ends with the remedy.
    """
    try:
        data = read_whole(path)
    except OSError as err:
        raise DatasetError(f'cannot read {path}: {err.strerror or err}; {remedy}') from err
    if not data:
        raise DatasetError(f'{path} is empty; {remedy}')
    return data


def image_size(path: Path) -> tuple[int, int]:
    """Return width and height of an image file, px.

    Raises:
        DatasetError: if it is no image.
    """
    try:
        header = image_header(read_file(path))
    except ImageError as err:
        raise DatasetError(f'{path} is not a readable image: it {err}') from err
    return header.width, header.height


def read_text(path: Path, remedy: str) -> str:
    """Read a text file.

    Raises:
        DatasetError: if it is missing or no text; the message ends with the remedy.
    """
    data = read_file(path, remedy)
    try:
        return data.decode()
    except UnicodeDecodeError as err:
        raise DatasetError(f'{path} is not a text file; {remedy}') from err


def read_array(path: Path, kind: DTypeLike, columns: int) -> NDArray[Any]:
    """Read a file of nothing but numbers, (N, columns).

    Raises:
        DatasetError: if it is missing, or ends within a row.
    """
    data = read_file(path)
    size = columns * np.dtype(kind).itemsize
    if len(data) % size:
        raise DatasetError(
            f'{path} has {len(data)} bytes, not a multiple of {size}: it is truncated and is '
            'skipped; download it again'
        )
    return np.frombuffer(data, kind).reshape(-1, columns)


def numbered(folder: Path, suffixes: Iterable[str]) -> dict[int, Path]:
    """Return the files of a folder that are numbers, by number."""
    if not folder.is_dir():
        return {}
    found = {
        int(path.stem): path
        for path in folder.iterdir()
        if path.suffix in suffixes and path.stem.isdecimal()
    }
    return dict(sorted(found.items()))


def rigid(R: NDArray[np.float64], t: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (4, 4) transform of a rotation (3, 3) and a translation (3,)."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, np.ravel(t)
    return T
