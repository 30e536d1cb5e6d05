"""Ray casting of a synthetic scene, sloping ground and boxes, for a spinning LiDAR."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike

from drive_segment_ros.perception.clouds import PointCloud

Box = Sequence[float]


def cast(
    *,
    elevation_deg: ArrayLike | None = None,
    columns: int = 720,
    height: float = 1.8,
    slope: float = 0.0,
    slope_start: float = -np.inf,
    boxes: Sequence[Box] = (),
    noise: float = 0.0,
    max_range: float = 80.0,
    axis: int = 2,
) -> PointCloud:
    """Return a sweep with one point per ray, beam by beam from the highest; NaN without return.

    Args:
        elevation_deg: beam elevations, the highest first.
        columns: rays per revolution.
        height: sensor height above the ground, metres.
        slope: slope of the ground along x, rise over run.
        slope_start: x at which the slope begins, metres; if not given, all ground slopes.
        boxes: (x0, x1, y0, y1, z0, z1), metres; z is above the ground below the sensor.
        noise: standard deviation of the range noise, metres.
        max_range: largest range that gives a return, metres.
        axis: index of the spin axis; the scene's axes are permuted cyclically to match.
    """
    if elevation_deg is None:
        elevation_deg = np.linspace(8.0, -25.0, 32)
    elevation = np.radians(np.asarray(elevation_deg, np.float64))
    azimuth = (np.arange(columns) + 0.5) * 2.0 * np.pi / columns
    ring, column = np.divmod(np.arange(len(elevation) * columns), columns)
    e, a = elevation[ring], azimuth[column]
    ray = np.stack([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)], 1)
    with np.errstate(divide='ignore', invalid='ignore'):
        level = -height / ray[:, 2]
        start = slope_start if np.isfinite(slope_start) else 0.0
        hill = -(height + slope * start) / (ray[:, 2] - slope * ray[:, 0])
        level, hill = (np.where(d > 0.0, d, np.inf) for d in (level, hill))
        if not np.isfinite(slope_start):
            distance = hill
        else:
            distance = np.minimum(level, hill) if slope > 0.0 else np.maximum(level, hill)
        for box in boxes:
            low, high = np.array(box[0::2], float), np.array(box[1::2], float)
            low[2], high[2] = low[2] - height, high[2] - height
            near, far = np.sort(np.stack([low / ray, high / ray]), axis=0)
            enter, leave = near.max(axis=1), far.min(axis=1)
            hit = (enter < leave) & (enter > 0.0)
            distance = np.where(hit & (enter < distance), enter, distance)
    if noise > 0.0:
        distance += np.random.default_rng(0).normal(0.0, noise, len(distance))
    distance[distance > max_range] = np.nan
    points = (ray * distance[:, None]).astype(np.float32)
    coordinates = {(axis + 1 + k) % 3: points[:, k].copy() for k in range(3)}
    return PointCloud(
        stamp_ns=1_000_000_000,
        frame_id='lidar',
        x=coordinates[0],
        y=coordinates[1],
        z=coordinates[2],
        time=(column / columns * 0.1).astype(np.float32),
        ring=ring.astype(np.int32),
        height=len(elevation),
        width=columns,
    )


def inside(cloud: PointCloud, box: Box, height: float = 1.8, margin: float = 0.02) -> np.ndarray:
    """Return a mask of the points on a box that was given to `cast`, (N,) bool."""
    z = cloud.z + height
    x0, x1, y0, y1, z0, z1 = box
    return (
        (cloud.x > x0 - margin)
        & (cloud.x < x1 + margin)
        & (cloud.y > y0 - margin)
        & (cloud.y < y1 + margin)
        & (z > z0 - margin)
        & (z < z1 + margin)
    )


@pytest.fixture(scope='session')
def make_sweep() -> Callable[..., PointCloud]:
    """Return `cast`, which makes a sweep of a synthetic scene."""
    return cast


@pytest.fixture(scope='session')
def on_box() -> Callable[..., np.ndarray]:
    """Return `inside`, which selects the points of a box."""
    return inside
