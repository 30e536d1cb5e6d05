"""The tables of Waymo's version 2: a Parquet file a component, columns of values and of arrays.

Columns are named after the development kit's components, `[LiDARComponent].range_image_return1`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError, DependencyError


class Component:
    """One component of a segment: a table of a row a frame, and a laser or camera if it has any.

    Rows are read when asked for, a row group at a time.
    """

    def __init__(self, folder: Path, component: str, segment: str) -> None:
        """Name it; nothing is opened yet."""
        self.path = folder / component / f'{segment}.parquet'

    def column(self, name: str) -> list[Any]:
        """Return a column of small values, a value a row.

        Raises:
            DatasetError: if the file is missing, damaged, or has no such column.
            DependencyError: if pyarrow is not installed.
        """
        return _column(self.path, name)

    def rows(self, *keys: str) -> dict[tuple[int, ...], int]:
        """Return each row's number by the values of key columns."""
        values = (self.column(key) for key in keys)
        return {tuple(map(int, key)): row for row, key in enumerate(zip(*values, strict=True))}

    def value(self, row: int, name: str) -> Any:
        """Return what a row has in a column: a number, bytes, or a NumPy array of a list."""
        for group, size in enumerate(_group_sizes(self.path)):
            if row < size:
                value = _group(self.path, group, name)[row]
                return np.asarray(value.values) if hasattr(value, 'values') else value.as_py()
            row -= size
        raise DatasetError(f'{self.path} has fewer rows than keys')

    def array(self, row: int, name: str) -> NDArray[Any]:
        """Return the array that `name.values` and `name.shape` of a row are."""
        values, shape = (self.value(row, f'{name}.{part}') for part in ('values', 'shape'))
        try:
            return values.reshape(tuple(int(size) for size in shape))
        except (ValueError, AttributeError, TypeError) as err:
            raise DatasetError(f'{self.path}: row {row} has no array ({err})') from err


def _opened(path: Path) -> Any:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as err:
        raise DependencyError("Waymo needs pyarrow; pip install '.[datasets]'") from err
    try:
        return parquet.ParquetFile(path.open('rb'))
    except OSError as err:
        raise DatasetError(
            f'cannot read {path}: {err.strerror or err}; download that component of the segment'
        ) from err
    except pyarrow.ArrowException as err:
        raise DatasetError(f'{path} is damaged ({err}); download it again') from err


def _read(path: Path, read: Any, name: str) -> Any:
    import pyarrow

    try:
        return read()
    except (pyarrow.ArrowException, OSError, KeyError, ValueError) as err:
        reason = ' '.join(str(err).split())
        raise DatasetError(f'{path}: {name} cannot be read ({reason}); download it again') from err


@functools.lru_cache(maxsize=32)
def _column(path: Path, name: str) -> list[Any]:
    file = _opened(path)
    with file:
        return list(_read(path, lambda: file.read([name]).column(name).to_pylist(), name))


@functools.lru_cache(maxsize=8)
def _group_sizes(path: Path) -> list[int]:
    with _opened(path) as file:
        metadata = file.metadata
        return [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]


# One group each of images, ranges, poses and labels, with their shapes.
@functools.lru_cache(maxsize=7)
def _group(path: Path, group: int, name: str) -> Any:
    with _opened(path) as file:
        return _read(path, lambda: file.read_row_group(group, [name]).column(name), name)


def matrices(values: list[Any]) -> NDArray[np.float64]:
    """Return (N, 4, 4) of lists of 16 numbers, rows first.

    Raises:
        DatasetError: if they are others.
    """
    try:
        T = np.array(values, np.float64).reshape(-1, 4, 4)
    except (TypeError, ValueError) as err:
        raise DatasetError(f'a transform does not have 16 numbers: {err}') from err
    return T
