"""A synthetic scene, to run the method before the first real data arrive."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.frame.parameters import GeometryParameters
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud

_BEAMS, _COLUMNS, _WIDTH, _HEIGHT = 32, 720, 320, 180
_FIELDS = ('x', 'y', 'z', 'intensity', 't', 'ring')


def example_picture() -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 BGR, with the sky of `example_cloud`."""
    picture = np.random.default_rng(0).integers(0, 128, (_HEIGHT, _WIDTH, 3), np.uint8)
    picture[: _HEIGHT * 2 // 5, _WIDTH // 2 :] = 200
    return picture


def example_camera(frame_id: str) -> CameraModel:
    """Return the picture's camera; it looks along the LiDAR's x axis."""
    K = np.array([[200.0, 0.0, 159.5], [0.0, 200.0, 89.5], [0.0, 0.0, 1.0]])
    return CameraModel(
        width=_WIDTH,
        height=_HEIGHT,
        K=K,
        D=np.zeros(5),
        R=np.eye(3),
        P=np.column_stack([K, np.zeros(3)]),
        distortion_model='plumb_bob',
        frame_id=frame_id,
        rectified=False,
    )


def example_cloud(stamp_ns: int, frame_id: str, params: GeometryParameters) -> PointCloud:
    """Return a sweep of a LiDAR 2 m above a plane, with a wall around it and sky beside it."""
    elevation = np.radians(np.linspace(15.0, -25.0, _BEAMS))[:, None]
    azimuth = np.linspace(-math.pi, math.pi, _COLUMNS, endpoint=False)[None]
    with np.errstate(divide='ignore'):
        floor = np.where(elevation < 0, -2.0 / np.sin(elevation), np.inf)
    distance = np.minimum(floor, 20.0 / np.cos(elevation)) + 0.0 * azimuth
    # Some beams above the horizon see sky instead of the wall.
    distance[: _BEAMS // 4, : _COLUMNS // 2] = np.nan
    points: NDArray[np.void] = np.zeros(
        (_BEAMS, _COLUMNS),
        [(name, '<u2' if name == 'ring' else '<f4') for name in _FIELDS],
    )
    points['x'] = distance * np.cos(elevation) * np.cos(azimuth)
    points['y'] = distance * np.cos(elevation) * np.sin(azimuth)
    points['z'] = distance * np.sin(elevation)
    points['t'] = azimuth / (2.0 * math.pi) * 0.1
    points['ring'] = np.arange(_BEAMS)[:, None]
    fields = [
        SimpleNamespace(name=name, offset=4 * k, datatype=4 if name == 'ring' else 7, count=1)
        for k, name in enumerate(_FIELDS)
    ]
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    stamp = SimpleNamespace(sec=sec, nanosec=nanosec)
    message = SimpleNamespace(
        header=SimpleNamespace(stamp=stamp, frame_id=frame_id),
        height=1,
        width=points.size,
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=points.tobytes(),
        is_dense=False,
    )
    return params.cloud(message).packed()
