"""Frames at network size, decoded once and stored in shards in the run's folder.

The page cache keeps them in memory as far as they fit and is shared by all processes; training
also works with sets larger than memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.resizing import crop_to_aspect, resize_image
from offline_training.training.ahead import ahead
from offline_training.training.processes import Alive, data_threads
from offline_training.training.shards import (
    RowReader,
    RowWriter,
    shard_folder,
    shards,
    wait_until_visible,
    write_shards,
)

_FILE = 'images.npy'


class Images(Protocol):
    """Images by their number, each (H, W, 3) uint8 RGB: `FrameImages`, or an array of them."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]: ...


class WithImage(Protocol):
    """An object with an image, such as a `FrameRecord`."""

    def image(self) -> NDArray[np.uint8]:
        """Return the image, (H, W, 3) uint8 BGR."""


class FrameImages:
    """Images of a fixed list of frames, each (H, W, 3) uint8 RGB."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Open shards; all but the last contain equally many images.

        Raises:
            DatasetError: if one is damaged.
        """
        self._shards = [RowReader(file) for file in files]
        self._count = sum(map(len, self._shards))

    @staticmethod
    def open(folder: Path, count: int) -> FrameImages:
        """Open the shards that all processes have written by `write`.

        Raises:
            DatasetError: if something is damaged or missing.
        """
        files = [shard_folder(folder, number) / _FILE for number in range(len(shards(count)))]
        wait_until_visible(*files)
        return FrameImages(files)

    @staticmethod
    def kept(folder: Path) -> FrameImages:
        """Open the existing shards in a run's folder, of which there may be none.

        Raises:
            DatasetError: if something is damaged.
        """
        return FrameImages(sorted(folder.glob(f'*/{_FILE}')))

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> NDArray[np.uint8]:
        shard, row = divmod(index, len(self._shards[0]))
        return self._shards[shard].read(row, row + 1)[0]

    @staticmethod
    def write(
        folder: Path,
        frames: Sequence[WithImage],
        height: int,
        width: int,
        alive: Alive = lambda: None,
        progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Decode, resize and write this process's share of frames, unless their shards exist.

        Args:
            folder: of the shards.
            frames: all of them.
            height, width: to resize to, px; of images with another aspect ratio, the centre.
            alive: called repeatedly; raises if another process failed.
            progress: called with the number of further frames done.
        """

        def image(index: int) -> NDArray[np.uint8]:
            centre = crop_to_aspect(frames[index].image(), height, width)
            return resize_image(centre, height, width)[..., ::-1]

        def fill(chosen: range, part: Path) -> None:
            shape = (len(chosen), height, width, 3)
            with RowWriter(part / _FILE, np.uint8, shape) as file:
                for row in ahead(image, chosen, data_threads()):
                    alive()
                    file.append(row)
                    progress(1)

        write_shards(folder, len(frames), fill, alive)
