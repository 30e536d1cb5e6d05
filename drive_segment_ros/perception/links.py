"""Links between neighbouring returns of a range image: whether they belong to one object."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, inline='always')
def link_strength(ax, ay, az, bx, by, bz, ra, rb, tan2, tan2_grazing):
    """Return 2 where two returns are joined, 1 where they are if their line continues, else 0.

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


@njit(cache=True, nogil=True, inline='always')
def is_straight(ux, uy, uz, vx, vy, vz, cos2):
    """Return whether two steps have the same direction.

    Args:
        ux, uy, uz, vx, vy, vz: float32, metres, the steps.
        cos2: float32, squared cosine of the largest bend.
    """
    dot = ux * vx + uy * vy + uz * vz
    norms = (ux * ux + uy * uy + uz * uz) * (vx * vx + vy * vy + vz * vz)
    return (dot > np.float32(0.0)) & (dot * dot > cos2 * norms)


@njit(cache=True, nogil=True)
def links(x, y, z, ranges, kind, tan2, tan2_grazing, cos2, max_step):
    """Return the strength of the link of each cell to the one before it, and to the one above.

    Whole rows, without branches, are fifty times faster than cell by cell. Links across empty
    cells and across the ends of rows are left to `clustering`.

    Args:
        x, y, z: (B, W) float32, metres.
        ranges: (B, W) float32, metres, 0 where empty.
        kind: (B, W) uint8, 0 belongs to no object; empty cells must have 0.
        tan2, tan2_grazing: float32, squared tangents of the two thresholds.
        cos2: float32, squared cosine of the largest bend.
        max_step: float32, metres, largest difference in range up a column.

    Returns:
        Two (B, W) uint8: 2 where they are joined, 1 where they are joined only if the line
        continues straight at either end, else 0.
    """
    beams, columns = ranges.shape
    along = np.empty((beams, columns), np.uint8)
    up = np.empty((beams, columns), np.uint8)
    straight = np.zeros(columns, np.uint8)
    # Where columns are straight in this row, and where in the one above.
    here, above = np.zeros(columns, np.uint8), np.zeros(columns, np.uint8)
    for row in range(beams):
        _straight_along(x, y, z, ranges, row, cos2, straight)
        _links_along(x, y, z, ranges, kind, row, tan2, tan2_grazing, straight, along[row])
        here, above = above, here
        if 0 < row < beams - 1:
            _straight_up(x, y, z, ranges, row, cos2, here)
        else:
            here[:] = 0
        if row > 0:
            _links_up(
                x, y, z, ranges, kind, row, tan2, tan2_grazing, max_step, here, above, up[row]
            )
        else:
            up[row] = 0
    return along, up


@njit(cache=True, nogil=True)
def _straight_along(x, y, z, ranges, row, cos2, straight):
    """Write where the line through a return and its neighbours in the row is straight, 0 or 1.

    Args:
        x, y, z, ranges: (B, W) float32, metres, ranges 0 where empty.
        row: which.
        cos2: float32, squared cosine of the largest bend.
        straight: (W,) uint8, written but for its ends.
    """
    for c in range(1, len(straight) - 1):
        a, b = c - 1, c + 1
        full = (ranges[row, a] > 0) & (ranges[row, c] > 0) & (ranges[row, b] > 0)
        straight[c] = full & is_straight(
            x[row, c] - x[row, a], y[row, c] - y[row, a], z[row, c] - z[row, a],
            x[row, b] - x[row, c], y[row, b] - y[row, c], z[row, b] - z[row, c], cos2,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _straight_up(x, y, z, ranges, row, cos2, straight):
    """Write where the line through a return and its neighbours in the column is straight, 0 or 1.

    Args:
        x, y, z, ranges: (B, W) float32, metres, ranges 0 where empty.
        row: which; neither the first nor the last.
        cos2: float32, squared cosine of the largest bend.
        straight: (W,) uint8, written.
    """
    a, b = row - 1, row + 1
    for c in range(len(straight)):
        full = (ranges[a, c] > 0) & (ranges[row, c] > 0) & (ranges[b, c] > 0)
        straight[c] = full & is_straight(
            x[row, c] - x[a, c], y[row, c] - y[a, c], z[row, c] - z[a, c],
            x[b, c] - x[row, c], y[b, c] - y[row, c], z[b, c] - z[row, c], cos2,
        )  # fmt: skip


@njit(cache=True, nogil=True)
def _links_along(x, y, z, ranges, kind, row, tan2, tan2_grazing, straight, along):
    """Write the links of a row's cells to those before them, see `links`.

    Args:
        x, y, z, ranges, kind, tan2, tan2_grazing: see `links`.
        row: which.
        straight: (W,) uint8, see `_straight_along`.
        along: (W,) uint8, written.
    """
    along[0] = 0
    for c in range(1, len(along)):
        b = c - 1
        strength = link_strength(
            x[row, c], y[row, c], z[row, c], x[row, b], y[row, b], z[row, b],
            ranges[row, c], ranges[row, b], tan2, tan2_grazing,
        )  # fmt: skip
        same = (kind[row, c] == kind[row, b]) & (kind[row, c] != 0)
        goes_on = (straight[c] | straight[b]) & np.uint8(strength == 1)
        along[c] = (strength + goes_on) * np.uint8(same)


@njit(cache=True, nogil=True)
def _links_up(x, y, z, ranges, kind, row, tan2, tan2_grazing, max_step, here, above, up):
    """Write the links of a row's cells to those above them, see `links`.

    Args:
        x, y, z, ranges, kind, tan2, tan2_grazing, max_step: see `links`.
        row: which; not the first.
        here, above: (W,) uint8, see `_straight_up`, of this row and of the one above.
        up: (W,) uint8, written.
    """
    b = row - 1
    for c in range(len(up)):
        strength = link_strength(
            x[row, c], y[row, c], z[row, c], x[b, c], y[b, c], z[b, c],
            ranges[row, c], ranges[b, c], tan2, tan2_grazing,
        )  # fmt: skip
        same = (kind[row, c] == kind[b, c]) & (kind[row, c] != 0)
        near = abs(ranges[row, c] - ranges[b, c]) <= max_step
        goes_on = (here[c] | above[c]) & np.uint8(strength == 1)
        up[c] = (strength + goes_on) * np.uint8(same & near)
