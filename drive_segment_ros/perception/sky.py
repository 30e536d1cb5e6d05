"""Sky from what the LiDAR did not see: beams above the horizon that came back from nothing."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Where "nothing" is put: far enough for parallax and the vehicle's motion not to matter.
SKY_DISTANCE = 500.0
# Dark or wet surfaces and glass swallow single returns; sky is empty all around and upwards.
_HALF_WIDTH = 3


def sky_points(
    ranges: NDArray[np.float32],
    elevation: NDArray[np.float32],
    *,
    axis: int,
    up: NDArray[np.float64],
    min_elevation_deg: float = 1.0,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return directions in which a sweep saw sky, as points far away.

    A beam counts if it points above the horizon, neither it nor its neighbours nor any beam above
    them returned, while the sensor did fire there: some beam of that azimuth returned.

    Args:
        ranges: (B, W) float32, metres, 0 where nothing returned; row 0 is the highest beam.
        elevation: (B,) float32, radians above the plane of rotation.
        axis: the spin axis in the cloud's coordinates, 0, 1 or 2.
        up: (3,) unit vector against gravity in the cloud's coordinates.
        min_elevation_deg: how far above the horizon sky may begin; far ground lies just below it.

    Returns:
        points: (S, 3) float32, metres, in the cloud's coordinates.
        column: (S,) int32, each point's column.
    """
    rows, columns = _empty(ranges)
    azimuth = (np.arange(ranges.shape[1]) + 0.5) * (2.0 * math.pi / ranges.shape[1])
    level = np.cos(elevation.astype(np.float64))
    points = np.empty((len(rows), 3))
    points[:, (axis + 1) % 3] = level[rows] * np.cos(azimuth)[columns]
    points[:, (axis + 2) % 3] = level[rows] * np.sin(azimuth)[columns]
    points[:, axis] = np.sin(elevation.astype(np.float64))[rows]
    above = points @ up > math.sin(math.radians(min_elevation_deg))
    return (points[above] * SKY_DISTANCE).astype(np.float32), columns[above]


@njit(cache=True, nogil=True)
def _empty(ranges):
    beams, width = ranges.shape
    # For each column, how many rows from the top are empty; a blind column has no say.
    clear = np.zeros(width, np.int32)
    for column in range(width):
        row = 0
        while row < beams and ranges[row, column] == np.float32(0.0):
            row += 1
        clear[column] = row
    rows = np.empty(beams * width, np.int32)
    columns = np.empty(beams * width, np.int32)
    n = 0
    for column in range(width):
        least = beams
        fired = False
        for d in range(-_HALF_WIDTH, _HALF_WIDTH + 1):
            k = clear[(column + d) % width]
            least = min(least, k)
            fired = fired or k < beams
        if fired:
            # The row next to a return may only be partly clear.
            for row in range(least - 1):
                rows[n], columns[n] = row, column
                n += 1
    return rows[:n].copy(), columns[:n].copy()
