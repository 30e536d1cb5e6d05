"""Which returns come from foliage: how far a beam's ranges deviate from a planar surface."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

# A single outlier (an edge, a wire) must not make its whole neighbourhood rough.
_LARGEST = np.float32(0.4)
# Columns and rows to each side that make a neighbourhood; votes are counted over one more.
_HALF_WIDTH, _HALF_HEIGHT = 3, 1


def rough_cells(
    ranges: NDArray[np.float32], excluded: NDArray[np.bool_], *, threshold: float = 0.1
) -> NDArray[np.bool_]:
    """Return the cells whose neighbourhood is not a surface: foliage, hedges, wire.

    Along a beam the inverse ranges of a plane change linearly at any angle, so
    d^2 / left + d^2 / right - 2 d vanishes; on foliage it is as large as the foliage is deep.
    Its mean over the neighbourhood is compared with a threshold, and the result is decided by
    majority over a slightly larger one, so that an object has one kind.

    Args:
        ranges: (B, W) float32, metres, 0 where empty; columns wrap.
        excluded: (B, W) bool, cells that take no part (ground).
        threshold: metres; a spinning LiDAR's range noise of 1 to 3 cm stays below a third of it.

    Returns:
        (B, W) bool.
    """
    return _rough_cells(ranges, excluded, np.float32(threshold))


@njit(cache=True, nogil=True)
def _rough_cells(ranges, excluded, threshold):
    """See `rough_cells`.

    Rows are processed only as far ahead as the next step needs them, so that all data stay in the
    processor's cache. Counts are 8-bit integers, of which it adds 64 at a time.

    Args:
        ranges: (B, W) float32, metres, 0 where empty; columns wrap.
        excluded: (B, W) bool.
        threshold: float32, metres.
    """
    beams, columns = ranges.shape
    rough = np.empty((beams, columns), np.bool_)
    # Rows of the first and of the second box that are in use at a time; of row r in r % rows.
    rows, voters = 2 * _HALF_HEIGHT + 1, 2 * _HALF_HEIGHT + 3
    known = np.empty((rows, columns), np.int8)
    stray_sum = np.empty((rows, columns), np.float32)
    known_sum = np.empty((rows, columns), np.int8)
    vote_sum = np.empty((voters, columns), np.int8)
    stray = np.empty(columns, np.float32)
    votes = np.empty(columns, np.int8)
    total = np.empty(columns, np.float32)
    count = np.empty(columns, np.int8)
    # Rows with as many of their columns repeated at either end as a neighbourhood reaches.
    float_line = np.empty(columns + 2 * _HALF_WIDTH, np.float32)
    int_line = np.empty(columns + 2 * _HALF_WIDTH + 2, np.int8)
    for ahead in range(beams + voters):
        if ahead < beams:
            k = ahead % rows
            _strays(ranges[ahead], excluded[ahead], float_line, stray, known[k])
            _sum_along(stray, _HALF_WIDTH, float_line, stray_sum[k])
            _sum_along(known[k], _HALF_WIDTH, int_line, known_sum[k])
        row = ahead - _HALF_HEIGHT
        if 0 <= row < beams:
            _sum_up(stray_sum, row, _HALF_HEIGHT, beams, total)
            _sum_up(known_sum, row, _HALF_HEIGHT, beams, count)
            _votes(total, count, known[row % rows], threshold, votes)
            _sum_along(votes, _HALF_WIDTH + 1, int_line, vote_sum[row % voters])
        row -= _HALF_HEIGHT + 1
        if 0 <= row < beams:
            _sum_up(vote_sum, row, _HALF_HEIGHT + 1, beams, count)
            for column in range(columns):
                rough[row, column] = count[column] > 0
    return rough


@njit(cache=True, nogil=True)
def _strays(ranges, excluded, line, stray, known):
    """Write how far a row's cells deviate from a line through their neighbours, and where known.

    Args:
        ranges: (W,) float32, metres, 0 where empty; columns wrap.
        excluded: (W,) bool.
        line: (>= W + 2,) float32, to work in.
        stray: (W,) float32, metres, at most `_LARGEST`, written.
        known: (W,) int8, 0 or 1, written.
    """
    columns = len(ranges)
    # The row with its ends repeated, and excluded cells empty: no wrapping, no branches.
    for column in range(columns):
        line[column + 1] = np.float32(0.0) if excluded[column] else ranges[column]
    line[0], line[columns + 1] = line[columns], line[1]
    for column in range(columns):
        a, d, b = line[column], line[column + 1], line[column + 2]
        full = (a > np.float32(0.0)) & (d > np.float32(0.0)) & (b > np.float32(0.0))
        least = np.float32(1e-3)
        off = abs(d * d / max(a, least) + d * d / max(b, least) - d - d)
        stray[column] = min(off, _LARGEST) if full else np.float32(0.0)
        known[column] = np.int8(full)


@njit(cache=True, nogil=True)
def _votes(total, count, known, threshold, votes):
    """Write a row's votes, (W,) int8: 1 for rough, -1 for smooth, 0 where nothing is known.

    Args:
        total: (W,) float32, metres, by how much the cells of the neighbourhood stray together.
        count: (W,) int8, how many they are.
        known: (W,) int8, 1 where the cell itself is known, else 0.
        threshold: float32, metres.
        votes: (W,) int8, written.
    """
    for column in range(len(votes)):
        rough = (total[column] > threshold * np.float32(count[column])) & (count[column] >= 3)
        votes[column] = known[column] * np.int8(2 * rough - 1)


@njit(cache=True, nogil=True, inline='always')
def _sum_along(values, half_width, line, total):
    """Write sums over neighbours in a row, which wraps.

    Args:
        values: (W,) float32 or int8.
        half_width: columns to each side, a constant, so that the sum of a cell is one expression.
        line: (>= W + 2 * half_width,) of the same type, to work in.
        total: (W,) of the same type, written.
    """
    columns = len(values)
    for column in range(columns):
        line[half_width + column] = values[column]
    for column in range(half_width):
        line[column] = values[columns - half_width + column]
        line[half_width + columns + column] = values[column]
    for column in range(columns):
        around = line[column]
        for d in range(1, 2 * half_width + 1):
            around += line[column + d]
        total[column] = around


@njit(cache=True, nogil=True)
def _sum_up(values, row, half_height, beams, total):
    """Write sums over neighbours in columns, which end.

    Args:
        values: (K, W) float32 or int8; of row r in r % K.
        row: which.
        half_height: rows to each side.
        beams: how many rows there are.
        total: (W,) of the same type, written.
    """
    first = max(row - half_height, 0)
    for column in range(len(total)):
        total[column] = values[first % len(values), column]
    for r in range(first + 1, min(row + half_height + 1, beams)):
        for column in range(len(total)):
            total[column] += values[r % len(values), column]
