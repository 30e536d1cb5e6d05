"""Size and shape of a sweep's proposals: the geometric part of the label-free descriptor."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drive_segment_ros.perception.clouds import PointCloud
from drive_segment_ros.perception.proposals import SweepProposals


def describe_proposals(
    cloud: PointCloud,
    sweep: SweepProposals,
    labels: NDArray[np.int32],
    R_level_lidar: NDArray[np.float64],
) -> dict[str, NDArray[np.float32]]:
    """Measure proposals of a sweep.

    Shape is described by the eigenvalues l1 >= l2 >= l3 of the points' covariance (Weinmann et
    al., ISPRS Annals II-3, 2014): linearity (l1 - l2) / l1, planarity (l2 - l3) / l1, scattering
    l3 / l1.

    Args:
        cloud: the sweep.
        sweep: its proposals.
        labels: (P,) int32, the proposals to measure.
        R_level_lidar: (3, 3), turns LiDAR coordinates so that the third axis points up.

    Returns:
        Arrays (P,) float32; lengths in metres, level axes with origin at the LiDAR:
        `centroid_x`, `centroid_y`, `centroid_z`, `range`; `height_min`, `height_max` above
        ground; `extent_long`, `extent_short` across the ground, `extent_vertical`; `linearity`,
        `planarity`, `scattering`; `normal_vertical`, 0 for a wall and 1 for a floor; `roughness`,
        the deviation from the best plane; `intensity_mean`, `intensity_std`, the sensor's scale.
        All 0 for proposals without points, such as sky.
    """
    row = np.full(sweep.count, -1, np.int32)
    row[labels] = np.arange(len(labels), dtype=np.int32)
    intensity = np.zeros(len(cloud), np.float32)
    if cloud.intensity is not None:
        intensity = np.nan_to_num(np.asarray(cloud.intensity, np.float32), posinf=0.0, neginf=0.0)
    x, y, z = (np.ascontiguousarray(c, np.float32) for c in (cloud.x, cloud.y, cloud.z))
    R = R_level_lidar.astype(np.float64)
    sums, bounds = _moments(
        x, y, z, intensity, sweep.label, sweep.above_ground, row, R, len(labels)
    )
    n = np.maximum(sums[:, 0], 1.0)
    mean = sums[:, 1:4] / n[:, None]
    covariance = np.empty((len(labels), 3, 3))
    for k, (i, j) in enumerate(((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))):
        covariance[:, i, j] = sums[:, 4 + k] / n - mean[:, i] * mean[:, j]
        covariance[:, j, i] = covariance[:, i, j]
    values, vectors = np.linalg.eigh(covariance)
    values = np.maximum(values, 0.0)
    largest = np.maximum(values[:, 2], 1e-9)
    heading = 0.5 * np.arctan2(
        2.0 * covariance[:, 0, 1], covariance[:, 0, 0] - covariance[:, 1, 1]
    )
    span = _spans(x, y, z, sweep.label, row, R, np.cos(heading), np.sin(heading))
    brightness = sums[:, 10] / n
    seen = sums[:, 0] > 0
    measured = {
        'centroid_x': mean[:, 0],
        'centroid_y': mean[:, 1],
        'centroid_z': mean[:, 2],
        'range': np.linalg.norm(mean, axis=1),
        'height_min': bounds[:, 0],
        'height_max': bounds[:, 1],
        'extent_long': span.max(axis=1, initial=0.0),
        'extent_short': span.min(axis=1) if len(span) else np.zeros(0),
        'extent_vertical': bounds[:, 3] - bounds[:, 2],
        'linearity': (values[:, 2] - values[:, 1]) / largest,
        'planarity': (values[:, 1] - values[:, 0]) / largest,
        'scattering': values[:, 0] / largest,
        'normal_vertical': np.abs(vectors[:, 2, 0]),
        'roughness': np.sqrt(values[:, 0]),
        'intensity_mean': brightness,
        'intensity_std': np.sqrt(np.maximum(sums[:, 11] / n - brightness**2, 0.0)),
    }
    return {
        name: np.where(seen, value, 0.0).astype(np.float32) for name, value in measured.items()
    }


@njit(cache=True, nogil=True)
def _moments(x, y, z, intensity, label, above, row, R, count):
    """Sum up the points of each proposal.

    Args:
        x, y, z: (N,) float32, metres, the cloud's coordinates.
        intensity: (N,) float32, the sensor's scale.
        label: (N,) int32, 0 for none.
        above: (N,) float32, metres above ground, infinite where unknown.
        row: (labels,) int32, each label's row of the result, -1 for none.
        R: (3, 3) float64, turns the cloud's coordinates so that the third axis points up.
        count: P, how many rows.

    Returns:
        (P, 12) float64: number, sums of a, b, c, of aa, ab, ac, bb, bc, cc, of intensity and of
        its square; and (P, 4) float64 metres: least and most above ground, lowest and highest c.
    """
    sums = np.zeros((count, 12))
    bounds = np.empty((count, 4))
    bounds[:, 0] = bounds[:, 2] = np.inf
    bounds[:, 1] = bounds[:, 3] = -np.inf
    for i in range(len(label)):
        p = row[label[i]]
        # Label 0 is allowed; points that are not finite are skipped.
        if p < 0 or not math.isfinite(above[i]):
            continue
        a = R[0, 0] * x[i] + R[0, 1] * y[i] + R[0, 2] * z[i]
        b = R[1, 0] * x[i] + R[1, 1] * y[i] + R[1, 2] * z[i]
        c = R[2, 0] * x[i] + R[2, 1] * y[i] + R[2, 2] * z[i]
        s = sums[p]
        s[0] += 1.0
        s[1] += a
        s[2] += b
        s[3] += c
        s[4] += a * a
        s[5] += a * b
        s[6] += a * c
        s[7] += b * b
        s[8] += b * c
        s[9] += c * c
        s[10] += intensity[i]
        s[11] += intensity[i] * intensity[i]
        e = bounds[p]
        e[0] = min(e[0], above[i])
        e[1] = max(e[1], above[i])
        e[2] = min(e[2], c)
        e[3] = max(e[3], c)
    return sums, bounds


@njit(cache=True, nogil=True)
def _spans(x, y, z, label, row, R, cos, sin):
    """Return the extents along and across each proposal's main level direction, (P, 2) metres.

    Args:
        x, y, z: (N,) float32, metres, the cloud's coordinates.
        label: (N,) int32, 0 for none.
        row: (labels,) int32, each label's row of the result, -1 for none.
        R: (3, 3) float64, turns the cloud's coordinates so that the third axis points up.
        cos, sin: (P,) float64, of the main direction's heading.
    """
    count = len(cos)
    low = np.full((count, 2), np.inf)
    high = np.full((count, 2), -np.inf)
    for i in range(len(label)):
        p = row[label[i]]
        if p < 0 or not math.isfinite(x[i] + y[i] + z[i]):
            continue
        a = R[0, 0] * x[i] + R[0, 1] * y[i] + R[0, 2] * z[i]
        b = R[1, 0] * x[i] + R[1, 1] * y[i] + R[1, 2] * z[i]
        u, v = cos[p] * a + sin[p] * b, cos[p] * b - sin[p] * a
        low[p, 0], high[p, 0] = min(low[p, 0], u), max(high[p, 0], u)
        low[p, 1], high[p, 1] = min(low[p, 1], v), max(high[p, 1], v)
    return high - low
