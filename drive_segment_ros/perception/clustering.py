"""Objects of a sweep as connected parts of its range image.

Bogoslavskyi & Stachniss, "Fast Range Image-Based Segmentation of Sparse 3D Laser Scans for Online
Operation", IROS 2016: two neighbouring returns belong together if the line through them meets the
farther beam at an angle beta above a threshold. One threshold cannot serve both a car in front of
a hedge (large) and a wall along the road (small); so a small angle counts as well, but only where
the line goes on straight, as it does on a surface seen at a grazing angle.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.links import bends, is_straight, link_strength, links, strengthen
from drive_segment_ros.perception.union_find import find_root


def cluster(
    xyz: NDArray[np.float32],
    ranges: NDArray[np.float32],
    kind: NDArray[np.uint8],
    *,
    beta_deg: float = 30.0,
    grazing_beta_deg: float = 5.0,
    straightness_deg: float = 12.0,
    max_step: float = 1.0,
    gap_rows: int = 2,
    gap_columns: int = 3,
) -> tuple[NDArray[np.int32], int]:
    """Label the connected components of a range image.

    With d1 >= d2 the ranges of two returns p1, p2 and a the angle between their beams,
    beta = atan2(d2 sin a, d1 - d2 cos a) > threshold. Multiplied by d1 this compares
    |p1 x p2| with d1^2 - p1.p2, so the true angle between the beams comes in without
    trigonometry, whatever the spacing of rows and columns.

    Args:
        xyz: (3, B, W) float32, metres, origin at the sensor; columns wrap.
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8; returns of different kind are never joined; 0 belongs to no object,
            and so do empty cells.
        beta_deg: threshold, degrees; larger splits more.
        grazing_beta_deg: threshold where the line through both returns goes on straight.
        straightness_deg: how far it may bend there.
        max_step: metres; largest difference in range between returns of neighbouring beams in a
            column. Beams several degrees apart would otherwise join whatever is behind each other.
        gap_rows: how many rows up the nearest return may be; bridges a lost beam.
        gap_columns: how many columns along the nearest return may be; bridges lost firings.

    Returns:
        labels: (B, W) int32, 1..count, 0 where the cell is empty or of kind 0.
        count: number of components.
    """
    tan2 = np.float32(math.tan(math.radians(beta_deg)) ** 2)
    tan2_grazing = np.float32(math.tan(math.radians(grazing_beta_deg)) ** 2)
    cos2 = np.float32(math.cos(math.radians(straightness_deg)) ** 2)
    step = np.float32(max_step)
    x, y, z = xyz
    kind = np.where(ranges > 0, kind, np.uint8(0))
    along, up = links(x, y, z, ranges, kind, tan2, tan2_grazing, step)
    strengthen(along, up, *bends(x, y, z, ranges, cos2))
    label, parent, used = _join_neighbours(kind, along, up)
    # What is left are returns next to empty cells.
    empty = ranges == 0
    beside = np.roll(empty, 1, axis=1)
    # Links at the ends of rows may go straight on only across them.
    beside[:, [0, 1, -1]] = True
    beside[1:] |= empty[:-1]
    beside_gaps = np.flatnonzero((kind != 0) & beside)
    _join_across_gaps(
        beside_gaps,
        x.reshape(-1),
        y.reshape(-1),
        z.reshape(-1),
        ranges,
        kind.reshape(-1),
        label.reshape(-1),
        parent,
        along.reshape(-1),
        up.reshape(-1),
        tan2,
        tan2_grazing,
        cos2,
        step,
        gap_rows,
        gap_columns,
    )
    return _numbered(label, parent, used)


@njit(cache=True, nogil=True, inline='always')
def _union(parent, i, j):
    """Join two components and return their root, the smaller of the two.

    Args:
        parent: (N,) int32, a forest, see `find_root`.
        i, j: a node of each.
    """
    a, b = find_root(parent, i), find_root(parent, j)
    root = min(a, b)
    parent[a] = root
    parent[b] = root
    return root


@njit(cache=True, nogil=True, inline='always')
def _straight(x, y, z, ranges, a, b, c, cos2):
    """Return whether the line from a to b goes on to c, if there is a return at all.

    Args:
        x, y, z: (B * W,) float32, metres.
        ranges: (B * W,) float32, metres, 0 where empty.
        a, b, c: cells.
        cos2: float32, squared cosine of the largest bend.
    """
    if ranges[c] == np.float32(0.0):
        return False
    return is_straight(
        x[b] - x[a], y[b] - y[a], z[b] - z[a], x[c] - x[b], y[c] - y[b], z[c] - z[b], cos2
    )


@njit(cache=True, nogil=True, inline='always')
def _goes_on(x, y, z, ranges, i, j, before, after, cos2):
    """Return whether the line through two returns goes straight on, at either end.

    Args:
        x, y, z: (B * W,) float32, metres.
        ranges: (B * W,) float32, metres, 0 where empty.
        i, j: the cells of the returns.
        before, after: the cells beyond j and beyond i.
        cos2: float32, squared cosine of the largest bend.
    """
    return _straight(x, y, z, ranges, i, j, before, cos2) or _straight(
        x, y, z, ranges, j, i, after, cos2
    )


@njit(cache=True, nogil=True)
def _join_neighbours(kind, along, up):
    """Label cells by their strong links: (B, W) labels, their forest, and how many there are.

    A cell takes the label of the one before it or above it; where both have one, the labels are
    the same component. There are far fewer labels than cells, so their forest stays in cache.

    Args:
        kind: (B, W) uint8, 0 gets no label.
        along, up: (B, W) uint8, strengths, see `links`.

    Returns:
        (B, W) int32 label from 1, (B * W + 1,) int32 parent of each label, and how many there are.
    """
    beams, columns = kind.shape
    label = np.zeros((beams, columns), np.int32)
    parent = np.zeros(beams * columns + 1, np.int32)
    used = 0
    for row in range(beams):
        own = 0
        for column in range(columns):
            if kind[row, column] == 0:
                continue
            above = label[row - 1, column] if up[row, column] == 2 else 0
            if along[row, column] != 2:
                own = above
                if own == 0:
                    used += 1
                    own = used
                    parent[own] = own
            elif above != 0 and above != own:
                own = _union(parent, own, above)
            label[row, column] = own
    return label, parent, used


@njit(cache=True, nogil=True)
def _join_across_gaps(
    cells, x, y, z, ranges, kind, label, parent, along, up, tan2, tan2_grazing, cos2, max_step,
    gap_rows, gap_columns,
):  # fmt: skip
    """Join cells by links that need a closer look: across empty cells and the ends of rows.

    Args:
        cells: (C,) int64, which.
        x, y, z: (B * W,) float32, metres.
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B * W,) uint8.
        label: (B * W,) int32, see `_join_neighbours`.
        parent: (B * W + 1,) int32, the labels' forest, joined in place.
        along, up: (B * W,) uint8, see `links`.
        tan2, tan2_grazing: float32, squared tangents of the two thresholds.
        cos2: float32, squared cosine of the largest bend.
        max_step: float32, metres, largest difference in range up a column.
        gap_rows, gap_columns: how far away the nearest return may be.
    """
    beams, columns = ranges.shape
    flat = ranges.reshape(-1)
    for i in cells:
        row, column = i // columns, i % columns
        start = row * columns
        # Along the row; columns wrap.
        j, strength = i - 1 if column > 0 else start + columns - 1, along[i]
        if strength < 2 and (column == 0 or flat[j] == np.float32(0.0)):
            gap = 1
            while gap < gap_columns and flat[j] == np.float32(0.0):
                j = j - 1 if j > start else start + columns - 1
                gap += 1
            if kind[j] == kind[i]:
                strength = link_strength(
                    x[i], y[i], z[i], x[j], y[j], z[j], flat[i], flat[j], tan2, tan2_grazing
                )
        if strength == 1:
            before = j - 1 if j > start else start + columns - 1
            after = i + 1 if column + 1 < columns else start
            if _goes_on(x, y, z, flat, i, j, before, after, cos2):
                strength = 2
        if strength == 2:
            _union(parent, label[i], label[j])
        # Up the column.
        j, strength = i - columns, up[i]
        if strength < 2 and row > 0 and flat[j] == np.float32(0.0):
            gap = 1
            while gap < min(gap_rows, row) and flat[j] == np.float32(0.0):
                j -= columns
                gap += 1
            if kind[j] == kind[i] and abs(flat[i] - flat[j]) <= max_step:
                strength = link_strength(
                    x[i], y[i], z[i], x[j], y[j], z[j], flat[i], flat[j], tan2, tan2_grazing
                )
        if strength == 1:
            # Beyond the first and last row the cell itself stands in: no line goes on there.
            before = j - columns if j >= columns else j
            after = i + columns if row + 1 < beams else i
            if _goes_on(x, y, z, flat, i, j, before, after, cos2):
                strength = 2
        if strength == 2:
            _union(parent, label[i], label[j])


@njit(cache=True, nogil=True)
def _numbered(label, parent, used):
    """Return labels of components, 1..count, and the count.

    Args:
        label: (B, W) int32, renumbered in place.
        parent: (N,) int32, the labels' forest.
        used: how many labels there are.
    """
    number = np.zeros(used + 1, np.int32)
    count = 0
    for k in range(1, used + 1):
        # A root is the smallest label of its component, so it is numbered before the others.
        root = find_root(parent, k)
        if root == k:
            count += 1
            number[k] = count
        else:
            number[k] = number[root]
    flat = label.reshape(-1)
    for i in range(len(flat)):
        flat[i] = number[flat[i]]
    return label, count
