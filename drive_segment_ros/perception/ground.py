"""Ground of a sweep: returns that are level along their column (`flatness`), as one surface.

The method of Bogoslavskyi & Stachniss (PFG 2017) starts at the lowest return of each column, so
that a car beside the vehicle becomes ground and the ground behind it is lost. Here the surface
grows outwards from under the vehicle, bin by bin of a polar grid: it bridges shadows, follows
hills, and ignores flat roofs and mirror images below the road.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.road_plane import (
    BIN_LENGTH,
    BINS,
    SECTORS,
    LevelPoints,
    sector_directions,
)

# Tolerance of the surface's height about its extrapolation, metres; its increase per metre of gap;
# and its maximum, metres.
_TOLERANCES = (0.25, 0.05, 0.8)
# The same upwards for the level of the road: half the height of a kerb.
_ROAD_TOLERANCES = (0.06, 0.01, 0.12)
_STEEPEST = 0.15
# Mirror images below the road and pits: neither ground nor object.
BELOW_GROUND = -0.4


def ground_surface(
    candidates: LevelPoints, plane: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return the height of the ground, (BINS, SECTORS) float32, metres.

    Args:
        candidates: the points that may be ground, in one row.
        plane: of the road, from `road_plane`.
    """
    return _surface_of(candidates, plane, _TOLERANCES, _TOLERANCES)


def road_surface(ground: LevelPoints, plane: tuple[float, float, float]) -> NDArray[np.float32]:
    """Return the level of the road, (BINS, SECTORS) float32, metres.

    It grows outwards like the ground, but does not climb kerbs: it follows crowns and hills,
    passes below pavements and verges, and continues behind them.

    Args:
        ground: the points on the ground, in one row.
        plane: of the road, from `road_plane`.
    """
    return _surface_of(ground, plane, _TOLERANCES, _ROAD_TOLERANCES)


