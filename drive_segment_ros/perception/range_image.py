"""A sweep as an image: rows are beams, columns are azimuth, each cell the nearest return."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.arctangent import octant_angle
from drive_segment_ros.perception.clouds import PointCloud

# Narrower cells cost time without gain; wider ones join neighbouring objects.
_MIN_COLUMNS, _MAX_COLUMNS = 360, 4096
# Beams are checked on this many points or more. They have a constant elevation: at most this part
# of the variance of all elevations remains within them.
_MIN_POINTS, _MAX_WANDER = 32, 0.2
# Number of beams from which the azimuth step is estimated.
_BEAMS_TIMED = 5


@dataclasses.dataclass(frozen=True)
class RangeImage:
    """The nearest return of each beam and azimuth step.

    Attributes:
        xyz: (3, B, W) float32, metres; each cell's point, the spin axis as third coordinate,
            zero where the cell is empty. Row 0 is the highest beam, columns run with azimuth and
            wrap around. One plane per coordinate, so that compiled loops vectorise.
        range: (B, W) float32, metres, 0 where the cell is empty.
        cell: (N,) int32, row * W + column of each point of the cloud, -1 for points that are not
            finite, at the origin, or without a beam.
        elevation: (B,) float32, radians, each beam's mean angle above the plane of rotation;
            ascending for a sensor mounted upside down.
        axis: which coordinate of the cloud (0, 1, 2) is the spin axis.
        dropped: points of the cloud without a cell.
    """

    xyz: NDArray[np.float32]
    range: NDArray[np.float32]
    cell: NDArray[np.int32]
    elevation: NDArray[np.float32]
    axis: int
    dropped: int

    def upside_down(self) -> RangeImage:
        """Return the image with its rows in reverse order, for a sensor mounted upside down."""
        return _reordered(self, np.arange(len(self.range))[::-1])


def spin_axis(cloud: PointCloud, ring: NDArray[np.integer]) -> int | None:
    """Return the coordinate (0, 1, 2) about which the beams turn.

    Only about the true axis is a beam's elevation the same all the way round. None if there is no
    such axis: the lines of a solid-state sensor are also numbered, but are not level.

    Args:
        cloud: the sweep.
        ring: (N,) beam of each point.
    """
    # Odd, so that a sweep stored column by column yields all of its beams.
    step = max(1, len(cloud) // 1024) | 1
    points = np.stack([cloud.x[::step], cloud.y[::step], cloud.z[::step]]).astype(np.float64)
    count, variance, within = _variances(points, ring[::step].astype(np.int64))
    if count < _MIN_POINTS:
        return 2
    # The usual axis is kept unless another is clearly better, so that odd scenes cannot flip it.
    best = int(np.argmin(within))
    axis = best if within[best] < 0.5 * within[2] else 2
    return None if within[axis] > _MAX_WANDER * variance[axis] else axis


def columns_per_turn(cloud: PointCloud, ring: NDArray[np.integer], axis: int = 2) -> int:
    """Return the number of azimuth steps in one turn, from the spacing of some beams' points.

    Args:
        cloud: the sweep.
        ring: (N,) beam of each point.
        axis: the spin axis.
    """
    a, b, _ = cloud.about_axis(axis)
    azimuth = _azimuths(a, b, np.ascontiguousarray(ring, np.int32), _BEAMS_TIMED)
    gaps = np.diff(np.sort(azimuth, axis=1), axis=1)
    # Two returns of one pulse have the same azimuth; NaN, beyond a beam's last return, is sorted
    # to the end.
    gaps = np.sort(np.where(gaps > 0.5 / _MAX_COLUMNS, gaps, np.float32(np.nan)), axis=1)
    counts = np.count_nonzero(~np.isnan(gaps), axis=1)
    steps = [beam[count // 2] for beam, count in zip(gaps, counts, strict=True) if count > 8]
    if not steps:
        return _MIN_COLUMNS
    steps.sort()
    middle = (steps[(len(steps) - 1) // 2] + steps[len(steps) // 2]) / 2
    return min(max(round(1.0 / float(middle)), _MIN_COLUMNS), _MAX_COLUMNS)


def range_image(
    cloud: PointCloud,
    ring: NDArray[np.integer],
    *,
    columns: int = 0,
    axis: int | None = None,
    descending: bool = False,
) -> RangeImage:
    """Arrange a sweep by beam and azimuth.

    Args:
        cloud: the sweep.
        ring: (N,) beam of each point, numbered in any order; below 0 excludes a point.
        columns: azimuth steps in a turn; 0 finds them from the cloud.
        axis: spin axis; None finds it, and takes the third if there is none.
        descending: whether beams are known to be numbered from the highest to the lowest; mean
            elevations may be in another order if lasers are offset from the cloud's origin.
    """
    beam = np.ascontiguousarray(ring, np.int32)
    beams = int(beam.max()) + 1 if len(beam) else 0
    if axis is None:
        found = spin_axis(cloud, beam)
        axis = 2 if found is None else found
    if columns == 0:
        columns = columns_per_turn(cloud, beam, axis)
    a, b, c = cloud.about_axis(axis)
    xyz = np.zeros((3, beams, columns), np.float32)
    ranges = np.zeros((beams, columns), np.float32)
    cell = np.empty(len(cloud), np.int32)
    dropped = _fill(a, b, c, beam, xyz, ranges, cell)
    if descending:
        return RangeImage(xyz, ranges, cell, _far_elevations(xyz, ranges), axis, dropped)
    elevation = _elevations(xyz, ranges)
    image = RangeImage(xyz, ranges, cell, elevation, axis, dropped)
    # Row 0 is the highest beam; drivers count from either end, or in firing order.
    order = np.argsort(-elevation, kind='stable')
    return image if (order == np.arange(beams)).all() else _reordered(image, order)


def directions(
    image: RangeImage, columns: NDArray[np.integer], elevations: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Return unit vectors of given columns and elevations (rad), (S, 3), in cloud coordinates."""
    azimuth = (columns + 0.5) * (2.0 * math.pi / image.range.shape[1])
    rays = np.empty((len(columns), 3))
    rays[:, (image.axis + 1) % 3] = np.cos(elevations) * np.cos(azimuth)
    rays[:, (image.axis + 2) % 3] = np.cos(elevations) * np.sin(azimuth)
    rays[:, image.axis] = np.sin(elevations)
    return rays


