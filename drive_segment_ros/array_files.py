"""Safe reading of untrusted NPZ archives."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Those of a dataset's classes have some megabytes.
LARGEST_NPZ = 1_000_000_000


def parse_npz(data: bytes, largest: int = LARGEST_NPZ) -> dict[str, NDArray[Any]]:
    """Return the arrays of an NPZ archive by name.

    Args:
        data: the archive.
        largest: its largest size when unpacked, bytes.

    Raises:
        ValueError: if it is damaged, too large, or holds Python objects.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(member.file_size for member in archive.infolist())
        if size > largest:
            raise ValueError(f'{size} bytes of arrays, more than the limit of {largest}')
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return dict(arrays)
    # RuntimeError: flags of encryption; its subclass NotImplementedError: other versions of ZIP.
    except (EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as err:
        raise ValueError(f'not a readable NPZ archive ({err})') from err
