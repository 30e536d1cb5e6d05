"""Links between neighbouring returns of a range image: how surely they are of one object."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline='always')
def link_strength(ax, ay, az, bx, by, bz, ra, rb, tan2, tan2_grazing):
    """Return 2 where two returns are joined, 1 where they are if the line goes on, else 0.

    Args:
        ax, ay, az, bx, by, bz: float32, metres, the two returns.
        ra, rb: float32, metres, their ranges.
        tan2, tan2_grazing: float32, squared tangents of the two thresholds.
    """
    cx, cy, cz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
    rise2 = cx * cx + cy * cy + cz * cz
    far = max(ra, rb)
    run = far * far - (ax * bx + ay * by + az * bz)
    return np.uint8(rise2 > tan2 * run * run) + np.uint8(rise2 > tan2_grazing * run * run)


@njit(cache=True, nogil=True)
def links(x, y, z, ranges, kind, tan2, tan2_grazing, max_step):
    """Return the strength of the link of each cell to the one before it, and to the one above.

    Whole rows, without branches, are fifty times faster than cell by cell.

    Args:
        x, y, z: (B, W) float32, metres.
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8, 0 belongs to no object.
        tan2, tan2_grazing: float32, squared tangents of the two thresholds.
        max_step: float32, metres, largest difference in range up a column.

    Returns:
        Two (B, W) uint8, see `link_strength`.
    """
    beams, columns = ranges.shape
    along = np.zeros((beams, columns), np.uint8)
    up = np.zeros((beams, columns), np.uint8)
    for row in range(beams):
        for c in range(1, columns):
            b = c - 1
            strength = link_strength(
                x[row, c], y[row, c], z[row, c], x[row, b], y[row, b], z[row, b],
                ranges[row, c], ranges[row, b], tan2, tan2_grazing,
            )  # fmt: skip
            same = (kind[row, c] == kind[row, b]) & (kind[row, c] != 0)
            along[row, c] = strength * np.uint8(same)
    for row in range(1, beams):
        b = row - 1
        for c in range(columns):
            strength = link_strength(
                x[row, c], y[row, c], z[row, c], x[b, c], y[b, c], z[b, c],
                ranges[row, c], ranges[b, c], tan2, tan2_grazing,
            )  # fmt: skip
            same = (kind[row, c] == kind[b, c]) & (kind[row, c] != 0)
            near = abs(ranges[row, c] - ranges[b, c]) <= max_step
            up[row, c] = strength * np.uint8(same & near)
    return along, up


@njit(cache=True, nogil=True)
def bends(x, y, z, ranges, cos2):
    """Return where the line through a return and its neighbours is straight: in rows, in columns.

    Neighbours across the ends of rows are left to `clustering`.

    Args:
        x, y, z: (B, W) float32, metres.
        ranges: (B, W) float32, metres, 0 where empty.
        cos2: float32, squared cosine of the largest bend.

    Returns:
        Two (B, W) uint8, 0 or 1.
    """
    beams, columns = ranges.shape
    along = np.zeros((beams, columns), np.uint8)
    up = np.zeros((beams, columns), np.uint8)
    for row in range(beams):
        for c in range(1, columns - 1):
            a, b = c - 1, c + 1
            full = (ranges[row, a] > 0) & (ranges[row, c] > 0) & (ranges[row, b] > 0)
            along[row, c] = full & is_straight(
                x[row, c] - x[row, a], y[row, c] - y[row, a], z[row, c] - z[row, a],
                x[row, b] - x[row, c], y[row, b] - y[row, c], z[row, b] - z[row, c], cos2,
            )  # fmt: skip
    for row in range(1, beams - 1):
        a, b = row - 1, row + 1
        for c in range(columns):
            full = (ranges[a, c] > 0) & (ranges[row, c] > 0) & (ranges[b, c] > 0)
            up[row, c] = full & is_straight(
                x[row, c] - x[a, c], y[row, c] - y[a, c], z[row, c] - z[a, c],
                x[b, c] - x[row, c], y[b, c] - y[row, c], z[b, c] - z[row, c], cos2,
            )  # fmt: skip
    return along, up


@njit(cache=True, nogil=True, inline='always')
def is_straight(ux, uy, uz, vx, vy, vz, cos2):
    """Return whether two steps go in one direction.

    Args:
        ux, uy, uz, vx, vy, vz: float32, metres, the steps.
        cos2: float32, squared cosine of the largest bend.
    """
    dot = ux * vx + uy * vy + uz * vz
    norms = (ux * ux + uy * uy + uz * uz) * (vx * vx + vy * vy + vz * vz)
    return (dot > np.float32(0.0)) & (dot * dot > cos2 * norms)


@njit(cache=True, nogil=True)
def strengthen(along, up, straight_along, straight_up):
    """Make weak links strong where the line goes straight on at either end.

    Args:
        along, up: (B, W) uint8, see `links`; changed in place.
        straight_along, straight_up: (B, W) uint8, see `bends`.
    """
    beams, columns = along.shape
    for row in range(beams):
        for c in range(1, columns):
            more = (along[row, c] == 1) & (straight_along[row, c] | straight_along[row, c - 1])
            along[row, c] += np.uint8(more)
    for row in range(1, beams):
        for c in range(columns):
            more = (up[row, c] == 1) & (straight_up[row, c] | straight_up[row - 1, c])
            up[row, c] += np.uint8(more)