def _reordered(image: RangeImage, order: NDArray[np.intp]) -> RangeImage:
    """Return the image with row `order[k]` as row k."""
    columns = image.range.shape[1]
    row, column = np.divmod(image.cell, columns)
    cell = np.argsort(order).astype(np.int32)[row] * columns + column
    return RangeImage(
        np.ascontiguousarray(image.xyz[:, order]),
        image.range[order],
        np.where(image.cell < 0, np.int32(-1), cell).astype(np.int32),
        image.elevation[order],
        image.axis,
        image.dropped,
    )


def _elevations(xyz: NDArray[np.float32], ranges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each beam's mean elevation; beams without a return are extrapolated."""
    found = _mean_elevations(xyz, ranges)
    known = np.flatnonzero(np.isfinite(found))
    if len(known) == len(found):
        return found
    if len(known) == 0:
        return np.zeros(len(ranges), np.float32)
    rows = np.arange(len(found))
    elevation = np.interp(rows, known, found[known])
    # Beams that see only sky keep their order, which equal elevations would lose.
    for end, inner in (known[:2], known[-1:-3:-1]) if len(known) > 1 else ():
        beyond = rows < end if end < inner else rows > end
        step = (found[end] - found[inner]) / (end - inner)
        elevation[beyond] = found[end] + (rows[beyond] - end) * step
    return np.clip(elevation, -math.pi / 2, math.pi / 2).astype(np.float32)


def _far_elevations(xyz: NDArray[np.float32], ranges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each beam's elevation from far returns, never above that of the one before."""
    # Least squares of height over range: an offset from the origin hardly matters far away.
    weight = np.einsum('bw,bw->b', ranges, ranges, dtype=np.float64)
    sine = np.einsum('bw,bw->b', xyz[2], ranges, dtype=np.float64) / np.maximum(weight, 1e-9)
    return np.minimum.accumulate(np.arcsin(np.clip(sine, -1.0, 1.0))).astype(np.float32)


@njit(cache=True, nogil=True)
def _mean_elevations(xyz, ranges):
    """Return each beam's mean elevation, (B,) float32, rad, NaN for one without a return.

    Args:
        xyz: (3, B, W) float32, metres, the spin axis third.
        ranges: (B, W) float32, metres, 0 where empty.
    """
    mean = np.full(len(ranges), np.float32(np.nan))
    for row in range(ranges.shape[0]):
        total, n = 0.0, 0
        # Every fourth return suffices for a mean; all are used if there are few.
        for step in (4, 1):
            for column in range(0, ranges.shape[1], step):
                if ranges[row, column] > np.float32(0.0):
                    total += xyz[2, row, column] / ranges[row, column]
                    n += 1
            if n > 0:
                break
        if n > 0:
            mean[row] = math.asin(min(max(total / n, -1.0), 1.0))
    return mean


@njit(cache=True, nogil=True)
def _variances(points, ring):
    """Return how directions vary along each axis, over all points and within beams.

    Args:
        points: (3, N) float64, metres.
        ring: (N,) int64, -1 for points without a beam.

    Returns:
        How many points have a direction and a beam; (3,) float64, the sum of their squared
        deviations from the mean; the same from the means of their beams.
    """
    sums = np.zeros((max(ring.max() + 1, 1) if len(ring) else 1, 4))
    square = np.zeros(3)
    for i in range(len(ring)):
        norm = math.sqrt(points[0, i] ** 2 + points[1, i] ** 2 + points[2, i] ** 2)
        # NaN and infinity fail this.
        if ring[i] >= 0 and 1.0 < norm < np.inf:
            for k in range(3):
                unit = points[k, i] / norm
                square[k] += unit * unit
                sums[ring[i], k] += unit
            sums[ring[i], 3] += 1.0
    count = sums[:, 3].sum()
    variance, within = square.copy(), square.copy()
    for k in range(3):
        variance[k] -= sums[:, k].sum() ** 2 / max(count, 1.0)
        for beam in range(len(sums)):
            within[k] -= sums[beam, k] ** 2 / max(sums[beam, 3], 1.0)
    return count, variance, within


@njit(cache=True, nogil=True)
def _azimuths(x, y, ring, timed):
    """Return the azimuths of some of the fuller beams, fractions of a turn, padded with NaN.

    Args:
        x, y: (N,) float32, metres, across the spin axis.
        ring: (N,) int32, -1 for points without a beam.
        timed: T, how many beams.

    Returns:
        (T, M) float32.
    """
    beams = max(ring.max() + 1, 1) if len(ring) else 1
    # Each point's beam, and one more for those without beam or return: NaN, infinite, or zero.
    # Unsigned: numba then omits the check for negative indices.
    beam = np.empty(len(ring), np.uint32)
    for i in range(len(ring)):
        size = abs(x[i]) + abs(y[i])
        known = (ring[i] >= 0) & (size > np.float32(0.0)) & (size < np.float32(np.inf))
        beam[i] = np.uint32(ring[i]) if known else np.uint32(beams)
    # Four interleaved counters per beam: increments for consecutive points of one beam need not
    # wait for each other.
    counts = np.zeros((4, beams + 1), np.int32)
    for i in range(len(beam)):
        counts[np.uint32(i & 3), beam[i]] += 1
    count = counts.sum(axis=0)[:beams]
    # Gaps lengthen steps and second returns shorten them: beams of median fullness are used.
    order = np.argsort(-count)
    fuller = max(np.count_nonzero(count) // 2, 1)
    stride = max(fuller // timed, 1)
    place = np.full(beams + 1, -1, np.int32)
    azimuth = np.full((timed, count.max()), np.float32(np.nan))
    filled = np.zeros(timed, np.int32)
    for k in range(min(timed, fuller)):
        place[order[k * stride]] = k
    for i in range(len(beam)):
        k = place[beam[i]]
        if k >= 0:
            azimuth[k, filled[k]] = _turn_fraction(x[i], y[i])
            filled[k] += 1
    return azimuth


@njit(cache=True, nogil=True, inline='always')
def _turn_fraction(x: np.float32, y: np.float32) -> np.float32:
    """Return atan2(y, x) of two float32 as a fraction of a turn in [0, 1], to 2e-6 of a turn."""
    ax, ay = abs(x), abs(y)
    tangent = min(ax, ay) / max(max(ax, ay), np.float32(1e-30))
    angle = octant_angle(tangent) * np.float32(0.15915494309189535)
    angle = np.float32(0.25) - angle if ay > ax else angle
    angle = np.float32(0.5) - angle if x < np.float32(0.0) else angle
    return np.float32(1.0) - angle if y < np.float32(0.0) else angle


@njit(cache=True, nogil=True)
def _fill(a, b, c, ring, xyz, ranges, cell):
    """Put each point into its cell, which keeps the nearest.

    Args:
        a, b, c: (N,) float32, metres, the spin axis third.
        ring: (N,) int32, row of each, -1 for none.
        xyz: (3, B, W) float32, zero; metres, written.
        ranges: (B, W) float32, zero; metres, written.
        cell: (N,) int32, written: row * W + column, -1 for points without a cell.

    Returns:
        How many points have no cell.
    """
    beams, columns = ranges.shape
    flat = ranges.reshape(-1)
    points = xyz.reshape(3, -1)
    scale = np.float32(columns)
    distance = np.empty(len(a), np.float32)
    for i in range(len(a)):
        x, y, z = a[i], b[i], c[i]
        distance[i] = math.sqrt(x * x + y * y + z * z)
        column = np.int32(_turn_fraction(x, y) * scale)
        column = column - columns if column >= columns else column
        row = ring[i]
        # NaN and infinity fail this, as does a driver's zero for "no return".
        far = (np.float32(0.05) < distance[i]) & (distance[i] < np.float32(1e6))
        kept = far & (row >= 0) & (row < beams)
        cell[i] = np.int32(row * columns + column) if kept else np.int32(-1)
    dropped = 0
    for i in range(len(a)):
        k = cell[i]
        if k < 0:
            dropped += 1
            continue
        previous = flat[k]
        if previous == np.float32(0.0) or distance[i] < previous:
            flat[k] = distance[i]
            points[0, k], points[1, k], points[2, k] = a[i], b[i], c[i]
    return dropped
