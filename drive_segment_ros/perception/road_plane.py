"""The plane that the vehicle stands on, from points by bearing, distance and height."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

# The polar grid: 2 degrees by 1 m reach 100 m, beyond which a car's LiDAR sees hardly any road.
SECTORS, BINS, BIN_LENGTH = 180, 100, 1.0
# Fewer level returns than this near the vehicle do not determine the height of the road.
_MUCH = 20
# The plane that the vehicle stands on is fitted within this distance, metres, to about this number
# of returns.
_PLANE_REACH, _PLANE_SAMPLE = np.float32(12.0), 500


@dataclasses.dataclass(frozen=True)
class LevelPoints:
    """Points by bearing, distance and height, in rows whose columns have one bearing each.

    Attributes:
        distance: (R, N) float32, horizontal distance from the sensor, metres; 0 excludes a
            point.
        height: (R, N) float32, height above the sensor along gravity, metres.
        sector: (N,) int32 in 0..SECTORS-1, the columns' bearing.
    """

    distance: NDArray[np.float32]
    height: NDArray[np.float32]
    sector: NDArray[np.int32]

    def where(self, chosen: NDArray[np.bool_]) -> LevelPoints:
        """Return the points selected by an (R, N) mask as one row, without excluded ones."""
        return LevelPoints(*_chosen(self.distance, self.height, self.sector, chosen))


def road_plane(candidates: LevelPoints) -> tuple[float, float, float]:
    """Return the plane that the vehicle stands on: its height, metres, and two slopes.

    Args:
        candidates: the points that may be ground, in one row.
    """
    distance, height = candidates.distance[0], candidates.height[0]
    level = _start_height(distance, height)
    return _start_plane(distance, height, candidates.sector, level)


def level_plane(candidates: LevelPoints) -> tuple[float, float, float]:
    """Return `road_plane` without slopes, for a sweep without its lower beams."""
    return float(_start_height(candidates.distance[0], candidates.height[0])), 0.0, 0.0


@njit(cache=True, nogil=True)
def _chosen(distance, height, sector, chosen):
    """Return distance and height, (1, M) each, and sector, (M,), of some points.

    Args:
        distance, height, sector: see `LevelPoints`.
        chosen: (R, N) bool.
    """
    rows, columns = distance.shape
    out_distance = np.empty((1, rows * columns), np.float32)
    out_height = np.empty((1, rows * columns), np.float32)
    out_sector = np.empty(rows * columns, np.int32)
    kept = np.empty(columns, np.uint8)
    n = 0
    for row in range(rows):
        for column in range(columns):
            there = distance[row, column] > np.float32(0.0)
            kept[column] = np.uint8(chosen[row, column] & there)
        for column in range(columns):
            out_distance[0, n] = distance[row, column]
            out_height[0, n] = height[row, column]
            out_sector[n] = sector[column]
            n += kept[column]
    return out_distance[:, :n], out_height[:, :n], out_sector[:n]


@njit(cache=True, nogil=True, error_model='numpy')
def _histogram(values, lowest, size, bins):
    """Return how many values lie in each bin, (bins,) int32; those outside are ignored.

    Args:
        values: (N,) float32, metres.
        lowest, size: float32, metres, where the first bin begins, and of each.
        bins: how many.
    """
    # Four interleaved counters: neighbours mostly share a bin, and increments of one counter
    # would wait for each other. Values outside are counted separately.
    counts = np.zeros((4, bins + 2), np.int32)
    place = np.empty(len(values), np.int32)
    for i in range(len(values)):
        k = min((values[i] - lowest) / size, np.float32(bins))
        # Rounded towards zero, so that the first bin begins a size earlier.
        place[i] = np.int32(max(k, np.float32(0.0))) + np.int32(k > np.float32(-1.0))
    for i in range(len(values)):
        counts[i & 3, place[i]] += 1
    return counts.sum(axis=0)[1:-1]


@njit(cache=True, nogil=True, error_model='numpy')
def _start_height(distance, height):
    """Return the height of the road beside the vehicle: the lowest level with many flat returns.

    Args:
        distance, height: (N,) float32, metres, of points that may be ground.

    Returns:
        Metres above the sensor.
    """
    bins, size, lowest = 200, np.float32(0.1), np.float32(-15.0)
    best, peak, reach, n = 0, 0, np.float32(15.0), 0
    near = np.empty(len(distance), np.float32)
    # Widen the search: the lowest beam of a sensor on a truck hits the road further away.
    while peak < _MUCH and reach < np.float32(BINS * BIN_LENGTH):
        n = 0
        for i in range(len(distance)):
            near[n] = height[i]
            n += distance[i] < reach
        count = _histogram(near[:n], lowest, size, bins)
        for k in range(1, bins - 1):
            peak = max(peak, count[k - 1] + count[k] + count[k + 1])
        reach *= np.float32(2.0)
    for k in range(1, bins - 1):
        total = count[k - 1] + count[k] + count[k + 1]
        # Mirror images are sparse: they never reach a fifth of the fullest level.
        if total * 5 >= peak:
            best = k
            while best + 1 < bins - 1 and count[best + 1] > count[best]:
                best += 1
            break
    # Half a bin is half a kerb: the mean of the returns near the level.
    level = lowest + size * np.float32(best + 0.5)
    for width in (np.float32(1.5) * size, np.float32(0.5) * size):
        total, m = _sum_about(near[:n], level, width)
        if m > 0:
            level = np.float32(total / m)
    return level


@njit(cache=True, nogil=True, fastmath={'reassoc', 'nsz'})
def _sum_about(values, level, width):
    """Return the sum, metres, and number of the values nearer to a level than `width`, metres.

    The order does not matter: sums of so many float32 are exact in float64.
    """
    total, n = 0.0, 0
    for i in range(len(values)):
        inside = abs(values[i] - level) < width
        total += np.float64(values[i]) if inside else 0.0
        n += inside
    return total, n


@njit(cache=True, nogil=True)
def sector_directions():
    """Return cosine and sine of each sector's middle, (SECTORS,) float32."""
    angle = (np.arange(SECTORS) + 0.5) * (2.0 * math.pi / SECTORS)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


