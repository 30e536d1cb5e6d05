"""The origin of a sweep's beams: the sensor's apparent path through the frame of its own cloud.

A beam has one elevation only as seen from where it was fired. A cloud's frame may be offset from
the sensor's optical centre, and if a driver motion-compensates the points, the centre follows a
path of half a metre and more: seen from the frame's origin, near returns are off by several beams.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Components of the path at an instant: two tilts of the spin axis (rad), and the optical centre's
# height and horizontal coordinates (m).
_TERMS = 5
# Prior standard deviations of the constant, linear and quadratic terms of each component, over a
# sweep. A car moves up to 3 m in a sweep. The curvature of its height is nearly zero in 0.1 s;
# unconstrained, it would be indistinguishable from a shift of all beams.
_EXPECTED = np.array(
    [
        [0.001, 0.001, 0.03, 0.1, 0.1],
        [0.005, 0.005, 0.1, 1.0, 1.0],
        [0.002, 0.002, 0.0001, 0.2, 0.2],
    ]
)
# Standard deviations: of a beam's elevation (rad), and of a return's position (m).
_SHARP, _BLUR = math.radians(0.01), 0.01


@dataclasses.dataclass
class SweepSample:
    """Some points of a sweep, those nearest to the reference instant first.

    Attributes:
        a, b, c: (N,) float64, metres, the spin axis third.
        time: (N,) float64, fractions of a sweep from the reference instant; zero if unknown.
        timed: whether the times are known.
        elevation: (N,) float64, rad, as seen from the path; valid after `correct`.
        range: (N,) float64, metres, likewise.
        path: (K * 5,) float64, the path's constant, linear and quadratic terms.
    """

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    c: NDArray[np.float64]
    time: NDArray[np.float64]
    timed: bool
    elevation: NDArray[np.float64] = dataclasses.field(init=False)
    range: NDArray[np.float64] = dataclasses.field(init=False)
    path: NDArray[np.float64] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.elevation = np.empty(len(self.a))
        self.range = np.empty(len(self.a))
        # A sensor at rest in its frame, or one whose motion cannot be known without times.
        self.path = np.zeros(_TERMS * (3 if self.timed else 1))
        self.correct(len(self.a))

    def __len__(self) -> int:
        return len(self.a)

    def about(self, axis: int) -> SweepSample:
        """Return the same points with another coordinate as the spin axis (2 changes nothing)."""
        turned = (self.a, self.b, self.c) * 2
        a, b, c = turned[(axis + 1) % 3 : (axis + 1) % 3 + 3]
        return SweepSample(a, b, c, self.time, self.timed)

    def correct(self, count: int) -> None:
        """Compute the first `count` points as seen from where the path places the sensor."""
        _correct(self.a, self.b, self.c, self.time, self.path, count, self.elevation, self.range)

    def refine(
        self, beams: NDArray[np.float64], count: int, caution: float
    ) -> NDArray[np.float64]:
        """Fit path and beams together to the first `count` points: one Gauss-Newton step.

        Each point is drawn to its nearest beam, with Cauchy's weight so that points between beams
        hardly count. The beams' elevations are eliminated from the normal equations, which finds
        them and the path jointly however alike their effects are.

        Args:
            beams: (B,) float64, rad, ascending.
            count: how many points to use; the path must have been applied to them (`correct`).
            caution: number of points that count as one independent measurement. Large while
                little of the turn is known, where a tilt is hard to distinguish from a shift of
                all beams.

        Returns:
            (B,) float64, the beams' new elevations, ascending.
        """
        terms, size = len(self.path), len(beams)
        square, right = np.zeros((terms, terms)), np.zeros(terms)
        weight, slope, offset = np.zeros(size), np.zeros((size, terms)), np.zeros(size)
        beam = np.searchsorted((beams[1:] + beams[:-1]) * 0.5, self.elevation[:count])
        _accumulate(
            self.a, self.b, self.c, self.time, self.path, self.elevation,
            beam, beams, square, right, weight, slope, offset,
        )  # fmt: skip
        precision = caution / _EXPECTED.reshape(-1)[:terms] ** 2
        step = np.linalg.solve(square + np.diag(precision), right - precision * self.path)
        self.path = self.path + step
        self.correct(count)
        seen = weight > 0
        moved = beams.copy()
        moved[seen] += (offset[seen] - slope[seen] @ step) / weight[seen]
        return np.sort(moved)


@njit(cache=True, nogil=True)
def _correct(a, b, c, time, path, count, elevation, distance):
    """Compute elevation and range of points as seen from where the path places the sensor.

    Args:
        a, b, c: (N,) float64, metres, the spin axis third.
        time: (N,) float64, fractions of a sweep from the reference instant.
        path: (K * 5,) float64: two tilts, rad, then height and two horizontal shifts, metres, a
            power of time each.
        count: how many points.
        elevation: (N,) float64, rad, the first `count` are written.
        distance: (N,) float64, metres, likewise.
    """
    for i in range(count):
        tilt_a = tilt_b = height = origin_a = origin_b = 0.0
        power = 1.0
        for k in range(0, len(path), _TERMS):
            tilt_a += power * path[k]
            tilt_b += power * path[k + 1]
            height += power * path[k + 2]
            origin_a += power * path[k + 3]
            origin_b += power * path[k + 4]
            power *= time[i]
        x, y, z = a[i] - origin_a, b[i] - origin_b, c[i] - height
        level = math.sqrt(x * x + y * y)
        distance[i] = math.sqrt(level * level + z * z)
        elevation[i] = math.atan2(z, level) - (tilt_a * x + tilt_b * y) / max(level, 1e-9)


@njit(cache=True, nogil=True)
def _accumulate(a, b, c, time, path, elevation, beam, beams, square, right, weight, slope, offset):
    """Sum the normal equations of the path's terms, the beams' own elevations eliminated.

    Args:
        a, b, c: (N,) float64, metres, the spin axis third.
        time: (N,) float64, fractions of a sweep from the reference instant.
        path: (K * 5,) float64, rad and metres, as in `_correct`.
        elevation: (N,) float64, rad, from the path.
        beam: (M,) int64, the nearest beam of each of the first M points.
        beams: (B,) float64, rad.
        square, right: (T, T) and (T,) float64, zero, become the equations.
        weight, offset: (B,) float64, zero, become each beam's weight and weighted error.
        slope: (B, T) float64, zero, becomes each beam's weighted gradient.
    """
    terms = len(path)
    gradient = np.empty(terms)
    for i in range(len(beam)):
        height = origin_a = origin_b = 0.0
        power = 1.0
        for k in range(0, terms, _TERMS):
            height += power * path[k + 2]
            origin_a += power * path[k + 3]
            origin_b += power * path[k + 4]
            power *= time[i]
        x, y, z = a[i] - origin_a, b[i] - origin_b, c[i] - height
        level = max(math.sqrt(x * x + y * y), 1e-9)
        square_range = level * level + z * z
        j = beam[i]
        error = elevation[i] - beams[j]
        w = 1.0 / (_SHARP * _SHARP + _BLUR * _BLUR / square_range + error * error)
        gradient[0] = x / level
        gradient[1] = y / level
        gradient[2] = level / square_range
        gradient[3] = -z * x / (level * square_range)
        gradient[4] = -z * y / (level * square_range)
        for k in range(_TERMS, terms):
            gradient[k] = gradient[k - _TERMS] * time[i]
        weight[j] += w
        offset[j] += w * error
        for k in range(terms):
            weighted = w * gradient[k]
            slope[j, k] += weighted
            right[k] += weighted * error
            for m in range(k + 1):
                square[k, m] += weighted * gradient[m]
    for j in range(len(weight)):
        if weight[j] > 0.0:
            for k in range(terms):
                mean = slope[j, k] / weight[j]
                right[k] -= mean * offset[j]
                for m in range(k + 1):
                    square[k, m] -= mean * slope[j, m]
    for k in range(terms):
        for m in range(k):
            square[m, k] = square[k, m]
