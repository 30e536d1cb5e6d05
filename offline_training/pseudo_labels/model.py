"""The fitted pseudo-classes in one small file, sufficient to label a drive."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.array_files import parse_npz
from drive_segment_ros.dataset.frame import encode_npz
from drive_segment_ros.errors import DatasetError
from drive_segment_ros.storage import read_whole
from offline_training.common.files import write_atomic
from offline_training.pseudo_labels.features import Scaling

MODEL_FILE = 'clusters.npz'
# Rows per batch, so that distances to a grouping's clusters stay in the processor's cache.
_ROWS = 256


@dataclasses.dataclass(frozen=True)
class ClassModel:
    """Fine clusters of objects, and the share of each in each class.

    Attributes:
        scaling: of features.
        stuff: the stuff classes in the fitted frames; they are the first classes.
        centres: (M, D) float32, of the clusters of all groupings, one grouping after the other.
        share: (M, K) float64, of each cluster in each class of objects.
        bounds: (R + 1,) start of each of the R groupings, and end of the last one.
        size: (M,) float32, weight of the objects in each cluster.
        number: (C,) pseudo-class that each class, stuff first, then objects, has in labels.
        merges: (N, 2) pairs of pseudo-classes to merge, in this order, if fewer are wanted; the
            first of a pair represents both, see `linkage`.
    """

    scaling: Scaling
    stuff: NDArray[np.int64]
    centres: NDArray[np.float32]
    share: NDArray[np.float64]
    bounds: NDArray[np.int64]
    size: NDArray[np.float32]
    number: NDArray[np.int64]
    merges: NDArray[np.int64]

    @staticmethod
    def without_objects(stuff: NDArray[np.int64]) -> ClassModel:
        """Return the model for data without objects: an object is the next class."""
        nothing = np.empty(0, np.float32)
        return ClassModel(
            Scaling(nothing, nothing, nothing),
            stuff,
            np.empty((0, 0), np.float32),
            np.empty((0, 1)),
            np.zeros(1, np.int64),
            nothing,
            np.arange(len(stuff) + 1),
            np.empty((0, 2), np.int64),
        )

    @property
    def objects(self) -> slice:
        """The slice of `number` with the classes of objects."""
        return slice(len(self.stuff), None)

    def share_of(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the mean share over groupings of each class of objects, (N, K).

        In each grouping a row belongs to its nearest cluster.

        Args:
            values: (N, D) scaled features.
        """
        from threadpoolctl import threadpool_limits

        total = np.zeros((len(values), self.share.shape[1]))
        values = values.astype(np.float32, copy=False)
        spans = list(zip(self.bounds[:-1].tolist(), self.bounds[1:].tolist(), strict=True))
        minus_twice = [np.ascontiguousarray(-2.0 * self.centres[a:b].T) for a, b in spans]
        squared = np.einsum('md,md->m', self.centres, self.centres)
        # With several threads rounding would depend on the division of rows.
        with threadpool_limits(1):
            for first in range(0, len(values), _ROWS):
                rows = slice(first, first + _ROWS)
                for (a, b), centres in zip(spans, minus_twice, strict=True):
                    # Without the row's own square, which is the same for all clusters.
                    distance = values[rows] @ centres
                    distance += squared[a:b]
                    total[rows] += self.share[a + distance.argmin(axis=1)]
        return total / max(len(spans), 1)

    def save(self, path: Path) -> None:
        """Write the model.

        Raises:
            DatasetError: if it cannot be written.
        """
        scaling = {f'scaling_{name}': value for name, value in vars(self.scaling).items()}
        own = {name: value for name, value in vars(self).items() if name != 'scaling'}
        write_atomic(path, encode_npz({**own, **scaling}))

    @staticmethod
    def load(path: Path) -> ClassModel:
        """Read a saved model.

        Raises:
            DatasetError: if it cannot be read.
        """
        try:
            arrays: dict[str, Any] = parse_npz(read_whole(path))
            scaling = Scaling(*(arrays.pop(f'scaling_{n}') for n in ('centre', 'scale', 'weight')))
            return ClassModel(scaling, **arrays)
        except OSError as err:
            raise DatasetError(f'cannot read {path}: {err.strerror or err}') from err
        except (ValueError, KeyError, TypeError) as err:
            raise DatasetError(
                f'{path} has no classes: {err}; run `drive-segment label` again'
            ) from err
