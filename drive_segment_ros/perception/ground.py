"""Ground of a sweep: smoothed slopes down each column, grown outwards as one surface.

The slope test with Savitzky-Golay smoothing is that of Bogoslavskyi & Stachniss, "Efficient Online
Segmentation for Sparse 3D Laser Scans", PFG 2017. Theirs grows from the lowest return of each
column, which makes ground of a car that stands beside the vehicle and loses it behind one. Ours
grows from under the vehicle outwards, bin by bin of a polar grid, so that it bridges shadows,
follows hills, and is fooled neither by flat roofs nor by mirror images below the road.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.arctangent import octant_angle

# The polar grid: 2 degrees by 1 m reach 100 m, beyond which a car's LiDAR sees hardly any road.
SECTORS, BINS, BIN_LENGTH = 180, 100, 1.0
# Savitzky & Golay's smoothing: a quadratic over five beams, as in the publication.
_WEIGHTS = np.array([-3, 12, 17, 12, -3], np.float32) / np.float32(35)
# How far the surface may lie from what is expected, how much more a metre of gap, and at most.
_TOLERANCES = (0.25, 0.05, 0.8)
# The same upwards for the level of the road: half a kerb.
_ROAD_TOLERANCES = (0.06, 0.01, 0.12)
_STEEPEST = 0.15
# Fewer level returns than this near the vehicle do not tell the height of the road.
_MUCH = 20
# The plane the vehicle stands on is looked for this near, metres, among about so many returns.
_PLANE_REACH, _PLANE_SAMPLE = np.float32(12.0), 500
# Mirror images below the road and pits: neither ground nor object.
BELOW_GROUND = -0.4


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
    return _smooth_below(slope, known, ranges, _WEIGHTS, np.float32(math.radians(max_slope_deg)))


@dataclasses.dataclass(frozen=True)
class LevelPoints:
    """Points by bearing, distance and height.

    Attributes:
        distance: (N,) float32, horizontal distance from the sensor, metres; 0 leaves a point out.
        height: (N,) float32, height above the sensor along gravity, metres.
        sector: (N,) int32 in 0..SECTORS-1, the point's bearing.
    """

    distance: NDArray[np.float32]
    height: NDArray[np.float32]
    sector: NDArray[np.int32]


def road_plane(points: LevelPoints, candidate: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return the plane that the vehicle stands on: its height, metres, and two slopes.

    Args:
        points: all points.
        candidate: (N,) bool, points that may be ground.
    """
    level = _start_height(points.distance, points.height, candidate)
    return _start_plane(points.distance, points.height, points.sector, candidate, level)


