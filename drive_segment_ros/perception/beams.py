"""The beams of a spinning LiDAR, found in clouds without beam numbers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.signal import find_peaks

from drive_segment_ros.perception.beam_origin import SweepSample
from drive_segment_ros.perception.clouds import PointCloud

_SAMPLE = 10_000
# Fewer points do not suffice to find beams; nearer ones are from the vehicle itself.
_MIN_POINTS, _MIN_RANGE = 400, 1.0
_MIN_BEAMS, _MAX_BEAMS = 8, 160
# Two beams of any sensor are further apart than this.
_MIN_SPACING = math.radians(0.07)
_RESOLUTION = math.radians(0.005)
# Standard deviations: of a beam's elevation (rad), and of the origin (m, horizontal and vertical)
# before, while and after the sensor's path is fitted.
_SHARP = math.radians(0.015)
_BEFORE, _GROWING, _AFTER = (0.04, 0.01), (0.02, 0.01), (0.01, 0.003)
# Heights of the optical centre that are tried: frames are up to a few centimetres off (m).
_HEIGHTS = (0.0, -0.02, 0.02, -0.04, 0.04)
# Two beams are separated by a valley this much lower than the peaks beside it.
_VALLEY = 1.25
# The path is first fitted to this fraction of the sweep, which then grows by this factor.
_START, _GROWTH = 0.08, 1.35
# Number of points that count as one measurement, before and after all beams are known.
_CAUTIOUS, _CONFIDENT = 30.0, 0.1
# Share of points in the middle half of their beam's interval of elevations: 0.5 for random
# elevations; the least for beams, and the least for beams whose origin has not moved.
_MIN_SHARE, _CLEAR_SHARE = 0.85, 0.99


@dataclasses.dataclass(frozen=True)
class BeamTable:
    """A sensor's beams.

    Attributes:
        elevation: (B,) float64, rad above the plane of rotation, the highest first.
        axis: the spin axis: which coordinate of the cloud, 0, 1 or 2.
    """

    elevation: NDArray[np.float64]
    axis: int

    def ring(self, cloud: PointCloud) -> NDArray[np.int32]:
        """Number the points of a cloud by their nearest beam.

        Returns:
            (N,) int32, 0 for the highest beam, -1 for points at the origin or not finite.
        """
        a, b, c = cloud.about_axis(self.axis)
        # Halfway in elevation, compared as sines: no arc function a point.
        halfway = np.sin((self.elevation[1:] + self.elevation[:-1]) * 0.5).astype(np.float32)
        cells = np.linspace(-1.0, 1.0, 4097, dtype=np.float32)
        first = np.searchsorted(-halfway, -cells[1:], side='left').astype(np.int32)
        return _nearest(a, b, c, halfway, first)


def find_beams(clouds: Sequence[PointCloud]) -> BeamTable | None:
    """Find a sensor's beams in its sweeps; one suffices, more sharpen the result.

    The histogram of elevations has peaks at the beams unless a driver moved the points to one
    instant or to a frame beside the optical centre. If it has none, peaks and the sensor's path
    through the cloud's frame are estimated alternately, first on a part of the sweep near its
    stamp, where the path is short, then on more and more of it. Neither `ring` nor the order of
    points is used; point times are, as a path cannot be estimated without them.

    Args:
        clouds: sweeps of one sensor.

    Returns:
        The beams, or None if the clouds have none: a solid-state sensor, merged clouds.
    """
    samples = [_sample(cloud) for cloud in clouds]
    samples = [sample for sample in samples if len(sample) >= _MIN_POINTS]
    if not samples:
        return None
    for axis in (2, 0, 1):
        elevation = np.concatenate([sample.about(axis).elevation for sample in samples])
        table = _table(elevation, np.full(len(elevation), _SHARP), axis, _CLEAR_SHARE)
        if table is not None:
            return table
    axis = _spin_axis(max(samples, key=len))
    samples = [_focused(sample.about(axis)) for sample in samples]
    elevation = np.concatenate([sample.elevation for sample in samples])
    spread = np.concatenate([_spread(sample, len(sample), _AFTER) for sample in samples])
    return _table(elevation, spread, axis, _MIN_SHARE)


def _table(
    elevation: NDArray[np.float64], spread: NDArray[np.float64], axis: int, min_share: float
) -> BeamTable | None:
    """Return the beams if at least a share of the points lies on them."""
    beams = _supported(_peaks(elevation, spread), elevation)
    if len(beams) > _MAX_BEAMS or _share(beams, elevation) < min_share:
        return None
    return BeamTable(_recentred(beams, elevation)[::-1].copy(), axis)


def _sample(cloud: PointCloud) -> SweepSample:
    step = max(1, len(cloud) // _SAMPLE)
    a, b, c = (np.asarray(v[::step], np.float64) for v in (cloud.x, cloud.y, cloud.z))
    distance = np.sqrt(a * a + b * b + c * c)
    good = np.isfinite(distance) & (distance > _MIN_RANGE)
    time = np.zeros(len(a))
    if cloud.time is not None:
        time = np.asarray(cloud.time[::step], np.float64)
        good &= np.isfinite(time)
    a, b, c, time = a[good], b[good], c[good], time[good]
    span = float(np.ptp(time)) if len(time) else 0.0
    if span > 0.0:
        # Times are relative to the stamp, to which a compensating driver moves the points.
        time = (time - np.clip(0.0, time.min(), time.max())) / span
        order = np.argsort(np.abs(time), kind='stable')
        a, b, c, time = a[order], b[order], c[order], time[order]
    return SweepSample(a, b, c, time, timed=span > 0.0)


def _spin_axis(sample: SweepSample) -> int:
    """Return the coordinate axis about which the histogram of elevations is sharpest."""
    count = _first(sample)
    shares = {}
    for axis in (2, 0, 1):
        turned = sample.about(axis)
        _raise(turned, count)
        elevation = turned.elevation[:count]
        beams = _supported(_peaks(elevation, _spread(turned, count, _BEFORE)), elevation)
        shares[axis] = _share(beams, elevation)
    return max(shares, key=lambda axis: shares[axis])


def _first(sample: SweepSample) -> int:
    return max(_MIN_POINTS, int(_START * len(sample))) if sample.timed else len(sample)


def _focused(sample: SweepSample) -> SweepSample:
    """Fit the sensor's path to a sweep."""
    count, origin, rounds = _first(sample), _BEFORE, 4
    _raise(sample, count)
    while count < len(sample):
        _refine(sample, count, origin, rounds, _CAUTIOUS)
        count, origin, rounds = int(count * _GROWTH), _GROWING, 2
        sample.correct(min(count, len(sample)))
    _refine(sample, len(sample), origin, 3, _CAUTIOUS)
    _refine(sample, len(sample), _AFTER, 3, _CONFIDENT)
    return sample


