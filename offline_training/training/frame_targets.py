"""The targets of each region of each frame, in shards in the run's folder."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.errors import DatasetError
from drive_segment_ros.label_ids import IGNORE_LABEL
from drive_segment_ros.perception.resizing import crop_to_aspect, resize_labels
from offline_training.training.class_balance import balanced_weight, class_factors, class_mass
from offline_training.training.processes import Alive
from offline_training.training.shards import (
    RowReader,
    RowWriter,
    load_small,
    shard_folder,
    shards,
    wait_until_visible,
    write_shards,
)

_MOST_REGIONS = 2**16
# Regions have at least 16 px, so that images up to this size do not exceed that number.
_MOST_PIXELS = 16 * _MOST_REGIONS


@dataclasses.dataclass(frozen=True)
class RegionTargets:
    """The targets of one frame.

    Attributes:
        regions: (H, W) int32 region per pixel, an index into the two below.
        probability: (R, K) float16 soft target of each region.
        weight: (R,) float32 weight of a pixel of each region; 0 where unknown.
    """

    regions: NDArray[np.int32]
    probability: NDArray[np.float16]
    weight: NDArray[np.float32]


class FrameTargets:
    """Region targets of a fixed list of frames, with increased weights of rare classes.

    Attributes:
        known: whether a weight is above zero anywhere.
        support: (K,) float64 weighted share of each class in the known pixels.
    """

    def __init__(self, folder: Path, count: int, class_balance: float = 0.0) -> None:
        """Open the targets that `write` has written, in all processes.

        Args:
            folder: of the shards.
            count: number of frames.
            class_balance: `power` of `class_factors`.

        Raises:
            DatasetError: if something is damaged or missing.
        """
        self._shards = [
            _Shard(shard_folder(folder, number)) for number in range(len(shards(count)))
        ]
        self._count = count
        self._per_shard = len(shards(count)[0])
        # Summed shard by shard, so that the result does not depend on the number of processes.
        mass = np.sum([shard.mass for shard in self._shards], axis=0)
        self.known = bool(mass[-1] > 0)
        self.support: NDArray[np.float64] = mass[:-1] / max(mass[:-1].sum(), 1e-12)
        self._factors = class_factors(mass, class_balance)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> RegionTargets:
        shard, row = divmod(index, self._per_shard)
        target = self._shards[shard].read(row)
        weight = balanced_weight(target.probability, target.weight, self._factors)
        return dataclasses.replace(target, weight=weight)

    @staticmethod
    def write(
        folder: Path,
        count: int,
        targets: Callable[[range], Iterable[RegionTargets]],
        alive: Alive = lambda: None,
        progress: Callable[[int], None] = lambda done: None,
    ) -> None:
        """Write this process's share of targets, unless their shards exist.

        Args:
            folder: of the shards.
            count: number of frames.
            targets: returns the targets of the given frames, in order.
            alive: called repeatedly; raises if another process failed.
            progress: called with the number of further frames done.
        """

        def told(frames: range) -> Iterable[RegionTargets]:
            for target in targets(frames):
                alive()
                yield target
                progress(1)

        write_shards(
            folder, count, lambda frames, part: _write(part, len(frames), told(frames)), alive
        )


class _Shard:
    def __init__(self, folder: Path) -> None:
        names = ('regions', 'probability', 'weight', 'first', 'mass')
        files = [folder / f'{name}.npy' for name in names]
        wait_until_visible(*files)
        self._regions, self._probability, self._weight = map(RowReader, files[:3])
        self._first: NDArray[np.int64] = load_small(files[3])
        self.mass: NDArray[np.float64] = load_small(files[4])

    def read(self, row: int) -> RegionTargets:
        rows = int(self._first[row]), int(self._first[row + 1])
        return RegionTargets(
            self._regions.read(row, row + 1)[0].astype(np.int32, copy=False),
            self._probability.read(*rows),
            self._weight.read(*rows),
        )


def _write(folder: Path, count: int, targets: Iterable[RegionTargets]) -> None:
    """Write one shard."""
    probability, weight, pixels, first = [], [], [], [0]
    with contextlib.ExitStack() as opened:
        file: RowWriter | None = None
        for target in targets:
            if file is None:
                shape = (count, *target.regions.shape)
                file = opened.enter_context(
                    RowWriter(folder / 'regions.npy', _region_type(target), shape)
                )
            _check(target)
            file.append(target.regions)
            probability.append(target.probability.astype(np.float16))
            weight.append(target.weight.astype(np.float32))
            pixels.append(np.bincount(target.regions.ravel(), minlength=len(target.weight)))
            first.append(first[-1] + len(target.weight))
    rows, weights = np.concatenate(probability), np.concatenate(weight)
    np.save(folder / 'probability.npy', rows)
    np.save(folder / 'weight.npy', weights)
    np.save(folder / 'first.npy', np.array(first, np.int64))
    np.save(folder / 'mass.npy', class_mass(rows, weights, np.concatenate(pixels)))


def _region_type(target: RegionTargets) -> type[np.uint16 | np.int32]:
    """Return the integer type of region ids on disk: 16 bits if their number permits."""
    return np.uint16 if target.regions.size <= _MOST_PIXELS else np.int32


def _check(target: RegionTargets) -> None:
    if _region_type(target) is np.uint16 and len(target.weight) > _MOST_REGIONS:
        raise DatasetError(
            f'a frame has {len(target.weight)} regions, more than {_MOST_REGIONS}; raise '
            'distillation.superpixel_min_size'
        )


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
    resized = resize_labels(crop_to_aspect(label, height, width), height, width)
    known = resized != IGNORE_LABEL
    if resized[known].max(initial=0) >= classes:
        raise DatasetError(
            f'a pseudo-label has class {resized[known].max()} of {classes}; run label again'
        )
    regions = np.where(known, resized, classes).astype(np.int32)
    probability = np.eye(classes + 1, classes, dtype=np.float16)
    weight = np.ones(classes + 1, np.float32)
    weight[classes] = 0.0
    return RegionTargets(regions, probability, weight)