@njit(cache=True, nogil=True, error_model='numpy')
def _start_plane(distance, height, sector, level):
    """Return the plane about the vehicle that most level returns lie on: height and two slopes.

    A crowned or sloping road differs from its mean level by more than a kerb within a few metres,
    and a least-squares fit would be biased by the pavement; so planes are tried and their inliers
    counted.

    Args:
        distance, height: (N,) float32, metres, of points that may be ground.
        sector: (N,) int32.
        level: float32, metres, from `_start_height`.
    """
    cosine, sine = sector_directions()
    near = np.empty((3, len(distance)), np.float32)
    n = 0
    for i in range(len(distance)):
        near[0, n] = distance[i] * cosine[sector[i]]
        near[1, n] = distance[i] * sine[sector[i]]
        near[2, n] = height[i] - level
        n += distance[i] < _PLANE_REACH
    sample = near[:, : n : max(1, n // _PLANE_SAMPLE)].copy()
    above = np.empty(sample.shape[1], np.float32)
    bins, size, lowest = 40, np.float32(0.04), np.float32(-0.6)
    best, c, a, b = 0, np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for step, most in ((np.float32(0.03), 3), (np.float32(0.01), 1)):
        middle_a, middle_b = a, b
        for k in range(-most, most + 1):
            for j in range(-most, most + 1):
                try_a, try_b = middle_a + k * step, middle_b + j * step
                for i in range(len(above)):
                    above[i] = sample[2, i] - try_a * sample[0, i] - try_b * sample[1, i]
                count = _histogram(above, lowest, size, bins)
                for q in range(bins - 1):
                    # The gentler plane wins if both have as many inliers.
                    if count[q] + count[q + 1] > best:
                        best = count[q] + count[q + 1]
                        c = lowest + size * np.float32(q + 1)
                        a, b = try_a, try_b
    return float(level + c), float(a), float(b)
