"""Lens models: from a ray in the camera's optical frame to a pixel, one point at a time.

The formulas are OpenCV's (calib3d, `projectPoints` and `fisheye::projectPoints`), which ROS
adopts: `plumb_bob` and `rational_polynomial` are Brown-Conrady polynomials in the tangent of the
angle to the optical axis, `equidistant` is Kannala & Brandt's polynomial in the angle itself.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.polynomial import Polynomial
from numpy.typing import NDArray

PINHOLE, POLYNOMIAL, EQUIDISTANT = 0, 1, 2
# Part of the image's width and height by which `view_limit` reaches beyond its border.
MARGIN = 0.05
# Tangents of the angle to the axis at which the reach of a lens is sampled: 0.06 to 89.94 degrees.
_TANGENTS = np.geomspace(1e-3, 1e3, 512)


class Lens(NamedTuple):
    """A lens in the form used by compiled functions: tuples, which need no reference counting.

    Attributes:
        fx, fy, cx, cy: focal lengths and principal point, px.
        kind: PINHOLE, POLYNOMIAL or EQUIDISTANT.
        d: 14 numbers k1 k2 p1 p2 k3 k4 k5 k6 s1 s2 s3 s4 tx ty, or k1 k2 k3 k4 of the
            equidistant model; absent coefficients are 0.
        tilt: 9 numbers, row by row the homography of a tilted sensor, identity if it is not.
        fold: squared tangent of the angle from which on the polynomial turns back; beyond it
            points would fold into the image.
        view_limit: squared tangent of the angle beyond which nothing reaches the image widened
            by MARGIN; at most `fold`.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    kind: int
    d: tuple[float, ...]
    tilt: tuple[float, ...]
    fold: float
    view_limit: float


def make_lens(
    matrix: NDArray[np.float64],
    kind: int,
    coefficients: NDArray[np.float64],
    size: tuple[int, int],
) -> Lens:
    """Prepare a lens and find where its model ends.

    Args:
        matrix: (3, 3) camera matrix; its skew is ignored, as OpenCV does.
        kind: PINHOLE, POLYNOMIAL or EQUIDISTANT.
        coefficients: (n,) in OpenCV's order, n at most 14.
        size: width and height of the image, px.
    """
    d = np.zeros(14)
    d[: len(coefficients)] = coefficients
    lens = Lens(
        fx=float(matrix[0, 0]),
        fy=float(matrix[1, 1]),
        cx=float(matrix[0, 2]),
        cy=float(matrix[1, 2]),
        kind=kind,
        d=tuple(d.tolist()),
        tilt=tuple(_tilt_homography(d[12], d[13]).ravel().tolist()),
        fold=math.inf,
        view_limit=math.inf,
    )
    fold = _fold(kind, d)
    return lens._replace(fold=fold, view_limit=min(fold, _view_limit(lens, size)))


@njit(cache=True, nogil=True)
def pixel(x: float, y: float, z: float, lens: Lens) -> tuple[float, float]:
    """Project one point, ignoring the image's borders.

    Args:
        x, y, z: metres, optical frame (z forward, x right, y down).
        lens: from `make_lens`.

    Returns:
        u, v in px, pixel centres at integers; NaN behind the camera, beyond the lens model, or
        where the point itself is not finite.
    """
    if not z > 0.0:
        return np.nan, np.nan
    a, b = x / z, y / z
    r2 = a * a + b * b
    if not r2 < lens.fold:
        return np.nan, np.nan
    d = lens.d
    if lens.kind == POLYNOMIAL:
        radial = (1.0 + r2 * (d[0] + r2 * (d[1] + r2 * d[4]))) / (
            1.0 + r2 * (d[5] + r2 * (d[6] + r2 * d[7]))
        )
        ab = 2.0 * a * b
        p = a * radial + d[2] * ab + d[3] * (r2 + 2.0 * a * a) + r2 * (d[8] + r2 * d[9])
        q = b * radial + d[3] * ab + d[2] * (r2 + 2.0 * b * b) + r2 * (d[10] + r2 * d[11])
        if d[12] != 0.0 or d[13] != 0.0:
            t = lens.tilt
            w = t[6] * p + t[7] * q + t[8]
            if not w > 0.0:
                return np.nan, np.nan
            a = (t[0] * p + t[1] * q + t[2]) / w
            b = (t[3] * p + t[4] * q + t[5]) / w
        else:
            a, b = p, q
    elif lens.kind == EQUIDISTANT and r2 > 1e-16:
        r = math.sqrt(r2)
        angle = math.atan(r)
        s = angle * angle
        scale = angle / r * (1.0 + s * (d[0] + s * (d[1] + s * (d[2] + s * d[3]))))
        a *= scale
        b *= scale
    return lens.fx * a + lens.cx, lens.fy * b + lens.cy


