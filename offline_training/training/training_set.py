"""Frames decoded once at network size, and what the network is to answer in each region of them.

The arrays are memory-mapped files in the run's folder: the page cache holds them in RAM as long as
they fit, several processes share them, and a set larger than memory still trains.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.dataset.disk_errors import disk_advice
from drive_segment_ros.dataset.reader import FrameRecord
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.resizing import resize_image, resize_labels


@dataclasses.dataclass(frozen=True)
class RegionTargets:
    """What is known about one frame.

    Attributes:
        regions: (H, W) int32 region per pixel, an index into the two below.
        probability: (R, K) float16 soft target of each region.
        weight: (R,) float32 how much a pixel of it counts; 0 is unknown.
    """

    regions: NDArray[np.int32]
    probability: NDArray[np.float16]
    weight: NDArray[np.float32]


class FrameImages:
    """Images of a fixed list of frames, (N, H, W, 3) uint8 RGB, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        """Open what `create` wrote."""
        self.array: NDArray[np.uint8] = _load(folder / 'images.npy')

    @staticmethod
    def create(
        folder: Path,
        frames: Sequence[FrameRecord],
        height: int,
        width: int,
        progress: Callable[[Iterable], Iterable] = iter,
    ) -> FrameImages:
        """Decode and resize frames, unless `folder` holds them already."""

        def fill(temporary: Path) -> None:
            shape = (len(frames), height, width, 3)
            images = _new_array(temporary / 'images.npy', np.dtype(np.uint8), shape)
            for index, frame in enumerate(progress(frames)):
                images[index] = resize_image(frame.image(), height, width)[..., ::-1]

        create_folder(folder, fill)
        return FrameImages(folder)


class FrameTargets:
    """Region targets of a fixed list of frames, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        """Open what `create` wrote."""
        self.regions: NDArray[np.int32] = _load(folder / 'regions.npy')
        self.probability: NDArray[np.float16] = _load(folder / 'probability.npy')
        self.weight: NDArray[np.float32] = _load(folder / 'weight.npy')
        self.first: NDArray[np.int64] = _load(folder / 'first.npy')

    def __len__(self) -> int:
        return len(self.regions)

    def __getitem__(self, index: int) -> RegionTargets:
        rows = slice(self.first[index], self.first[index + 1])
        return RegionTargets(self.regions[index], self.probability[rows], self.weight[rows])

    @staticmethod
    def create(
        folder: Path, count: int, targets: Iterable[RegionTargets], class_balance: float = 0.0
    ) -> FrameTargets:
        """Write targets, unless `folder` holds them already.

        Args:
            folder: of the files.
            count: number of frames.
            targets: of each frame; unused if the folder is there.
            class_balance: how much rare classes count more, see `balanced_weight`.
        """

        def fill(temporary: Path) -> None:
            regions: NDArray[np.int32] | None = None
            probability, weight, pixels, first = [], [], [], [0]
            for index, target in enumerate(targets):
                if regions is None:
                    shape = (count, *target.regions.shape)
                    regions = _new_array(temporary / 'regions.npy', np.dtype(np.int32), shape)
                regions[index] = target.regions
                probability.append(target.probability.astype(np.float16))
                weight.append(target.weight.astype(np.float32))
                pixels.append(np.bincount(target.regions.ravel(), minlength=len(target.weight)))
                first.append(first[-1] + len(target.weight))
            rows = np.concatenate(probability)
            np.save(temporary / 'probability.npy', rows)
            np.save(
                temporary / 'weight.npy',
                balanced_weight(
                    rows, np.concatenate(weight), np.concatenate(pixels), class_balance
                ),
            )
            np.save(temporary / 'first.npy', np.array(first, np.int64))

        create_folder(folder, fill)
        return FrameTargets(folder)


def balanced_weight(
    probability: NDArray[np.float16],
    weight: NDArray[np.float32],
    pixels: NDArray[np.integer],
    power: float,
) -> NDArray[np.float32]:
    """Let rare classes count more: a class's pixels by its frequency to minus `power`.

    A road fills half the image and a sign a thousandth of it; counted alike, what is small is
    never learned.

    Args:
        probability: (R, K) soft targets of all regions.
        weight: (R,) how much a pixel of each counts.
        pixels: (R,) pixels in each.
        power: 0 leaves all as it is, 1 lets every class count the same.

    Returns:
        (R,) float32 weights; their sum over pixels is as before.
    """
    shares = probability.astype(np.float32)
    mass = weight * pixels
    frequency = mass @ shares
    seen = frequency > 0
    factor = np.zeros(len(frequency))
    factor[seen] = (frequency[seen] / frequency.sum()) ** -power
    balanced = weight * (shares @ factor)
    total = balanced @ pixels
    return (balanced * (mass.sum() / total if total > 0 else 1.0)).astype(np.float32)


def pseudo_label_targets(
    label: NDArray[np.uint8], classes: int, height: int, width: int
) -> RegionTargets:
    """Return a frame's pseudo-label as targets: a region per class, pixels without one unknown.

    Args:
        label: (h, w) uint8 pseudo-class, 255 unknown.
        classes: number of pseudo-classes K.
        height, width: network input, px.

    Raises:
        DatasetError: if the label holds a class beyond K.
    """
    resized = resize_labels(label, height, width)
    known = resized != IGNORE_LABEL
    if resized[known].max(initial=0) >= classes:
        raise DatasetError(
            f'a pseudo-label holds class {resized[known].max()} of {classes}; run label again'
        )
    regions = np.where(known, resized, classes).astype(np.int32)
    probability = np.eye(classes + 1, classes, dtype=np.float16)
    weight = np.ones(classes + 1, np.float32)
    weight[classes] = 0.0
    return RegionTargets(regions, probability, weight)


def _load(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode='r')
    except (OSError, ValueError, EOFError) as err:
        raise DatasetError(f'{path} is damaged; remove {path.parent} and resume') from err


def _new_array(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> np.memmap:
    """Return a new memory-mapped array whose space on the disk is taken.

    Without, a page for which there is no space ends the process when it is written to.
    """
    array = np.lib.format.open_memmap(path, 'w+', dtype, shape)
    with path.open('r+b') as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return array


def create_folder(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder whose content is either complete or not there; nothing happens if it is.

    Raises:
        DatasetError: if it cannot be written.
    """
    if folder.exists():
        return
    temporary = folder.with_name(f'.{folder.name}.partial')
    try:
        # What one that was killed has left.
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