def _refine(
    sample: SweepSample, count: int, origin: tuple[float, float], rounds: int, caution: float
) -> None:
    beams = _peaks(sample.elevation[:count], _spread(sample, count, origin))
    for _ in range(rounds if len(beams) >= _MIN_BEAMS else 0):
        beams = sample.refine(beams, count, caution)


def _raise(sample: SweepSample, count: int) -> None:
    """Start at the height of origin for which the histogram of elevations is sharpest."""
    sample.path[2] = max(_HEIGHTS, key=lambda height: _contrast(sample, count, height))
    sample.correct(count)


def _contrast(sample: SweepSample, count: int, height: float) -> float:
    """Return the sharpness of the histogram of elevations for a height of origin, metres."""
    sample.path[2] = height
    sample.correct(count)
    elevation = sample.elevation[:count]
    density = _density(elevation, _spread(sample, count, _BEFORE), *_bins(elevation))
    return float(np.sum(density**2))


def _bins(elevation: NDArray[np.float64]) -> tuple[float, int]:
    """Return the lower edge of the first bin of elevation, rad, and how many there are."""
    low = float(elevation.min()) - 0.03
    return low, int((float(elevation.max()) + 0.03 - low) / _RESOLUTION) + 1


def _spread(sample: SweepSample, count: int, origin: tuple[float, float]) -> NDArray[np.float64]:
    """Return how far points may lie off their beam, rad; more for nearer points."""
    horizontal, vertical = origin
    sine = np.sin(sample.elevation[:count])
    square = (horizontal * sine) ** 2 + vertical**2 * (1.0 - sine * sine)
    return np.sqrt(_SHARP**2 + square / sample.range[:count] ** 2)