@njit(cache=True, nogil=True)
def pixels(points: NDArray[np.float64], lens: Lens) -> NDArray[np.float64]:
    """Project points with `pixel`.

    Args:
        points: (N, 3) metres, optical frame.
        lens: from `make_lens`.

    Returns:
        (N, 2) u and v, px.
    """
    uv = np.empty((len(points), 2))
    for i in range(len(points)):
        uv[i, 0], uv[i, 1] = pixel(points[i, 0], points[i, 1], points[i, 2], lens)
    return uv


def _tilt_homography(tau_x: float, tau_y: float) -> NDArray[np.float64]:
    """Return OpenCV's homography of a sensor turned by tau_x, tau_y (radians) to the lens."""
    cx, sx, cy, sy = math.cos(tau_x), math.sin(tau_x), math.cos(tau_y), math.sin(tau_y)
    about_x = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    about_y = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    rotation = about_y @ about_x
    onto_sensor = np.array(
        [[rotation[2, 2], 0, -rotation[0, 2]], [0, rotation[2, 2], -rotation[1, 2]], [0, 0, 1]]
    )
    return onto_sensor @ rotation


def _radial(kind: int, d: NDArray[np.float64]) -> tuple[Polynomial, Polynomial]:
    """Return numerator and denominator of (distorted radius / argument) over the squared argument.

    Their argument is given by `_argument`.
    """
    if kind == EQUIDISTANT:
        return Polynomial([1.0, *d[:4]]), Polynomial([1.0])
    return Polynomial([1.0, d[0], d[1], d[4]]), Polynomial([1.0, d[5], d[6], d[7]])


def _fold(kind: int, d: NDArray[np.float64]) -> float:
    """Return the squared tangent at which the distorted radius stops growing, else inf."""
    if kind == PINHOLE or not d.any():
        return math.inf
    # f(r) = r n(s) / m(s), s = r^2, grows while (n + 2 s n') m > 2 s n m' and m > 0. Sampled twice
    # rather than solved: coefficients may be many orders of magnitude apart.
    n, m = _radial(kind, d)
    s = Polynomial([0.0, 1.0])
    slope = (n + 2 * s * n.deriv()) * m - 2 * s * n * m.deriv()
    low, high = 0.0, math.inf
    samples = _argument(kind, _TANGENTS)
    for _ in range(2):
        turned = np.flatnonzero((slope(samples**2) <= 0) | (m(samples**2) <= 0))
        if len(turned) == 0:
            return high
        first = turned[0]
        low, high = (samples[first - 1] if first else low), samples[first]
        samples = np.linspace(low, high, len(_TANGENTS))
    return (math.tan(low) if kind == EQUIDISTANT else low) ** 2


def _argument(kind: int, tangents: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the argument of the polynomials of `_radial` for rays of these tangents."""
    return np.arctan(tangents) if kind == EQUIDISTANT else tangents


def _view_limit(lens: Lens, size: tuple[int, int]) -> float:
    """Return the squared tangent beyond which nothing reaches the image widened by MARGIN.

    The radius that a ray is imaged at is at least its radial part less a bound of the others,
    which is compared with the farthest corner.
    """
    width, height = size
    u = (np.array([-MARGIN, 1 + MARGIN]) * width - 0.5 - lens.cx) / lens.fx
    v = (np.array([-MARGIN, 1 + MARGIN]) * height - 0.5 - lens.cy) / lens.fy
    tilt = np.reshape(lens.tilt, (3, 3))
    corners = np.array([[a, b, 1.0] for a in u for b in v]) @ np.linalg.inv(tilt).T
    if corners[:, 2].min() <= 0.0:
        return math.inf
    farthest = np.hypot(corners[:, 0], corners[:, 1]) / corners[:, 2]
    if lens.kind == PINHOLE:
        return float(farthest.max()) ** 2
    d = np.array(lens.d)
    numerator, denominator = _radial(lens.kind, d)
    argument = _argument(lens.kind, _TANGENTS)
    s = argument**2
    reach = argument * numerator(s) / denominator(s)
    if lens.kind == POLYNOMIAL:
        d = np.abs(d)
        reach -= s * (3 * (d[2] + d[3]) + d[8] + d[10]) + s * s * (d[9] + d[11])
    inside = np.flatnonzero(reach <= farthest.max())
    last = inside[-1] + 1 if len(inside) else 0
    return float(_TANGENTS[last]) ** 2 if last < len(_TANGENTS) else math.inf
