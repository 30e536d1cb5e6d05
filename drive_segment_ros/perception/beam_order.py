"""The beams of a spinning LiDAR, found by the order in which a cloud lists its points.

Two orders identify the beams as reliably as a `ring` field. *Rows*: beam by beam, as in KITTI's
files, where each wrap of azimuth begins the next beam although points without return are omitted.
*Columns*: all beams of one firing, then those of the next, so that the beam is the index modulo
the number of beams, as in nuScenes' files. Both are hypotheses until geometry confirms them: at
one azimuth each beam must lie above the next. Unlike elevations, the order also works where lasers
are offset from the cloud's origin (an HDL-64's are 0.2 m apart: four degrees at 3 m) and where
points were motion-compensated.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.clouds import PointCloud

Order = Literal['rows', 'columns']

_MIN_BEAMS, _MAX_BEAMS = 8, 160
_MIN_POINTS = 400
# Nearer returns are from the vehicle itself, or placeholders for no return.
_MIN_RANGE = 1.0
# Within a row, motion compensation may decrease the azimuth a little: by a displacement (m), which
# matters for near returns, and by an angle (rad). A larger decrease starts a new row.
_BACK_M, _BACK = 2.0, math.radians(4.0)
# Elevations are averaged per beam and sector of azimuth for comparison.
_SECTORS = 360
# Returns of neighbouring beams at the same azimuth whose relative difference in range is below
# _SAME_SURFACE are taken to be from one surface. At least _MIN_SHARE of these pairs must be in the
# order of their beams, and as many of a beam's steps in the order of azimuth.
_SAME_SURFACE, _MIN_SHARE = 0.2, 0.95
# Rows start at the azimuth of a step in elevation: between points at most _NEXT (turns) apart on
# a surface of continuous range (relative change up to _GOES_ON), elevation changes by more than
# _STEP (rad), and by more than a laser offset of _BESIDE (m) from the origin explains. The step
# must occur in a share _MIN_STEPS of the turns with evidence, of which there must be at least
# _MIN_TURNS, and a share _MIN_TURN_SHARE of all.
_NEXT, _GOES_ON, _STEP, _BESIDE = 0.004, 0.1, math.radians(0.07), 0.3
_MIN_STEPS, _MIN_TURNS, _MIN_TURN_SHARE = 0.7, 4, 0.1
# Azimuth bins per turn; bins within which equal steps are averaged, and which a sector without
# returns must exceed; and the largest share of turns with returns in a bin of such a sector.
_FINE, _NEAR, _DARK = 5760, 32, 0.05
# State of the elevation in a bin, the most informative one having the largest value.
_NOTHING, _LEVEL, _EDGE, _DOWN, _UP = range(5)
# Number of points that are used to find the number of beams in a column.
_LAG_SAMPLE = 4096


def beams_from_order(cloud: PointCloud) -> tuple[NDArray[np.int32], int, Order] | None:
    """Return each point's beam if it follows from the order of points.

    Args:
        cloud: the sweep; neither `ring` nor `time` is used.

    Returns:
        ring: (N,) int32, 0 for the highest beam, -1 for points not finite or at the origin.
        axis: the spin axis: 0, 1 or 2.
        order: how the points are listed.
        None if the order is not one of the two.
    """
    if len(cloud) < _MIN_POINTS:
        return None
    for axis in (2, 0, 1):
        points = _SphericalPoints(cloud, axis)
        rows = _by_rows(points)
        if rows is not None:
            return rows, axis, 'rows'
        columns = _by_columns(points)
        if columns is not None:
            return columns, axis, 'columns'
    return None


def beams_of_turns(cloud: PointCloud, start: float) -> NDArray[np.int32] | None:
    """Return each point's beam for a cloud known to be listed beam by beam, the highest first.

    A known layout is not verified by geometry, as this may fail for a compensated or a sparse
    sweep. Each wrap of azimuth about the third axis begins a beam.

    Args:
        cloud: the sweep; neither `ring` nor `time` is used.
        start: the azimuth at which turns begin, in turns from the first axis to the second, which
            is the sense of the listing.

    Returns:
        (N,) int32, 0 for the highest beam, -1 for points not finite or at the origin; None for
        more turns than any sensor has beams.
    """
    points = _SphericalPoints(cloud, 2)
    turn, count = _unrolled(points.azimuth, points.range, 1.0)
    if count < _MIN_POINTS or np.nanmax(turn) > _MAX_BEAMS:
        return None
    row = _rows(turn, start)
    seen, number = np.unique(row, return_inverse=True)
    # Rows without any return leave no gaps in the numbers.
    return (number.reshape(-1) - int(seen[0] < 0)).astype(np.int32)


class _SphericalPoints:
    """Azimuth, elevation (rad) and range (m) of a cloud's points about an axis."""

    def __init__(self, cloud: PointCloud, axis: int) -> None:
        a, b, c = cloud.about_axis(axis)
        self.azimuth, self.elevation, self.range = _spherical(a, b, c)


