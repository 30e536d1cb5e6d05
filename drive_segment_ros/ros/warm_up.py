"""A scene in messages, made up, to run the pipeline on before the first real one arrives."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drive_segment_ros.perception.motion import Trajectory
from drive_segment_ros.perception.transforms import TransformTree

_BEAMS, _COLUMNS, _WIDTH, _HEIGHT = 32, 720, 320, 180
_FIELDS = ('x', 'y', 'z', 'intensity', 't', 'ring')
_STAMP = SimpleNamespace(sec=1, nanosec=0)
_CAMERA, _LIDAR = 'warm_up_camera', 'warm_up_lidar'
# A camera that looks along the LiDAR's x axis: optical z forward, x right, y down.
_LOOKING_FORWARD = np.array(
    [[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)


def example_messages() -> tuple[Any, Any, Any]:
    """Return an image, a camera_info and a cloud; attributes as in sensor_msgs.

    Around a LiDAR 2 m above a plane stands a wall; the camera is to look along the LiDAR's x axis.
    """
    return _image(), _camera_info(), _cloud()


def example_vehicle(base_frame: str) -> tuple[TransformTree, Trajectory]:
    """Return the extrinsics of the scene's sensors, and a drive of 10 m/s past it."""
    tree = TransformTree()
    tree.set(_LIDAR, _CAMERA, _LOOKING_FORWARD)
    tree.set(base_frame, _LIDAR, np.eye(4))
    trajectory = Trajectory()
    for second in (0, 1, 2):
        position = (10.0 * second, 0.0, 0.0)
        trajectory.add(second * 1_000_000_000, position, (0.0, 0.0, 0.0, 1.0))
    return tree, trajectory


def _image() -> Any:
    picture = np.random.default_rng(0).integers(0, 128, (_HEIGHT, _WIDTH, 3), np.uint8)
    # The sky of `_cloud`.
    picture[: _HEIGHT * 2 // 5, _WIDTH // 2 :] = 200
    return SimpleNamespace(
        header=SimpleNamespace(stamp=_STAMP, frame_id=_CAMERA),
        height=_HEIGHT,
        width=_WIDTH,
        encoding='bgr8',
        is_bigendian=0,
        step=_WIDTH * 3,
        data=picture.tobytes(),
    )


def _camera_info() -> Any:
    K = np.array([[200.0, 0.0, 159.5], [0.0, 200.0, 89.5], [0.0, 0.0, 1.0]])
    return SimpleNamespace(
        header=SimpleNamespace(stamp=_STAMP, frame_id=_CAMERA),
        height=_HEIGHT,
        width=_WIDTH,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=K.ravel(),
        r=np.eye(3).ravel(),
        p=np.column_stack([K, np.zeros(3)]).ravel(),
        binning_x=0,
        binning_y=0,
        roi=SimpleNamespace(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
    )


def _cloud() -> Any:
    elevation = np.radians(np.linspace(15.0, -25.0, _BEAMS))[:, None]
    azimuth = np.linspace(-math.pi, math.pi, _COLUMNS, endpoint=False)[None]
    with np.errstate(divide='ignore'):
        floor = np.where(elevation < 0, -2.0 / np.sin(elevation), np.inf)
    distance = np.minimum(floor, 20.0 / np.cos(elevation)) + 0.0 * azimuth
    # Some beams above the horizon see no wall, but sky.
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
    return SimpleNamespace(
        header=SimpleNamespace(stamp=_STAMP, frame_id=_LIDAR),
        height=1,
        width=points.size,
        fields=fields,
        is_bigendian=False,
        point_step=points.itemsize,
        row_step=points.nbytes,
        data=points.tobytes(),
        is_dense=False,
    )
