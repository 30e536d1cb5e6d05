"""Limit the proposals of a sweep to what a segment image can number, dropping the smallest."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Of uint16, the type of segment images.
LARGEST_LABEL = 65_535


def limit_labels(
    label: NDArray[np.int32], cell_label: NDArray[np.int32] | None, count: int, first_object: int
) -> tuple[NDArray[np.int32], NDArray[np.int32] | None, int]:
    """Drop the smallest objects, if there are too many, and number the others without gaps.

    Args:
        label: (N,) int32 label of each point, 0 none.
        cell_label: (B, W) int32 of each cell of the range image, or None.
        count: labels in use, 0 <= label < count.
        first_object: smaller labels are not objects and are kept.

    Returns:
        `label`, `cell_label` and `count`, with labels up to `LARGEST_LABEL`; what belonged to a
        given up object has label 0.
    """
    if count <= LARGEST_LABEL + 1:
        return label, cell_label, count
    points = np.bincount(label, minlength=count)
    order = np.argsort(-points[first_object:], kind='stable') + first_object
    kept = np.sort(order[: LARGEST_LABEL + 1 - first_object])
    number = np.zeros(count, np.int32)
    number[:first_object] = np.arange(first_object)
    number[kept] = first_object + np.arange(len(kept), dtype=np.int32)
    cells = None if cell_label is None else number[cell_label]
    return number[label], cells, first_object + len(kept)
