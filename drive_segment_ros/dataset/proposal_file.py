"""Reads the untrusted file of a sweep's proposals."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.frame import REQUIRED
from drive_segment_ros.text_files import read_bytes

# Some 100 kB are usual.
_LARGEST = 100_000_000
# Raised on reading other files, in addition to OSError.
UNREADABLE = (ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)


def read_proposals(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a sweep's proposals.

    Raises:
        OSError, UNREADABLE: as `parse_proposals`, and if the file cannot be read.
    """
    return parse_proposals(read_bytes(path, _LARGEST))


def parse_proposals(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays in a file of a sweep's proposals.

    Raises:
        UNREADABLE: if there are none, they are too large, or do not have a row per proposal.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > _LARGEST:
            raise ValueError(f'{size} bytes of arrays')
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = dict(archive)
    lacking = [name for name in REQUIRED if name not in arrays]
    if lacking:
        raise ValueError(f'{lacking[0]} is missing')
    for name, values in arrays.items():
        if values.ndim != 1 or len(values) != len(arrays['id']):
            raise ValueError(f'{name} does not have a row per proposal')
        if values.dtype.kind not in ('iu' if name in REQUIRED else 'iufb'):
            raise ValueError(f'{name} has type {values.dtype}')
    if len(arrays['id']) and not 0 <= arrays['id'].min() <= arrays['id'].max() < 2**16:
        raise ValueError('an id is too large for a segment image')
    return arrays


def sweep_digest(data: bytes) -> str:
    """Return the identity of the ids in a file of proposals, for `are_same_sweep`.

    Raises:
        UNREADABLE: if it holds no proposals.
    """
    arrays = parse_proposals(data)
    digest = hashlib.sha256()
    for name in REQUIRED:
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()[:16]


def are_same_sweep(one: bytes, other: bytes) -> bool:
    """Return whether the ids in two files of proposals denote the same objects.

    Measured values may differ in the last bit between processors.

    Raises:
        UNREADABLE: if one holds no proposals.
    """
    if one == other:
        return True
    a, b = (parse_proposals(data) for data in (one, other))
    return all(np.array_equal(a[name], b[name]) for name in REQUIRED)
