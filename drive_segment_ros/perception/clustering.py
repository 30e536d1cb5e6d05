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
    x, y, z = xyz
    along, up = _links(x, y, z, ranges, kind, tan2, tan2_grazing, np.float32(max_step))
    return _components(
        x,
        y,
        z,
        ranges,
        kind,
        along,
        up,
        tan2,
        tan2_grazing,
        np.float32(math.cos(math.radians(straightness_deg)) ** 2),
        np.float32(max_step),
        gap_rows,
        gap_columns,
    )


@njit(cache=True, nogil=True, inline='always')
def _strength(ax, ay, az, bx, by, bz, ra, rb, tan2, tan2_grazing):
    """Return 2 where two returns are joined, 1 where they are if the line goes on, else 0."""
    cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    rise2 = cx * cx + cy * cy + cz * cz
    far = max(ra, rb)
    run = far * far - (ax * bx + ay * by + az * bz)
    return np.uint8(rise2 > tan2 * run * run) + np.uint8(rise2 > tan2_grazing * run * run)


@njit(cache=True, nogil=True)
def _links(x, y, z, ranges, kind, tan2, tan2_grazing, max_step):
    """Return the strength of the link of each cell to the one before it, and to the one above.

    Whole rows, without branches, are fifty times faster than cell by cell.
    """
    beams, columns = ranges.shape
    along = np.zeros((beams, columns), np.uint8)
    up = np.zeros((beams, columns), np.uint8)
    for row in range(beams):
        for c in range(1, columns):
            b = c - 1
            strength = _strength(
                x[row, c], y[row, c], z[row, c], x[row, b], y[row, b], z[row, b],
                ranges[row, c], ranges[row, b], tan2, tan2_grazing,
            )  # fmt: skip
            same = (kind[row, c] == kind[row, b]) & (kind[row, c] != 0)
            along[row, c] = strength * np.uint8(same)
    for row in range(1, beams):
        b = row - 1
        for c in range(columns):
            strength = _strength(
                x[row, c], y[row, c], z[row, c], x[b, c], y[b, c], z[b, c],
                ranges[row, c], ranges[b, c], tan2, tan2_grazing,
            )  # fmt: skip
            same = (kind[row, c] == kind[b, c]) & (kind[row, c] != 0)
            near = abs(ranges[row, c] - ranges[b, c]) <= max_step
            up[row, c] = strength * np.uint8(same & near)
    return along, up


