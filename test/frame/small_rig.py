"""A small rig as events: cameras, a LiDAR within a ring of points, and a drive along x."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np

from drive_segment_ros.frame.events import CameraInfo, Event, Image, Pose, Transform
from drive_segment_ros.frame.pair import Pair
from drive_segment_ros.frame.parameters import FrameParameters, SyncParameters
from drive_segment_ros.frame.stream import FrameStream
from drive_segment_ros.frame.sweep import Sweep
from drive_segment_ros.perception.cameras import CameraModel
from drive_segment_ros.perception.clouds import PointCloud

MS = 1_000_000
START = 1_000_000 * MS
# Orientation of an optical frame (z forward, x right, y down) in the LiDAR frame.
LOOKING_FORWARD = (0.5, -0.5, 0.5, -0.5)


def model(name: str) -> CameraModel:
    K = np.array([[60.0, 0.0, 31.5], [0.0, 60.0, 23.5], [0.0, 0.0, 1.0]])
    return CameraModel(
        width=64,
        height=48,
        distortion_model='plumb_bob',
        K=K,
        D=np.zeros(5),
        R=np.eye(3),
        P=np.column_stack([K, np.zeros(3)]),
        rectified=False,
        frame_id=name,
    )


def read_cloud(stamp_ns: int, duration_s: float) -> PointCloud:
    """Return one revolution of points 10 m around the sensor, with their times."""
    angle = np.linspace(-np.pi, np.pi, 64, endpoint=False)
    x, y = 10.0 * np.cos(angle), 10.0 * np.sin(angle)
    time = (angle + np.pi) / (2.0 * np.pi) * duration_s
    z = np.zeros_like(x)
    return PointCloud(stamp_ns, 'lidar', *(v.astype(np.float32) for v in (x, y, z)), time=time)


def sweep(stamp_ns: int, duration_s: float = 0.1) -> Sweep:
    return Sweep(stamp_ns, 'lidar', functools.partial(read_cloud, stamp_ns, duration_s))


def image(stamp_ns: int, camera: str = 'front') -> Image:
    return Image(camera, stamp_ns, camera, f'{camera} {stamp_ns}')


def pose(stamp_ns: int) -> Pose:
    x = (stamp_ns - START) * 1e-8
    return Pose(stamp_ns, 'odometry', 'odom', 'base_link', (x, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0))


def place(parent: str, child: str, quaternion: tuple = (0.0, 0.0, 0.0, 1.0)) -> Transform:
    return Transform(parent, child, (0.0, 0.0, 0.0), quaternion)


def setup(cameras: Iterable[str]) -> list[Event]:
    """Return the static transforms and the camera_info events of the cameras."""
    events: list[Event] = [place('base_link', 'lidar')]
    for name in cameras:
        events += [place('lidar', name, LOOKING_FORWARD), CameraInfo(name, model(name))]
    return events


def drive(
    cameras: Sequence[str] = ('front',),
    sweeps: int = 12,
    period: int = 100 * MS,
    image_lag: int = 50 * MS,
) -> list[Event]:
    """Return images, sweeps and poses of a straight drive, ordered by stamp."""
    events: list[Event] = []
    for k in range(sweeps):
        start = START + k * period
        events.append(sweep(start))
        events += [image(start + image_lag + i * MS, name) for i, name in enumerate(cameras)]
        events += [pose(start), pose(start + period // 2)]
    return sorted(events, key=lambda event: event.stamp_ns)


def parameters(**sync: object) -> FrameParameters:
    return FrameParameters(sync=SyncParameters(**sync))


def run(events: Iterable[Event], stream: FrameStream) -> list[Pair]:
    pairs = [pair for event in events for pair in stream.push(event)]
    return pairs + stream.finish()


def told(pairs: Iterable[Pair]) -> dict[str, list[tuple]]:
    """Return by camera: stamps of image and sweep, camera offset, and vehicle x or the error."""
    found: dict[str, list[tuple]] = {}
    for pair in pairs:
        try:
            moved = pair.trajectory.poses([pair.image.stamp_ns, pair.sweep.span_ns()[1]])
            where = tuple(np.round(moved[:, 0, 3], 9))
        except Exception as err:
            where = (type(err).__name__,)
        key = (pair.image.stamp_ns, pair.sweep.stamp_ns, pair.camera_offset_s, where)
        found.setdefault(pair.image.camera, []).append(key)
    return found