def _by_rows(points: _SphericalPoints) -> NDArray[np.int32] | None:
    """Return the beams of a cloud that lists one turn after the other."""
    azimuth, elevation, distance = points.azimuth, points.elevation, points.range
    forward = _direction(azimuth, distance)
    if forward == 0.0:
        return None
    turn, count = _unrolled(azimuth, distance, forward)
    turns = math.ceil(np.nanmax(turn) + 1.0)
    if not _MIN_BEAMS <= turns <= _MAX_BEAMS + 1 or count < _MIN_POINTS:
        return None
    start = _row_start(turn, elevation, distance, turns)
    if start is None:
        return None
    ring = _rows(turn, start)
    return _descending(ring, points, np.arange(turns + 1))


def _by_columns(points: _SphericalPoints) -> NDArray[np.int32] | None:
    """Return the beams of a cloud that lists all beams of one firing after those of another."""
    azimuth, elevation, distance = points.azimuth, points.elevation, points.range
    beams = _period(elevation, distance)
    if beams is None:
        return None
    if _monotone_share(azimuth, distance, beams) < _MIN_SHARE:
        return None
    ring = (np.arange(len(azimuth)) % beams).astype(np.int32)
    ring[distance == 0.0] = -1
    return _descending(ring, points, None)


def _descending(
    ring: NDArray[np.int32], points: _SphericalPoints, order: NDArray[np.intp] | None
) -> NDArray[np.int32] | None:
    """Return beams numbered from the highest without gaps, None if geometry contradicts them.

    Args:
        ring: (N,) int32, -1 for points without a beam.
        points: the points.
        order: beams from top to bottom or from bottom to top; None sorts them by elevation.
    """
    mean, far = _grid(ring, points.azimuth, points.elevation, points.range, int(ring.max()) + 1)
    seen = np.bincount(ring[ring >= 0], minlength=len(mean)) > 0
    if order is None:
        # Lasers may fire in any order.
        middle = _medians(mean)
        order = np.argsort(-np.where(np.isnan(middle), -np.inf, middle), kind='stable')
    order = order[order < len(mean)]
    order = order[seen[order]]
    if not _MIN_BEAMS <= len(order) <= _MAX_BEAMS:
        return None
    below = _share_below(mean[order], far[order])
    if max(below, 1.0 - below) < _MIN_SHARE:
        return None
    number = np.full(len(mean) + 1, -1, np.int32)  # the last, for -1, stays
    number[order if below > 0.5 else order[::-1]] = np.arange(len(order), dtype=np.int32)
    return number[ring]