@njit(cache=True, nogil=True, inline='always')
def _find(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(cache=True, nogil=True, inline='always')
def _union(parent, i, j):
    a, b = _find(parent, i), _find(parent, j)
    if a < b:
        parent[b] = a
    elif b < a:
        parent[a] = b


@njit(cache=True, nogil=True, inline='always')
def _straight(x, y, z, ranges, a, b, c, cos2):
    """Return whether the line from a to b goes on to c, if there is a return at all."""
    if ranges[c] == np.float32(0.0):
        return False
    ux, uy, uz = x[b] - x[a], y[b] - y[a], z[b] - z[a]
    vx, vy, vz = x[c] - x[b], y[c] - y[b], z[c] - z[b]
    dot = ux * vx + uy * vy + uz * vz
    norms = (ux * ux + uy * uy + uz * uz) * (vx * vx + vy * vy + vz * vz)
    return dot > np.float32(0.0) and dot * dot > cos2 * norms


@njit(cache=True, nogil=True, inline='always')
def _goes_on(x, y, z, ranges, i, j, before, after, cos2):
    """Return whether the line through two returns goes straight on, at either end."""
    return _straight(x, y, z, ranges, i, j, before, cos2) or _straight(
        x, y, z, ranges, j, i, after, cos2
    )


@njit(cache=True, nogil=True)
def _components(
    x, y, z, ranges, kind, along, up, tan2, tan2_grazing, cos2, max_step, gap_rows, gap_columns
):
    beams, columns = ranges.shape
    cells = beams * columns
    x, y, z, flat = x.reshape(-1), y.reshape(-1), z.reshape(-1), ranges.reshape(-1)
    kinds, along, up = kind.reshape(-1), along.reshape(-1), up.reshape(-1)
    # A cell takes the label of the one before it or above it; where both have one, the labels
    # are the same component. There are far fewer labels than cells, so their tree stays in cache.
    label = np.zeros(cells, np.int32)
    parent = np.empty(cells + 1, np.int32)
    used = 0
    for row in range(beams):
        for column in range(columns):
            i = row * columns + column
            if kinds[i] == 0:
                continue
            own = 0
            j, strength = i - 1, along[i]
            if column > 0 and flat[j] == np.float32(0.0):
                for _ in range(min(gap_columns, column) - 1):
                    j -= 1
                    if flat[j] > np.float32(0.0):
                        if kinds[j] == kinds[i]:
                            strength = _strength(
                                x[i], y[i], z[i], x[j], y[j], z[j],
                                flat[i], flat[j], tan2, tan2_grazing,
                            )  # fmt: skip
                        break
            if strength == 1:
                before = j - 1 if j % columns > 0 else j - 1 + columns
                after = i + 1 if column + 1 < columns else i + 1 - columns
                if _goes_on(x, y, z, flat, i, j, before, after, cos2):
                    strength = 2
            if strength == 2:
                own = label[j]
            j, strength = i - columns, up[i]
            if row > 0 and flat[j] == np.float32(0.0):
                for _ in range(min(gap_rows, row) - 1):
                    j -= columns
                    if flat[j] > np.float32(0.0):
                        if kinds[j] == kinds[i] and abs(flat[i] - flat[j]) <= max_step:
                            strength = _strength(
                                x[i], y[i], z[i], x[j], y[j], z[j],
                                flat[i], flat[j], tan2, tan2_grazing,
                            )  # fmt: skip
                        break
            if strength == 1:
                # Beyond the first and last row the cell itself stands in: no line goes on there.
                before = j - columns if j >= columns else j
                after = i + columns if i + columns < cells else i
                if _goes_on(x, y, z, flat, i, j, before, after, cos2):
                    strength = 2
            if strength == 2:
                if own == 0:
                    own = label[j]
                elif own != label[j]:
                    _union(parent, own, label[j])
            if own == 0:
                used += 1
                own = used
                parent[own] = own
            label[i] = own
    for row in range(beams):
        _close_row(
            x, y, z, flat, kinds, label, parent, row * columns, columns, gap_columns, tan2,
            tan2_grazing, cos2,
        )  # fmt: skip
    number = np.zeros(used + 1, np.int32)
    count = 0
    for k in range(1, used + 1):
        # A root is the smallest label of its component, so it is numbered before the others.
        root = _find(parent, k)
        if root == k:
            count += 1
            number[k] = count
        else:
            number[k] = number[root]
    for i in range(cells):
        label[i] = number[label[i]]
    return label.reshape(beams, columns), count


@njit(cache=True, nogil=True)
def _close_row(
    x, y, z, flat, kinds, label, parent, start, columns, gap_columns, tan2, tan2_grazing, cos2
):
    """Join the first return of a row to the last one, if they are near enough: columns wrap."""
    first, last = 0, columns - 1
    while first < gap_columns and flat[start + first] == np.float32(0.0):
        first += 1
    while last > first and flat[start + last] == np.float32(0.0):
        last -= 1
    if first + columns - last > gap_columns or first >= last:
        return
    i, j = start + first, start + last
    if kinds[i] == 0 or kinds[i] != kinds[j]:
        return
    strength = _strength(x[i], y[i], z[i], x[j], y[j], z[j], flat[i], flat[j], tan2, tan2_grazing)
    if strength == 2 or (strength == 1 and _goes_on(x, y, z, flat, i, j, j - 1, i + 1, cos2)):
        _union(parent, label[i], label[j])
