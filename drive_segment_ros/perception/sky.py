"""Sky candidates: directions above the horizon from which the LiDAR received no return."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.range_image import RangeImage, directions

# Distance assigned to no-return points: parallax and the vehicle's motion are negligible.
_DISTANCE = 500.0
# Distant ground, just below the horizon, gives no return either.
_MIN_ELEVATION_DEG = 1.0
# Dark or wet surfaces and glass lose single returns; in the sky, neighbouring columns and higher
# beams have no return either.
_HALF_WIDTH = 3
# Directions between two empty beams count as sky, however far apart these are, and so do those
# above the highest beam, because objects stand on the ground. Spacing of the points, in columns
# and degrees.
_COLUMN_STEP, _ELEVATION_STEP_DEG = 3, 0.5
# The row next to a return may only be partly clear: points begin this many rows above it.
_ROWS_ABOVE = 2
_MAX_ELEVATION_DEG = 60.0


def find_sky(
    cloud: PointCloud, image: RangeImage, up: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return directions in which a sweep may have seen sky, as points far away.

    The image decides whether they are sky (`sky_appearance.looks_like_sky`): dark, glass or
    distant surfaces give no return either, and drivers that drop points leave the same gaps.

    A beam counts if it points above the horizon, neither it nor its neighbours nor any beam above
    them returned, and the sensor did fire there: some beam of that azimuth returned.

    Args:
        cloud: the sweep.
        image: its range image.
        up: (3,) unit vector against gravity in the cloud's coordinates.

    Returns:
        points: (S, 3) float32, metres, in the cloud's coordinates.
        time: (S,) float32, seconds relative to the sweep's stamp, when the sensor looked there.
    """
    width = image.range.shape[1]
    # For a sensor mounted upside down, row 0 has the lowest elevation.
    upward = math.copysign(1.0, up[image.axis])
    columns, elevations = _directions(image.range, upward * image.elevation.astype(np.float64))
    points = directions(image, columns, upward * elevations) * _DISTANCE
    above = points @ up > _DISTANCE * math.sin(math.radians(_MIN_ELEVATION_DEG))
    time = np.zeros(width, np.float32)
    if cloud.time is not None:
        time = _column_times(np.ascontiguousarray(cloud.time, np.float32), image.cell, width)
    return points[above].astype(np.float32), time[columns[above]]


def sky_spacing(image: RangeImage) -> float:
    """Return the larger of the two angles between neighbouring points of `find_sky`, rad."""
    columns = _COLUMN_STEP * 2.0 * math.pi / image.range.shape[1]
    return max(columns, math.radians(_ELEVATION_STEP_DEG))


def gap_size(image: RangeImage, up: NDArray[np.float64]) -> tuple[float, float]:
    """Return how far from the nearest return the points of `find_sky` begin, rad.

    Along a row, a return keeps them out of the columns to each side, and only every third column
    has points: the nearest is at most two spacings away. Above a return they begin two rows up,
    which is further where beams are sparse: the median over the columns that have points.

    Args:
        image: the sweep's range image.
        up: (3,) unit vector against gravity in the cloud's coordinates.

    Returns:
        width, height.
    """
    width = 2.0 * _COLUMN_STEP * 2.0 * math.pi / image.range.shape[1]
    elevation = math.copysign(1.0, up[image.axis]) * image.elevation.astype(np.float64)
    clear = _clear_rows(image.range)[::_COLUMN_STEP]
    clear = clear[(clear >= _ROWS_ABOVE) & (clear < len(elevation))]
    begin = elevation[clear - _ROWS_ABOVE]
    above = begin > math.radians(_MIN_ELEVATION_DEG)
    if not above.any():
        return width, width
    return width, float(np.median(begin[above] - elevation[clear[above]]))


def highest_beam(image: RangeImage) -> NDArray[np.float32]:
    """Return where the highest beam points, (W, 3) float32, metres, far away, cloud coordinates.

    Args:
        image: a range image whose row 0 is the highest beam, however the sensor is mounted.
    """
    columns = np.arange(image.range.shape[1])
    elevations = np.full(len(columns), float(image.elevation[0]))
    return (directions(image, columns, elevations) * _DISTANCE).astype(np.float32)


def _directions(
    ranges: NDArray[np.float32], elevation: NDArray[np.float64]
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Return column and elevation, rad, of points spread evenly over what is clear."""
    lowest = _clear_rows(ranges)[::_COLUMN_STEP] - _ROWS_ABOVE
    columns = np.arange(0, ranges.shape[1], _COLUMN_STEP, dtype=np.int32)[lowest >= 0]
    return _spread(
        columns,
        elevation[lowest[lowest >= 0]],
        math.radians(_MAX_ELEVATION_DEG),
        math.radians(_ELEVATION_STEP_DEG),
    )


@njit(cache=True, nogil=True, error_model='numpy')
def _spread(columns, lowest, top, step):
    """Return column, (S,) int32, and elevation, (S,) float64 rad, of points up each column.

    Args:
        columns: (C,) int32.
        lowest: (C,) float64, rad, of each column's first point.
        top, step: rad, where they end, and how far they are apart.
    """
    counts = np.empty(len(columns), np.int64)
    for k in range(len(columns)):
        counts[k] = max(math.ceil((top - lowest[k]) / step), 0)
    column = np.empty(counts.sum(), np.int32)
    elevation = np.empty(counts.sum(), np.float64)
    n = 0
    for k in range(len(columns)):
        # The same number as NumPy's arange.
        delta = (lowest[k] + step) - lowest[k]
        for i in range(counts[k]):
            column[n], elevation[n] = columns[k], lowest[k] + i * delta
            n += 1
    return column, elevation


@njit(cache=True, nogil=True)
def _clear_rows(ranges):
    """Return how many rows from the top are empty in a column and its neighbours, (W,) int32.

    Args:
        ranges: (B, W) float32, metres, 0 where empty.
    """
    beams, width = ranges.shape
    own = np.zeros(width, np.int32)
    for column in range(width):
        row = 0
        while row < beams and ranges[row, column] == np.float32(0.0):
            row += 1
        own[column] = row
    clear = np.zeros(width, np.int32)
    for column in range(width):
        least, fired = beams, False
        for d in range(-_HALF_WIDTH, _HALF_WIDTH + 1):
            k = own[(column + d) % width]
            least = min(least, k)
            fired = fired or k < beams
        # A blind sector is ignored.
        clear[column] = least if fired else 0
    return clear


@njit(cache=True, nogil=True)
def _column_times(time, cell, columns):
    """Return the mean time of each column's points; empty columns take the one before.

    Args:
        time: (N,) float32, seconds.
        cell: (N,) int32, row * W + column of each point, -1 for none.
        columns: W.

    Returns:
        (W,) float32, seconds.
    """
    total = np.zeros(columns)
    count = np.zeros(columns)
    for i in range(len(cell)):
        if cell[i] >= 0 and math.isfinite(time[i]):
            total[cell[i] % columns] += time[i]
            count[cell[i] % columns] += 1.0
    result = np.zeros(columns, np.float32)
    last = 0.0
    for column in range(columns):
        if count[column] > 0.0:
            last = total[column] / count[column]
        result[column] = last
    return result