def height_above(points: LevelPoints, surface: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far each point lies above a surface, (R, N) float32, metres.

    Infinite for points that are excluded.

    Args:
        points: in rows.
        surface: (BINS, SECTORS) float32, metres.
    """
    return _above(points.distance, points.height, points.sector, surface)


def _surface_of(
    candidates: LevelPoints,
    plane: tuple[float, float, float],
    down: tuple[float, ...],
    up: tuple[float, ...],
) -> NDArray[np.float32]:
    return _surface(
        candidates.distance[0],
        candidates.height[0],
        candidates.sector,
        plane,
        np.array(down, np.float32),
        np.array(up, np.float32),
        np.float32(_STEEPEST),
    )


@njit(cache=True, nogil=True, error_model='numpy')
def _by_bin(distance, height, sector):
    """Sort points by the bins of the polar grid, sector by sector, by counting.

    Args:
        distance, height: (N,) float32, metres, see `LevelPoints`.
        sector: (N,) int32.

    Returns:
        first: (SECTORS * BINS + 1,) int32, where each bin begins.
        values: (N,) float32, the heights.
    """
    # Points beyond the grid go to an extra last bin, which is not used.
    # Unsigned: numba then omits the check for negative indices.
    bin_of = np.empty(len(distance), np.uint32)
    beyond = np.uint32(SECTORS * BINS)
    for i in range(len(distance)):
        near = distance[i] < np.float32(BINS * BIN_LENGTH)
        b = np.int32(distance[i] * np.float32(1.0 / BIN_LENGTH)) if near else np.int32(0)
        bin_of[i] = np.uint32(sector[i] * np.int32(BINS) + b) if near else beyond
    first = np.zeros(SECTORS * BINS + 2, np.int32)
    for i in range(len(distance)):
        first[bin_of[i] + np.uint32(1)] += 1
    for k in range(SECTORS * BINS):
        first[k + 1] += first[k]
    values = np.empty(len(distance), np.float32)
    filled = first[:-1].copy()
    for i in range(len(distance)):
        place = filled[bin_of[i]]
        values[np.uint32(place)] = height[i]
        filled[bin_of[i]] = place + 1
    return first[:-1], values


@njit(cache=True, nogil=True, error_model='numpy')
def _surface(distance, height, sector, plane, down, up, steepest):
    """Return the ground's height in each bin of the polar grid, (BINS, SECTORS) float32, metres.

    Args:
        distance, height: (N,) float32, metres, see `LevelPoints`.
        sector: (N,) int32.
        plane: of the road: height, metres, and two slopes.
        down, up: (3,) float32, tolerance below and above the extrapolated height, see
            `_TOLERANCES`.
        steepest: float32, largest slope, metres per metre.
    """
    first, values = _by_bin(distance, height, sector)
    surface = np.empty((BINS, SECTORS), np.float32)
    # Each sector's value, with two sectors repeated at either end: sectors wrap.
    raw = np.empty(SECTORS + 4, np.float32)
    seen = np.zeros(SECTORS + 4, np.float32)
    gap = np.zeros(SECTORS, np.float32)
    begun = np.zeros(SECTORS, np.bool_)
    cosine, sine = sector_directions()
    for b in range(BINS):
        for s in range(SECTORS):
            if not begun[s]:
                # Until the first returns, the road is the plane under the vehicle.
                slope = np.float32(plane[1] * cosine[s] + plane[2] * sine[s])
                expected = np.float32(plane[0] + slope * (b + 0.5) * BIN_LENGTH)
            else:
                expected = surface[b - 1, s]
            if begun[s] and b >= 5:
                slope = (surface[b - 1, s] - surface[b - 5, s]) * np.float32(0.25)
                most = steepest * np.float32(BIN_LENGTH)
                # Half the slope so far: follows hills, but not a noisy bin.
                expected += min(max(slope, -most), most) * np.float32(0.5)
            low = expected - min(down[0] + down[1] * gap[s], down[2])
            high = expected + min(up[0] + up[1] * gap[s], up[2])
            # A few low points of a pavement must not make it road.
            raised = expected + (expected - low)
            k = s * BINS + b
            n, higher, total = 0, 0, np.float32(0.0)
            for i in range(first[k], first[k + 1]):
                value = values[i]
                inside = (low < value) & (value < high)
                total += value if inside else np.float32(0.0)
                n += inside
                higher += (high <= value) & (value < raised)
            is_seen = n >= 2 and n >= higher
            begun[s] |= is_seen
            seen[s + 2] = np.float32(1.0) if is_seen else np.float32(0.0)
            if is_seen:
                # The mean of the lower part, as wheels and kerbs are above the ground.
                middle, n, total = total / np.float32(n), 0, np.float32(0.0)
                for i in range(first[k], first[k + 1]):
                    value = values[i]
                    lower = (low < value) & (value <= middle)
                    total += value if lower else np.float32(0.0)
                    n += lower
                raw[s + 2] = total / np.float32(n) if n > 0 else middle
                gap[s] = np.float32(0.0)
            else:
                raw[s + 2] = expected
                gap[s] += np.float32(BIN_LENGTH)
        raw[:2], raw[-2:] = raw[-4:-2], raw[2:4]
        seen[:2], seen[-2:] = seen[-4:-2], seen[2:4]
        for s in range(SECTORS):
            total, weight = np.float32(0.0), np.float32(0.0)
            for d in range(5):
                total += raw[s + d] if seen[s + d] > np.float32(0.0) else np.float32(0.0)
                weight += seen[s + d]
            own, around = raw[s + 2], total / max(weight, np.float32(1.0))
            mixed = np.float32(0.5) * (own + around)
            smooth = mixed if seen[s + 2] > np.float32(0.0) else around
            surface[b, s] = smooth if weight > np.float32(0.0) else own
    return surface


@njit(cache=True, nogil=True)
def _above(distance, height, sector, surface):
    """See `height_above`.

    Args:
        distance, height: (R, N) float32, metres, see `LevelPoints`.
        sector: (N,) int32.
        surface: (BINS, SECTORS) float32, metres.
    """
    rows, columns = distance.shape
    above = np.empty((rows, columns), np.float32)
    flat = surface.reshape(-1)
    # The lookups of a row (the bin, and the ground's height there and in the next one) are
    # separated from the arithmetic, which vectorises.
    place = np.empty(columns, np.int32)
    ground = np.empty(columns, np.float32)
    beyond = np.empty(columns, np.float32)
    for row in range(rows):
        for column in range(columns):
            f = distance[row, column] * np.float32(1.0 / BIN_LENGTH) - np.float32(0.5)
            b = np.int32(min(max(f, np.float32(0.0)), np.float32(BINS - 2)))
            place[column] = b * np.int32(SECTORS) + sector[column]
        for column in range(columns):
            k = np.uint32(place[column])
            ground[column] = flat[k]
            beyond[column] = flat[k + np.uint32(SECTORS)]
        for column in range(columns):
            f = distance[row, column] * np.float32(1.0 / BIN_LENGTH) - np.float32(0.5)
            f = max(f, np.float32(0.0))
            b = np.int32(min(f, np.float32(BINS - 2)))
            w = min(f - np.float32(b), np.float32(1.0))
            level = ground[column] * (np.float32(1.0) - w) + beyond[column] * w
            there = distance[row, column] > np.float32(0.0)
            above[row, column] = height[row, column] - level if there else np.float32(np.inf)
    return above
