"""Arrays of many frames as files of some frames each, written by all processes.

A shard is a folder of `.npy` files that is either complete or absent. The division of frames into
shards depends on their number only, so that the result is the same for any number of processes,
and an interrupted preparation keeps its finished shards.
"""

from __future__ import annotations

import functools
import math
import os
import shutil
import time
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.errors import DatasetError
from offline_training.training.processes import Alive, distributed_rank

# Few enough files for any file system, and small enough to repeat little work after a kill.
_MOST_SHARDS, _FEWEST_FRAMES, _MOST_FRAMES = 1024, 8, 512
# Network file systems cache the absence of a file for up to a minute.
_VISIBLE_WITHIN_S = 90.0


def shards(count: int) -> list[range]:
    """Return the frames of each shard for a total of `count` frames."""
    size = min(max(math.ceil(count / _MOST_SHARDS), _FEWEST_FRAMES), _MOST_FRAMES)
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def own_shards(count: int) -> Iterator[tuple[int, range]]:
    """Yield number and frames of each shard in this process's share."""
    rank, world = distributed_rank()
    return (
        (number, frames) for number, frames in enumerate(shards(count)) if number % world == rank
    )


def write_shards(
    folder: Path, count: int, fill: Callable[[range, Path], None], alive: Alive
) -> None:
    """Write this process's share of shards, except for existing ones.

    Args:
        folder: of all shards.
        count: number of frames.
        fill: writes the files of the given frames into a folder.
        alive: called before each shard; raises if another process failed.
    """
    for number, frames in own_shards(count):
        alive()
        create_folder(shard_folder(folder, number), functools.partial(fill, frames))


def shard_folder(folder: Path, number: int) -> Path:
    """Return the folder of a shard."""
    return folder / f'{number:05d}'


class RowWriter:
    """Writes an array row by row, as a `.npy` file; a context manager.

    It uses plain writes: with a memory map, a full disk kills the process instead of raising.
    """

    def __init__(self, path: Path, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        """Create the file of an array of known shape, (rows, ...)."""
        self._dtype = np.dtype(dtype)
        self._shape = shape
        self._file = path.open('wb')
        np.lib.format.write_array_header_1_0(
            self._file,
            {
                'descr': np.lib.format.dtype_to_descr(self._dtype),
                'fortran_order': False,
                'shape': shape,
            },
        )

    def __enter__(self) -> RowWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        err: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def append(self, row: NDArray[Any]) -> None:
        """Write the next row."""
        assert row.shape == self._shape[1:], f'a row of {row.shape} in an array of {self._shape}'
        self._file.write(np.ascontiguousarray(row, self._dtype).data)


class RowReader:
    """Reads only the requested rows of a `.npy` file.

    Each read is one request that releases the GIL. A memory map would cause dozens of page faults,
    which hold the GIL, so that training stalls while another thread waits for data; and a disk
    error would kill the process.

    Attributes:
        shape: (rows, ...).
    """

    def __init__(self, path: Path) -> None:
        """Read the header.

        Raises:
            DatasetError: if it is damaged or does not agree with the size of the file.
        """
        self._path = path
        try:
            with path.open('rb') as file:
                if np.lib.format.read_magic(file) != (1, 0):
                    raise ValueError('another version of the format')
                self.shape, _, self._dtype = np.lib.format.read_array_header_1_0(file)
                self._start = file.tell()
                size = os.fstat(file.fileno()).st_size
            self._row_bytes = math.prod(self.shape[1:]) * self._dtype.itemsize
            if size != self._start + self.shape[0] * self._row_bytes:
                raise ValueError('another size than its header says')
        # NumPy parses a header as Python, with errors of its tokeniser and of its types.
        except (
            *(OSError, ValueError, EOFError),
            *(IndexError, TypeError, tokenize.TokenError),
        ) as err:
            raise self._damaged() from err

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, first: int, last: int) -> NDArray[Any]:
        """Return rows `first` to `last`, the last excluded.

        Raises:
            DatasetError: if they cannot be read.
        """
        rows = np.empty((last - first, *self.shape[1:]), self._dtype)
        rest = memoryview(rows.reshape(-1).view(np.uint8).data)
        try:
            with self._path.open('rb', buffering=0) as file:
                # Otherwise the kernel's read-ahead adds a fifth, of frames that are not needed.
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                file.seek(self._start + first * self._row_bytes)
                while rest:
                    got = file.readinto(rest)
                    if not got:
                        raise self._damaged()
                    rest = rest[got:]
        except OSError as err:
            raise self._damaged() from err
        return rows

    def _damaged(self) -> DatasetError:
        return DatasetError(f'{self._path} is damaged; remove {self._path.parent} and resume')


def load_small(path: Path) -> NDArray[Any]:
    """Return the whole array of a `.npy` file.

    Raises:
        DatasetError: if it is damaged.
    """
    reader = RowReader(path)
    return reader.read(0, len(reader))


def wait_until_visible(*paths: Path) -> None:
    """Wait for files that another process has written, maybe on another node.

    Raises:
        DatasetError: if one is not there after a while.
    """
    deadline = time.monotonic() + _VISIBLE_WITHIN_S
    for path in paths:
        while not path.exists():
            if time.monotonic() > deadline:
                raise DatasetError(
                    f'{path} was written by another process and is not visible here; give all '
                    'nodes one shared folder'
                )
            # Listing the folder makes a network file system refresh its cache.
            if path.parent.is_dir():
                os.listdir(path.parent)
            time.sleep(0.1)


def create_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Create a folder atomically, with the files written by `fill`, unless it exists.

    Raises:
        DatasetError: if it cannot be written.
    """
    if folder.exists():
        return
    temporary = folder.with_name(f'.{folder.name}.partial')
    try:
        # Left by a killed process.
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        fill(temporary)
        for path in temporary.iterdir():
            with path.open('rb') as file:
                os.fsync(file.fileno())
        os.replace(temporary, folder)
    except OSError as err:
        raise DatasetError(
            f'cannot write {folder}: {err.strerror or err}; {disk_advice(err)}'
        ) from err
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