def _period(elevation: NDArray[np.float32], distance: NDArray[np.float32]) -> int | None:
    """Return the lag at which elevations repeat, None if there is none."""
    first = max(0, (len(elevation) - _LAG_SAMPLE) // 2)
    window = slice(first, first + _LAG_SAMPLE)
    e = np.where(distance[window] > _MIN_RANGE, elevation[window], np.float32(np.nan))
    change = np.full(_MAX_BEAMS + 1, np.inf)
    for lag in range(1, min(_MAX_BEAMS, len(e) // 4) + 1):
        difference = np.abs(e[lag:] - e[:-lag])
        known = difference[np.isfinite(difference)]
        if len(known) >= 100:
            change[lag] = np.median(known)
    usual = np.median(change[np.isfinite(change)]) if np.isfinite(change).any() else 0.0
    repeats = np.flatnonzero(change < 0.1 * usual)
    return int(repeats[0]) if len(repeats) and repeats[0] >= _MIN_BEAMS else None


def _monotone_share(
    azimuth: NDArray[np.float32], distance: NDArray[np.float32], beams: int
) -> float:
    """Return the share of steps in which a beam's azimuth has its usual direction."""
    step = azimuth[beams:] - azimuth[:-beams]
    step = step[(distance[beams:] > _MIN_RANGE) & (distance[:-beams] > _MIN_RANGE)]
    step = step[(np.abs(step) < math.pi) & (step != 0.0)]
    if len(step) < _MIN_POINTS // 2:
        return 0.0
    share = float(np.mean(step > 0.0))
    return max(share, 1.0 - share)


def _direction(azimuth: NDArray[np.float32], distance: NDArray[np.float32]) -> float:
    """Return 1 if azimuth mostly grows from point to point, -1 if it falls, else 0."""
    seen = azimuth[distance > 0.0]
    step = np.diff(seen[: 16 * _LAG_SAMPLE])
    step = step[(np.abs(step) < math.pi) & (step != 0.0)]
    if len(step) < _MIN_POINTS // 2:
        return 0.0
    share = float(np.mean(step > 0.0))
    if share > _MIN_SHARE:
        return 1.0
    return -1.0 if share < 1.0 - _MIN_SHARE else 0.0


def _row_start(
    turn: NDArray[np.float64],
    elevation: NDArray[np.float32],
    distance: NDArray[np.float32],
    turns: int,
) -> float | None:
    """Return the fraction of a turn at which the rows begin, None if it cannot be found.

    There elevation steps by a beam from one point to the next on a continuous surface, in all
    turns in the same direction. Steps due to a laser offset from the origin or to the seam of a
    motion-compensated sweep differ between turns. A sector without returns hides the step.
    """
    state = _steps(turn, elevation, distance, turns)
    down, up = (state == _DOWN).sum(axis=0), (state == _UP).sum(axis=0)
    whole = down + up + (state == _LEVEL).sum(axis=0)
    steps = np.abs(down - up)
    least = max(_MIN_TURNS, _MIN_TURN_SHARE * turns)
    steps[(whole < least) | (steps < _MIN_STEPS * whole)] = 0
    best = int(np.argmax(steps))
    if steps[best] > 0:
        equal = np.flatnonzero(steps == steps[best])
        equal = (equal - best + _FINE // 2) % _FINE - _FINE // 2
        return (best + float(equal[np.abs(equal) < _NEAR].mean())) / _FINE % 1.0
    dark = np.flatnonzero((state > _NOTHING).sum(axis=0) <= _DARK * turns)
    if len(dark) == 0:
        return None
    runs = np.split(dark, np.flatnonzero(np.diff(dark) > 1) + 1)
    if len(runs) > 1 and runs[0][0] == 0 and runs[-1][-1] == _FINE - 1:
        runs[0] = np.concatenate([runs.pop() - _FINE, runs[0]])
    widest = max(runs, key=len)
    return float(widest.mean() + 0.5) / _FINE % 1.0 if len(widest) > _NEAR else None


def _medians(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of each row's known values, NaN where there is none."""
    ordered = np.sort(rows, axis=1)  # NaN last
    count = np.isfinite(rows).sum(axis=1)
    return np.where(
        count > 0, ordered[np.arange(len(rows)), np.maximum(count - 1, 0) // 2], np.nan
    )


def _share_below(mean: NDArray[np.float64], far: NDArray[np.float64]) -> float:
    """Return the share of neighbouring beams in descending order, where both hit one surface."""
    step = np.diff(mean, axis=0)
    nearer, farther = np.minimum(far[1:], far[:-1]), np.maximum(far[1:], far[:-1])
    same = np.isfinite(step) & (farther - nearer < _SAME_SURFACE * nearer)
    # With too few pairs to compare: the value for a random order.
    return float(np.mean(step[same] < 0.0)) if np.count_nonzero(same) >= _MIN_POINTS // 4 else 0.5


@njit(cache=True, nogil=True)
def _spherical(a, b, c):
    """Return azimuth and elevation, rad, and range, metres, of points, (N,) float32 each.

    Args:
        a, b, c: (N,) float32, metres, the spin axis third.

    Points that are not finite or at the origin have zeros.
    """
    azimuth = np.zeros(len(a), np.float32)
    elevation = np.zeros(len(a), np.float32)
    distance = np.zeros(len(a), np.float32)
    for i in range(len(a)):
        level = math.sqrt(a[i] * a[i] + b[i] * b[i])
        r = math.sqrt(level * level + c[i] * c[i])
        # Not for NaN, infinity, or zero.
        if np.float32(0.05) < r < np.float32(1e6):
            azimuth[i] = math.atan2(b[i], a[i])
            elevation[i] = math.atan2(c[i], level)
            distance[i] = r
    return azimuth, elevation, distance


@njit(cache=True, nogil=True)
def _unrolled(azimuth, distance, forward):
    """Return the turns of points since the start of the first point's turn.

    Args:
        azimuth: (N,) float32, rad.
        distance: (N,) float32, metres, 0 for points without azimuth.
        forward: 1.0 or -1.0, the sign of the turn.

    Returns:
        (N,) float64, turns, NaN without azimuth; and how many have one.
    """
    turn = np.full(len(azimuth), np.nan)
    whole = 2.0 * math.pi
    now, last, last_range, n = 0.0, 0.0, 0.0, 0
    for i in range(len(azimuth)):
        if distance[i] == 0.0:
            continue
        here = forward * azimuth[i]
        if n == 0:
            now = (here / whole) % 1.0
        else:
            step = (here - last) % whole
            back = _BACK + _BACK_M / min(distance[i], last_range)
            if step > whole - min(back, 0.5):
                step -= whole
            now += step / whole
        turn[i] = now
        last, last_range = here, distance[i]
        n += 1
    return turn, n


@njit(cache=True, nogil=True)
def _steps(turn, elevation, distance, turns):
    """Return the change of elevation from one return to the next in each turn and azimuth.

    Args:
        turn: (N,) float64, turns, NaN for points without azimuth.
        elevation: (N,) float32, rad.
        distance: (N,) float32, metres, 0 for points without azimuth.
        turns: T, how many there are.

    Returns:
        (T, F) int8, one of `_NOTHING`, `_LEVEL`, `_DOWN`, `_UP`, `_EDGE`.
    """
    state = np.zeros((turns, _FINE), np.int8)
    flat = state.reshape(-1)
    last = -1
    for i in range(len(turn)):
        if distance[i] <= _MIN_RANGE:
            continue
        if last >= 0 and abs(turn[i] - turn[last]) < _NEXT:
            nearer, farther = min(distance[i], distance[last]), max(distance[i], distance[last])
            step = elevation[i] - elevation[last]
            least = _STEP + _BESIDE * (1.0 / nearer - 1.0 / farther)
            if farther - nearer > _GOES_ON * nearer:
                found = _EDGE
            elif abs(step) > least:
                found = _DOWN if step < 0.0 else _UP
            else:
                found = _LEVEL
            # Only the azimuths between the two.
            first, end = min(turn[i], turn[last]) * _FINE, max(turn[i], turn[last]) * _FINE
            for k in range(math.ceil(first), min(math.ceil(end), len(flat))):
                flat[k] = max(flat[k], found)
        last = i
    return state


@njit(cache=True, nogil=True)
def _rows(turn, start):
    """Return the row of each point, (N,) int32, -1 without azimuth.

    Args:
        turn: (N,) float64, turns, NaN without azimuth.
        start: where in a turn a row begins, 0 to 1.
    """
    ring = np.full(len(turn), np.int32(-1))
    for i in range(len(turn)):
        if not math.isnan(turn[i]):
            ring[i] = np.int32(math.floor(turn[i] - start) + 1)
    return ring


@njit(cache=True, nogil=True)
def _grid(ring, azimuth, elevation, distance, beams):
    """Return mean elevation, rad, and range, metres, by beam and sector.

    Args:
        ring: (N,) int32, -1 for points without a beam.
        azimuth, elevation: (N,) float32, rad.
        distance: (N,) float32, metres.
        beams: B, how many there are.

    Returns:
        (B, S) float64 each, NaN without returns.
    """
    total, far = np.zeros((beams, _SECTORS)), np.zeros((beams, _SECTORS))
    count = np.zeros((beams, _SECTORS))
    scale = _SECTORS / (2.0 * math.pi)
    for i in range(len(ring)):
        if ring[i] >= 0 and distance[i] > _MIN_RANGE:
            k = int((azimuth[i] + math.pi) * scale) % _SECTORS
            total[ring[i], k] += elevation[i]
            far[ring[i], k] += distance[i]
            count[ring[i], k] += 1.0
    n = np.maximum(count, 1.0)
    return np.where(count > 0.0, total / n, np.nan), np.where(count > 0.0, far / n, np.nan)
