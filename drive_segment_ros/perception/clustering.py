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

from drive_segment_ros.perception.links import is_straight, link_strength, links
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
    min_points: int = 1,
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
        min_points: smaller components get no label.

    Returns:
        labels: (B, W) int32, 1..count, 0 for empty cells, those of kind 0 and small components.
        count: number of labels.
    """
    tan2 = np.float32(math.tan(math.radians(beta_deg)) ** 2)
    tan2_grazing = np.float32(math.tan(math.radians(grazing_beta_deg)) ** 2)
    cos2 = np.float32(math.cos(math.radians(straightness_deg)) ** 2)
    step = np.float32(max_step)
    x, y, z = xyz
    along, up = links(x, y, z, ranges, kind, tan2, tan2_grazing, cos2, step)
    label, parent, sizes = _join_neighbours(ranges, kind, along, up)
    _join_across_gaps(
        _beside_gaps(ranges, kind),
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
    return _numbered(label, parent, sizes, min_points)


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
def _join_neighbours(ranges, kind, along, up):
    """Label cells by their strong links.

    A cell takes the label of the one before it or above it; where both have one, the labels are
    the same component. There are far fewer labels than cells, so their forest stays in cache.

    Args:
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8, 0 gets no label.
        along, up: (B, W) uint8, strengths, see `links`.

    Returns:
        label: (B, W) int32, from 1, 0 for none.
        parent: (L,) int32, the forest of labels; 0 is its own.
        sizes: (L,) int32, how many cells were given each label.
    """
    beams, columns = kind.shape
    label = np.empty((beams, columns), np.int32)
    parent = np.empty(beams * columns + 1, np.int32)
    sizes = np.empty(beams * columns + 1, np.int32)
    parent[0] = sizes[0] = 0
    used = 0
    for row in range(beams):
        # The label of the cell before, how many cells of its run have it already, and which
        # label of the row above is known to be of the same component.
        own, run, same = 0, 0, 0
        for column in range(columns):
            if kind[row, column] == 0 or ranges[row, column] == np.float32(0.0):
                sizes[own] += run
                own, run, same = 0, 0, 0
                label[row, column] = 0
                continue
            above = label[row - 1, column] if up[row, column] == 2 else 0
            if along[row, column] != 2:
                sizes[own] += run
                own, run, same = above, 0, above
                if own == 0:
                    used += 1
                    own = used
                    parent[own] = own
                    sizes[own] = 0
            elif above != 0 and above != same and above != own:
                sizes[own] += run
                own, run, same = _union(parent, own, above), 0, above
            label[row, column] = own
            run += 1
        sizes[own] += run
    return label, parent[: used + 1], sizes[: used + 1]


@njit(cache=True, nogil=True)
def _beside_gaps(ranges, kind):
    """Return the cells next to empty ones before or above them, (C,) int64 indices, ascending.

    And those at the ends of rows, whose links may go straight on only across these.

    Args:
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8, cells of kind 0 are left out, and so are empty ones.
    """
    beams, columns = ranges.shape
    found = np.empty(beams * columns, np.int64)
    beside = np.empty(columns, np.bool_)
    n = 0
    for row in range(beams):
        above = max(row - 1, 0)
        for column in range(columns):
            gap = ranges[above, column] == np.float32(0.0)
            gap |= ranges[row, max(column - 1, 0)] == np.float32(0.0)
            beside[column] = gap & (kind[row, column] != 0)
        beside[0] = kind[row, 0] != 0
        beside[1 % columns] = kind[row, 1 % columns] != 0
        beside[columns - 1] = kind[row, columns - 1] != 0
        for column in range(columns):
            beside[column] &= ranges[row, column] > np.float32(0.0)
        for column in range(columns):
            found[n] = row * columns + column
            n += beside[column]
    return found[:n]


@njit(cache=True, nogil=True)
def _join_across_gaps(
    cells, x, y, z, ranges, kind, label, parent, along, up, tan2, tan2_grazing, cos2, max_step,
    gap_rows, gap_columns,
):  # fmt: skip
    """Join cells by links that need a closer look: across empty cells and the ends of rows.

    Args:
        cells: (C,) int64, which, ascending.
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
    row, start = 0, 0
    for i in cells:
        while i >= start + columns:
            row += 1
            start += columns
        column = i - start
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
def _numbered(label, parent, sizes, min_points):
    """Return labels of components, 1..count, and the count; 0 for components that are too small.

    Args:
        label: (B, W) int32, renumbered in place.
        parent: (L,) int32, the labels' forest.
        sizes: (L,) int32, how many cells have each label; summed up at the roots in place.
        min_points: a component has at least.
    """
    root = np.empty_like(parent)
    for k in range(len(parent)):
        root[k] = find_root(parent, k)
        if root[k] != k:
            sizes[root[k]] += sizes[k]
    number = np.zeros_like(parent)
    count = 0
    for k in range(1, len(parent)):
        # A root is the smallest label of its component, so it is numbered before the others.
        if root[k] == k and sizes[k] >= min_points:
            count += 1
            number[k] = count
        elif root[k] != k:
            number[k] = number[root[k]]
    flat = label.reshape(-1)
    for i in range(len(flat)):
        # As an unsigned number, which nobody checks for a sign.
        flat[i] = number[np.uint32(flat[i])]
    return label, count
