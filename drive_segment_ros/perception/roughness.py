"""Which returns come from foliage: how far a beam's ranges stray from any straight surface."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# One stray return (an edge, a wire) must not make its whole neighbourhood rough.
_LARGEST = 0.4


def rough_cells(
    ranges: NDArray[np.float32],
    excluded: NDArray[np.bool_],
    *,
    threshold: float = 0.1,
    half_width: int = 3,
    half_height: int = 1,
) -> NDArray[np.bool_]:
    """Return the cells whose neighbourhood is no surface: foliage, hedges, wire.

    Along a beam a plane, seen at whatever angle, has inverse ranges that change linearly, so
    d^2 / left + d^2 / right - 2 d vanishes; on foliage it is as large as the leaves are deep.
    Its mean over the neighbourhood is compared with a threshold, and the outcome is voted over a
    slightly larger one, so that an object has one kind.

    Args:
        ranges: (B, W) float32, metres, 0 where empty; columns wrap.
        excluded: (B, W) bool, cells that take no part (ground).
        threshold: metres; a spinning LiDAR's range noise of 1 to 3 cm stays below a third of it.
        half_width: columns to each side that make a neighbourhood.
        half_height: rows above and below.

    Returns:
        (B, W) bool.
    """
    deviation, weight = _deviation(ranges, excluded, np.float32(_LARGEST))
    mean, count = _box(deviation, weight, half_width, half_height)
    rough = (mean > np.float32(threshold) * count) & (count >= 3)
    valid = weight.copy()
    vote, voters = _box(rough.astype(np.float32) * valid, valid, half_width + 1, half_height + 1)
    return vote > np.float32(0.5) * voters


@njit(cache=True, nogil=True)
def _deviation(ranges, excluded, largest):
    beams, columns = ranges.shape
    deviation = np.zeros((beams, columns), np.float32)
    weight = np.zeros((beams, columns), np.float32)
    for row in range(beams):
        for column in range(columns):
            d = ranges[row, column]
            if d == np.float32(0.0) or excluded[row, column]:
                continue
            left = column - 1 if column > 0 else columns - 1
            right = column + 1 if column + 1 < columns else 0
            a, b = ranges[row, left], ranges[row, right]
            if a == np.float32(0.0) or b == np.float32(0.0):
                continue
            if excluded[row, left] or excluded[row, right]:
                continue
            deviation[row, column] = min(abs(d * d / a + d * d / b - d - d), largest)
            weight[row, column] = np.float32(1.0)
    return deviation, weight


@njit(cache=True, nogil=True)
def _box(values, weights, half_width, half_height):
    """Return both arrays summed over boxes; columns wrap, rows end."""
    beams, columns = values.shape
    wide_v = np.empty((beams, columns), np.float32)
    wide_w = np.empty((beams, columns), np.float32)
    for row in range(beams):
        v, w = np.float32(0.0), np.float32(0.0)
        for d in range(-half_width, half_width + 1):
            v += values[row, d % columns]
            w += weights[row, d % columns]
        for column in range(columns):
            wide_v[row, column], wide_w[row, column] = v, w
            old = column - half_width
            new = column + half_width + 1
            if old < 0:
                old += columns
            if new >= columns:
                new -= columns
            v += values[row, new] - values[row, old]
            w += weights[row, new] - weights[row, old]
    sum_v = np.empty((beams, columns), np.float32)
    sum_w = np.empty((beams, columns), np.float32)
    for row in range(beams):
        low, high = max(row - half_height, 0), min(row + half_height + 1, beams)
        for column in range(columns):
            v, w = np.float32(0.0), np.float32(0.0)
            for r in range(low, high):
                v += wide_v[r, column]
                w += wide_w[r, column]
            sum_v[row, column], sum_w[row, column] = v, w
    return sum_v, sum_w
