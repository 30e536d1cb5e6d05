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
        xyz: (B, W, 3) float32, metres, origin at the sensor; columns wrap.
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8; returns of different kind are never joined, 0 belongs to no object.
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
    return _components(
        xyz,
        ranges,
        kind,
        np.float32(math.tan(math.radians(beta_deg))),
        np.float32(math.tan(math.radians(grazing_beta_deg))),
        np.float32(math.cos(math.radians(straightness_deg)) ** 2),
        np.float32(max_step),
        gap_rows,
        gap_columns,
    )


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
def _straight(points, a, b, c, cos2):
    """Return whether b lies near the line that goes from a to c through it."""
    ux, uy, uz = (
        points[b, 0] - points[a, 0],
        points[b, 1] - points[a, 1],
        points[b, 2] - points[a, 2],
    )
    vx, vy, vz = (
        points[c, 0] - points[b, 0],
        points[c, 1] - points[b, 1],
        points[c, 2] - points[b, 2],
    )
    dot = ux * vx + uy * vy + uz * vz
    norms = (ux * ux + uy * uy + uz * uz) * (vx * vx + vy * vy + vz * vz)
    return dot > np.float32(0.0) and dot * dot > cos2 * norms


@njit(cache=True, nogil=True, inline='always')
def _tangent(points, flat, i, j):
    """Return numerator and denominator of tan beta for two returns."""
    ax, ay, az = points[i, 0], points[i, 1], points[i, 2]
    bx, by, bz = points[j, 0], points[j, 1], points[j, 2]
    cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    far = max(flat[i], flat[j])
    return math.sqrt(cx * cx + cy * cy + cz * cz), far * far - (ax * bx + ay * by + az * bz)


@njit(cache=True, nogil=True)
def _components(xyz, ranges, kind, tan_beta, tan_grazing, cos2, max_step, gap_rows, gap_columns):
    beams, columns = ranges.shape
    cells = beams * columns
    flat = ranges.reshape(-1)
    points = xyz.reshape(-1, 3)
    kinds = kind.reshape(-1)
    parent = np.arange(cells).astype(np.int32)
    for row in range(beams):
        for column in range(columns):
            i = row * columns + column
            if flat[i] == np.float32(0.0) or kinds[i] == 0:
                continue
            for gap in range(1, min(gap_rows, row) + 1):
                j = i - gap * columns
                if flat[j] == np.float32(0.0):
                    continue
                if kinds[j] == kinds[i] and abs(flat[i] - flat[j]) <= max_step:
                    rise, run = _tangent(points, flat, i, j)
                    if rise > tan_beta * run:
                        _union(parent, i, j)
                    elif rise > tan_grazing * run:
                        above, under = j - columns, i + columns
                        if (
                            above >= 0
                            and flat[above] > np.float32(0.0)
                            and _straight(points, i, j, above, cos2)
                        ) or (
                            under < cells
                            and flat[under] > np.float32(0.0)
                            and _straight(points, j, i, under, cos2)
                        ):
                            _union(parent, i, j)
                break
            for gap in range(1, gap_columns + 1):
                # Columns wrap: the first ones look back at the last.
                j = i - gap if column >= gap else i - gap + columns
                if flat[j] == np.float32(0.0):
                    continue
                if kinds[j] == kinds[i]:
                    rise, run = _tangent(points, flat, i, j)
                    if rise > tan_beta * run:
                        _union(parent, i, j)
                    elif rise > tan_grazing * run:
                        before = j - 1 if j % columns > 0 else j - 1 + columns
                        after = i + 1 if column + 1 < columns else i + 1 - columns
                        if (
                            flat[before] > np.float32(0.0)
                            and _straight(points, i, j, before, cos2)
                        ) or (
                            flat[after] > np.float32(0.0) and _straight(points, j, i, after, cos2)
                        ):
                            _union(parent, i, j)
                break
    labels = np.zeros((beams, columns), np.int32)
    out = labels.reshape(-1)
    count = 0
    for i in range(cells):
        if flat[i] == np.float32(0.0) or kinds[i] == 0:
            continue
        root = _find(parent, i)
        # A root is the smallest index of its tree, so it has been labelled before its members.
        if root == i:
            count += 1
            out[i] = count
        else:
            out[i] = out[root]
    return labels, count
