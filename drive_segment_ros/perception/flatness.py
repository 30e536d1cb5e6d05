"""Where a surface is nearly level down the columns of a range image: what may be ground.

The slope test with Savitzky-Golay smoothing of Bogoslavskyi & Stachniss, "Efficient Online
Segmentation for Sparse 3D Laser Scans", PFG 2017.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.arctangent import octant_angle

# Savitzky & Golay's smoothing: a quadratic over five beams, as in the publication.
_WEIGHTS = np.array([-3, 12, 17, 12, -3], np.float32) / np.float32(35)
_HALF = len(_WEIGHTS) // 2


def flat_cells(
    xyz: NDArray[np.float32],
    ranges: NDArray[np.float32],
    height: NDArray[np.float32],
    max_slope_deg: float,
) -> NDArray[np.bool_]:
    """Return the cells of a range image where the surface is nearly level down its column.

    Args:
        xyz: (3, B, W) float32, metres; row 0 is the highest beam.
        ranges: (B, W) float32, metres, 0 where empty.
        height: (B, W) float32, metres, along gravity.
        max_slope_deg: steepest level surface, degrees.
    """
    slope, known = _slopes(xyz[0], xyz[1], xyz[2], ranges, height)
    return _smooth_below(slope, known, ranges, np.float32(math.radians(max_slope_deg)))


@njit(cache=True, nogil=True, inline='always')
def _angle(rise, run):
    """Return atan(rise / run), rad, of two float32 that are not negative, to 1e-5 rad."""
    angle = octant_angle(min(rise, run) / max(max(rise, run), np.float32(1e-9)))
    return angle if rise <= run else np.float32(1.5707964) - angle


@njit(cache=True, nogil=True)
def _slopes(x, y, z, ranges, height):
    """Return the slope from each return to the next one up its column, rad; and 1 where known.

    With `_HALF` rows of unknown slope above and below the image.

    Args:
        x, y, z: (B, W) float32, metres; row 0 is the highest beam.
        ranges: (B, W) float32, metres, 0 where empty.
        height: (B, W) float32, metres along gravity.

    Returns:
        Two (B + 2 * _HALF, W) float32, 0 where not known.
    """
    beams, columns = ranges.shape
    slope = np.empty((beams + 2 * _HALF, columns), np.float32)
    known = np.empty((beams + 2 * _HALF, columns), np.float32)
    slope[:_HALF], slope[-_HALF:] = np.float32(0.0), np.float32(0.0)
    known[:_HALF], known[-_HALF:] = np.float32(0.0), np.float32(0.0)
    # Each column's last return. No branches, so that the loop over columns vectorises.
    last_x, last_y = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    last_z, last_h = np.zeros(columns, np.float32), np.zeros(columns, np.float32)
    seen = np.zeros(columns, np.float32)
    for row in range(beams):
        for column in range(columns):
            dx = x[row, column] - last_x[column]
            dy = y[row, column] - last_y[column]
            dz = z[row, column] - last_z[column]
            rise = abs(height[row, column] - last_h[column])
            run = math.sqrt(max(dx * dx + dy * dy + dz * dz - rise * rise, np.float32(0.0)))
            here = ranges[row, column] > np.float32(0.0)
            is_known = seen[column] if here else np.float32(0.0)
            slope[row + _HALF, column] = _angle(rise, run) * is_known
            known[row + _HALF, column] = is_known
            seen[column] = np.float32(1.0) if here else seen[column]
            last_x[column] = x[row, column] if here else last_x[column]
            last_y[column] = y[row, column] if here else last_y[column]
            last_z[column] = z[row, column] if here else last_z[column]
            last_h[column] = height[row, column] if here else last_h[column]
    return slope, known


@njit(cache=True, nogil=True)
def _smooth_below(slope, known, ranges, limit):
    """Return where the smoothed slope is below a limit; unknown slopes have no weight.

    Args:
        slope, known: see `_slopes`.
        ranges: (B, W) float32, metres, 0 where empty.
        limit: float32, rad.

    Returns:
        (B, W) bool.
    """
    beams, columns = ranges.shape
    flat = np.empty((beams, columns), np.bool_)
    for row in range(beams):
        for column in range(columns):
            total, weight = np.float32(0.0), np.float32(0.0)
            for k in range(2 * _HALF + 1):
                total += _WEIGHTS[k] * slope[row + k, column]
                weight += _WEIGHTS[k] * known[row + k, column]
            flat[row, column] = (
                (ranges[row, column] > np.float32(0.0))
                & (weight > np.float32(0.2))
                & (total < limit * weight)
            )
    return flat
