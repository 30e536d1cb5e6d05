"""Ground of a sweep: what is level down its column (`flatness`), grown outwards as one surface.

That of Bogoslavskyi & Stachniss (PFG 2017) grows from the lowest return of each column, which
makes ground of a car that stands beside the vehicle and loses it behind one. Ours grows from under
the vehicle outwards, bin by bin of a polar grid, so that it bridges shadows, follows hills, and is
fooled neither by flat roofs nor by mirror images below the road.
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

# How far the surface may lie from what is expected, how much more a metre of gap, and at most.
_TOLERANCES = (0.25, 0.05, 0.8)
# The same upwards for the level of the road: half a kerb.
_ROAD_TOLERANCES = (0.06, 0.01, 0.12)
_STEEPEST = 0.15
# Mirror images below the road and pits: neither ground nor object.
BELOW_GROUND = -0.4


def height_above_ground(
    points: LevelPoints, candidate: NDArray[np.bool_], plane: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return how far each point lies above the ground under it.

    Args:
        points: all points.
        candidate: (N,) bool, points that may be ground.
        plane: of the road, from `road_plane`.

    Returns:
        (N,) float32, metres; infinite for points left out.
    """
    return _height_above(points, candidate, points.distance > 0, plane, _TOLERANCES, _TOLERANCES)


def height_above_road(
    points: LevelPoints, is_ground: NDArray[np.bool_], plane: tuple[float, float, float]
) -> NDArray[np.float32]:
    """Return how far each ground point lies above the level that the vehicle stands on.

    The level grows outwards as the ground does, but climbs no kerb: it follows crowns and hills,
    passes below pavements and verges, and goes on behind them.

    Args:
        points: all points.
        is_ground: (N,) bool, the points on the ground.
        plane: of the road, from `road_plane`.

    Returns:
        (N,) float32, metres; infinite for points that are not ground.
    """
    return _height_above(points, is_ground, is_ground, plane, _TOLERANCES, _ROAD_TOLERANCES)


def _height_above(
    points: LevelPoints,
    candidate: NDArray[np.bool_],
    wanted: NDArray[np.bool_],
    plane: tuple[float, float, float],
    down: tuple[float, ...],
    up: tuple[float, ...],
) -> NDArray[np.float32]:
    surface = _surface(
        points.distance,
        points.height,
        points.sector,
        candidate,
        plane,
        np.array(down, np.float32),
        np.array(up, np.float32),
        np.float32(_STEEPEST),
    )
    return _above(points.distance, points.height, points.sector, wanted, surface)


@njit(cache=True, nogil=True)
def _surface(distance, height, sector, candidate, plane, down, up, steepest):
    """Return the ground's height in each bin of the polar grid, (BINS, SECTORS) float32, metres.

    Args:
        distance, height: (N,) float32, metres, see `LevelPoints`.
        sector: (N,) int32.
        candidate: (N,) bool, points that may be ground.
        plane: of the road: height, metres, and two slopes.
        down, up: (3,) float32, how far the surface may lie from what is expected: metres, metres
            for each metre of gap, and at most.
        steepest: float32, metres for each metre.
    """
    # The candidates sorted by bin, by counting.
    place = np.empty(len(distance), np.int32)
    chosen = np.empty(len(distance), np.int32)
    first = np.zeros(SECTORS * BINS + 1, np.int32)
    n = 0
    for i in range(len(distance)):
        chosen[n] = i
        n += candidate[i] & (distance[i] < np.float32(BINS * BIN_LENGTH))
    for j in range(n):
        i = chosen[j]
        k = sector[i] * BINS + int(distance[i] * np.float32(1.0 / BIN_LENGTH))
        place[j] = k
        first[k + 1] += 1
    for k in range(SECTORS * BINS):
        first[k + 1] += first[k]
    values = np.empty(n, np.float32)
    last = first[:-1].copy()
    for j in range(n):
        values[last[place[j]]] = height[chosen[j]]
        last[place[j]] += 1
    surface = np.empty((BINS, SECTORS), np.float32)
    raw = np.empty(SECTORS, np.float32)
    seen = np.zeros(SECTORS, np.bool_)
    gap = np.zeros(SECTORS, np.float32)
    begun = np.zeros(SECTORS, np.bool_)
    cosine, sine = sector_directions()
    for b in range(BINS):
        for s in range(SECTORS):
            if not begun[s]:
                # As far as nothing is seen, the road is the plane the vehicle stands on.
                slope = np.float32(plane[1] * cosine[s] + plane[2] * sine[s])
                expected = np.float32(plane[0] + slope * (b + 0.5) * BIN_LENGTH)
            else:
                expected = surface[b - 1, s]
            if begun[s] and b >= 5:
                slope = (surface[b - 1, s] - surface[b - 5, s]) * np.float32(0.25)
                most = steepest * np.float32(BIN_LENGTH)
                # Half the slope so far: hills are followed, a noisy bin is not.
                expected += min(max(slope, -most), most) * np.float32(0.5)
            low = expected - min(down[0] + down[1] * gap[s], down[2])
            high = expected + min(up[0] + up[1] * gap[s], up[2])
            # The lowest few points of a pavement do not make it road.
            raised = expected + (expected - low)
            k, n, higher, total = s * BINS + b, 0, 0, np.float32(0.0)
            for i in range(first[k], last[k]):
                if low < values[i] < high:
                    total += values[i]
                    n += 1
                elif high <= values[i] < raised:
                    higher += 1
            seen[s] = n >= 2 and n >= higher
            begun[s] |= seen[s]
            if seen[s]:
                # The mean of the lower part: wheels and kerbs stand on the ground, not under it.
                middle, n, total = total / np.float32(n), 0, np.float32(0.0)
                for i in range(first[k], last[k]):
                    if low < values[i] <= middle:
                        total += values[i]
                        n += 1
                raw[s] = total / np.float32(n) if n > 0 else middle
                gap[s] = np.float32(0.0)
            else:
                raw[s] = expected
                gap[s] += np.float32(BIN_LENGTH)
        for s in range(SECTORS):
            total, n = np.float32(0.0), 0
            for d in range(-2, 3):
                t = (s + d) % SECTORS
                if seen[t]:
                    total += raw[t]
                    n += 1
            if n == 0:
                surface[b, s] = raw[s]
            elif seen[s]:
                surface[b, s] = np.float32(0.5) * (raw[s] + total / np.float32(n))
            else:
                surface[b, s] = total / np.float32(n)
    return surface


@njit(cache=True, nogil=True)
def _above(distance, height, sector, wanted, surface):
    """Return how far points lie above the ground, (N,) float32, metres; infinite for the others.

    Args:
        distance, height: (N,) float32, metres, see `LevelPoints`.
        sector: (N,) int32.
        wanted: (N,) bool.
        surface: (BINS, SECTORS) float32, metres.
    """
    above = np.full(len(distance), np.float32(np.inf))
    flat = surface.reshape(-1)
    for i in range(len(distance)):
        if wanted[i]:
            f = distance[i] * np.float32(1.0 / BIN_LENGTH) - np.float32(0.5)
            f = max(f, np.float32(0.0))
            b = min(int(f), BINS - 2)
            w = min(f - np.float32(b), np.float32(1.0))
            k = b * SECTORS + sector[i]
            ground = flat[k] * (np.float32(1.0) - w) + flat[k + SECTORS] * w
            above[i] = height[i] - ground
    return above
