"""The beams of a spinning LiDAR, found in a cloud that does not name them."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from drive_segment_ros.perception.clouds import PointCloud

_RESOLUTION = np.radians(0.01)
# A cloud moved to one instant, or a frame beside the optical centre: where a beam seems to start
# strays by this much, which turns near returns away from their beam's elevation.
_ORIGIN_SPREAD = 0.15
_SHARPNESS = np.radians(0.02)
_SECTORS = 24
_ROUNDS = 6
_SAMPLE = 24_000


def find_beams(cloud: PointCloud) -> tuple[NDArray[np.int32], int] | None:
    """Number the beams of a sweep, the highest 0.

    Elevations form a histogram with one peak a beam. The peaks are found from far returns, then
    every sector of azimuth gets a small correction (tilt of the axis, and a shifted origin, whose
    effect fades with range), fitted and applied in turns.

    Args:
        cloud: the sweep; its `ring` and order are not used.

    Returns:
        ring: (N,) int32, -1 for points that are not finite.
        axis: the spin axis, 0, 1 or 2.
        None if the cloud has no beams (a solid-state sensor, or merged clouds).
    """
    best: tuple[float, int, NDArray, NDArray, NDArray, NDArray, NDArray] | None = None
    for axis in (2, 0, 1):
        azimuth, elevation, distance, valid = _spherical(cloud, axis)
        beams, share = _peaks(elevation, distance)
        if len(beams) >= 4 and (best is None or share > best[0] + 0.1):
            best = (share, axis, beams, azimuth, elevation, distance, valid)
    if best is None or best[0] < 0.7:
        return None
    _, axis, beams, azimuth, elevation, distance, valid = best
    beams, offsets = _fit(beams, azimuth, elevation, distance)
    corrected = elevation - _correction(offsets, azimuth, elevation, distance)
    ring = np.full(len(cloud), -1, np.int32)
    ring[valid] = len(beams) - 1 - _nearest(beams, corrected)
    return ring, axis


def _spherical(
    cloud: PointCloud, axis: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return azimuth, elevation (rad) and range (m) of the finite points, and which they are."""
    coordinates = (cloud.x, cloud.y, cloud.z)
    a, b, c = (
        np.asarray(coordinates[k % 3], np.float64) for k in (axis + 1, axis + 2, axis)
    )
    distance = np.sqrt(a * a + b * b + c * c)
    valid = np.isfinite(distance) & (distance > 0.5)
    a, b, c, distance = a[valid], b[valid], c[valid], distance[valid]
    return np.arctan2(b, a), np.arcsin(c / distance), distance, valid


def _peaks(
    elevation: NDArray[np.float64], distance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Return the beams' elevations, ascending, and the share of points that lie on one."""
    if len(elevation) < 500:
        return np.empty(0), 0.0
    spread = np.hypot(_SHARPNESS, _ORIGIN_SPREAD * np.abs(np.sin(elevation)) / distance)
    low = elevation.min() - 0.05
    size = int((elevation.max() + 0.05 - low) / _RESOLUTION) + 1
    where = ((elevation - low) / _RESOLUTION).astype(np.int64)
    density = np.zeros(size)
    # Each point is spread by its own uncertainty; a few classes of width stand for all.
    edges = _SHARPNESS * 1.5 ** np.arange(1, 14)
    kind = np.searchsorted(edges, spread)
    for k in range(min(kind.max() + 1, len(edges))):
        histogram = np.bincount(where[kind == k], minlength=size).astype(np.float64)
        if histogram.any():
            density += gaussian_filter1d(histogram, edges[k] / 1.2 / _RESOLUTION, truncate=3.0)
    peaks, _ = find_peaks(
        density,
        height=0.02 * np.percentile(density[density > 0], 99),
        distance=max(1, int(np.radians(0.08) / _RESOLUTION)),
        prominence=0.1 * np.percentile(density[density > 0], 50),
    )
    if len(peaks) < 4 or len(peaks) > 160:
        return np.empty(0), 0.0
    beams = low + (peaks + 0.5) * _RESOLUTION
    error = np.abs(elevation - beams[_nearest(beams, elevation)])
    # On a beam: within a quarter of the way to the next one, where chance would put half.
    spacing = np.gradient(beams)[_nearest(beams, elevation)]
    return beams, float(np.mean(error < 0.25 * spacing))


def _nearest(beams: NDArray[np.float64], elevation: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.searchsorted((beams[1:] + beams[:-1]) * 0.5, elevation)


def _design(
    elevation: NDArray[np.float64], distance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return how elevation answers to tilt, to a raised and to an advanced origin, (N, 3)."""
    return np.stack(
        [np.ones_like(elevation), np.cos(elevation) / distance, -np.sin(elevation) / distance], 1
    )


def _correction(
    offsets: NDArray[np.float64],
    azimuth: NDArray[np.float64],
    elevation: NDArray[np.float64],
    distance: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return what a sector's tilt and origin add to each point's elevation, rad."""
    # Linear between the sectors' centres: the vehicle moves steadily through a sweep.
    position = (azimuth + np.pi) / (2 * np.pi) * _SECTORS - 0.5
    left = np.floor(position).astype(np.int64)
    weight = position - left
    blend = (
        offsets[left % _SECTORS] * (1 - weight)[:, None]
        + offsets[(left + 1) % _SECTORS] * weight[:, None]
    )
    # A sweep begins and ends at one azimuth, half a turn of driving apart: no blending there.
    return np.einsum('nk,nk->n', _design(elevation, distance), blend)


def _fit(
    beams: NDArray[np.float64],
    azimuth: NDArray[np.float64],
    elevation: NDArray[np.float64],
    distance: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the beams' elevations and (SECTORS, 3) corrections that fit them best."""
    step = max(1, len(azimuth) // _SAMPLE)
    azimuth, elevation, distance = azimuth[::step], elevation[::step], distance[::step]
    sector = np.clip(
        ((azimuth + np.pi) / (2 * np.pi) * _SECTORS).astype(np.int64), 0, _SECTORS - 1
    )
    design = _design(elevation, distance)
    # Priors: a tilt of 0.1 deg, an origin 0.1 m up or down and 0.5 m along.
    prior = np.diag((np.radians(0.02) / np.array([np.radians(0.1), 0.1, 0.5])) ** 2)
    offsets = np.zeros((_SECTORS, 3))
    for _ in range(_ROUNDS):
        corrected = elevation - _correction(offsets, azimuth, elevation, distance)
        beam = _nearest(beams, corrected)
        residual = elevation - beams[beam]
        error = corrected - beams[beam]
        weight = 1.0 / (1.0 + (error / np.radians(0.03)) ** 2)
        for s in range(_SECTORS):
            near = [sector == t % _SECTORS for t in (s,)][0]
            if near.sum() < 50:
                continue
            A = design[near] * weight[near, None]
            offsets[s] = np.linalg.solve(
                A.T @ design[near] + prior, A.T @ residual[near]
            )
        corrected = elevation - _correction(offsets, azimuth, elevation, distance)
        beams = _medians(_nearest(beams, corrected), corrected, beams)
    return beams, offsets


def _medians(
    beam: NDArray[np.int64], value: NDArray[np.float64], previous: NDArray[np.float64]
) -> NDArray[np.float64]:
    order = np.lexsort((value, beam))
    counts = np.bincount(beam, minlength=len(previous))
    middle = np.cumsum(counts) - counts + counts // 2
    found = previous.copy()
    full = counts > 0
    found[full] = value[order][middle[full]]
    return np.sort(found)
