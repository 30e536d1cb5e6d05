"""Reads the untrusted file of a sweep's proposals."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.array_files import parse_npz
from drive_segment_ros.dataset.frame import REQUIRED
from drive_segment_ros.text_files import read_bytes

# Some 100 kB are usual.
_LARGEST = 100_000_000


def read_proposals(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a sweep's proposals.

    Raises:
        OSError: if the file cannot be read.
        ValueError: as `parse_proposals`.
    """
    return parse_proposals(read_bytes(path, _LARGEST))


def parse_proposals(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays in a file of a sweep's proposals.

    Raises:
        ValueError: if it is damaged, or the arrays are missing, too large, or do not have a row
            per proposal.
    """
    arrays = parse_npz(data, _LARGEST)
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
        ValueError: if it holds no proposals.
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
        ValueError: if one holds no proposals.
    """
    if one == other:
        return True
    a, b = (parse_proposals(data) for data in (one, other))
    return all(np.array_equal(a[name], b[name]) for name in REQUIRED)
