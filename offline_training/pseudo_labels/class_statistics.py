"""Statistics of each pseudo-class, as a help to name it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.proposals import KINDS
from offline_training.pseudo_labels.motion import MOVED, THING_SHARE, UNKNOWN
from offline_training.pseudo_labels.segment_table import DESCRIBED, SegmentTable

# Medians are over at most so many randomly chosen segments of a class, which gives an error of
# some 2 % of the ranks.
MOST_MEASURED = 1000


@dataclasses.dataclass(frozen=True)
class ClassCounts:
    """Counts and samples of K classes in one drive, or in several.

    Attributes:
        segments, objects, pixels: (K,).
        kinds: (K, `KINDS`) segments.
        observed, moved: (K,) pixels of objects for which it is known whether they moved, and of
            those that did.
        measured: (N,) class of randomly chosen segments, up to 1,000 a class, those with the
            lowest random numbers.
        draw: (N,) their random numbers.
        values: (N, `DESCRIBED`) float32 of each.
    """

    segments: NDArray[np.int64]
    objects: NDArray[np.int64]
    pixels: NDArray[np.int64]
    kinds: NDArray[np.int64]
    observed: NDArray[np.int64]
    moved: NDArray[np.int64]
    measured: NDArray[np.uint8]
    draw: NDArray[np.float64]
    values: NDArray[np.float32]

    @staticmethod
    def of(
        table: SegmentTable, assigned: NDArray[np.integer], classes: int, seed: list[int]
    ) -> ClassCounts:
        """Count one drive.

        Args:
            table: its segments.
            assigned: (S,) class of each.
            classes: number of classes.
            seed: of the segments' random numbers, that of the drive.
        """
        draw = np.random.default_rng(seed).random(len(assigned))
        rows = _lowest(assigned, draw)
        values = np.stack([table.described[name] for name in DESCRIBED], axis=1)[rows]
        views = np.unique(table.track * classes + assigned)
        observed, moved = table.moved != UNKNOWN, table.moved == MOVED
        kinds = assigned * len(KINDS) + table.kind
        return ClassCounts(
            np.bincount(assigned, minlength=classes),
            np.bincount(views % classes, minlength=classes),
            np.bincount(assigned, table.pixels, classes).astype(np.int64),
            np.bincount(kinds, minlength=classes * len(KINDS)).reshape(classes, -1),
            np.bincount(assigned, table.pixels * observed, classes).astype(np.int64),
            np.bincount(assigned, table.pixels * moved, classes).astype(np.int64),
            assigned[rows].astype(np.uint8),
            draw[rows],
            values,
        )

    def __add__(self, other: ClassCounts) -> ClassCounts:
        """Return the union of both."""
        measured = np.concatenate([self.measured, other.measured])
        draw = np.concatenate([self.draw, other.draw])
        rows = _lowest(measured, draw)
        return ClassCounts(
            self.segments + other.segments,
            self.objects + other.objects,
            self.pixels + other.pixels,
            self.kinds + other.kinds,
            self.observed + other.observed,
            self.moved + other.moved,
            measured[rows],
            draw[rows],
            np.concatenate([self.values, other.values])[rows],
        )

    def things(self) -> list[bool]:
        """Return which classes are things, by the share of them that has moved.

        Weighted by pixels: unweighted, small pieces of a fence would make it a thing.
        """
        return [bool(share > THING_SHARE) for share in self.moved / np.maximum(self.observed, 1)]

    def statistics(self) -> list[dict[str, Any]]:
        """Return the statistics of each class, ready for JSON; lengths are medians, metres."""
        return [self._entry(number) for number in range(len(self.segments))]

    def _entry(self, number: int) -> dict[str, Any]:
        entry: dict[str, Any] = {
            'class': number,
            'segments': int(self.segments[number]),
            'objects': int(self.objects[number]),
            'pixels': int(self.pixels[number]),
            'kinds': dict(zip(KINDS, self.kinds[number].tolist(), strict=True)),
            'pixels_observed': int(self.observed[number]),
            'pixels_moved': int(self.moved[number]),
        }
        for name, column in zip(DESCRIBED, self.values[self.measured == number].T, strict=True):
            known = column[np.isfinite(column)]
            if len(known):
                entry[f'{name}_m'] = round(float(np.median(known)), 2)
        return entry


def _lowest(assigned: NDArray[np.integer], draw: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the rows with the lowest random numbers of each class, up to `MOST_MEASURED`."""
    order = np.lexsort((draw, assigned))
    ranked = assigned[order]
    rank = np.arange(len(order)) - np.searchsorted(ranked, ranked)
    return order[rank < MOST_MEASURED]