def _peaks(elevation: NDArray[np.float64], spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the modes of the points' density, ascending, each point as wide as its spread."""
    low, size = _bins(elevation)
    density = _density(elevation, spread, low, size)
    peaks, _ = find_peaks(
        # The floor is a hundredth of a single sharp point: one outlier makes no valley.
        np.log(density + 0.01 * 0.75 / (2.2 * _SHARP / _RESOLUTION)),
        prominence=math.log(_VALLEY),
        distance=max(1, int(_MIN_SPACING / _RESOLUTION)),
    )
    return low + (peaks + 0.5) * _RESOLUTION


def _nearest_beam(beams: NDArray[np.float64], elevation: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.searchsorted((beams[1:] + beams[:-1]) * 0.5, elevation)


def _supported(beams: NDArray[np.float64], elevation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Drop peaks that are due to a few outliers."""
    if len(beams) == 0:
        return beams
    count = np.bincount(_nearest_beam(beams, elevation), minlength=len(beams))
    return beams[count >= max(5.0, 2e-4 * len(elevation))]


def _recentred(beams: NDArray[np.float64], elevation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return each beam at the robust mean of its points."""
    for _ in range(3):
        beam = _nearest_beam(beams, elevation)
        error = elevation - beams[beam]
        weight = 1.0 / (1.0 + (error / _SHARP) ** 2)
        total = np.bincount(beam, weight, len(beams))
        beams = beams + np.bincount(beam, weight * error, len(beams)) / np.maximum(total, 1e-9)
    return beams


def _share(beams: NDArray[np.float64], elevation: NDArray[np.float64]) -> float:
    """Return the share of points that lie on a beam, 0 if there are too few beams."""
    if len(beams) < _MIN_BEAMS:
        return 0.0
    beam = _nearest_beam(beams, elevation)
    gap = np.diff(beams)
    error = elevation - beams[beam]
    spacing = np.where(error < 0.0, np.append(gap[:1], gap)[beam], np.append(gap, gap[-1:])[beam])
    return float(np.mean(np.abs(error) < 0.25 * spacing))


@njit(cache=True, nogil=True)
def _density(elevation, spread, low, size):
    """Sum a parabolic kernel for each point; wider kernels are lower, so sharp points dominate.

    Args:
        elevation: (N,) float64, rad.
        spread: (N,) float64, rad, standard deviation of each.
        low: rad, the lower edge of the first bin.
        size: number of bins of `_RESOLUTION`.

    Returns:
        (size,) float64.
    """
    density = np.zeros(size)
    sharp = 2.2 * _SHARP / _RESOLUTION
    for i in range(len(elevation)):
        # Epanechnikov's kernel has this half width where its standard deviation is the spread.
        half = 2.2 * spread[i] / _RESOLUTION
        centre = (elevation[i] - low) / _RESOLUTION - 0.5
        height = 0.75 * sharp / (half * half)
        for j in range(max(0, math.ceil(centre - half)), min(size - 1, int(centre + half)) + 1):
            u = (j - centre) / half
            density[j] += height * (1.0 - u * u)
    return density


@njit(cache=True, nogil=True)
def _nearest(a, b, c, halfway, first):
    """Return the beam next to each point, (N,) int32, -1 where a point has no direction.

    Args:
        a, b, c: (N,) float32, metres, the spin axis third.
        halfway: (B - 1,) float32, sines of the elevations between beams, descending.
        first: (4096,) int32, for cells of equal sine from -1 to 1 the beam at their upper edge.
    """
    ring = np.empty(len(a), np.int32)
    half = np.float32(0.5 * len(first))
    for i in range(len(a)):
        distance = math.sqrt(a[i] * a[i] + b[i] * b[i] + c[i] * c[i])
        if not np.float32(0.0) < distance < np.float32(1e9):
            ring[i] = -1
            continue
        sine = c[i] / distance
        cell = min(max(int((sine + np.float32(1.0)) * half), 0), len(first) - 1)
        # The table has the beam at the cell's upper edge; at most a few lie in a cell.
        row = first[cell]
        while row < len(halfway) and sine < halfway[row]:
            row += 1
        ring[i] = row
    return ring