def level_plane(points: LevelPoints, candidate: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return `road_plane` without slopes, which a sweep without its lower beams cannot tell."""
    return float(_start_height(points.distance, points.height, candidate)), 0.0, 0.0


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


@njit(cache=True, nogil=True, inline='always')
def _angle(rise, run):
    """Return atan(rise / run), rad, of two float32 that are not negative, to 1e-5 rad."""
    angle = octant_angle(min(rise, run) / max(max(rise, run), np.float32(1e-9)))
    return angle if rise <= run else np.float32(1.5707964) - angle


@njit(cache=True, nogil=True)
def _slopes(x, y, z, ranges, height):
    """Return the slope from each return to the next one up its column, rad; and 1 where known.

    Args:
        x, y, z: (B, W) float32, metres; row 0 is the highest beam.
        ranges: (B, W) float32, metres, 0 where empty.
        height: (B, W) float32, metres along gravity.

    Returns:
        Two (B, W) float32.
    """
    beams, columns = ranges.shape
    slope = np.zeros((beams, columns), np.float32)
    known = np.zeros((beams, columns), np.float32)
    # Each column's last return. No branches: rows are worked through many columns at once.
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
            slope[row, column] = _angle(rise, run)
            known[row, column] = seen[column] if here else np.float32(0.0)
            seen[column] = np.float32(1.0) if here else seen[column]
            last_x[column] = x[row, column] if here else last_x[column]
            last_y[column] = y[row, column] if here else last_y[column]
            last_z[column] = z[row, column] if here else last_z[column]
            last_h[column] = height[row, column] if here else last_h[column]
    return slope, known


@njit(cache=True, nogil=True)
def _smooth_below(slope, known, ranges, weights, limit):
    """Return where the smoothed slope is below a limit; unknown slopes have no weight.

    Args:
        slope: (B, W) float32, rad.
        known: (B, W) float32, 1 or 0.
        ranges: (B, W) float32, metres, 0 where empty.
        weights: (K,) float32, of the smoothing over K beams.
        limit: float32, rad.

    Returns:
        (B, W) bool.
    """
    beams, columns = slope.shape
    half = len(weights) // 2
    flat = np.zeros((beams, columns), np.bool_)
    total = np.empty(columns, np.float32)
    weight = np.empty(columns, np.float32)
    for row in range(beams):
        total[:] = np.float32(0.0)
        weight[:] = np.float32(0.0)
        for j in range(max(row - half, 0), min(row + half + 1, beams)):
            w = weights[j - row + half]
            for column in range(columns):
                total[column] += w * slope[j, column] * known[j, column]
                weight[column] += w * known[j, column]
        for column in range(columns):
            flat[row, column] = (
                (ranges[row, column] > np.float32(0.0))
                & (weight[column] > np.float32(0.2))
                & (total[column] < limit * weight[column])
            )
    return flat


@njit(cache=True, nogil=True)
def _start_height(distance, height, candidate):
    """Return the height of the road by the vehicle: the lowest level at which much is flat.

    Args:
        distance, height: (N,) float32, metres, see `LevelPoints`.
        candidate: (N,) bool, points that may be ground.

    Returns:
        Metres above the sensor.
    """
    bins, size, lowest = 200, np.float32(0.1), np.float32(-15.0)
    best, peak, reach, n = 0, 0, np.float32(15.0), 0
    near = np.empty(len(distance), np.float32)
    # The lowest beam of a sensor high on a truck meets the road further away.
    while peak < _MUCH and reach < np.float32(BINS * BIN_LENGTH):
        n = 0
        for i in range(len(distance)):
            near[n] = height[i]
            n += candidate[i] & (np.float32(0.0) < distance[i]) & (distance[i] < reach)
        count = np.zeros(bins, np.int32)
        for j in range(n):
            k = int((near[j] - lowest) / size)
            if 0 <= k < bins:
                count[k] += 1
        for k in range(1, bins - 1):
            peak = max(peak, count[k - 1] + count[k] + count[k + 1])
        reach *= np.float32(2.0)
    for k in range(1, bins - 1):
        total = count[k - 1] + count[k] + count[k + 1]
        # Mirror images are sparse: a fifth of the fullest level is more than they ever reach.
        if total * 5 >= peak:
            best = k
            while best + 1 < bins - 1 and count[best + 1] > count[best]:
                best += 1
            break
    # Half a bin is half a kerb: the mean of what lies about the level.
    level, width = lowest + size * np.float32(best + 0.5), np.float32(1.5) * size
    for _ in range(2):
        total, m = np.float64(0.0), 0
        for j in range(n):
            if abs(near[j] - level) < width:
                total += near[j]
                m += 1
        if m > 0:
            level, width = np.float32(total / m), np.float32(0.5) * size
    return level


@njit(cache=True, nogil=True)
def _directions():
    """Return cosine and sine of each sector's middle, (SECTORS,) float32."""
    angle = (np.arange(SECTORS) + 0.5) * (2.0 * math.pi / SECTORS)
    return np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)


@njit(cache=True, nogil=True)
def _start_plane(distance, height, sector, candidate, level):
    """Return the plane about the vehicle that most level returns lie on: height and two slopes.

    A crowned or sloping road differs from its mean level by more than a kerb within a few metres,
    and a fit of least squares would lean on the pavement; so planes are tried, and counted.

    Args:
        distance, height: (N,) float32, metres, see `LevelPoints`.
        sector: (N,) int32.
        candidate: (N,) bool, points that may be ground.
        level: float32, metres, from `_start_height`.
    """
    cosine, sine = _directions()
    near = np.empty((3, len(distance)), np.float32)
    n = 0
    for i in range(len(distance)):
        near[0, n] = distance[i] * cosine[sector[i]]
        near[1, n] = distance[i] * sine[sector[i]]
        near[2, n] = height[i] - level
        n += candidate[i] & (np.float32(0.0) < distance[i]) & (distance[i] < _PLANE_REACH)
    stride = max(1, n // _PLANE_SAMPLE)
    bins, size, lowest = 40, np.float32(0.04), np.float32(-0.6)
    best, c, a, b = 0, np.float32(0.0), np.float32(0.0), np.float32(0.0)
    for step, most in ((np.float32(0.03), 3), (np.float32(0.01), 1)):
        middle_a, middle_b = a, b
        for k in range(-most, most + 1):
            for j in range(-most, most + 1):
                try_a, try_b = middle_a + k * step, middle_b + j * step
                count = np.zeros(bins, np.int32)
                for i in range(0, n, stride):
                    h = near[2, i] - try_a * near[0, i] - try_b * near[1, i]
                    q = int((h - lowest) / size)
                    if 0 <= q < bins:
                        count[q] += 1
                for q in range(bins - 1):
                    # The gentler plane wins where both carry as much.
                    if count[q] + count[q + 1] > best:
                        best = count[q] + count[q + 1]
                        c = lowest + size * np.float32(q + 1)
                        a, b = try_a, try_b
    return float(level + c), float(a), float(b)


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
    cosine, sine = _directions()
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
