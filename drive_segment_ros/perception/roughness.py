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
    total, count = (_box(a, half_width, half_height) for a in (deviation, weight))
    rough = (total > np.float32(threshold) * count) & (count >= 3)
    votes = np.where(rough, weight, -weight)
    return _box(votes, half_width + 1, half_height + 1) > 0


@njit(cache=True, nogil=True)
def _deviation(ranges, excluded, largest):
    """Return the deviation of each cell, at most `largest`, and 1 where it is known.

    Args:
        ranges: (B, W) float32, metres, 0 where empty; columns wrap.
        excluded: (B, W) bool.
        largest: float32, metres.

    Returns:
        Two (B, W) float32, metres, and 0 or 1.
    """
    beams, columns = ranges.shape
    deviation = np.zeros((beams, columns), np.float32)
    weight = np.zeros((beams, columns), np.float32)
    # The row with its ends repeated, and excluded cells empty: no wrapping, no branches.
    line = np.zeros(columns + 2, np.float32)
    for row in range(beams):
        for column in range(columns):
            line[column + 1] = np.float32(0.0) if excluded[row, column] else ranges[row, column]
        line[0], line[columns + 1] = line[columns], line[1]
        for column in range(columns):
            a, d, b = line[column], line[column + 1], line[column + 2]
            known = (a > np.float32(0.0)) & (d > np.float32(0.0)) & (b > np.float32(0.0))
            least = np.float32(1e-3)
            stray = abs(d * d / max(a, least) + d * d / max(b, least) - d - d)
            deviation[row, column] = min(stray, largest) if known else np.float32(0.0)
            weight[row, column] = np.float32(1.0) if known else np.float32(0.0)
    return deviation, weight


@njit(cache=True, nogil=True)
def _box(values, half_width, half_height):
    """Return sums over boxes, (B, W) float32; columns wrap, rows end.

    Args:
        values: (B, W) float32.
        half_width, half_height: columns and rows to each side.
    """
    beams, columns = values.shape
    wide = np.zeros((beams, columns), np.float32)
    line = np.empty(columns + 2 * half_width, np.float32)
    for row in range(beams):
        line[half_width : half_width + columns] = values[row]
        line[:half_width] = values[row, columns - half_width :]
        line[half_width + columns :] = values[row, :half_width]
        for d in range(2 * half_width + 1):
            for column in range(columns):
                wide[row, column] += line[column + d]
    total = np.zeros((beams, columns), np.float32)
    for row in range(beams):
        for r in range(max(row - half_height, 0), min(row + half_height + 1, beams)):
            for column in range(columns):
                total[row, column] += wide[r, column]
    return total
