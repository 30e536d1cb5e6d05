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
    return _rough_cells(
        ranges, excluded, np.float32(threshold), np.float32(_LARGEST), half_width, half_height
    )


@njit(cache=True, nogil=True)
def _rough_cells(ranges, excluded, threshold, largest, half_width, half_height):
    """See `rough_cells`.

    Each row is made only as far ahead of the next step as that reaches down, so that all of it
    happens in the processor's cache.

    Args:
        ranges: (B, W) float32, metres, 0 where empty; columns wrap.
        excluded: (B, W) bool.
        threshold, largest: float32, metres; how rough is rough, and what one cell says at most.
        half_width, half_height: columns and rows to each side that make a neighbourhood.
    """
    beams, columns = ranges.shape
    rough = np.empty((beams, columns), np.bool_)
    # Rows of the first and of the second box that are in use at a time; of row r in r % rows.
    rows, voters = 2 * half_height + 1, 2 * half_height + 3
    weight = np.empty((rows, columns), np.float32)
    stray_sum = np.empty((rows, columns), np.float32)
    weight_sum = np.empty((rows, columns), np.float32)
    vote_sum = np.empty((voters, columns), np.float32)
    deviation = np.empty(columns, np.float32)
    total = np.empty(columns, np.float32)
    count = np.empty(columns, np.float32)
    line = np.empty(columns + 2 * half_width + 2, np.float32)
    for ahead in range(beams + voters):
        if ahead < beams:
            k = ahead % rows
            _deviation(ranges[ahead], excluded[ahead], largest, line, deviation, weight[k])
            _sum_along(deviation, half_width, line, stray_sum[k])
            _sum_along(weight[k], half_width, line, weight_sum[k])
        row = ahead - half_height
        if 0 <= row < beams:
            _sum_up(stray_sum, row, half_height, beams, total)
            _sum_up(weight_sum, row, half_height, beams, count)
            _votes(total, count, weight[row % rows], threshold, deviation)
            _sum_along(deviation, half_width + 1, line, vote_sum[row % voters])
        row -= half_height + 1
        if 0 <= row < beams:
            _sum_up(vote_sum, row, half_height + 1, beams, total)
            for column in range(columns):
                rough[row, column] = total[column] > np.float32(0.0)
    return rough


@njit(cache=True, nogil=True)
def _deviation(ranges, excluded, largest, line, deviation, weight):
    """Write the deviation of a row's cells, at most `largest`, and 1 where it is known.

    Args:
        ranges: (W,) float32, metres, 0 where empty; columns wrap.
        excluded: (W,) bool.
        largest: float32, metres.
        line: (>= W + 2,) float32, to work in.
        deviation: (W,) float32, metres, written.
        weight: (W,) float32, 0 or 1, written.
    """
    columns = len(ranges)
    # The row with its ends repeated, and excluded cells empty: no wrapping, no branches.
    for column in range(columns):
        line[column + 1] = np.float32(0.0) if excluded[column] else ranges[column]
    line[0], line[columns + 1] = line[columns], line[1]
    for column in range(columns):
        a, d, b = line[column], line[column + 1], line[column + 2]
        known = (a > np.float32(0.0)) & (d > np.float32(0.0)) & (b > np.float32(0.0))
        least = np.float32(1e-3)
        stray = abs(d * d / max(a, least) + d * d / max(b, least) - d - d)
        deviation[column] = min(stray, largest) if known else np.float32(0.0)
        weight[column] = np.float32(1.0) if known else np.float32(0.0)


@njit(cache=True, nogil=True)
def _votes(total, count, weight, threshold, votes):
    """Write a row's votes, (W,) float32: 1 for rough, -1 for smooth, 0 where nothing is known.

    Args:
        total, count: (W,) float32, deviation, metres, and number of cells in the neighbourhood.
        weight: (W,) float32, 1 where the cell itself is known, else 0.
        threshold: float32, metres.
        votes: (W,) float32, written.
    """
    for column in range(len(votes)):
        rough = (total[column] > threshold * count[column]) & (count[column] >= np.float32(3.0))
        votes[column] = weight[column] if rough else -weight[column]


@njit(cache=True, nogil=True)
def _sum_along(values, half_width, line, total):
    """Write sums over neighbours in a row, which wraps.

    Args:
        values: (W,) float32.
        half_width: columns to each side.
        line: (>= W + 2 * half_width,) float32, to work in.
        total: (W,) float32, written.
    """
    columns = len(values)
    for column in range(columns):
        line[half_width + column] = values[column]
    for column in range(half_width):
        line[column] = values[columns - half_width + column]
        line[half_width + columns + column] = values[column]
    for column in range(columns):
        total[column] = line[column]
    for d in range(1, 2 * half_width + 1):
        for column in range(columns):
            total[column] += line[column + d]


@njit(cache=True, nogil=True)
def _sum_up(values, row, half_height, beams, total):
    """Write sums over neighbours in columns, which end.

    Args:
        values: (K, W) float32; of row r in r % K.
        row: which.
        half_height: rows to each side.
        beams: how many rows there are.
        total: (W,) float32, written.
    """
    first = max(row - half_height, 0)
    for column in range(len(total)):
        total[column] = values[first % len(values), column]
    for r in range(first + 1, min(row + half_height + 1, beams)):
        for column in range(len(total)):
            total[column] += values[r % len(values), column]
